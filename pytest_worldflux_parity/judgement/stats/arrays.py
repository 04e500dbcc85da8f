"""Samples of scores as checked arrays, and the words that results share."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import StatisticsError

FloatArray = NDArray[np.float64]
Verdict = Literal["pass", "fail", "inconclusive"]

# The fourth powers in degrees of freedom must not overflow.
LARGEST_SCORE = 1e50


def sample(values: ArrayLike, name: str) -> FloatArray:
    """``values`` as a float array of shape (n,), n >= 1.

    Raises:
        StatisticsError: not one-dimensional, empty, not numeric, NaN, infinite, or above 1e50 in size.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise StatisticsError("the values are not numbers", where=name) from None
    if array.ndim != 1:
        raise StatisticsError(f"a sample has one axis, this one has {array.ndim}", where=name)
    if array.size == 0:
        raise StatisticsError("an empty sample has no statistic", where=name)
    if not np.all(np.abs(array) <= LARGEST_SCORE):
        raise StatisticsError(f"a value is NaN, infinite or larger than {LARGEST_SCORE:g}", where=name)
    return array


def samples(
    upstream: ArrayLike, worldflux: ArrayLike, *, paired: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Both samples; where they are paired, entry i of both is the same (task, seed).

    Raises:
        StatisticsError: as :func:`sample`, or paired samples have different lengths.
    """
    u, w = sample(upstream, "upstream"), sample(worldflux, "worldflux")
    if paired and u.size != w.size:
        raise StatisticsError(f"{u.size} upstream scores cannot be paired with {w.size} worldflux scores")
    return u, w


def spread(values: FloatArray, of: ArrayLike = 0.0) -> FloatArray:
    """Unbiased variance along the last axis; exactly 0 where the values are equal up to rounding.

    Shape (..., n) to (...), n >= 2. The mean of n equal floats can differ from them in the last bit, as can
    differences of noiseless scores, and a variance of 1e-34 would make an infinite-looking t of nothing.

    Args:
        of: the size of what the values were computed from, where that is larger than they are: a difference
            has the rounding of its terms (shape () or (...)).
    """
    width = values.max(axis=-1) - values.min(axis=-1)
    rounding = 8 * np.finfo(np.float64).eps * np.maximum(np.abs(values).max(axis=-1), of)
    return np.where(width <= rounding, 0.0, values.var(axis=-1, ddof=1))


def check_level(name: str, value: float) -> float:
    """``value`` where it lies strictly between 0 and 1.

    Raises:
        StatisticsError: it does not.
    """
    if not 0.0 < value < 1.0:
        raise StatisticsError(f"{name} is {value}, not between 0 and 1")
    return float(value)


def same_values(upstream: FloatArray, worldflux: FloatArray) -> bool:
    """Whether both samples hold the same values, in any order: what a copied table looks like."""
    return upstream.size == worldflux.size and bool(np.array_equal(np.sort(upstream), np.sort(worldflux)))
