"""What a proof suite would cost, said before the money is spent: seeds, margins and hours per task.

Made from the official side alone: its spread is taken for both sides, and no difference is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from ...suite.proof_settings import MetricRule, ProofSettings, ProofTask
from ...suite.suite import SYSTEMS
from ..stats.arrays import FloatArray, sample, spread
from ..stats.effect_kinds import effect_kind
from ..stats.power import MOST_SEEDS, attainable_margin, seeds_needed
from .seeding import corrected_alpha, equal_arms_power, family_size, narrow_rule

LARGEST_MARGIN = 0.999
LEAST_SCORES = 2


@dataclass(frozen=True)
class Need:
    """At one level: ``seeds`` per side for the wanted power, None where even 10,000 do not reach it;
    ``margin`` that the given seeds attain, None where none below 1; ``power`` of the given seeds."""

    alpha: float
    seeds: int | None
    margin: float | None
    power: float


@dataclass(frozen=True)
class CellPlan:
    """One metric of one task.

    Attributes:
        status: ``unusable`` where the effect does not exist for these scores or nothing varies.
        deviation: standard deviation of one seed on the scale of the effect.
        seeds_given: per side, as the suite has it.
        alone, corrected: without a correction, and at the level of Holm's first step.
    """

    task: str
    metric: str
    status: Literal["ok", "unusable"]
    reason: str
    n_official: int
    mean: float | None
    deviation: float | None
    seeds_given: int
    alone: Need | None = None
    corrected: Need | None = None

    @property
    def never(self) -> bool:
        """Whether no number of seeds that anyone would run can show this."""
        return not self.unknown and (self.alone is None or self.alone.seeds is None)

    @property
    def unknown(self) -> bool:
        """Whether too few official scores are known to say."""
        return self.n_official < LEAST_SCORES


@dataclass(frozen=True)
class Cost:
    """Seeds per side of every task that can be shown, and the hours of both sides together.

    ``hours`` covers the tasks whose durations are known; ``unknown`` names the others. ``out_of_reach``:
    tasks that not even 10,000 seeds would show; of a task with too few scores that is not known.
    """

    seeds: Mapping[str, int]
    hours: float
    unknown: tuple[str, ...]
    out_of_reach: tuple[str, ...] = ()

    @property
    def median_seeds(self) -> float | None:
        """Over the tasks that can be shown."""
        return float(np.median(list(self.seeds.values()))) if self.seeds else None


@dataclass(frozen=True)
class SuitePlan:
    """The plan of a suite.

    Attributes:
        never: tasks of which some metric can never be shown, with the reason.
        unknown: the other tasks of which some metric has fewer than two official scores.
    """

    cells: tuple[CellPlan, ...]
    power_target: float
    family: int
    given: Cost
    alone: Cost
    corrected: Cost
    never: Mapping[str, str]
    unknown: tuple[str, ...] = ()


def plan_suite(
    settings: ProofSettings,
    tasks: Sequence[ProofTask],
    official: Mapping[tuple[str, str], ArrayLike],
    durations: Mapping[tuple[str, str], float] | None = None,
) -> SuitePlan:
    """Seeds per task, attainable margins and hours.

    Args:
        official: (metric, task) -> scores of the official side, one a seed.
        durations: (system, task) -> seconds of one run.

    Raises:
        StatisticsError: a score is not a finite number.
    """
    family = family_size(settings, tasks)
    cells = tuple(
        plan_cell(settings, task, rule, official.get((rule.name, task.id), ()), family)
        for task in tasks
        for rule in task.rules
    )
    runs = durations or {}
    never = {c.task: c.reason or f"more than {MOST_SEEDS} seeds" for c in cells if c.never}
    return SuitePlan(
        cells=cells,
        power_target=settings.seed_policy.power_target,
        family=family,
        given=_cost_of_seeds({t.id: _seeds_given(settings, t) for t in tasks}, runs),
        alone=_cost_of_level(cells, "alone", runs),
        corrected=_cost_of_level(cells, "corrected", runs),
        never=never,
        unknown=tuple(dict.fromkeys(c.task for c in cells if c.unknown and c.task not in never)),
    )


def plan_cell(
    settings: ProofSettings, task: ProofTask, rule: MetricRule, official: ArrayLike, family: int
) -> CellPlan:
    """The plan of one metric of one task from the official side's scores, shape (seeds,).

    Raises:
        StatisticsError: a score is not a finite number.
    """
    given = _seeds_given(settings, task)
    scores = np.asarray(official, np.float64)
    if scores.size:
        scores = sample(scores, f"{task.id} {rule.name}")
    reason, deviation = _find_deviation(scores, rule)
    mean = float(scores.mean()) if scores.size else None
    plan = CellPlan(task.id, rule.name, "unusable", reason, scores.size, mean, deviation, given)
    if reason or deviation is None:
        return plan
    target = settings.seed_policy.power_target
    corrected = corrected_alpha(rule, rule == task.rules[0], settings, family)
    rule = narrow_rule(rule)
    return replace(
        plan,
        status="ok",
        alone=_compute_need(rule, deviation, given, rule.alpha, target),
        corrected=_compute_need(rule, deviation, given, corrected, target),
    )


def _seeds_given(settings: ProofSettings, task: ProofTask) -> int:
    policy = settings.seed_policy
    if policy.mode == "auto_power":
        return policy.max_seeds
    return min(len(task.seeds[s]) for s in SYSTEMS)


def _find_deviation(scores: FloatArray, rule: MetricRule) -> tuple[str, float | None]:
    """Why nothing can be planned, or the standard deviation of one seed on the scale of the effect."""
    if scores.size < LEAST_SCORES:
        return f"{scores.size} official scores tell no variance; at least {LEAST_SCORES} are needed", None
    kind = effect_kind(rule.effect)
    if problem := kind.find_problem(scores, scores):
        return problem, None
    scale = abs(float(scores.mean())) if kind.is_relative else 1.0
    deviation = math.sqrt(float(spread(*kind.sized(scores)))) / scale
    return ("", deviation) if deviation > 0 else ("the scores do not vary between seeds", 0.0)


def _compute_need(rule: MetricRule, deviation: float, given: int, alpha: float, target: float) -> Need:
    # A seed number that two programs share gives them no shared randomness: also the differences of a
    # paired design have the variance of two.
    variance = 2 * deviation**2
    if given < 2:
        raise StatisticsError(f"{given} seeds give no variance; at least 2 are needed", where="plan")

    def power_of(margin: float) -> float:
        return equal_arms_power(replace(rule, equivalence_margin=margin), variance, given, alpha)

    return Need(
        alpha=alpha,
        seeds=seeds_needed(lambda n: equal_arms_power(rule, variance, n, alpha), target),
        margin=attainable_margin(power_of, target, most=LARGEST_MARGIN),
        power=equal_arms_power(rule, variance, given, alpha),
    )


def _cost_of_level(
    cells: Sequence[CellPlan],
    which: Literal["alone", "corrected"],
    durations: Mapping[tuple[str, str], float],
) -> Cost:
    """Per task the seeds of the metric that needs most."""
    needs: dict[str, list[int | None]] = {}
    for cell in cells:
        needs.setdefault(cell.task, []).append(_seeds_at(cell, which))
    reached = {t: max(n for n in each if n) for t, each in needs.items() if None not in each}
    cost = _cost_of_seeds(reached, durations)
    # One metric that cannot be shown is enough, whatever is not known of the others.
    beyond = {c.task for c in cells if not c.unknown and _seeds_at(c, which) is None}
    return replace(cost, out_of_reach=tuple(t for t in needs if t in beyond))


def _seeds_at(cell: CellPlan, which: Literal["alone", "corrected"]) -> int | None:
    need: Need | None = getattr(cell, which)
    return need.seeds if need else None


def _cost_of_seeds(seeds: Mapping[str, int], durations: Mapping[tuple[str, str], float]) -> Cost:
    unknown = tuple(t for t in seeds if any((s, t) not in durations for s in SYSTEMS))
    known = [t for t in seeds if t not in unknown]
    hours = math.fsum(seeds[t] * durations[s, t] / 3600 for t in known for s in SYSTEMS)
    return Cost(seeds, hours, unknown)
