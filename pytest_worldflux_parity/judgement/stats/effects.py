"""How much worse: the documented drop ratio per pair, and contrasts of task means with their bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, samples
from .student import quantile, satterthwaite, separation_p, upper_tail


def drop_ratio(
    upstream: ArrayLike, worldflux: ArrayLike, *, higher_is_better: bool = True, floor: float = 1.0
) -> FloatArray:
    """``(upstream - worldflux) / max(|upstream|, floor)`` per pair, shape (n,); positive is worse.

    The sign is flipped where lower is better. Source: the quick-suite documentation ("Statistical
    rule"). Raises StatisticsError as :func:`.arrays.samples`.
    """
    u, w = samples(upstream, worldflux, paired=True)
    loss = u - w if higher_is_better else w - u
    return np.asarray(loss / np.maximum(np.abs(u), floor), dtype=np.float64)


def exceeds(ratio: float, margin: float) -> bool:
    """Whether a ratio lies above a margin by more than the rounding of the scores that it is made of."""
    return ratio > margin + 8 * float(np.finfo(np.float64).eps) * max(1.0, abs(ratio))


@dataclass(frozen=True)
class Contrast:
    """Task-mean contrasts and their derivatives, all of one shape.

    Attributes:
        value: ``(mean_u - mean_w) / scale``, positive is worse.
        by_upstream, by_worldflux: derivatives for the delta method.
        scale: ``max((|mean_u| + |mean_w|) / 2, floor)``.
        moving: derivative of ``scale`` by |mean|: 1/2, or 0 where the floor holds.
        sign: 1 where higher is better, else -1.
    """

    value: FloatArray
    by_upstream: FloatArray
    by_worldflux: FloatArray
    scale: FloatArray
    moving: FloatArray
    sign: float


@dataclass(frozen=True)
class PooledContrast:
    """Bounds of the equally weighted mean of task contrasts, elementwise over leading axes."""

    value: FloatArray
    standard_error: FloatArray
    df: FloatArray
    lower: FloatArray
    upper: FloatArray


def task_contrast(
    mean_upstream: ArrayLike, mean_worldflux: ArrayLike, *, higher_is_better: bool = True, floor: float = 1.0
) -> Contrast:
    """The contrast of task means, elementwise over any shape.

    Dividing by the mean of both sides, instead of by one noisy upstream score, leaves no reward
    for a candidate that is compared with few seeds. Where the means have opposite signs the
    contrast is +-2 whatever they are: its own derivative is 0, which says nothing about noise, so
    the scale is held fixed there.
    """
    u, w = np.asarray(mean_upstream, np.float64), np.asarray(mean_worldflux, np.float64)
    sign = 1.0 if higher_is_better else -1.0
    half = (np.abs(u) + np.abs(w)) / 2
    scale = np.maximum(half, floor)
    moving = np.where(half > floor, 0.5, 0.0)
    difference = sign * (u - w)
    slope = np.where(u * w > 0, moving, 0.0) * difference / scale**2
    return Contrast(
        value=difference / scale,
        by_upstream=sign / scale - np.sign(u) * slope,
        by_worldflux=-sign / scale - np.sign(w) * slope,
        scale=scale,
        moving=moving,
        sign=sign,
    )


def pool_contrasts(
    contrast: Contrast,
    variance_upstream: FloatArray,
    variance_worldflux: FloatArray,
    n_upstream: ArrayLike,
    n_worldflux: ArrayLike,
    confidence: float,
) -> PooledContrast:
    """Equally weighted mean over the last axis (tasks) with one-sided t bounds.

    Variances are of single scores, shape (..., tasks); sizes broadcast to it and are at least 2.
    Delta method per task; Satterthwaite over all (task, side) components.
    """
    variances = np.stack(np.broadcast_arrays(variance_upstream, variance_worldflux), axis=-1)
    sizes = np.stack(np.broadcast_arrays(n_upstream, n_worldflux, contrast.value)[:2], axis=-1)
    slopes = np.stack([contrast.by_upstream, contrast.by_worldflux], axis=-1)
    terms = slopes**2 * variances / sizes
    value = contrast.value.mean(axis=-1)
    se = np.sqrt(terms.sum(axis=(-2, -1))) / contrast.value.shape[-1]
    flat = (*terms.shape[:-2], -1)
    df = satterthwaite(terms.reshape(flat), (sizes - 1).reshape(flat))
    reach = quantile(confidence, df) * se
    return PooledContrast(value, se, df, value - reach, value + reach)


def p_worse_than_margin(
    contrast: Contrast,
    means: tuple[ArrayLike, ArrayLike],
    variances: tuple[ArrayLike, ArrayLike],
    sizes: tuple[ArrayLike, ArrayLike],
    margin: float,
) -> FloatArray:
    """One-sided p per task of "the contrast is at most ``margin``", elementwise.

    Welch's t of ``difference - margin * scale``, linear in both means. A side without any spread says
    nothing of its own variance, so there p is at least that of the exact permutation test. Sizes are at
    least 2.
    """
    n_u, n_w, var_u, var_w, _ = np.broadcast_arrays(*sizes, *variances, contrast.value)
    # The derivatives of margin * scale, whatever the signs of the means.
    pull_u, pull_w = (margin * contrast.moving * np.sign(mean) for mean in means)
    terms = np.stack(
        [(contrast.sign - pull_u) ** 2 * var_u / n_u, (contrast.sign + pull_w) ** 2 * var_w / n_w], axis=-1
    )
    se = np.sqrt(terms.sum(axis=-1))
    excess = (contrast.value - margin) * contrast.scale
    without = np.where(excess > 0, np.inf, -np.inf)
    t = np.divide(excess, se, out=without, where=se > 0)
    p = upper_tail(t, satterthwaite(terms, np.stack([n_u - 1, n_w - 1], axis=-1)))
    exact = np.where((var_u > 0) & (var_w > 0), 0.0, _separation(n_u, n_w))
    return np.asarray(np.maximum(p, exact))


_separation = np.vectorize(separation_p, otypes=[np.float64])
