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
from ...suite.suite import Budget, EvalWindow
from ...wire import CurvePoint, RunRecord


def window(curve: Sequence[CurvePoint], eval_window: EvalWindow = 1) -> Sequence[CurvePoint]:
    """The last points of a curve, over which its final return is the mean.

    Args:
        eval_window: a number of points, of a shorter curve all; or ``{"frames": n}``: those of the last n
            frames, both ends with them.

    Raises:
        StatisticsError: the curve is empty or not in order, or the window is below 1.
    """
    points = _require_order(curve)
    size = eval_window["frames"] if isinstance(eval_window, Mapping) else eval_window
    if size < 1:
        raise StatisticsError(f"eval_window is {size}, not a positive number", where="curve")
    if isinstance(eval_window, Mapping):
        return [p for p in points if p.step >= points[-1].step - size]
    return points[-size:]


def final_return_mean(curve: Sequence[CurvePoint], eval_window: EvalWindow = 1) -> float:
    """Mean value of the points of :func:`window`. Raises as that does."""
    last = window(curve, eval_window)
    return math.fsum(p.value for p in last) / len(last)


def auc_return(curve: Sequence[CurvePoint]) -> float:
    """Area under the curve (trapezoid) divided by its span in steps: a mean return over training.

    A single point is its own mean.

    Raises:
        StatisticsError: the curve is empty or not in order.
    """
    points = _require_order(curve)
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


def nulls_at(
    nulls: Sequence[int], first: CurvePoint, end: CurvePoint, budget: Budget | None
) -> tuple[int, ...]:
    """Steps of nulls where a judged score should be: from the window's first point up to the tolerance.

    Also those before it that are as near to the budget as the point that counts there.

    Args:
        first, end: of the points that are judged; ``end`` is the budget's.
    """
    if budget is None:
        return tuple(s for s in nulls if s >= first.step)
    low = min(first.step, budget.step - abs(end.step - budget.step))
    return tuple(s for s in nulls if low <= s <= max(end.step, budget.step * (1 + budget.tolerance)))


def _require_order(curve: Sequence[CurvePoint]) -> Sequence[CurvePoint]:
    if not curve:
        raise StatisticsError("an empty curve has no score", where="curve")
    if any(a.step >= b.step for a, b in pairwise(curve)):
        raise StatisticsError("the steps of the curve are not in rising order", where="curve")
    return curve


@dataclass(frozen=True)
class Result:
    """What one run or the rows of one (task, seed) hold. ``curve`` steps are environment frames.

    Attributes:
        nulls: steps at which a table has a null in place of a score; no record has one.
        metrics: that the rows of a table are of, judged or not.
    """

    curve: Sequence[CurvePoint]
    scalars: Mapping[str, float] = field(default_factory=dict)
    nulls: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: RunRecord) -> Result:
        """What a record holds."""
        return cls(record.curve, record.scalars)
