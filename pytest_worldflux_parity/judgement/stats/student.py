"""Tail probabilities and quantiles, the one place where scipy is asked for them.

These are the functions that scipy.stats calls itself for ``t``, ``norm`` and ``chi2``, without its checks
of arguments, which cost a hundred times the computation.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped, unused-ignore]  # scipy ships no types

from .arrays import FloatArray

# Typed the same whether or not scipy-stubs are installed.
_scipy: Any = special

# Beyond this many degrees of freedom Student's t is the normal to 1e-8.
_NORMAL_FROM = 1e8


def upper_tail(t: ArrayLike, df: ArrayLike) -> FloatArray:
    """P(T > t) for Student's t, elementwise."""
    return np.asarray(_scipy.stdtr(np.minimum(df, _NORMAL_FROM), np.negative(t)), dtype=np.float64)


def quantile(level: ArrayLike, df: ArrayLike) -> FloatArray:
    """The value that Student's t stays below with probability ``level``, elementwise."""
    return np.asarray(_scipy.stdtrit(np.minimum(df, _NORMAL_FROM), level), dtype=np.float64)


def satterthwaite(variances: ArrayLike, dfs: ArrayLike) -> FloatArray:
    """Degrees of freedom of a sum of independent variance estimates, along the last axis.

    Source: Satterthwaite (1946), Biometrics Bulletin 2:110-114. Infinite where all are 0. Computed from
    shares of the sum, so that small variances do not vanish when squared.
    """
    parts = np.asarray(variances, np.float64)
    total = parts.sum(axis=-1, keepdims=True)
    shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    inverse = (shares**2 / dfs).sum(axis=-1)
    return np.asarray(np.divide(1.0, inverse, out=np.full_like(inverse, np.inf), where=inverse > 0))


def normal_cdf(z: ArrayLike) -> FloatArray:
    """P(Z < z) for the standard normal, elementwise."""
    return np.asarray(_scipy.ndtr(z), dtype=np.float64)


def scale_nodes(df: float, largest: float = math.inf, nodes: int = 256) -> tuple[FloatArray, FloatArray]:
    """Quadrature nodes and weights over the distribution of s/sigma, cut off at ``largest``.

    s is a standard deviation estimated with ``df`` degrees of freedom. Gauss-Legendre in the
    probability, so that ``(weights * f(nodes)).sum()`` is E[f(s/sigma); s/sigma < largest].
    """
    df = min(df, _NORMAL_FROM)
    top = 1.0 if math.isinf(largest) else float(_scipy.gammainc(df / 2, df * largest**2 / 2))
    x, weights = _legendre(nodes)
    probability = top * (x + 1) / 2
    return np.sqrt(2 * _scipy.gammaincinv(df / 2, probability) / df), top * weights / 2


@cache
def _legendre(nodes: int) -> tuple[FloatArray, FloatArray]:
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return np.asarray(x, np.float64), np.asarray(weights, np.float64)


def separation_p(n_upstream: int, n_worldflux: int) -> float:
    """Exact p of two samples that do not overlap: 1 / C(n_u + n_w, n_u).

    The permutation test stands in where both samples have no spread at all, so that Student's t
    is undefined: three equal values against three others are not infinitely significant.
    """
    # Of more than 514 seeds a side the count is above the largest float.
    return 1 / math.comb(n_upstream + n_worldflux, n_upstream)
