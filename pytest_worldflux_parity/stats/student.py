"""Tail probabilities and quantiles, the one place where scipy is asked for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats  # type: ignore[import-untyped, unused-ignore]  # scipy ships no types

from .arrays import FloatArray

# Typed the same whether or not scipy-stubs are installed.
_scipy: Any = stats

# Beyond this many degrees of freedom Student's t is the normal to 1e-8.
_LARGE = 1e8


def upper_tail(t: ArrayLike, df: ArrayLike) -> FloatArray:
    """P(T > t) for Student's t, elementwise."""
    return np.asarray(_scipy.t.sf(t, np.minimum(df, _LARGE)), dtype=np.float64)


def lower_tail(t: ArrayLike, df: ArrayLike) -> FloatArray:
    """P(T < t) for Student's t, elementwise."""
    return np.asarray(_scipy.t.cdf(t, np.minimum(df, _LARGE)), dtype=np.float64)


def quantile(level: ArrayLike, df: ArrayLike) -> FloatArray:
    """The value that Student's t stays below with probability ``level``, elementwise."""
    return np.asarray(_scipy.t.ppf(level, np.minimum(df, _LARGE)), dtype=np.float64)


def normal_cdf(z: ArrayLike) -> FloatArray:
    """P(Z < z) for the standard normal, elementwise."""
    return np.asarray(_scipy.norm.cdf(z), dtype=np.float64)


def scale_nodes(df: float, largest: float = math.inf, nodes: int = 256) -> tuple[FloatArray, FloatArray]:
    """Quadrature nodes and weights over the distribution of s/sigma, cut off at ``largest``.

    s is a standard deviation estimated with ``df`` degrees of freedom. Gauss-Legendre in the
    probability, so that ``(weights * f(nodes)).sum()`` is E[f(s/sigma); s/sigma < largest].
    """
    df = min(df, _LARGE)
    top = 1.0 if math.isinf(largest) else float(_scipy.chi2.cdf(df * largest**2, df))
    x, weights = np.polynomial.legendre.leggauss(nodes)
    probability = top * (x + 1) / 2
    return np.sqrt(_scipy.chi2.ppf(probability, df) / df), top * weights / 2


def separation_p(n_upstream: int, n_worldflux: int) -> float:
    """Exact p of two samples that do not overlap: 1 / C(n_u + n_w, n_u).

    The permutation test stands in where both samples have no spread at all, so that Student's t
    is undefined: three equal values against three others are not infinitely significant.
    """
    return 1.0 / math.comb(n_upstream + n_worldflux, n_upstream)
