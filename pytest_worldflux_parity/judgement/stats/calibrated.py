"""Is it worse? The calibrated rule of the quick track: three-way, on contrasts of task means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from .arrays import FloatArray, Outcome, moments, same_values, sample, spread
from .effects import Contrast, PooledContrast, p_worse_than_margin, pool_contrasts, task_contrast
from .holm import holm
from .noninferiority import RESAMPLES, SMALLEST_FLOOR, DropRatioResult, check_rule, drop_ratio_rule
from .power import Component, noninferiority_power, se_and_df, seeds_needed
from .shown_effect import of_contrast, of_task
from .student import separation_p

POWER_TARGET = 0.8
# The largest floor, as a share of the median |official mean|: a larger one is the scale of the scores
# themselves, against which a candidate that lost all of them looks alike.
FLOOR_SHARE = 0.05


@dataclass(frozen=True)
class TaskScores:
    """The scores of one task, every seed of each side.

    Seeds name the entries and are what ``drop_ratio`` pairs by; without them entry i is paired
    with entry i.
    """

    task: str
    upstream: ArrayLike
    worldflux: ArrayLike
    upstream_seeds: Sequence[int] | None = None
    worldflux_seeds: Sequence[int] | None = None


@dataclass(frozen=True)
class TaskResult:
    """One task under the calibrated rule.

    Attributes:
        contrast: positive is worse; standard_error, df: None with one seed on a side, and df None
            where neither side varies.
        p_worse: one-sided p of "not worse than the margin"; p_worse_holm: corrected over tasks.
        worse: significantly worse than the margin.
        floored: the floor, not the means, sets the scale. identical: both sides hold equal values.
    """

    task: str
    n_upstream: int
    n_worldflux: int
    mean_upstream: float
    mean_worldflux: float
    contrast: float
    standard_error: float | None
    df: float | None
    p_worse: float | None
    p_worse_holm: float | None
    worse: bool
    floored: bool
    identical: bool


@dataclass(frozen=True)
class CalibratedResult:
    """The calibrated rule and everything that it rests on.

    Attributes:
        contrast: mean of the task contrasts; standard_error, df, lower, upper: of it, or None where
            a side of some task has one seed, or where nothing varies (df).
        documented: the documented rule on the pairs that both sides have; None without a pair.
        worse_tasks: names of the tasks that are significantly worse than the margin.
        power_if_identical: the chance that the contrast passes with these seeds and no difference.
        seeds_needed: seeds per side for ``power_target``; only where the verdict is inconclusive and
            more seeds can be expected to mend it.
    """

    verdict: Outcome
    reason: str
    contrast: float
    standard_error: float | None
    df: float | None
    lower: float | None
    upper: float | None
    margin: float
    confidence: float
    floor: float
    tasks: tuple[TaskResult, ...]
    worse_tasks: tuple[str, ...]
    documented: DropRatioResult | None
    identical: bool
    power_if_identical: float | None
    power_target: float
    seeds_needed: int | None

    @property
    def pass_(self) -> bool:
        """Whether the verdict is pass."""
        return self.verdict == "pass"

    @property
    def floor_limit(self) -> float:
        """The largest floor that the official means admit, in the metric's units."""
        return FLOOR_SHARE * float(np.median([abs(t.mean_upstream) for t in self.tasks]))

    @property
    def floor_admitted(self) -> bool:
        """Whether the floor is small beside the official means, so that a contrast means something."""
        return self.floor <= self.floor_limit


