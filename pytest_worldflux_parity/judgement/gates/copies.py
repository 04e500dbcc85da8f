"""Copies: scores of one side that are those of the other, rounded, shifted in seed, or with a little noise.

Two questions, each with its chance computed (:mod:`..stats.coincidence`). Do the *values* of one side stand
on the other, in whatever order? And do one side's *residuals*, what its seeds lie above or below their mean,
follow the other's seed by seed, at whatever level and scale? Single tasks are asked the first alone: three
residuals follow three others too easily.

Tried (``tests/simulations/copies.py``): no alarm on any two of the 32 score tables that the DreamerV3 and
TD-MPC2 repositories publish and that share tasks (91 pairs, by last score, last ten and mean of all: 273
suites, 6,549 cells). What is found of copies stands in ``reports/README.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...suite.suite import SYSTEMS, Metric, Suite
from ..stats.coincidence import NO_COINCIDENCE, Coincidence, coincide, combined, follow, in_order, orders
from ..stats.measurements import Observed
from . import Finding

# Less likely than this, the values of one task are those of the other side: what a single task can show.
OF_A_TASK = 1e-4
# The same of a whole suite, and of residuals.
OF_A_SUITE = 1e-6
# The largest share of the spread between seeds that a copy may leave unexplained.
LEFT = 0.02

Scores = Mapping[int, float]


@dataclass(frozen=True)
class PairedCell:
    """One metric of one task: seed -> value of the side with fewer seeds, and of the other."""

    task: str
    few: Scores
    many: Scores


def find_copies(suite: Suite, observed: Observed) -> list[Finding]:
    """Findings where scores of one side are the other's: all of them, or all of a task."""
    metrics = [(m, _pair_cells(suite, m, observed)) for m in suite.metrics]
    whole = [_find_whole_copy(m, cells, len(metrics)) for m, cells in metrics]
    found = [finding for finding in whole if finding is not None]
    return found[:1] or list(_find_single_copies(metrics))


def _pair_cells(suite: Suite, metric: Metric, observed: Observed) -> list[PairedCell]:
    found = []
    for task in suite.judged_tasks(metric):
        sides = [
            {seed: v.value for seed, v in sorted(observed.values.get((s, metric.name, task.id), {}).items())}
            for s in SYSTEMS
        ]
        if all(sides):
            few, many = sorted(sides, key=len)
            found.append(PairedCell(task.id, few, many))
    return found


def _find_whole_copy(metric: Metric, cells: Sequence[PairedCell], tried: int) -> Finding | None:
    """Of all tasks together; ``tried``: how many metrics are looked at."""
    values = [coincide(_values_of(c.few), _values_of(c.many)) for c in cells]
    chance = combined(v.chance for v in values)
    if chance * tried < OF_A_SUITE and _share_left(values) < LEFT:
        return _every_score_finding(chance)
    shifts = [_shifts(c) for c in cells]
    named = sorted(set().union(*shifts))
    for shift in named:
        pairs = [by_shift.get(shift) for by_shift in shifts]
        ordered = [in_order(*p) if p else None for p in pairs]
        equal = [o for o in ordered if o is not None]
        if len(equal) == len(cells) and math.prod(equal) * tried * len(named) < OF_A_SUITE:
            return _every_score_finding(math.prod(equal))
        residuals = [follow(*p) if p else NO_COINCIDENCE for p in pairs]
        chance = combined(r.chance for r in residuals)
        if chance * tried * len(named) < OF_A_SUITE and (left := _share_left(residuals)) < LEFT:
            text = f"{metric.name} of one side follows the other's, seed by seed: {left:.1%} of the spread "
            return Finding("scores_follow", f"{text}between seeds is left{_chance_text(chance)}")
    return None


def _every_score_finding(chance: float) -> Finding:
    text = f"every score of one side stands in the other: a copy, not a comparison{_chance_text(chance)}"
    return Finding("identical_scores", text)


def _find_single_copies(metrics: Sequence[tuple[Metric, Sequence[PairedCell]]]) -> Iterator[Finding]:
    """Tasks whose values stand on the other side: where they all do, that is told first."""
    tried = sum(len(cells) for _, cells in metrics)
    for metric, cells in metrics:
        for cell in cells:
            chance = coincide(_values_of(cell.few), _values_of(cell.many)).chance
            if chance * tried < OF_A_TASK:
                text = f"all values of {metric.name} on one side stand on the other{_chance_text(chance)}"
                yield Finding("identical_scores", text, cell.task)


def _shifts(cell: PairedCell) -> dict[tuple[str, int], tuple[list[float], list[float]]]:
    """The ways in which the seeds of both sides can be paired, and the values of each in that order.

    Every seed moved by a number, or, of as many seeds, every place moved by one that wraps around.
    """
    few, many = list(cell.few), list(cell.many)
    found = {}
    for number in {b - a for a in few for b in many}:
        if all(seed + number in cell.many for seed in few):
            found["seed", number] = _values_of(cell.few), [cell.many[seed + number] for seed in few]
    if len(few) == len(many):
        for number in range(len(few)):
            turned = [*many[number:], *many[:number]]
            found["place", number] = _values_of(cell.few), [cell.many[seed] for seed in turned]
    return found


def _values_of(scores: Scores) -> list[float]:
    return list(scores.values())


def _share_left(found: Sequence[Coincidence]) -> float:
    """What is not explained, as a share of the spread between seeds; 1 where nothing varies."""
    spread = sum(c.left[1] for c in found)
    return float(np.sqrt(sum(c.left[0] for c in found) / spread)) if spread else 1.0


def _chance_text(chance: float) -> str:
    return f" (of independent runs with a chance of {chance:.0e})"


def sorted_sides(suite: Suite, observed: Observed) -> Iterator[str]:
    """A warning for each side whose seeds stand in the order of their scores in every task.

    The published Atari table of DreamerV3 is sorted so. Which seed is which run is then lost: two such sides
    seem to follow each other, and what pairs seeds with seeds compares ranks.
    """
    for system in SYSTEMS:
        for metric in suite.metrics:
            told = _find_sorted_side(system, metric, suite, observed)
            if told:
                yield told
                break


def _find_sorted_side(system: str, metric: Metric, suite: Suite, observed: Observed) -> str:
    sides = (observed.values.get((system, metric.name, t.id), {}) for t in suite.judged_tasks(metric))
    columns = [[side[seed].value for seed in sorted(side)] for side in sides]
    chance = 2 * float(np.prod([1 / orders(column) for column in columns])) if columns else 1.0
    rising = all(a <= b for column in columns for a, b in pairwise(column))
    falling = all(a >= b for column in columns for a, b in pairwise(column))
    if chance >= OF_A_SUITE or not (rising or falling):
        return ""
    return (
        f"the seeds of the {system} side are sorted by {metric.name} in all {len(columns)} tasks"
        f"{_chance_text(chance)}: they are ranks and no seeds, so nothing that pairs seeds means anything"
    )
