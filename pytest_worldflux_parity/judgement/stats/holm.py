"""Holm's step-down correction (Holm 1979, Scand. J. Statist. 6:65-70)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from .arrays import FloatArray


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjusted p-values of a family along the last axis, shape (..., k) to (..., k).

    A hypothesis is rejected at level alpha where its adjusted p is at most alpha; the family-wise
    error is then at most alpha however the tests depend on each other. An empty family stays empty.

    Raises:
        StatisticsError: a value is NaN or outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise StatisticsError("a p-value lies between 0 and 1", where="holm")
    order = np.argsort(p, axis=-1, kind="stable")
    remaining = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * remaining, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return adjusted