def calibrated_rule(
    per_task: Sequence[TaskScores],
    *,
    margin: float = 0.05,
    confidence: float = 0.95,
    floor: float = 1.0,
    higher_is_better: bool = True,
    broken_gates: Sequence[str] = (),
    power_target: float = POWER_TARGET,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> CalibratedResult:
    """Pass, fail or inconclusive on the task-mean contrast, with every ingredient.

    Passes when (1) the documented rule passes on the pairs that both sides have, (2) the upper
    one-sided t bound of the mean contrast is at most ``margin`` (delta method, Satterthwaite), (3) no
    task is significantly worse than the margin (Holm over tasks) and (4) ``broken_gates`` is empty: one
    clause for each thing that coverage or budgets found. Fails when 3 or 4 is broken or the lower
    bound is above the margin; otherwise inconclusive. Equal values on both sides in every task, or no
    spread at all, are never a pass, nor is anything under a floor above ``FLOOR_SHARE`` of the median
    |official mean|. Such a floor only makes contrasts smaller, so a failure under it is one all the same.

    (3) tests the linear contrast ``(mean_u - mean_w) - margin * scale`` instead of the ratio, as
    Sasabuchi does for equivalence: the ratio saturates at +-2, where its own variance vanishes.

    Raises:
        StatisticsError: no tasks, a task twice, a bad sample, or a parameter out of range.
    """
    check_rule(margin, confidence, floor)
    tasks = sorted((_checked(t) for t in per_task), key=lambda t: t.task)
    _check_tasks(tasks)
    judged = _judge_tasks(tasks, margin, confidence, floor, higher_is_better)
    pooled = _pool(tasks, judged, confidence, floor, higher_is_better)
    documented = _documented(tasks, margin, confidence, floor, higher_is_better, resamples, rng)
    result = CalibratedResult(
        verdict="inconclusive",
        reason="",
        contrast=float(np.mean([t.contrast for t in judged])),
        standard_error=float(pooled.standard_error) if pooled else None,
        df=float(pooled.df) if pooled and np.isfinite(pooled.df) else None,
        lower=float(pooled.lower) if pooled else None,
        upper=float(pooled.upper) if pooled else None,
        margin=margin,
        confidence=confidence,
        floor=floor,
        tasks=judged,
        worse_tasks=tuple(t.task for t in judged if t.worse),
        documented=documented,
        identical=all(t.identical for t in judged),
        power_if_identical=_power_if_identical(tasks, judged, margin, confidence, floor),
        power_target=power_target,
        seeds_needed=None,
    )
    return _with_verdict(result, tasks, broken_gates, higher_is_better)


@dataclass(frozen=True)
class _Task:
    """A task with checked arrays, in the order of seeds where seeds are named."""

    task: str
    upstream: FloatArray
    worldflux: FloatArray
    paired: tuple[FloatArray, FloatArray]


def _checked(scores: TaskScores) -> _Task:
    upstream = sample(scores.upstream, f"{scores.task}: upstream")
    worldflux = sample(scores.worldflux, f"{scores.task}: worldflux")
    if scores.upstream_seeds is None or scores.worldflux_seeds is None:
        n = min(upstream.size, worldflux.size)
        return _Task(scores.task, upstream, worldflux, (upstream[:n], worldflux[:n]))
    by_seed_u = _by_seed(scores.task, scores.upstream_seeds, upstream)
    by_seed_w = _by_seed(scores.task, scores.worldflux_seeds, worldflux)
    both = sorted(by_seed_u.keys() & by_seed_w.keys())
    paired = (np.array([by_seed_u[s] for s in both]), np.array([by_seed_w[s] for s in both]))
    return _Task(scores.task, np.array(list(by_seed_u.values())), np.array(list(by_seed_w.values())), paired)


def _by_seed(task: str, seeds: Sequence[int], values: FloatArray) -> dict[int, float]:
    if len(set(seeds)) != len(seeds) or len(seeds) != values.size:
        raise StatisticsError(f"{values.size} scores for the seeds {list(seeds)}", where=task)
    return {seed: float(value) for seed, value in sorted(zip(seeds, values, strict=True))}


def _check_tasks(tasks: Sequence[_Task]) -> None:
    names = [t.task for t in tasks]
    if not names:
        raise StatisticsError("no task to judge", where="calibrated")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StatisticsError(f"task {twice[0]} is given twice", where="calibrated")


def _judge_tasks(
    tasks: Sequence[_Task], margin: float, confidence: float, floor: float, higher: bool
) -> tuple[TaskResult, ...]:
    judged = [_task_result(t, margin, floor, higher) for t in tasks]
    tested = {t.task: t.p_worse for t in judged if t.p_worse is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return tuple(_corrected(t, adjusted.get(t.task), 1 - confidence) for t in judged)


def _corrected(task: TaskResult, adjusted: float | None, alpha: float) -> TaskResult:
    if adjusted is None:
        return task
    return replace(task, p_worse_holm=float(adjusted), worse=bool(adjusted <= alpha))


def _task_result(task: _Task, margin: float, floor: float, higher: bool) -> TaskResult:
    u, w = moments(task.upstream), moments(task.worldflux)
    contrast = task_contrast(u.mean, w.mean, higher_is_better=higher, floor=floor)
    se = df = p = None
    if u.variance is not None and w.variance is not None:
        means, variances = (u.mean, w.mean), (u.variance, w.variance)
        p = float(p_worse_than_margin(contrast, means, variances, (u.size, w.size), margin))
        se, df = se_and_df(_components(contrast, variances, (u.size, w.size)))
    return TaskResult(
        task=task.task,
        n_upstream=u.size,
        n_worldflux=w.size,
        mean_upstream=u.mean,
        mean_worldflux=w.mean,
        contrast=float(contrast.value),
        standard_error=se,
        df=df if df is not None and np.isfinite(df) else None,
        p_worse=p,
        p_worse_holm=None,
        worse=False,
        floored=bool(contrast.moving == 0.0),
        identical=same_values(task.upstream, task.worldflux),
    )


def _components(
    contrast: Contrast, variances: tuple[float, float], sizes: tuple[int, int]
) -> tuple[Component, Component]:
    return (
        Component(float(contrast.by_upstream) ** 2 * variances[0], sizes[0]),
        Component(float(contrast.by_worldflux) ** 2 * variances[1], sizes[1]),
    )


def _pool(
    tasks: Sequence[_Task], judged: Sequence[TaskResult], confidence: float, floor: float, higher: bool
) -> PooledContrast | None:
    if any(t.standard_error is None for t in judged):
        return None
    contrast = task_contrast(
        [t.mean_upstream for t in judged],
        [t.mean_worldflux for t in judged],
        higher_is_better=higher,
        floor=floor,
    )
    variances = [np.array([spread(side) for side in sides]) for sides in _sides(tasks)]
    sizes = [np.array([side.size for side in sides]) for sides in _sides(tasks)]
    return pool_contrasts(contrast, variances[0], variances[1], sizes[0], sizes[1], confidence)


def _sides(tasks: Sequence[_Task]) -> tuple[list[FloatArray], list[FloatArray]]:
    return [t.upstream for t in tasks], [t.worldflux for t in tasks]


def _documented(
    tasks: Sequence[_Task],
    margin: float,
    confidence: float,
    floor: float,
    higher: bool,
    resamples: int,
    rng: np.random.Generator,
) -> DropRatioResult | None:
    upstream = np.concatenate([t.paired[0] for t in tasks])
    worldflux = np.concatenate([t.paired[1] for t in tasks])
    if upstream.size == 0:
        return None
    return drop_ratio_rule(
        upstream,
        worldflux,
        margin=margin,
        confidence=confidence,
        higher_is_better=higher,
        floor=floor,
        resamples=resamples,
        rng=rng,
    )


def _identical_components(
    tasks: Sequence[_Task], judged: Sequence[TaskResult], floor: float, grow: bool
) -> list[Component]:
    """Variance of the mean contrast as it would be without a difference, held or growing in seeds."""

    def component(side: FloatArray, result: TaskResult) -> Component:
        scale = max((abs(result.mean_upstream) + abs(result.mean_worldflux)) / 2, floor) * len(judged)
        return Component(float(spread(side)) / scale**2, None if grow else side.size)

    both = zip(tasks, judged, strict=True)
    return [component(side, result) for task, result in both for side in (task.upstream, task.worldflux)]


def _power_if_identical(
    tasks: Sequence[_Task], judged: Sequence[TaskResult], margin: float, confidence: float, floor: float
) -> float | None:
    if any(t.standard_error is None for t in judged):
        return None
    se, df = se_and_df(_identical_components(tasks, judged, floor, grow=False))
    return noninferiority_power(0.0, se, df, margin=margin, alpha=1 - confidence)


def _seeds_needed(tasks: Sequence[_Task], result: CalibratedResult) -> int | None:
    """Seeds per side with which the contrast of identical programs passes at the power target."""
    components = _identical_components(tasks, result.tasks, result.floor, grow=True)

    def power_at(n: int) -> float:
        se, df = se_and_df(components, n)
        return noninferiority_power(0.0, se, df, margin=result.margin, alpha=1 - result.confidence)

    # Chance can deny a pass that these seeds had power for: then one more is the least there is to ask.
    now = min(min(t.n_upstream, t.n_worldflux) for t in result.tasks)
    needed = seeds_needed(power_at, result.power_target)
    return None if needed is None else max(needed, now + 1)


def _with_verdict(
    result: CalibratedResult, tasks: Sequence[_Task], broken_gates: Sequence[str], higher: bool
) -> CalibratedResult:
    failure = _failure(result, broken_gates, higher)
    if failure:
        return replace(result, verdict="fail", reason=failure)
    doubt = _doubt(result, higher)
    if not doubt:
        return replace(result, verdict="pass", reason=_pass_reason(result, higher))
    needed = _seeds_needed(tasks, result) if _seeds_can_help(result) else None
    return replace(result, reason=doubt + _advice(result, needed), seeds_needed=needed)


def _failure(result: CalibratedResult, broken_gates: Sequence[str], higher: bool) -> str:
    """Why the verdict is fail, or nothing."""
    if broken_gates:
        return "not comparable: " + "; ".join(broken_gates)
    if result.worse_tasks:
        return (
            f"{len(result.worse_tasks)} of {len(result.tasks)} tasks significantly worse than the margin of "
            f"{result.margin:.2%}: {_named(result, higher)}"
        )
    # Without any spread the bound is the estimate itself; a difference in every seed is one all the same.
    if result.lower is not None and result.lower > result.margin and _difference_is_shown(result):
        return f"worse by more than the margin of {result.margin:.2%}: {_measured(result, higher)}"
    return ""


def _measured(result: CalibratedResult, higher: bool) -> str:
    shown = of_contrast(vars(result), [vars(t) for t in result.tasks], higher_is_better=higher)
    return shown.sentence(2 * result.confidence - 1)


def _named(result: CalibratedResult, higher: bool) -> str:
    worse = [t for t in result.tasks if t.worse]
    shown = {t.task: of_task(vars(result), vars(t), higher_is_better=higher) for t in worse}
    worst = sorted(shown, key=lambda task: -shown[task].badness)
    names = ", ".join(f"{task} ({shown[task].text})" for task in worst[:3])
    return names + (", ..." if len(worst) > 3 else "")


def _difference_is_shown(result: CalibratedResult) -> bool:
    if result.df is not None:
        return True
    p = [separation_p(t.n_upstream, t.n_worldflux) for t in result.tasks if t.contrast > result.margin]
    return float(np.prod(p)) <= 1 - result.confidence


def _doubt(result: CalibratedResult, higher: bool) -> str:
    """Why the verdict is not pass although nothing failed, or nothing."""
    if result.identical:
        return "both sides hold the same scores in every task: a copy, not a comparison"
    if not result.floor_admitted:
        return floor_doubt(result)
    if result.upper is None:
        alone = next(t for t in result.tasks if t.standard_error is None)
        return f"{alone.task} has a single seed on a side, so its variance is unknown"
    if result.df is None:
        return "no score varies between seeds, so there is no variance to judge by"
    if result.upper > result.margin:
        return f"not shown to be within the margin of {result.margin:.2%}: {_measured(result, higher)}"
    if result.documented is None:
        return "no seed is on both sides, so the documented rule has no pair"
    if not result.documented.pass_:
        return f"the task means pass but the documented rule does not: {result.documented.reason}"
    return ""


def floor_doubt(result: CalibratedResult) -> str:
    """Why a floor that is not admitted lets nothing be said, and what to write in its place."""
    limit = f"{FLOOR_SHARE:.0%} of the median official mean of {result.floor_limit / FLOOR_SHARE:.4g}"
    said = f"the floor of {result.floor:g} is above {limit}"
    smaller = rounded_down(result.floor_limit)
    mend = (
        f"`floor: {smaller}` or less"
        if smaller
        else "another metric, or tasks that the official side scores in"
    )
    return f"{said}, so a difference is measured against the floor and not against the scores; write {mend}"


def rounded_down(limit: float) -> str:
    """Two digits that are at most ``limit``, as a suite has them; nothing where no floor is that small."""
    if limit < SMALLEST_FLOOR:
        return ""
    step = 10.0 ** (math.floor(math.log10(limit)) - 1)
    digits = (math.floor(limit / step) - lower for lower in (0, 1))
    return next(text for n in digits if float(text := f"{n * step:.2g}") <= limit)


def _seeds_can_help(result: CalibratedResult) -> bool:
    return (
        result.floor_admitted
        and result.df is not None
        and not result.identical
        and result.contrast <= result.margin
    )


def _advice(result: CalibratedResult, needed: int | None) -> str:
    if not result.floor_admitted or result.identical or result.upper is None or result.df is None:
        return ""
    if result.contrast > result.margin:
        return "; the estimate itself is beyond its bound, so more seeds are not expected to make it pass"
    if needed is None:
        return "; no affordable number of seeds would do at this spread"
    return (
        f"; an identical candidate passes with probability {result.power_if_identical:.0%} at these seeds, "
        f"and {result.power_target:.0%} needs {needed} seeds per side"
    )


def _pass_reason(result: CalibratedResult, higher: bool) -> str:
    return (
        f"not worse by more than the margin of {result.margin:.2%}: {_measured(result, higher)}, and no task "
        f"of {len(result.tasks)} significantly worse"
    )
