"""What a number of seeds can show, and how many seeds it takes.

All powers are exact for normal scores: the test statistic is integrated over the distribution of
the estimated standard deviation (256 Gauss-Legendre nodes), which for TOST equals Owen's Q (Phillips
1990, J. Pharmacokin. Biopharm. 18:137-144). They are planned from variances, never from a difference
that was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from .arrays import FloatArray, check_level
from .student import normal_cdf, quantile, satterthwaite, scale_nodes

MOST_SEEDS = 10_000
_WELCH_SEEDS = 64


def tost_power(effect: float, se: float, df: float, *, low: float, high: float, alpha: float = 0.05) -> float:
    """Probability that both one-sided t-tests of ``low < effect < high`` reject.

    Args:
        effect: the true effect; se: the true standard error of its estimate; df: of ``se``.

    Raises:
        StatisticsError: the bounds are not in order, or a level or ``df`` is out of range.
    """
    _check_power(se, df, alpha)
    if not low < high:
        raise StatisticsError(f"bounds {low} and {high} are not in order", where="power")
    if se == 0.0:
        return float(low < effect < high)
    t = float(quantile(1 - alpha, df))
    ratio, weights = scale_nodes(df, largest=(high - low) / (2 * t * se))
    inside = normal_cdf((high - effect) / se - t * ratio) - normal_cdf((low - effect) / se + t * ratio)
    return min(max(float((weights * inside).sum()), 0.0), 1.0)


def paired_tost_power(
    effect: float, sd: float, n: int, *, low: float, high: float, alpha: float = 0.05
) -> float:
    """Power of the paired TOST with ``n`` pairs whose differences have standard deviation ``sd``."""
    _check_seeds(n)
    return tost_power(effect, sd / math.sqrt(n), n - 1, low=low, high=high, alpha=alpha)


def unpaired_tost_power(
    effect: float, sd: float, n: int, *, low: float, high: float, alpha: float = 0.05
) -> float:
    """Power of the unpaired TOST with ``n`` seeds on each side, both of standard deviation ``sd``."""
    _check_seeds(n)
    return tost_power(effect, sd * math.sqrt(2 / n), 2 * (n - 1), low=low, high=high, alpha=alpha)


def welch_tost_power(
    effect: float, sd: float, n: int, *, low: float, high: float, alpha: float = 0.05
) -> float:
    """Power of Welch's TOST with ``n`` seeds on each side, both of standard deviation ``sd``.

    With few seeds its degrees of freedom vary from sample to sample, which costs up to 5 points against
    :func:`unpaired_tost_power`; above 64 seeds there is no difference left, and that one is returned.
    """
    _check_seeds(n)
    if n > _WELCH_SEEDS:
        return unpaired_tost_power(effect, sd, n, low=low, high=high, alpha=alpha)
    se = sd * math.sqrt(2 / n)
    _check_power(se, n - 1, alpha)
    if se == 0.0:
        return float(low < effect < high)
    reach, weights = _welch_nodes(n, alpha)
    inside = normal_cdf((high - effect) / se - reach) - normal_cdf((low - effect) / se + reach)
    return min(float((weights * np.maximum(inside, 0.0)).sum()), 1.0)


@cache
def _welch_nodes(n: int, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Half-widths of Welch's interval over the true standard error, and their weights.

    Over all pairs of standard deviations of two samples of ``n``; each unordered pair once.
    """
    ratio, weights = scale_nodes(n - 1, nodes=48)
    first, second = np.triu_indices(ratio.size)
    both = np.where(first == second, 1.0, 2.0) * weights[first] * weights[second]
    variances = np.stack([ratio[first], ratio[second]], axis=-1) ** 2
    df = satterthwaite(variances, (n - 1, n - 1))
    return np.asarray(quantile(1 - alpha, df) * np.sqrt(variances.mean(axis=-1))), np.asarray(both)


def noninferiority_power(effect: float, se: float, df: float, *, margin: float, alpha: float = 0.05) -> float:
    """Probability that the one-sided t upper bound of ``effect`` (positive is worse) is <= ``margin``."""
    _check_power(se, df, alpha)
    if se == 0.0:
        return float(effect <= margin)
    ratio, weights = scale_nodes(df)
    t = float(quantile(1 - alpha, df))
    return min(max(float((weights * normal_cdf((margin - effect) / se - t * ratio)).sum()), 0.0), 1.0)


def se_and_df(variances: ArrayLike, sizes: ArrayLike) -> tuple[float, float]:
    """Standard error of a sum of means, and its Satterthwaite degrees of freedom.

    Args:
        variances: of a single value of each. sizes: how many values each is of, or one number for all.

    Raises:
        StatisticsError: a mean is of fewer than two values.
    """
    counts = np.asarray(sizes, np.float64)
    if counts.min() < 2:
        raise StatisticsError("a variance needs at least two seeds", where="power")
    terms = np.asarray(variances, np.float64) / counts
    return math.sqrt(terms.sum()), float(satterthwaite(terms, counts - 1))


def seeds_needed(
    power_at: Callable[[int], float], target: float = 0.8, *, least: int = 2, most: int = MOST_SEEDS
) -> int | None:
    """The least n with ``power_at(n) >= target``, and ``least`` if that is more; None above ``most``.

    ``power_at`` must not fall with n; found by doubling and halving, so in about 2 log2(n) calls.
    """
    check_level("the wanted power", target)
    low, high = 1, 2
    while power_at(high) < target:
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle) >= target else (middle, high)
    return max(high, least)


def attainable_margin(
    power_at: Callable[[float], float], target: float = 0.8, most: float = 1e6
) -> float | None:
    """The least margin with ``power_at(margin) >= target`` to 1e-6 relative, or None above ``most``.

    ``power_at`` must not fall with the margin; margins below 1e-12 are returned as 1e-12.
    """
    check_level("the wanted power", target)
    if power_at(most) < target:
        return None
    low, high = math.log(1e-12), math.log(most)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(math.exp(middle)) >= target else (middle, high)
    return math.exp(high)


def _check_power(se: float, df: float, alpha: float) -> None:
    check_level("alpha", alpha)
    if not (0.0 <= se < math.inf and df > 0):
        raise StatisticsError(f"standard error {se} with {df} degrees of freedom", where="power")


def _check_seeds(n: int) -> None:
    if n < 2:
        raise StatisticsError(f"{n} seeds give no variance; at least 2 are needed", where="power")
