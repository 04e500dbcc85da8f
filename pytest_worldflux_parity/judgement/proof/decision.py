"""(settings, tasks, values, gates) -> the decision of a proof suite: pass, fail or inconclusive.

What is expected comes from the suite. Whatever is not there takes part as a test that failed: it keeps its
place in Holm's family with p = 1, so leaving something out can never make anything else pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ...errors import StatisticsError
from ...suite.proof_settings import MetricRule, ProofSettings, ProofTask
from ...suite.seed_plan import SeedPlan
from ...suite.suite import SYSTEMS
from ..stats.arrays import Outcome
from ..stats.holm import holm
from ..stats.measurements import NOT_RUN, Missing, Observed
from ..stats.power import MOST_SEEDS, seeds_needed
from .cells import Cell, judge_cell
from .reasons import broken, difference, more, most_seeds_needed, pass_reason, pilot_reason, still_open
from .results import JudgedCell, JudgedTask, ProofDecision, ProofGates
from .seeding import corrected_alpha, equal_arms_power, family_size, planned, seed_plan, two_stage_p

# More would take the processor from whoever goes on meanwhile.
_THREADS = 2
# One for every metric of every task, in the order of both.
Begun: TypeAlias = Sequence[Future[Cell]]
NO_MORE = "the estimate itself lies outside the bounds, so more seeds are not expected to help"


def judge_proof(
    settings: ProofSettings,
    tasks: Sequence[ProofTask],
    observed: Observed,
    gates: ProofGates,
    *,
    plan: SeedPlan | None = None,
    begun: Begun | None = None,
) -> ProofDecision:
    """The decision on a proof suite.

    Args:
        tasks: with the seeds that are expected now: those of the pilot, or of the sealed plan.
        observed: values per (system, metric, task) and seed, and why others are missing. Of what the
            suite does not expect nothing is used.
        plan: the sealed plan of an ``auto_power`` suite; without it the session is the pilot.
        begun: what :func:`begin_cells` gives for the same settings, tasks and values, where it was asked.

    Raises:
        StatisticsError: a task or a metric twice, or a parameter out of range.
    """
    _check(tasks)
    missing = _missing(tasks, observed)
    with nullcontext(begun) if begun else begin_cells(settings, tasks, observed) as judging:
        cells = [cell.result() for cell in judging]
    judged, family = _corrected(settings, tasks, cells)
    pilot = settings.seed_policy.mode == "auto_power" and plan is None
    if pilot:
        plan = seed_plan(settings, tasks, observed)
    doubts = [] if pilot or plan is None else _plan_doubts(settings, tasks, observed, plan)
    finished = tuple(_with_advice(c, t, settings, family) for t, c in zip(*judged, strict=True))
    rows = tuple(JudgedTask(t, tuple(c for c in finished if c.cell.task == t.id)) for t in tasks)
    gaps = {(m.task_id, m.seed) for m in missing}
    decision = ProofDecision(
        settings=settings,
        tasks=rows,
        gates=gates,
        missing=missing,
        task_seeds=sum(len(t.pairs) for t in tasks),
        complete_task_seeds=sum(len(t.pairs) for t in tasks) - len(gaps),
        expected=sum(len(systems) for t in tasks for systems in t.pairs.values()),
        family=family,
        pilot=pilot,
        plan=plan,
        verdict="inconclusive",
        reason="",
        seeds_needed=None,
    )
    return _with_verdict(decision, doubts)


def _check(tasks: Sequence[ProofTask]) -> None:
    names = [t.id for t in tasks]
    if len(set(names)) != len(names):
        raise StatisticsError("a task is given twice", where="proof")
    for task in tasks:
        metrics = [r.name for r in task.rules]
        if len(set(metrics)) != len(metrics):
            raise StatisticsError("a metric is given twice", where=task.id)


def _missing(tasks: Sequence[ProofTask], observed: Observed) -> tuple[Missing, ...]:
    """Every expected (task, seed, system) without all its values, with the reason where one is known."""
    known = {(m.task_id, m.seed, m.system): m for m in observed.missing}
    gaps = []
    for task in tasks:
        for seed, systems in task.pairs.items():
            for system in systems:
                key = (task.id, seed, system)
                absent = [
                    r.name
                    for r in task.rules
                    if seed not in observed.values.get((system, r.name, task.id), {})
                ]
                if key in known:
                    gaps.append(known[key])
                elif absent:
                    gaps.append(Missing(*key, NOT_RUN, f"no value of {', '.join(absent)}"))
    return tuple(gaps)


@contextmanager
def begin_cells(settings: ProofSettings, tasks: Sequence[ProofTask], observed: Observed) -> Iterator[Begun]:
    """Judge every metric of every task while the block does something else; what is left at its end is not.

    Most of it are the draws of the Bayesian check: each cell has a stream of its own, in any thread.
    """
    gaps: dict[str, set[tuple[int, str]]] = {t.id: set() for t in tasks}
    for m in _missing(tasks, observed):
        gaps[m.task_id].add((m.seed, m.system))

    def cell(task: ProofTask, rule: MetricRule) -> Cell:
        return judge_cell(
            task,
            rule,
            observed,
            missing=frozenset(gaps[task.id]),
            bayesian=settings.bayesian,
            min_pairs=settings.seed_policy.min_seeds,
        )

    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield [pool.submit(cell, task, rule) for task in tasks for rule in task.rules]
    finally:
        # Of a session that is interrupted nobody waits for all draws.
        pool.shutdown(cancel_futures=True)


def _corrected(
    settings: ProofSettings, tasks: Sequence[ProofTask], cells: Sequence[Cell]
) -> tuple[tuple[list[ProofTask], list[JudgedCell]], int]:
    """Every cell with its corrected p-values; beside it, its task."""
    owners = [t for t in tasks for _ in t.rules]
    family = family_size(settings, tasks)
    p = [_p_value(c, c.tost.p_value if c.tost else None, t, settings, family) for c, t in _zip(cells, owners)]
    outside = [
        _p_value(c, c.tost.p_outside if c.tost else None, t, settings, family, also=("degenerate",))
        for c, t in _zip(cells, owners)
    ]
    is_primary = np.array([c.primary for c in cells], bool)
    primary = np.full(len(cells), np.nan)
    primary[is_primary] = holm(np.array(p)[is_primary])
    every, apart = holm(p), holm(outside)
    judged = [
        _judged(
            cell,
            settings,
            p[i],
            float(primary[i]) if cell.primary else None,
            float(every[i]),
            apart[i],
            corrected_alpha(cell.rule, owners[i], settings, family),
        )
        for i, cell in enumerate(cells)
    ]
    return (owners, judged), family


def _zip(cells: Sequence[Cell], owners: Sequence[ProofTask]) -> Sequence[tuple[Cell, ProofTask]]:
    return list(zip(cells, owners, strict=True))


def _p_value(
    cell: Cell,
    p: float | None,
    task: ProofTask,
    settings: ProofSettings,
    family: int,
    also: tuple[str, ...] = (),
) -> float:
    """The p-value that takes part in a family; 1 for a test that was not made or must not count."""
    if p is None or cell.status not in ("ok", *also):
        return 1.0
    policy = settings.seed_policy
    if policy.mode == "auto_power":
        alpha = corrected_alpha(cell.rule, task, settings, family)
        return two_stage_p(p, planned(cell.rule), alpha, policy)
    return p


def _judged(
    cell: Cell,
    settings: ProofSettings,
    p: float,
    primary: float | None,
    every: float,
    outside: float,
    planned_alpha: float,
) -> JudgedCell:
    alpha = cell.rule.alpha
    within = every if settings.holm_scope == "all_metrics" else p if primary is None else primary
    better = _noninferior(cell, settings, planned_alpha)
    passed = cell.status == "ok" and within < alpha and better
    bayesian = None
    if settings.bayesian.enable:
        bayesian = cell.status == "ok" and cell.bayes is not None and cell.bayes.pass_all
    return JudgedCell(
        cell=cell,
        p_value=p,
        holm_primary=primary,
        holm_all_metrics=every,
        p_outside_holm=float(outside),
        passed=passed,
        different=bool(outside < alpha) and not passed,
        passed_bayesian=bayesian,
    )


def _noninferior(cell: Cell, settings: ProofSettings, planned_alpha: float) -> bool:
    """Whether the worse side is within its margin; after a pilot, having paid for it."""
    test = cell.noninferiority
    if test is None or settings.seed_policy.mode != "auto_power":
        return test is not None and test.pass_raw
    p = two_stage_p(test.p_value, planned(cell.rule), planned_alpha, settings.seed_policy)
    return p < test.alpha


def _with_advice(judged: JudgedCell, task: ProofTask, settings: ProofSettings, family: int) -> JudgedCell:
    """``judged`` with the seeds still needed, or the words why none would do."""
    cell = judged.cell
    if judged.passed or judged.different:
        return judged
    if cell.tost is not None and cell.tost.estimate_outside:
        return replace(judged, advice=NO_MORE)
    if cell.variances is None or not sum(cell.variances):
        return judged
    alpha = corrected_alpha(cell.rule, task, settings, family)
    needed = _needed(cell.rule, sum(cell.variances), alpha, settings.seed_policy.power_target)
    if needed is None:
        return JudgedCell(
            **{**vars(judged), "advice": f"more than {MOST_SEEDS} seeds per side would be needed"}
        )
    now = cell.n_pairs
    needed = max(needed, settings.seed_policy.min_seeds, now + 1 if cell.status == "ok" else now)
    power = f"{settings.seed_policy.power_target:.0%} power needs {needed} seeds per side"
    return replace(judged, seeds_needed=needed, advice=power)


def _needed(rule: MetricRule, variance: float, alpha: float, target: float) -> int | None:
    # Non-inferiority must hold too; within equal margins it follows from equivalence.
    rule = replace(rule, equivalence_margin=min(rule.equivalence_margin, rule.noninferiority_margin))
    return seeds_needed(lambda n: equal_arms_power(rule, variance, n, alpha), target)


def _plan_doubts(
    settings: ProofSettings, tasks: Sequence[ProofTask], observed: Observed, plan: SeedPlan
) -> list[str]:
    """Whether the plan is what the pilot's values ask for, and the expected seeds are the plan's."""
    if settings.seed_policy.mode != "auto_power":
        return ["the suite has fixed seeds, and there is a plan of seeds"]
    planned = {t.task: set(t.seeds) for t in plan.tasks}
    if planned.keys() != {t.id for t in tasks} or any(
        set(t.seeds[s]) != planned[t.id] for t in tasks for s in SYSTEMS
    ):
        return ["the seeds that are expected are not those of the sealed plan"]
    pilot = {(t.id, n) for t in tasks for n in settings.seed_policy.at_first}
    if any((m.task_id, m.seed) in pilot for m in observed.missing):
        return []
    again = seed_plan(settings, tasks, observed)
    return [] if again == plan else ["the sealed plan of seeds does not follow from the pilot's values"]


def _with_verdict(decision: ProofDecision, doubts: Sequence[str]) -> ProofDecision:
    wrong = [*decision.gates.broken, *doubts, *broken(decision)]
    if wrong:
        return _as(decision, "fail", wrong[0] + more(len(wrong) - 1))
    if decision.pilot:
        return _as(decision, "inconclusive", pilot_reason(decision))
    different = [c for c in decision.cells if c.different]
    if different:
        return _as(decision, "fail", difference(different, len(decision.cells)))
    waiting = [*still_open(decision), *decision.gates.open]
    if waiting:
        needed = most_seeds_needed(decision)
        return _as(decision, "inconclusive", waiting[0] + more(len(waiting) - 1), needed)
    return _as(decision, "pass", pass_reason(decision))


def _as(decision: ProofDecision, verdict: Outcome, reason: str, needed: int | None = None) -> ProofDecision:
    return ProofDecision(**{**vars(decision), "verdict": verdict, "reason": reason, "seeds_needed": needed})


def plan_to_seal(decision: ProofDecision) -> SeedPlan | None:
    """The plan of a pilot that is complete and whose gates hold; None where nothing is to be sealed."""
    sealed = decision.pilot and not decision.missing and decision.verdict == "inconclusive"
    return decision.plan if sealed else None
