"""(settings, tasks, values, gates) -> the decision of a proof suite: pass, fail or inconclusive.

What is expected comes from the suite. Whatever is not there takes part as a test that failed: it keeps its
place in Holm's family with p = 1, so leaving something out can never make anything else pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import StatisticsError
from ...suite.proof_settings import ProofSettings, ProofTask
from ...suite.seed_plan import SeedPlan
from ...suite.suite import SYSTEMS
from ..stats.holm import holm
from ..stats.measurements import NOT_RUN, Missing, Observed
from ..stats.power import MOST_SEEDS, seeds_needed
from .cells import Cell, judge_cell
from .reasons import decide_verdict
from .results import JudgedCell, JudgedTask, ProofDecision, ProofGates
from .seeding import corrected_alpha, equal_arms_power, family_size, narrow_rule, seed_plan, two_stage_p

NO_MORE = "the estimate itself lies outside the bounds, so more seeds are not expected to help"


def judge_proof(
    settings: ProofSettings,
    tasks: Sequence[ProofTask],
    observed: Observed,
    gates: ProofGates,
    *,
    plan: SeedPlan | None = None,
) -> ProofDecision:
    """The decision on a proof suite.

    Args:
        tasks: with the seeds that are expected now: those of the pilot, or of the sealed plan.
        observed: values per (system, metric, task) and seed, and why others are missing. Of what the
            suite does not expect nothing is used.
        plan: the sealed plan of an ``auto_power`` suite; without it the session is the pilot.

    Raises:
        StatisticsError: a task or a metric twice, or a parameter out of range.
    """
    _check_tasks(tasks)
    missing = _find_missing(tasks, observed)
    family = family_size(settings, tasks)
    judged = _judge_cells(settings, tasks, observed, missing, family)
    pilot = settings.seed_policy.mode == "auto_power" and plan is None
    if pilot:
        plan = seed_plan(settings, tasks, observed)
    doubts = [] if pilot or plan is None else _plan_doubts(settings, tasks, observed, plan)
    task_seeds = sum(len(t.pairs) for t in tasks)
    decision = ProofDecision(
        settings=settings,
        tasks=tuple(JudgedTask(t, tuple(c for c in judged if c.cell.task == t.id)) for t in tasks),
        gates=gates,
        missing=missing,
        task_seeds=task_seeds,
        complete_task_seeds=task_seeds - len({(m.task_id, m.seed) for m in missing}),
        expected=sum(len(systems) for t in tasks for systems in t.pairs.values()),
        family=family,
        pilot=pilot,
        plan=plan,
        verdict="inconclusive",
        reason="",
        seeds_needed=None,
    )
    verdict, reason, needed = decide_verdict(decision, doubts)
    return replace(decision, verdict=verdict, reason=reason, seeds_needed=needed)


def _check_tasks(tasks: Sequence[ProofTask]) -> None:
    names = [t.id for t in tasks]
    if len(set(names)) != len(names):
        raise StatisticsError("a task is given twice", where="proof")
    for task in tasks:
        metrics = [r.name for r in task.rules]
        if len(set(metrics)) != len(metrics):
            raise StatisticsError("a metric is given twice", where=task.id)


def _find_missing(tasks: Sequence[ProofTask], observed: Observed) -> tuple[Missing, ...]:
    """Every expected (task, seed, system) without all its values, with the reason where one is known."""
    known = {(m.task_id, m.seed, m.system): m for m in observed.missing}
    gaps = []
    for task in tasks:
        for seed, system in ((seed, system) for seed, systems in task.pairs.items() for system in systems):
            key = (task.id, seed, system)
            values = [(r.name, observed.values.get((system, r.name, task.id), {})) for r in task.rules]
            absent = [name for name, by_seed in values if seed not in by_seed]
            if key in known:
                gaps.append(known[key])
            elif absent:
                gaps.append(Missing(*key, NOT_RUN, f"no value of {', '.join(absent)}"))
    return tuple(gaps)


def _judge_cells(
    settings: ProofSettings,
    tasks: Sequence[ProofTask],
    observed: Observed,
    missing: Sequence[Missing],
    family: int,
) -> list[JudgedCell]:
    """Every metric of every task, its p-values corrected over their families."""
    gaps = {t.id: frozenset((m.seed, m.system) for m in missing if m.task_id == t.id) for t in tasks}
    cells = [
        judge_cell(
            task,
            rule,
            observed,
            missing=gaps[task.id],
            bayesian=settings.bayesian,
            min_pairs=settings.seed_policy.min_seeds,
        )
        for task in tasks
        for rule in task.rules
    ]
    alphas = [corrected_alpha(c.rule, c.primary, settings, family) for c in cells]
    both = list(zip(cells, alphas, strict=True))
    p = [_p_value(c, "p_value", alpha, settings) for c, alpha in both]
    is_primary = np.array([c.primary for c in cells], bool)
    primary = np.full(len(cells), np.nan)
    primary[is_primary] = holm(np.array(p)[is_primary])
    outside = holm([_p_value(c, "p_outside", alpha, settings, "degenerate") for c, alpha in both])
    return [
        _judge_corrected(cell, settings, alpha, p=p_value, primary=first, every=every, outside=apart)
        for (cell, alpha), p_value, first, every, apart in zip(
            both, p, primary.tolist(), holm(p).tolist(), outside.tolist(), strict=True
        )
    ]


def _p_value(cell: Cell, which: str, alpha: float, settings: ProofSettings, also: str = "ok") -> float:
    """The p-value that takes part in a family; 1 for a test that was not made or must not count."""
    p = getattr(cell.tost, which, None)
    if p is None or cell.status not in ("ok", also):
        return 1.0
    return _pay_pilot(float(p), cell, alpha, settings)


def _pay_pilot(p: float, cell: Cell, alpha: float, settings: ProofSettings) -> float:
    """A p-value that has paid for a look at the pilot's variance, where there was one."""
    policy = settings.seed_policy
    return two_stage_p(p, narrow_rule(cell.rule), alpha, policy) if policy.mode == "auto_power" else p


