"""How likely it is that independent runs give numbers as near to each other as these are.

Everything is measured by two lengths of the data themselves. The *grain* is the step of the coarsest lattice
that holds all values (scores of a game move in points, a success rate over ten episodes in tenths): nearer
than that, values cannot be told apart. The *gap* is what usually lies between neighbouring values: a value
of another run falls within a width of a given one with a chance of about width / gap, however the values are
spread. Values that several runs share are where runs end up anyway and tell nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray

# What numbers are rounded to before a grain is looked for, and the finest that is one, as shares of the
# largest value: thirds are printed with ten digits, and no program has a lattice finer than a millionth.
FINEST = 1e-9
LATTICE = 1e-6
TINY = 1e-300


@dataclass(frozen=True)
class Coincidence:
    """How near the values of one side are to those of the other.

    Attributes:
        chance: that independent runs are as near. left: what separates the two beyond the grain, and the
            spread between runs, both as sums of squares; their ratio is the share that is not explained.
    """

    chance: float
    left: tuple[float, float]


NO_COINCIDENCE = Coincidence(1.0, (0.0, 0.0))


def grain(values: ArrayLike) -> float:
    """The step of the coarsest lattice through 0 that holds all values; 0 where all are 0.

    By Euclid's algorithm on numbers that are rounded, so thirds and tenths have their grain too. Numbers of
    full precision have none, and can be told apart at ``FINEST``.
    """
    sizes = np.unique(np.abs(np.asarray(values, np.float64)))
    largest = float(sizes[-1]) if sizes.size else 0.0
    step = 0.0
    for value in sizes:
        step = _common_step(step, float(value), FINEST * largest)
    return step if step > LATTICE * largest else FINEST * largest


def _common_step(one: float, other: float, finest: float) -> float:
    """The largest number of which both are multiples, within ``finest``."""
    while other > 4 * finest:
        one, other = other, abs(one - other * round(one / other)) if one else 0.0
    return one or other


def gap(values: ArrayLike) -> float:
    """The lower median of what lies between neighbours among different values; 0 of fewer than two."""
    between = np.sort(np.diff(np.unique(np.asarray(values, np.float64))))
    return float(between[(between.size - 1) // 2]) if between.size else 0.0


def coincide(one: ArrayLike, other: ArrayLike) -> Coincidence:
    """Whether the values of the smaller sample stand in the larger one, in whatever order.

    Both are looked at in the coarser of their two grains, so a copy that was rounded is one. Each value of
    the larger sample is met by one of the smaller at most.
    """
    few, many = sorted((np.asarray(x, np.float64) for x in (one, other)), key=lambda x: x.size)
    width = max(grain(few), grain(many))
    few, many = (_values_of_one_run(_round_to(x, width)) for x in (few, many))
    if few.size < 2 or many.size < few.size:
        return NO_COINCIDENCE
    apart = np.abs(_nearest_values(few, many) - few)
    # Between two values lies one gap: of runs that fail or succeed it says nothing of those that succeed.
    if many.size == 2 and apart.max() > 0:
        return NO_COINCIDENCE
    return _judge_distances(apart, width, gap(many), few.size, many)


def in_order(one: ArrayLike, other: ArrayLike) -> float | None:
    """The chance that equal values stand at the same runs; None where they do not, in the coarser grain."""
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    width = max(_lengths_of(tuple(sorted(v.tolist())))[0] for v in (x, y))
    x, y = _round_to(x, width), _round_to(y, width)
    return 1 / orders(x) if np.array_equal(x, y) else None


def orders(values: ArrayLike) -> int:
    """In how many different orders values can stand; of more than 170 that is above the largest float."""
    _, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    return math.factorial(int(counts.sum())) // math.prod(math.factorial(n) for n in counts.tolist())


def combined(chances: Iterable[float]) -> float:
    """The chance of several independent coincidences together, by Fisher; 1 of none."""
    logs = [math.log(max(p, TINY)) for p in chances]
    if not any(logs):
        return 1.0
    # The upper tail of chi-squared with two degrees of freedom for each, at twice this.
    half = -math.fsum(logs)
    terms = (math.exp(i * math.log(half) - half - math.lgamma(i + 1)) for i in range(len(logs)))
    return min(1.0, math.fsum(terms))


def follow(one: ArrayLike, other: ArrayLike) -> Coincidence:
    """Whether the values of the second sample are those of the first, run by run, on another scale.

    A level and a scale are fitted, and use up two of the runs. At least three pairs.
    """
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    (grain_x, gap_x, different_x), (grain_y, gap_y, different_y) = (
        _lengths_of(tuple(sorted(v.tolist()))) for v in (x, y)
    )
    if x.size < 3 or min(different_x, different_y) < x.size:
        return NO_COINCIDENCE
    around = x - x.mean()
    slope = float(around @ y) / float(around @ around)
    apart = np.abs(y - y.mean() - slope * around)
    width = max(grain_y, abs(slope) * grain_x)
    return _judge_distances(apart, width, min(gap_y, abs(slope) * gap_x), x.size - 2, y)


@lru_cache(maxsize=4096)
def _lengths_of(values: tuple[float, ...]) -> tuple[float, float, int]:
    """Grain, gap and number of different values of a sample, which is paired with others in many orders."""
    return grain(values), gap(values), len(set(values))


def _judge_distances(
    apart: FloatArray, width: float, between: float, count: int, values: FloatArray
) -> Coincidence:
    beyond = np.maximum(apart - width, 0.0)
    spread = values - values.mean()
    share = max(width, 2 * float(apart.max())) / between if between > 0 else 1.0
    return Coincidence(min(1.0, share) ** count, (float(beyond @ beyond) / apart.size, spread.var()))


def _round_to(values: FloatArray, width: float) -> FloatArray:
    rounded: FloatArray = np.round(values / width) * width if width > 0 else values
    return rounded


def _values_of_one_run(values: FloatArray) -> FloatArray:
    """The values that one run alone has, ascending."""
    found, counts = np.unique(values, return_counts=True)
    alone: FloatArray = found[counts == 1]
    return alone


def _nearest_values(few: FloatArray, many: FloatArray) -> FloatArray:
    """For each of ``few`` the nearest of ``many``; where two have the same, that is no match for either."""
    at = np.abs(few[:, None] - many[None, :]).argmin(axis=1)
    taken = Counter(at.tolist())
    alone = np.array([taken[i] == 1 for i in at.tolist()])
    return np.where(alone, many[at], np.inf).astype(np.float64)
