"""Is it worse? The calibrated rule of the quick track: three-way, on contrasts of task means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from .arrays import FloatArray, Verdict, same_values, sample, spread
from .effects import PooledContrast, p_worse_than_margin, pool_contrasts, task_contrast
from .holm import holm
from .noninferiority import RESAMPLES, SMALLEST_FLOOR, DropRatioResult, check_rule, drop_ratio_rule
from .power import noninferiority_power, se_and_df, seeds_needed
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
class CheckedScores:
    """A task with checked arrays, in the order of seeds where seeds are named."""

    task: str
    upstream: FloatArray
    worldflux: FloatArray
    paired: tuple[FloatArray, FloatArray]

    @property
    def sides(self) -> tuple[FloatArray, FloatArray]:
        return self.upstream, self.worldflux

    @property
    def sizes(self) -> tuple[int, int]:
        return self.upstream.size, self.worldflux.size


def check_tasks(per_task: Sequence[TaskScores], where: str) -> list[CheckedScores]:
    """The scores of every task, in order of name.

    Raises:
        StatisticsError: no tasks, a task twice, or a bad sample.
    """
    tasks = sorted(map(_check_scores, per_task), key=lambda t: t.task)
    if not tasks:
        raise StatisticsError("no task to judge", where=where)
    for one, other in pairwise(tasks):
        if one.task == other.task:
            raise StatisticsError(f"task {one.task} is given twice", where=where)
    return tasks


def _check_scores(scores: TaskScores) -> CheckedScores:
    upstream = sample(scores.upstream, f"{scores.task}: upstream")
    worldflux = sample(scores.worldflux, f"{scores.task}: worldflux")
    if scores.upstream_seeds is None or scores.worldflux_seeds is None:
        n = min(upstream.size, worldflux.size)
        return CheckedScores(scores.task, upstream, worldflux, (upstream[:n], worldflux[:n]))
    u = _index_by_seed(scores.task, scores.upstream_seeds, upstream)
    w = _index_by_seed(scores.task, scores.worldflux_seeds, worldflux)
    both = sorted(u.keys() & w.keys())
    paired = np.array([u[s] for s in both]), np.array([w[s] for s in both])
    return CheckedScores(scores.task, np.array(list(u.values())), np.array(list(w.values())), paired)


def _index_by_seed(task: str, seeds: Sequence[int], values: FloatArray) -> dict[int, float]:
    if len(set(seeds)) != len(seeds) or len(seeds) != values.size:
        raise StatisticsError(f"{values.size} scores for the seeds {list(seeds)}", where=task)
    return {seed: float(value) for seed, value in sorted(zip(seeds, values, strict=True))}


@dataclass(frozen=True, kw_only=True)
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
    standard_error: float | None = None
    df: float | None = None
    p_worse: float | None = None
    p_worse_holm: float | None = None
    worse: bool = False
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

    verdict: Verdict
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
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> CalibratedResult:
    """Pass, fail or inconclusive on the task-mean contrast, with every ingredient.

    Passes when (1) the documented rule passes on the pairs that both sides have, (2) the upper
    one-sided t bound of the mean contrast is at most ``margin`` (delta method, Satterthwaite) and (3) no
    task is significantly worse than the margin (Holm over tasks). Fails when 3 is broken or the lower
    bound is above the margin; otherwise inconclusive. Equal values on both sides in every task, or no
    spread at all, are never a pass, nor is anything under a floor above ``FLOOR_SHARE`` of the median
    |official mean|. Such a floor only makes contrasts smaller, so a failure under it is one all the same.

    (3) tests the linear contrast ``(mean_u - mean_w) - margin * scale`` instead of the ratio, as
    Sasabuchi does for equivalence: the ratio saturates at +-2, where its own variance vanishes.

    Raises:
        StatisticsError: no tasks, a task twice, a bad sample, or a parameter out of range.
    """
    check_rule(margin, confidence, floor)
    tasks = check_tasks(per_task, "calibrated")
    options: dict[str, Any] = {"higher_is_better": higher_is_better, "floor": floor}
    judged = _judge_tasks(tasks, margin, confidence, options)
    pooled = _pool_tasks(tasks, confidence, options) if min(n for t in tasks for n in t.sizes) > 1 else None
    upstream, worldflux = (np.concatenate([t.paired[side] for t in tasks]) for side in (0, 1))
    documented = None
    if upstream.size:
        documented = drop_ratio_rule(
            upstream, worldflux, margin=margin, confidence=confidence, resamples=resamples, rng=rng, **options
        )
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
        power_if_identical=None,
        power_target=POWER_TARGET,
        seeds_needed=None,
    )
    power_at = _power_if_identical(tasks, result)
    if pooled:
        result = replace(result, power_if_identical=power_at([n for t in tasks for n in t.sizes]))
    return _decide(result, power_at, higher_is_better)


def _judge_tasks(
    tasks: Sequence[CheckedScores], margin: float, confidence: float, options: Mapping[str, Any]
) -> tuple[TaskResult, ...]:
    judged = [_judge_task(t, margin, confidence, options) for t in tasks]
    tested = [t.p_worse for t in judged if t.p_worse is not None]
    adjusted = iter(holm(tested).tolist())
    return tuple(
        t if t.p_worse is None else replace(t, p_worse_holm=(p := next(adjusted)), worse=p <= 1 - confidence)
        for t in judged
    )


def _judge_task(
    task: CheckedScores, margin: float, confidence: float, options: Mapping[str, Any]
) -> TaskResult:
    means = float(task.upstream.mean()), float(task.worldflux.mean())
    contrast = task_contrast(*means, **options)
    result = TaskResult(
        task=task.task,
        n_upstream=task.upstream.size,
        n_worldflux=task.worldflux.size,
        mean_upstream=means[0],
        mean_worldflux=means[1],
        contrast=float(contrast.value),
        floored=bool(contrast.moving == 0.0),
        identical=same_values(task.upstream, task.worldflux),
    )
    if min(task.sizes) < 2:
        return result
    alone = _pool_tasks([task], confidence, options)
    variances = spread(task.upstream), spread(task.worldflux)
    return replace(
        result,
        standard_error=float(alone.standard_error),
        df=float(alone.df) if np.isfinite(alone.df) else None,
        p_worse=float(p_worse_than_margin(contrast, means, variances, task.sizes, margin)),
    )


def _pool_tasks(
    tasks: Sequence[CheckedScores], confidence: float, options: Mapping[str, Any]
) -> PooledContrast:
    """The mean contrast of tasks with two seeds or more on each side."""
    sides = list(zip(*(t.sides for t in tasks), strict=True))
    u, w = ([float(values.mean()) for values in side] for side in sides)
    variances = [np.array([float(spread(values)) for values in side]) for side in sides]
    sizes = np.array([t.sizes for t in tasks]).T
    contrast = task_contrast(u, w, **options)
    return pool_contrasts(contrast, variances[0], variances[1], sizes[0], sizes[1], confidence)


def _power_if_identical(
    tasks: Sequence[CheckedScores], result: CalibratedResult
) -> Callable[[int | list[int]], float]:
    """Seeds of each side, or one number for all -> the chance to pass without a difference."""
    variances = [
        float(spread(side))
        / (max((abs(t.mean_upstream) + abs(t.mean_worldflux)) / 2, result.floor) * len(tasks)) ** 2
        for task, t in zip(tasks, result.tasks, strict=True)
        for side in task.sides
        if side.size > 1
    ]

    def power_at(sizes: int | list[int]) -> float:
        se, df = se_and_df(variances, sizes)
        return noninferiority_power(0.0, se, df, margin=result.margin, alpha=1 - result.confidence)

    return power_at


def _decide(result: CalibratedResult, power_at: Callable[[int], float], higher: bool) -> CalibratedResult:
    if failure := _explain_failure(result, higher):
        return replace(result, verdict="fail", reason=failure)
    doubt = _explain_doubt(result, higher)
    if not doubt:
        reason = (
            f"not worse by more than the margin of {result.margin:.2%}: {_spell_effect(result, higher)}, and "
            f"no task of {len(result.tasks)} significantly worse"
        )
        return replace(result, verdict="pass", reason=reason)
    if not result.floor_admitted or result.identical or result.df is None:
        return replace(result, reason=doubt)
    if result.contrast > result.margin:
        beyond = "the estimate itself is beyond its bound, so more seeds are not expected to make it pass"
        return replace(result, reason=f"{doubt}; {beyond}")
    # Chance can deny a pass that these seeds had power for: then one more is the least there is to ask.
    least = min(min(t.n_upstream, t.n_worldflux) for t in result.tasks) + 1
    needed = seeds_needed(power_at, result.power_target, least=least)
    if needed is None:
        return replace(result, reason=f"{doubt}; no affordable number of seeds would do at this spread")
    advice = (
        f"an identical candidate passes with probability {result.power_if_identical:.0%} at these seeds, "
        f"and {result.power_target:.0%} needs {needed} seeds per side"
    )
    return replace(result, reason=f"{doubt}; {advice}", seeds_needed=needed)


def _explain_failure(result: CalibratedResult, higher: bool) -> str:
    """Why the verdict is fail, or nothing."""
    if result.worse_tasks:
        return (
            f"{len(result.worse_tasks)} of {len(result.tasks)} tasks significantly worse than the margin of "
            f"{result.margin:.2%}: {_name_worse(result, higher)}"
        )
    # Without any spread the bound is the estimate itself; a difference in every seed is one all the same.
    if result.lower is not None and result.lower > result.margin and _difference_is_shown(result):
        return f"worse by more than the margin of {result.margin:.2%}: {_spell_effect(result, higher)}"
    return ""


def _spell_effect(result: CalibratedResult, higher: bool) -> str:
    shown = of_contrast(vars(result), [vars(t) for t in result.tasks], higher_is_better=higher)
    return shown.sentence(2 * result.confidence - 1)


def _name_worse(result: CalibratedResult, higher: bool) -> str:
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


def _explain_doubt(result: CalibratedResult, higher: bool) -> str:
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
        return f"not shown to be within the margin of {result.margin:.2%}: {_spell_effect(result, higher)}"
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
    hint = (
        f"`floor: {smaller}` or less"
        if smaller
        else "another metric, or tasks that the official side scores in"
    )
    return f"{said}, so a difference is measured against the floor and not against the scores; write {hint}"


def rounded_down(limit: float) -> str:
    """Two digits that are at most ``limit``, as a suite has them; nothing where no floor is that small."""
    if limit < SMALLEST_FLOOR:
        return ""
    step = 10.0 ** (math.floor(math.log10(limit)) - 1)
    digits = (math.floor(limit / step) - lower for lower in (0, 1))
    return next(text for n in digits if float(text := f"{n * step:.2g}") <= limit)