def _judge_corrected(
    cell: Cell,
    settings: ProofSettings,
    planned_alpha: float,
    *,
    p: float,
    primary: float,
    every: float,
    outside: float,
) -> JudgedCell:
    alpha, worse = cell.rule.alpha, cell.noninferiority
    is_ok = cell.status == "ok"
    within = every if settings.holm_scope == "all_metrics" else primary if cell.primary else p
    not_worse = worse is not None and _pay_pilot(worse.p_value, cell, planned_alpha, settings) < worse.alpha
    passed = is_ok and within < alpha and not_worse
    different = outside < alpha and not passed
    needed, advice = (None, "") if passed or different else _advise_seeds(cell, planned_alpha, settings)
    return JudgedCell(
        cell=cell,
        p_value=p,
        holm_primary=primary if cell.primary else None,
        holm_all_metrics=every,
        p_outside_holm=outside,
        passed=passed,
        different=different,
        passed_bayesian=is_ok and cell.bayes is not None and cell.bayes.pass_all
        if settings.bayesian.enable
        else None,
        seeds_needed=needed,
        advice=advice,
    )


def _advise_seeds(cell: Cell, alpha: float, settings: ProofSettings) -> tuple[int | None, str]:
    """The seeds still needed per side, in words too, or the words why none would do."""
    if cell.tost is not None and cell.tost.estimate_outside:
        return None, NO_MORE
    variance, policy = sum(cell.variances or ()), settings.seed_policy
    if not variance:
        return None, ""
    rule = narrow_rule(cell.rule)
    needed = seeds_needed(lambda n: equal_arms_power(rule, variance, n, alpha), policy.power_target)
    if needed is None:
        return None, f"more than {MOST_SEEDS} seeds per side would be needed"
    needed = max(needed, policy.min_seeds, cell.n_pairs + (cell.status == "ok"))
    return needed, f"{policy.power_target:.0%} power needs {needed} seeds per side"


def _plan_doubts(
    settings: ProofSettings, tasks: Sequence[ProofTask], observed: Observed, plan: SeedPlan
) -> list[str]:
    """Whether the plan is what the pilot's values ask for, and the expected seeds are the plan's."""
    if settings.seed_policy.mode != "auto_power":
        return ["the suite has fixed seeds, and there is a plan of seeds"]
    seeds = {t.task: set(t.seeds) for t in plan.tasks}
    if seeds.keys() != {t.id for t in tasks} or any(
        set(t.seeds[s]) != seeds[t.id] for t in tasks for s in SYSTEMS
    ):
        return ["the seeds that are expected are not those of the sealed plan"]
    pilot = {(t.id, n) for t in tasks for n in settings.seed_policy.at_first}
    if any((m.task_id, m.seed) in pilot for m in observed.missing):
        return []
    again = seed_plan(settings, tasks, observed)
    return [] if again == plan else ["the sealed plan of seeds does not follow from the pilot's values"]


def plan_to_seal(decision: ProofDecision) -> SeedPlan | None:
    """The plan of a pilot that is complete and whose gates hold; None where nothing is to be sealed."""
    sealed = decision.pilot and not decision.missing and decision.verdict == "inconclusive"
    return decision.plan if sealed else None
