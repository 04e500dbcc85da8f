"""What both sides have to show, in one form: a number per (system, metric, task, seed), or why not.

A live record and the rows of a score table both become a :class:`Result`; the numbers are then
taken from it by the same code, so no side is measured by a ruler of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ...errors import StatisticsError
from ...inputs.scores.curves import Result, auc_return, final_return_mean, nulls_at, point_near, window
from ...suite.pairs import RunKey
from ...suite.suite import CURVE_METRICS, Metric, Suite, Task
from ...wire import CurvePoint
from .points import ALL, OptionalPoints, Shape, area, common_ends, select_points, shape

# Reasons for which a number is missing. The first two are not the fault of either program.
DESELECTED, NOT_RUN = "deselected", "not_run"
FAILED, NOT_IN_TABLE, NO_POINT, NO_METRIC = "failed", "not_in_table", "no_point_at_budget", "metric_absent"
NULL_SCORE = "null_score"
UNDECIDED_REASONS = frozenset({DESELECTED, NOT_RUN})


@dataclass(frozen=True)
class Value:
    """A number and the step (frames) at which it stands; None where it has no step of its own."""

    value: float
    step: int | None = None


@dataclass(frozen=True, order=True)
class Missing:
    """A number that is expected and not there."""

    task_id: str
    seed: int
    system: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Observed:
    """All numbers of a suite.

    Attributes:
        values: (system, metric, task) -> seed -> value.
        missing: in order of task, seed and system.
        unused: per system how many (task, seed) a table holds beyond those that the suite names.
        repeated: (system, task, seed) whose record is that of another seed. They are there, and are no runs
            of their own.
        shapes: where the points of each curve stand that is judged, complete or not.
    """

    values: Mapping[tuple[str, str, str], Mapping[int, Value]]
    missing: tuple[Missing, ...] = ()
    unused: Mapping[str, int] = field(default_factory=dict)
    repeated: frozenset[RunKey] = frozenset()
    shapes: Mapping[RunKey, Shape] = field(default_factory=dict)

    def runs(self, system: str, metric: str, task: str) -> Mapping[int, Value]:
        """Seed -> value of the runs that statistics may count: n is how many these are."""
        found = self.values.get((system, metric, task), {})
        return {seed: v for seed, v in found.items() if (system, task, seed) not in self.repeated}


def measure(result: Result, metric: str, task: Task, ends: OptionalPoints = ALL) -> Value:
    """The number that ``metric`` names.

    ``episode_return`` is the evaluation at the task's budget (the latest where there is none),
    ``final_return_mean`` and ``auc_return`` are taken from the curve up to the budget, and any
    other name is a scalar of the record.

    Args:
        ends: which optional evaluations count.

    Raises:
        StatisticsError: the curve has no point at the budget, a null there, or lacks points that the suite
            asks for (``what`` begins with the reason), or the scalar is not there.
    """
    if metric not in CURVE_METRICS:
        if metric not in result.scalars:
            at = " at the budget" if metric in result.metrics else ""
            more = f", and there are rows of {', '.join(result.metrics)}" if result.metrics and not at else ""
            what = f"{NO_METRIC}: no metric {metric!r}{at}{more}"
            raise StatisticsError(what, got=metric, valid=sorted(result.scalars))
        return Value(result.scalars[metric])
    points = judged_curve(result, task, ends)
    step = points[-1].step
    if metric == "episode_return":
        return Value(points[-1].value, step)
    if metric == "final_return_mean":
        return Value(final_return_mean(points, task.eval_window), step)
    if task.points is None or task.budget is None:
        return Value(auc_return(points), step)
    return Value(area(points, task.points, task.budget.step), step)


def judged_curve(result: Result, task: Task, ends: OptionalPoints = ALL) -> tuple[CurvePoint, ...]:
    """The points from which numbers are taken, the last of them the budget's.

    Raises:
        StatisticsError: as :func:`measure`.
    """
    if not result.curve and result.metrics:
        raise StatisticsError(f"{NO_POINT}: {_explain_no_point(result)}")
    points = select_points(within_budget(result.curve, task), task, ends)
    first = window(points, task.eval_window)[0]
    nulls = nulls_at(result.nulls, first, points[-1], task.budget)
    if nulls:
        more = f" and {len(nulls) - 1} more" if len(nulls) > 1 else ""
        raise StatisticsError(f"{NULL_SCORE}: the score at {nulls[0]} frames{more} is null")
    return points


def _explain_no_point(result: Result) -> str:
    """Why the rows of a table are no curve."""
    if result.nulls:
        return f"all {len(result.nulls)} scores are null"
    return f"no row of episode_return, and there are rows of {', '.join(result.metrics)}"


def within_budget(curve: Sequence[CurvePoint], task: Task) -> tuple[CurvePoint, ...]:
    """The curve up to the point that counts as the budget's; the nearest within the tolerance.

    Raises:
        StatisticsError: there is none.
    """
    curve = tuple(curve)
    if not curve:
        raise StatisticsError(f"{NO_POINT}: the curve is empty")
    if task.budget is None:
        return curve
    step, tolerance = task.budget.step, task.budget.tolerance
    # Points rise: of a curve that ends before the budget the last is the nearest.
    if curve[-1].step <= step and step - curve[-1].step <= tolerance * step:
        return curve
    end = point_near(curve, step, tolerance)
    if end is None:
        steps = f"{curve[0].step} to {curve[-1].step}"
        raise StatisticsError(
            f"{NO_POINT}: no point within {task.budget.tolerance:.0%} of {task.budget.step} frames "
            f"(points from {steps})"
        )
    return tuple(p for p in curve if p.step <= end.step)


def observe(
    suite: Suite,
    expected: Iterable[tuple[str, int, str]],
    results: Mapping[RunKey, Result],
    absent: Mapping[RunKey, tuple[str, str]],
    unused: Mapping[str, int],
    repeated: frozenset[RunKey] = frozenset(),
) -> Observed:
    """Take every metric of every expected (task, seed, system).

    Args:
        results: (system, task, seed) -> result.
        absent: (system, task, seed) -> (reason, detail) where there is no result.
    """
    values: dict[tuple[str, str, str], dict[int, Value]] = {}
    missing: list[Missing] = []
    wanted = list(expected)
    ends = _common_ends(suite, wanted, results)
    for task_id, seed, system in wanted:
        key = (system, task_id, seed)
        if key not in results:
            missing.append(Missing(task_id, seed, system, *absent.get(key, (NOT_RUN, ""))))
            continue
        for metric in suite.metrics_of(task_id):
            try:
                value = measure(results[key], metric.name, suite.task(task_id), ends.get(task_id, ALL))
            except StatisticsError as error:
                reason, _, detail = error.what.partition(": ")
                missing.append(Missing(task_id, seed, system, reason, detail))
                break
            values.setdefault((system, metric.name, task_id), {})[seed] = value
    shapes = dict(_find_shapes(suite, wanted, results))
    return Observed(values, tuple(sorted(missing)), unused, repeated, shapes)


def _common_ends(
    suite: Suite, expected: Iterable[tuple[str, int, str]], results: Mapping[RunKey, Result]
) -> dict[str, OptionalPoints]:
    """Task -> the optional evaluations that count, so that both sides are measured alike."""
    curves: dict[str, list[tuple[CurvePoint, ...]]] = {task.id: [] for task in suite.tasks if task.points}
    for task_id, seed, system in expected:
        if task_id in curves and (system, task_id, seed) in results:
            # A curve without a point at the budget is missing data, and has no say.
            with suppress(StatisticsError):
                curves[task_id].append(
                    within_budget(results[system, task_id, seed].curve, suite.task(task_id))
                )
    return {task_id: common_ends(found, suite.task(task_id)) for task_id, found in curves.items()}


def _find_shapes(
    suite: Suite, expected: Iterable[tuple[str, int, str]], results: Mapping[RunKey, Result]
) -> Iterator[tuple[RunKey, Shape]]:
    """Where the points of every curve stand from which a number is taken."""
    judged = {t.id: t for t in suite.tasks if any(m.name in CURVE_METRICS for m in suite.metrics_of(t.id))}
    for task, seed, system in expected:
        result = results.get((system, task, seed))
        found = shape(result.curve, judged[task]) if result is not None and task in judged else None
        if found is not None:
            yield (system, task, seed), found


def shared_seeds(observed: Observed, metric: Metric, task_id: str) -> list[int]:
    """The seeds that both sides have for a task, ascending."""
    official = observed.values.get(("official", metric.name, task_id), {})
    worldflux = observed.values.get(("worldflux", metric.name, task_id), {})
    return sorted(set(official) & set(worldflux))
