"""Is it different? The two-sided rule ``equivalence`` of the quick track, one metric over all tasks.

Training losses are judged by it, since a mistake can make a loss smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Verdict, check_level, spread
from .calibrated import POWER_TARGET, TaskScores, check_tasks
from .holm import holm
from .power import se_and_df, seeds_needed, tost_power
from .tost import TostResult, tost


@dataclass(frozen=True)
class TaskEquivalence:
    """One task: its TOST, and whether a difference beyond the margin is shown (Holm over tasks)."""

    task: str
    tost: TostResult
    p_outside_holm: float | None
    different: bool
    power_if_identical: float | None

    @property
    def shown(self) -> bool:
        """Whether equivalence is shown."""
        return self.tost.pass_raw


@dataclass(frozen=True)
class EquivalenceResult:
    """One metric over all tasks.

    Attributes:
        different_tasks: interval wholly outside the bounds, Holm over tasks. open_tasks: neither shown
            equivalent nor shown different.
        power_if_identical: the least over tasks of the chance to pass without a difference.
        seeds_needed: seeds per side with which every open task passes at ``power_target`` if identical;
            None where the verdict is not inconclusive or more seeds are not expected to help.
    """

    verdict: Verdict
    reason: str
    margin: float
    alpha: float
    tasks: tuple[TaskEquivalence, ...]
    different_tasks: tuple[str, ...]
    open_tasks: tuple[str, ...]
    identical: bool
    power_if_identical: float | None
    power_target: float
    seeds_needed: int | None


def equivalence_rule(
    per_task: Sequence[TaskScores], *, margin: float, confidence: float = 0.95
) -> EquivalenceResult:
    """Pass where every task's relative difference of means is shown to be within +-``margin``.

    Unpaired (Welch) TOST of ``(mean_w - mean_u) / |mean_u|`` per task at alpha = 1 - confidence; no
    correction, because all must pass. Fails when a task's interval lies wholly outside the bounds
    (one-sided p, Holm over tasks); otherwise inconclusive. Tasks without variance, with fewer than two
    seeds on a side, or with a mean of 0 never pass.

    Raises:
        StatisticsError: no tasks, a task twice, a bad sample, or a parameter out of range.
    """
    alpha = 1 - check_level("confidence", confidence)
    # In order of value, so that sums do not depend on the order of seeds.
    sides = {
        t.task: (np.sort(t.upstream), np.sort(t.worldflux)) for t in check_tasks(per_task, "equivalence")
    }
    tests = {
        task: tost(u, w, effect="normalized_difference", margin=margin, alpha=alpha)
        for task, (u, w) in sides.items()
    }
    outside = {task: test.p_outside for task, test in tests.items() if test.p_outside is not None}
    adjusted = dict(zip(outside, holm(list(outside.values())).tolist(), strict=True))
    variances = {
        task: [float(spread(x)) if x.size > 1 else 0.0 for x in both] for task, both in sides.items()
    }
    tasks = tuple(
        TaskEquivalence(
            task=task,
            tost=test,
            p_outside_holm=adjusted.get(task),
            # Equivalence that is shown cannot be a difference that is shown.
            different=adjusted.get(task, 1.0) <= alpha and not test.pass_raw,
            power_if_identical=_power_at(test, variances[task], (test.n_upstream, test.n_worldflux)),
        )
        for task, test in tests.items()
    )
    result = EquivalenceResult(
        verdict="inconclusive",
        reason="",
        margin=margin,
        alpha=alpha,
        tasks=tasks,
        different_tasks=tuple(t.task for t in tasks if t.different),
        open_tasks=tuple(t.task for t in tasks if not t.shown and not t.different),
        identical=all(t.tost.identical for t in tasks),
        power_if_identical=_least_power([t.power_if_identical for t in tasks]),
        power_target=POWER_TARGET,
        seeds_needed=None,
    )
    return _decide_tasks(result, variances)


def _power_at(test: TostResult, variances: Sequence[float], sizes: ArrayLike) -> float | None:
    """Chance to pass without a difference, with so many seeds on each side."""
    if test.status != "ok":
        return None
    # Each contrast carries the upstream mean with the factor 1 -+ margin; 1 stands for both.
    se, df = se_and_df(variances, sizes)
    reach = test.high * abs(test.mean_upstream)
    return tost_power(0.0, se, df, low=-reach, high=reach, alpha=test.alpha)


def _least_power(powers: Sequence[float | None]) -> float | None:
    known = [p for p in powers if p is not None]
    return min(known) if known and len(known) == len(powers) else None


def _decide_tasks(result: EquivalenceResult, variances: Mapping[str, Sequence[float]]) -> EquivalenceResult:
    if result.different_tasks:
        return replace(result, verdict="fail", reason=_explain_difference(result))
    if result.identical:
        copy = "both sides hold the same values in every task: a copy, not a comparison"
        return replace(result, reason=copy)
    if not result.open_tasks:
        return replace(result, verdict="pass", reason=_explain_equivalence(result))
    doubt = _explain_open(result)
    if any(t.tost.estimate_outside for t in result.tasks):
        outside = "an estimate itself lies outside the margin, so more seeds are not expected to help"
        return replace(result, reason=f"{doubt}; {outside}")
    waiting = [t for t in result.tasks if t.task in result.open_tasks]
    if any(t.tost.status != "ok" for t in waiting):
        return replace(result, reason=doubt)

    def power_at(n: int) -> float:
        return min(_power_at(t.tost, variances[t.task], n) or 0.0 for t in waiting)

    least = min(min(t.tost.n_upstream, t.tost.n_worldflux) for t in waiting) + 1
    needed = seeds_needed(power_at, result.power_target, least=least)
    advice = "" if needed is None else f"; {result.power_target:.0%} power needs {needed} seeds per side"
    return replace(result, reason=doubt + advice, seeds_needed=needed)


def _explain_difference(result: EquivalenceResult) -> str:
    worst = sorted((t for t in result.tasks if t.different), key=lambda t: -abs(t.tost.effect or 0.0))
    named = ", ".join(f"{t.task} ({t.tost.effect:+.1%})" for t in worst[:3])
    return (
        f"{len(worst)} of {len(result.tasks)} tasks differ by more than the margin of {result.margin:.2%}: "
        f"{named}{', ...' if len(worst) > 3 else ''}"
    )


def _explain_equivalence(result: EquivalenceResult) -> str:
    widest = max(result.tasks, key=lambda t: max(abs(t.tost.ci_low or 0.0), abs(t.tost.ci_high or 0.0)))
    test = widest.tost
    return (
        f"equivalent within {result.margin:.2%} in all {len(result.tasks)} tasks; widest "
        f"{1 - 2 * result.alpha:.0%} interval {test.ci_low:+.2%} to {test.ci_high:+.2%} ({widest.task})"
    )


def _explain_open(result: EquivalenceResult) -> str:
    named = ", ".join(result.open_tasks[:3]) + (", ..." if len(result.open_tasks) > 3 else "")
    first = next(t for t in result.tasks if t.task == result.open_tasks[0]).tost
    why = f" ({first.reason})" if first.reason else _interval_clause(first, 1 - 2 * result.alpha)
    return (
        f"equivalence within {result.margin:.2%} is not shown in {len(result.open_tasks)} of "
        f"{len(result.tasks)} tasks: {named}{why}"
    )


def _interval_clause(test: TostResult, confidence: float) -> str:
    if test.ci_low is None or test.ci_high is None:
        return f" ({confidence:.0%} interval without an end)"
    return f" ({confidence:.0%} interval {test.ci_low:+.2%} to {test.ci_high:+.2%})"
