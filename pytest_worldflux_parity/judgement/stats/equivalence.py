"""Is it different? The two-sided rule ``equivalence`` of the quick track, one metric over all tasks.

Training losses are judged by it, since a mistake can make a loss smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import StatisticsError
from .arrays import Outcome, check_level, sample, spread
from .calibrated import POWER_TARGET, TaskScores
from .holm import holm
from .power import Component, se_and_df, seeds_needed, tost_power
from .tost import TostResult, tost_normalized_difference


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

    verdict: Outcome
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

    @property
    def pass_(self) -> bool:
        """Whether the verdict is pass."""
        return self.verdict == "pass"


def equivalence_rule(
    per_task: Sequence[TaskScores],
    *,
    margin: float,
    confidence: float = 0.95,
    broken_gates: Sequence[str] = (),
    power_target: float = POWER_TARGET,
) -> EquivalenceResult:
    """Pass where every task's relative difference of means is shown to be within +-``margin``.

    Unpaired (Welch) TOST of ``(mean_w - mean_u) / |mean_u|`` per task at alpha = 1 - confidence; no
    correction, because all must pass. Fails when a gate is broken or a task's interval lies wholly outside
    the bounds (one-sided p, Holm over tasks); otherwise inconclusive. Tasks without variance, with fewer
    than two seeds on a side, or with a mean of 0 never pass.

    Raises:
        StatisticsError: no tasks, a task twice, a bad sample, or a parameter out of range.
    """
    alpha = 1 - check_level("confidence", confidence)
    scores = sorted((_sorted(t) for t in per_task), key=lambda t: t.task)
    tests = {t.task: _test(t, margin, alpha) for t in scores}
    if not tests or len(tests) != len(per_task):
        raise StatisticsError(
            "no task to judge" if not tests else "a task is given twice", where="equivalence"
        )
    tasks = _judged(scores, tests, alpha)
    result = EquivalenceResult(
        verdict="inconclusive",
        reason="",
        margin=margin,
        alpha=alpha,
        tasks=tasks,
        different_tasks=tuple(t.task for t in tasks if t.different),
        open_tasks=tuple(t.task for t in tasks if not t.shown and not t.different),
        identical=all(t.tost.identical for t in tasks),
        power_if_identical=_least([t.power_if_identical for t in tasks]),
        power_target=power_target,
        seeds_needed=None,
    )
    return _with_verdict(result, scores, broken_gates)


def _sorted(scores: TaskScores) -> TaskScores:
    """Checked samples in order of value, so that sums do not depend on the order of seeds."""
    upstream = sample(scores.upstream, f"{scores.task}: upstream")
    worldflux = sample(scores.worldflux, f"{scores.task}: worldflux")
    return TaskScores(scores.task, np.sort(upstream), np.sort(worldflux))


def _test(scores: TaskScores, margin: float, alpha: float) -> TostResult:
    return tost_normalized_difference(scores.upstream, scores.worldflux, margin=margin, alpha=alpha)


def _judged(
    per_task: Sequence[TaskScores], tests: dict[str, TostResult], alpha: float
) -> tuple[TaskEquivalence, ...]:
    outside = {task: test.p_outside for task, test in tests.items() if test.p_outside is not None}
    adjusted = dict(zip(outside, holm(list(outside.values())), strict=True))
    scores = {t.task: t for t in per_task}
    return tuple(
        TaskEquivalence(
            task=task,
            tost=test,
            p_outside_holm=float(adjusted[task]) if task in adjusted else None,
            # Equivalence that is shown cannot be a difference that is shown.
            different=task in adjusted and bool(adjusted[task] <= alpha) and not test.pass_raw,
            power_if_identical=_power(scores[task], test, None),
        )
        for task, test in tests.items()
    )


def _power(scores: TaskScores, test: TostResult, n: int | None) -> float | None:
    """Chance to pass without a difference, with the seeds there are or with ``n`` on each side."""
    if test.status != "ok":
        return None
    sizes = (test.n_upstream, test.n_worldflux) if n is None else (n, n)
    sides = (np.asarray(scores.upstream, np.float64), np.asarray(scores.worldflux, np.float64))
    # Each contrast carries the upstream mean with the factor 1 -+ margin; 1 stands for both.
    parts = [Component(float(spread(side)), size) for side, size in zip(sides, sizes, strict=True)]
    se, df = se_and_df(parts)
    reach = test.high * abs(test.mean_upstream)
    return tost_power(0.0, se, df, low=-reach, high=reach, alpha=test.alpha)


def _least(powers: Sequence[float | None]) -> float | None:
    known = [p for p in powers if p is not None]
    return min(known) if known and len(known) == len(powers) else None


def _with_verdict(
    result: EquivalenceResult, per_task: Sequence[TaskScores], broken_gates: Sequence[str]
) -> EquivalenceResult:
    if broken_gates:
        return replace(result, verdict="fail", reason="not comparable: " + "; ".join(broken_gates))
    if result.different_tasks:
        return replace(result, verdict="fail", reason=_difference(result))
    if result.identical:
        copy = "both sides hold the same values in every task: a copy, not a comparison"
        return replace(result, reason=copy)
    if not result.open_tasks:
        return replace(result, verdict="pass", reason=_pass_reason(result))
    needed = _seeds_needed(result, per_task)
    return replace(result, reason=_doubt(result) + _advice(result, needed), seeds_needed=needed)


def _difference(result: EquivalenceResult) -> str:
    worst = sorted((t for t in result.tasks if t.different), key=lambda t: -abs(t.tost.effect or 0.0))
    named = ", ".join(f"{t.task} ({t.tost.effect:+.1%})" for t in worst[:3])
    return (
        f"{len(worst)} of {len(result.tasks)} tasks differ by more than the margin of {result.margin:.2%}: "
        f"{named}{', ...' if len(worst) > 3 else ''}"
    )


def _pass_reason(result: EquivalenceResult) -> str:
    widest = max(result.tasks, key=lambda t: max(abs(t.tost.ci_low or 0.0), abs(t.tost.ci_high or 0.0)))
    test = widest.tost
    return (
        f"equivalent within {result.margin:.2%} in all {len(result.tasks)} tasks; widest "
        f"{1 - 2 * result.alpha:.0%} interval {test.ci_low:+.2%} to {test.ci_high:+.2%} ({widest.task})"
    )


def _doubt(result: EquivalenceResult) -> str:
    named = ", ".join(result.open_tasks[:3]) + (", ..." if len(result.open_tasks) > 3 else "")
    first = next(t for t in result.tasks if t.task == result.open_tasks[0]).tost
    why = f" ({first.reason})" if first.reason else _interval(first, 1 - 2 * result.alpha)
    return (
        f"equivalence within {result.margin:.2%} is not shown in {len(result.open_tasks)} of "
        f"{len(result.tasks)} tasks: {named}{why}"
    )


def _interval(test: TostResult, confidence: float) -> str:
    if test.ci_low is None or test.ci_high is None:
        return f" ({confidence:.0%} interval without an end)"
    return f" ({confidence:.0%} interval {test.ci_low:+.2%} to {test.ci_high:+.2%})"


def _advice(result: EquivalenceResult, needed: int | None) -> str:
    if any(t.tost.estimate_outside for t in result.tasks):
        return "; an estimate itself lies outside the margin, so more seeds are not expected to help"
    if needed is None:
        return ""
    return f"; {result.power_target:.0%} power needs {needed} seeds per side"


def _seeds_needed(result: EquivalenceResult, per_task: Sequence[TaskScores]) -> int | None:
    waiting = [t for t in result.tasks if t.task in result.open_tasks]
    if any(t.tost.status != "ok" or t.tost.estimate_outside for t in waiting):
        return None
    scores = {t.task: t for t in per_task}

    def power_at(n: int) -> float:
        return min(_power(scores[t.task], t.tost, n) or 0.0 for t in waiting)

    now = min(min(t.tost.n_upstream, t.tost.n_worldflux) for t in waiting)
    needed = seeds_needed(power_at, result.power_target)
    return None if needed is None else max(needed, now + 1)
