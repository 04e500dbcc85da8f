"""From curves to one score per (task, seed), both sides at the same training budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import ScoreTableError
from ...wire import CurvePoint
from .curves import final_return_mean, point_near
from .table import RETURN, ScoreTable

Key = tuple[str, int]

# Latest is compared with latest in older suites; a wider gap than this is worth a warning.
STEP_GAP = 0.10


class FinalScore(NamedTuple):
    """The score of a (task, seed) and the step (frames) of the last point that it rests on."""

    score: float
    step: int


@dataclass(frozen=True)
class StepGap:
    """Two latest points that lie further apart than the limit, relative to the later one."""

    task: str
    seed: int
    upstream_step: int
    worldflux_step: int


def final_scores(
    table: ScoreTable, *, step: int, tolerance: float, metric: str = RETURN, eval_window: int = 1
) -> dict[Key, FinalScore]:
    """Scores at one budget, by (task key, seed); who has no point there is absent.

    The point nearest to ``step`` within the relative ``tolerance`` is the last that counts; the score is
    the mean of the ``eval_window`` points up to it. Keys are those of :func:`.tasks.task_key`.

    Raises:
        ScoreTableError: the table has no row of ``metric``, or step or tolerance are out of range.
    """
    if step < 0 or not 0.0 <= tolerance < 1.0:
        raise ScoreTableError(
            f"step {step} with tolerance {tolerance} names no budget", where=str(table.path)
        )
    found = {}
    for (task, seed, _), curve in _curves(table, metric).items():
        last = point_near(curve, step, tolerance)
        if last is not None:
            value = final_return_mean(curve, budget=last.step, eval_window=eval_window)
            found[task, seed] = FinalScore(value, last.step)
    return found


def latest_scores(table: ScoreTable, *, metric: str = RETURN) -> dict[Key, FinalScore]:
    """The score at the last step of each (task key, seed), as the older suites compare.

    Raises:
        ScoreTableError: the table has no row of ``metric``.
    """
    curves = _curves(table, metric)
    return {(t, s): FinalScore(c[-1].value, c[-1].step) for (t, s, _), c in curves.items()}


def step_gaps(
    upstream: Mapping[Key, FinalScore], worldflux: Mapping[Key, FinalScore], limit: float = STEP_GAP
) -> tuple[StepGap, ...]:
    """Pairs that both sides have and whose steps differ by more than ``limit`` of the later one."""
    both = sorted(upstream.keys() & worldflux.keys())
    gaps = (StepGap(t, s, upstream[t, s].step, worldflux[t, s].step) for t, s in both)
    return tuple(g for g in gaps if _differ(g.upstream_step, g.worldflux_step, limit))


def _differ(a: int, b: int, limit: float) -> bool:
    return abs(a - b) > limit * max(a, b)


def _curves(table: ScoreTable, metric: str) -> dict[tuple[str, int, str], tuple[CurvePoint, ...]]:
    curves = {key: curve for key, curve in table.curves.items() if key[2] == metric}
    if not curves:
        there = sorted({row.metric for row in table.rows})
        raise ScoreTableError(
            f"no row of the metric {metric!r}", where=str(table.path), valid=there, got=metric
        )
    return curves
