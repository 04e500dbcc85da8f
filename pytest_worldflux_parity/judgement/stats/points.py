"""Where the points of a curve stand: what a suite asks of them, and the curve that is measured.

A program that reports where it likes could leave out what it does not like. So a suite says what its points
are, both sides are measured at the same places, and a point that is not there is missing data.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from ...errors import StatisticsError
from ...inputs.scores.curves import auc_return, point_near
from ...suite.suite import Budget, Points, Task
from ...wire import CurvePoint

POINTS_MISSING = "points_missing"
# The latest first episode and the longest gap, as shares of the budget. Of published Atari curves these are
# 3.4 % (Crazy Climber) and 25 % (Frostbite).
LATEST_FIRST, LONGEST_GAP = 0.10, 0.30


@dataclass(frozen=True)
class Shape:
    """Where the points of one curve stand, in frames.

    Attributes:
        gap: the longest way from one point to the next, and from the last to the budget.
        budget: None where the task has none.
    """

    points: int
    first: int
    gap: int
    budget: int | None

    def share(self, frames: int) -> float:
        """Of the budget; the frames themselves where there is none."""
        return frames / (self.budget or 1)

    def told(self, frames: int) -> str:
        """Frames, and the share of the budget that they are."""
        return f"{frames} frames" + (f" ({self.share(frames):.1%})" if self.budget else "")


@dataclass(frozen=True)
class OptionalPoints:
    """Which of the optional evaluations a run has, or count: those that every run of its task has.

    Attributes:
        zero: the one at step 0.
        closing: one near the budget, after the last multiple of the interval.
    """

    zero: bool = True
    closing: bool = True


ALL = OptionalPoints()


def shape(curve: Sequence[CurvePoint], task: Task) -> Shape | None:
    """The shape of a curve up to its budget; None where it has no point."""
    budget = task.budget.step if task.budget else None
    last = task.budget.step * (1 + task.budget.tolerance) if task.budget else math.inf
    steps = [p.step for p in curve if p.step <= last]
    if not steps:
        return None
    ends = [*steps, budget] if budget is not None and budget > steps[-1] else steps
    return Shape(len(steps), steps[0], max((b - a for a, b in pairwise(ends)), default=0), budget)


def select_points(
    curve: tuple[CurvePoint, ...], task: Task, ends: OptionalPoints = ALL
) -> tuple[CurvePoint, ...]:
    """The points of a curve that count: of evaluations one a multiple of the interval, else all.

    Args:
        curve: up to the point that counts as the budget's.
        ends: which optional evaluations count.

    Raises:
        StatisticsError: points are missing (``what`` begins with the reason).
    """
    if task.points is None or task.budget is None:
        return curve
    if task.points.kind == "evaluations":
        return _select_evaluations(curve, task.points.interval, task.budget, ends)
    _check_episodes(curve, task.points, task.budget.step)
    return curve


def common_ends(curves: Iterable[Sequence[CurvePoint]], task: Task) -> OptionalPoints:
    """The optional evaluations that each of these curves has: who leaves one out gains nothing.

    Args:
        curves: each up to the point that counts as the budget's.
    """
    if task.points is None or task.points.kind != "evaluations" or task.budget is None:
        return ALL
    found = [_match_grid(curve, task.points.interval, task.budget.step) for curve in curves]
    return OptionalPoints(all(0 in grid for grid, _ in found), all(closing for _, closing in found))


def area(curve: Sequence[CurvePoint], points: Points, budget: int) -> float:
    """The mean return from step 0 to the budget: of episodes the mean of equal parts, else the trapezoid.

    Before its first point and after its last a curve is held level.

    Args:
        curve: as :func:`select_points` gives it.
    """
    if points.kind == "episodes":
        return math.fsum(binned(curve, points.bins, budget)) / points.bins
    inner = [p for p in curve if 0 < p.step < budget]
    start, end = (CurvePoint(step, _value_on_line(curve, step)) for step in (0, budget))
    return auc_return([start, *inner, end])


def binned(curve: Sequence[CurvePoint], bins: int, budget: int) -> list[float]:
    """The mean of the points in each of ``bins`` equal parts of the budget, each with its end.

    An empty part lies on the line between its neighbours; before the first and after the last that have
    points it is level. A point after the budget, within its tolerance, is of the last part.
    """
    parts: dict[int, list[float]] = {}
    for point in curve:
        part = -(-point.step * bins // budget) - 1
        parts.setdefault(min(max(part, 0), bins - 1), []).append(point.value)
    means = [CurvePoint(i, math.fsum(parts[i]) / len(parts[i])) for i in sorted(parts)]
    return [_value_on_line(means, i) for i in range(bins)]


def _value_on_line(curve: Sequence[CurvePoint], step: int) -> float:
    """The value at a step, on the line between the points beside it; level beyond the first and the last."""
    at = bisect_left(curve, step, key=lambda point: point.step)
    if at == len(curve):
        return curve[-1].value
    after, before = curve[at], curve[max(at - 1, 0)]
    if after.step == step or at == 0:
        return after.value
    return before.value + (step - before.step) / (after.step - before.step) * (after.value - before.value)


def _nearest_multiple(step: int, interval: int) -> int:
    """The multiple of the interval that a step is within half an interval of."""
    return (2 * step + interval) // (2 * interval)


def _match_grid(
    curve: Sequence[CurvePoint], interval: int, budget: int
) -> tuple[dict[int, CurvePoint], CurvePoint | None]:
    """The point nearest to each multiple up to the budget, the earlier of two; the last, if after them."""
    nearest: dict[int, CurvePoint] = {}
    for point in curve:
        multiple = _nearest_multiple(point.step, interval)
        if multiple > budget // interval:
            break
        rival = nearest.setdefault(multiple, point)
        if abs(point.step - multiple * interval) < abs(rival.step - multiple * interval):
            nearest[multiple] = point
    last = nearest[max(nearest)] if nearest else None
    return nearest, None if curve[-1] == last else curve[-1]


def _select_evaluations(
    curve: Sequence[CurvePoint], interval: int, budget: Budget, ends: OptionalPoints
) -> tuple[CurvePoint, ...]:
    """The evaluations that count, in order of step."""
    nearest, closing = _match_grid(curve, interval, budget.step)
    last = min(_nearest_multiple(curve[-1].step, interval), budget.step // interval)
    absent = last - sum(1 <= multiple <= last for multiple in nearest)
    if absent:
        first = next(m for m in count(1) if m not in nearest)
        more = f" and {absent - 1} more of {last}" if absent > 1 else ""
        raise StatisticsError(
            f"{POINTS_MISSING}: no evaluation within {interval / 2:g} frames of {first * interval}{more}"
        )
    if not ends.zero:
        nearest.pop(0, None)
    kept = [nearest[multiple] for multiple in sorted(nearest)]
    # Without it a curve may have no point at the budget: then it is no choice.
    if closing and (ends.closing or point_near(kept, budget.step, budget.tolerance) is None):
        kept.append(closing)
    return tuple(kept)


def _check_episodes(curve: Sequence[CurvePoint], points: Points, budget: int) -> None:
    """Raise where episodes begin late or leave a gap, each longer than a part of the budget may be."""
    latest, longest = (max(share, 1 / points.bins) for share in (LATEST_FIRST, LONGEST_GAP))
    if curve[0].step > latest * budget:
        raise StatisticsError(
            f"{POINTS_MISSING}: the first episode ends at {curve[0].step} frames, after {latest:.0%} of "
            f"{budget}"
        )
    for one, other in pairwise(curve):
        if other.step - one.step > longest * budget:
            raise StatisticsError(
                f"{POINTS_MISSING}: no episode ends between {one.step} and {other.step} frames, more than "
                f"{longest:.0%} of {budget}"
            )
