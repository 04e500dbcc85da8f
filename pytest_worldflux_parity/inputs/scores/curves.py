"""A training curve -> the numbers that are compared.

The plugin computes these itself, for both sides with this code. A curve is a sequence of
:class:`~...wire.CurvePoint` in order of step (environment frames); an empty one has no number, and
never the number 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ...errors import StatisticsError
from ...wire import CurvePoint, RunRecord


def final_return_mean(
    curve: Sequence[CurvePoint], *, budget: int | None = None, eval_window: int = 1, where: str = "curve"
) -> float:
    """Mean value of the last ``eval_window`` points at or before ``budget`` frames.

    Where the curve has fewer points than the window, the mean is over those that there are.

    Raises:
        StatisticsError: no point at or before the budget, or a window below 1.
    """
    if eval_window < 1:
        raise StatisticsError(f"eval_window is {eval_window}, not a positive number of points", where=where)
    points = _checked(curve, where)
    reached = [p.value for p in points if budget is None or p.step <= budget]
    if not reached:
        raise StatisticsError(f"the first point is at step {points[0].step}, after {budget}", where=where)
    last = reached[-eval_window:]
    return math.fsum(last) / len(last)


def auc_return(curve: Sequence[CurvePoint], *, budget: int | None = None, where: str = "curve") -> float:
    """Area under the curve (trapezoid) divided by its span in steps: a mean return over training.

    A single point is its own mean. Points after ``budget`` are left out, without interpolation.

    Raises:
        StatisticsError: no point at or before the budget.
    """
    points = [p for p in _checked(curve, where) if budget is None or p.step <= budget]
    if not points:
        raise StatisticsError(f"no point at or before step {budget}", where=where)
    if len(points) == 1:
        return points[0].value
    span = points[-1].step - points[0].step
    return math.fsum((b.step - a.step) / span * (a.value / 2 + b.value / 2) for a, b in pairwise(points))


def point_near(curve: Sequence[CurvePoint], step: int, tolerance: float) -> CurvePoint | None:
    """The point nearest to ``step`` within ``tolerance`` (relative to ``step``), or None.

    Of two equally near the earlier counts, so that no side gains training by a tie.
    """
    near = [p for p in curve if abs(p.step - step) <= tolerance * step]
    return min(near, key=lambda p: (abs(p.step - step), p.step), default=None)


def value_at(
    curve: Sequence[CurvePoint], step: int, *, tolerance: float = 0.0, where: str = "curve"
) -> float:
    """The value at ``step``, or at the nearest point within the relative ``tolerance``.

    Raises:
        StatisticsError: the curve is empty or has no point there.
    """
    point = point_near(_checked(curve, where), step, tolerance)
    if point is None:
        raise StatisticsError(
            f"no point within {tolerance:.1%} of step {step}; the curve runs from step {curve[0].step} to "
            f"{curve[-1].step}",
            where=where,
        )
    return point.value


def _checked(curve: Sequence[CurvePoint], where: str) -> Sequence[CurvePoint]:
    if not curve:
        raise StatisticsError("an empty curve has no score", where=where)
    if any(a.step >= b.step for a, b in pairwise(curve)):
        raise StatisticsError("the steps of the curve are not in rising order", where=where)
    return curve


@dataclass(frozen=True)
class Result:
    """What one run or the rows of one (task, seed) hold. ``curve`` steps are environment frames."""

    curve: tuple[CurvePoint, ...]
    scalars: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, record: RunRecord) -> Result:
        """What a record holds."""
        return cls(record.curve, record.scalars)
