"""Is it equivalent? Two one-sided t-tests (Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657-680).

Every effect is "worldflux minus upstream", so positive means that worldflux scores higher; equivalence
has no better direction. Student's t throughout: with the normal the size at n = 3 is 12 % for 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from ...suite.proof_settings import Design, Effect
from .arrays import FloatArray, check_level, logs, pairs, same_values, sample, spread
from .student import lower_tail, quantile_of, separation_p, upper_tail, welch_df

Status = Literal["ok", "degenerate", "undefined", "insufficient_pairs"]

# |mean| below this part of the largest score is 0 within rounding.
_NO_MEAN = 1e-12
# An interval of a ratio that reaches this far has no end worth naming.
_UNBOUNDED = 1e6


@dataclass(frozen=True)
class TostResult:
    """One equivalence test. Numbers that do not exist are None, never NaN.

    Attributes:
        status: ``ok``; ``degenerate`` where nothing varies; ``undefined`` where the effect does not
            exist for these scores; ``insufficient_pairs`` with fewer than two per side. Only ``ok``
            can pass. ``reason`` says why it is not ``ok``, and what would be.
        p_lower, p_upper: one-sided p of "not above the lower bound", "not below the upper bound".
        p_value: the larger of both. p_outside: one-sided p of "not outside the bounds".
        ci_low, ci_high: the interval of confidence 1 - 2 alpha; None where it has no end.
        identical: both samples hold the same values.
    """

    status: Status
    reason: str
    design: Design
    n_upstream: int
    n_worldflux: int
    mean_upstream: float
    mean_worldflux: float
    effect: float | None
    standard_error: float | None
    df: float | None
    low: float
    high: float
    alpha: float
    p_lower: float | None
    p_upper: float | None
    p_value: float | None
    p_outside: float | None
    ci_low: float | None
    ci_high: float | None
    pass_raw: bool
    identical: bool

    @property
    def estimate_outside(self) -> bool:
        """Whether the estimate itself lies outside the bounds, so that more seeds will not help."""
        return self.effect is not None and not self.low < self.effect < self.high


@dataclass(frozen=True)
class _Estimate:
    """A linear estimate with its standard error; ``df`` counts only where ``se`` is above 0."""

    value: float
    se: float
    df: float


def tost_difference(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    low: float,
    high: float,
    alpha: float = 0.05,
    design: Design = "unpaired",
) -> TostResult:
    """TOST of ``mean_w - mean_u`` against absolute bounds, paired, pooled or Welch ("unpaired").

    Samples have shape (n,); paired entries i belong together.

    Raises:
        StatisticsError: bad samples, bounds out of order, or alpha out of range.
    """
    check_level("alpha", alpha)
    u, w = _samples(upstream, worldflux, design)
    if not low < high:
        raise StatisticsError(f"bounds {low} and {high} are not in order", where="tost")
    if min(u.size, w.size) < 2:
        return _without_test(_base(u, w, low, high, alpha, design), "insufficient_pairs")
    return _linear(_sized(u), _sized(w), _base(u, w, low, high, alpha, design))


def tost_log_ratio(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    margin: float,
    alpha: float = 0.05,
    design: Design = "unpaired",
) -> TostResult:
    """TOST of the difference of mean logs against log(1 - margin) and log(1 + margin).

    Undefined, and never shifted, where a score is not positive. Means in the result are of the scores.

    Raises:
        StatisticsError: as :func:`tost_difference`; ``margin`` is a ratio between 0 and 1.
    """
    check_level("alpha", alpha)
    check_level("margin", margin)
    u, w = _samples(upstream, worldflux, design)
    base = _base(u, w, math.log1p(-margin), math.log1p(margin), alpha, design)
    if min(u.min(), w.min()) <= 0:
        why = "a score is not positive, so its log does not exist; use normalized_difference"
        return _without_test(base, "undefined", why)
    if min(u.size, w.size) < 2:
        return _without_test(base, "insufficient_pairs")
    return _linear(logs(u), logs(w), base)


def tost_normalized_difference(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    margin: float,
    alpha: float = 0.05,
    design: Design = "unpaired",
) -> TostResult:
    """TOST of ``(mean_w - mean_u) / |mean_u|`` against -margin and margin, by two linear contrasts.

    ``mean_w - mean_u + margin |mean_u| > 0`` and its mirror (Sasabuchi 1980, Biometrika 67:429-439), each
    a t-test, so the noise of the denominator counts. The interval inverts the same tests (Fieller).

    Raises:
        StatisticsError: as :func:`tost_difference`; ``margin`` is a ratio between 0 and 1.
    """
    check_level("alpha", alpha)
    check_level("margin", margin)
    u, w = _samples(upstream, worldflux, design)
    base = _base(u, w, -margin, margin, alpha, design)
    if abs(base.mean_upstream) <= _NO_MEAN * max(np.abs(u).max(), np.abs(w).max()):
        why = "the mean upstream score is 0 within rounding, so no relative difference exists"
        return _without_test(base, "undefined", why)
    if min(u.size, w.size) < 2:
        return _without_test(base, "insufficient_pairs")
    return _relative(u, w, base)


def tost(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    effect: Effect,
    margin: float,
    alpha: float = 0.05,
    design: Design = "unpaired",
) -> TostResult:
    """The TOST of the named effect.

    Raises:
        StatisticsError: as :func:`tost_log_ratio`, or there is no such effect.
    """
    tests = {"log_ratio": tost_log_ratio, "normalized_difference": tost_normalized_difference}
    if effect not in tests:
        raise StatisticsError("not an effect", where="tost", valid=tests, got=effect)
    return tests[effect](upstream, worldflux, margin=margin, alpha=alpha, design=design)


def _samples(upstream: ArrayLike, worldflux: ArrayLike, design: Design) -> tuple[FloatArray, FloatArray]:
    if design == "paired":
        return pairs(upstream, worldflux)
    if design not in ("pooled", "unpaired"):
        raise StatisticsError(
            "not a design", where="tost", valid=("paired", "pooled", "unpaired"), got=design
        )
    return sample(upstream, "upstream"), sample(worldflux, "worldflux")


def _base(u: FloatArray, w: FloatArray, low: float, high: float, alpha: float, design: Design) -> TostResult:
    """The result as far as it is known before any test."""
    return TostResult(
        status="ok",
        reason="",
        design=design,
        n_upstream=u.size,
        n_worldflux=w.size,
        mean_upstream=float(u.mean()),
        mean_worldflux=float(w.mean()),
        effect=None,
        standard_error=None,
        df=None,
        low=low,
        high=high,
        alpha=alpha,
        p_lower=None,
        p_upper=None,
        p_value=None,
        p_outside=None,
        ci_low=None,
        ci_high=None,
        pass_raw=False,
        identical=same_values(u, w),
    )


def _without_test(base: TostResult, status: Status, reason: str = "") -> TostResult:
    few = f"{base.n_upstream} upstream and {base.n_worldflux} worldflux scores; a test needs two of each"
    return replace(base, status=status, reason=reason or few)


Sized = tuple[FloatArray, float]


def _sized(values: FloatArray) -> Sized:
    """Values, and the size that their rounding is of."""
    return values, float(np.abs(values).max())


def _linear(u: Sized, w: Sized, base: TostResult) -> TostResult:
    """TOST of mean(w) - mean(u)."""
    estimate = _Contrasts(u, w, base.design)(1.0)
    result = replace(base, effect=estimate.value)
    if estimate.se == 0.0:
        return _degenerate(result)
    reach = quantile_of(1 - base.alpha, estimate.df) * estimate.se
    below = _Estimate(estimate.value - base.low, estimate.se, estimate.df)
    above = _Estimate(estimate.value - base.high, estimate.se, estimate.df)
    return replace(
        _tested(result, below, above),
        standard_error=estimate.se,
        df=estimate.df,
        ci_low=estimate.value - reach,
        ci_high=estimate.value + reach,
    )


def _relative(u: FloatArray, w: FloatArray, base: TostResult) -> TostResult:
    """TOST of (mean(w) - mean(u)) / |mean(u)| by its two linear contrasts."""
    size = abs(base.mean_upstream)
    sign = math.copysign(1.0, base.mean_upstream)
    contrasts = _Contrasts(_sized(u), _sized(w), base.design)
    estimate = contrasts(1.0)
    result = replace(base, effect=estimate.value / size)

    def contrast(bound: float) -> _Estimate:
        return contrasts(1.0 + sign * bound)

    below, above = contrast(base.low), contrast(base.high)
    if below.se == 0.0 or above.se == 0.0:
        return _degenerate(result)
    return replace(
        _tested(result, below, above),
        standard_error=estimate.se / size,
        df=estimate.df if estimate.se > 0.0 else min(below.df, above.df),
        ci_low=_end(contrast, estimate.value / size, -1.0, base.alpha),
        ci_high=_end(contrast, estimate.value / size, 1.0, base.alpha),
    )


class _Contrasts:
    """mean(w) - factor * mean(u) for any factor, with its standard error and degrees of freedom."""

    def __init__(self, u: Sized, w: Sized, design: Design) -> None:
        (self._u, self._of_u), (self._w, self._of_w), self._design = u, w, design
        self._means = float(self._u.mean()), float(self._w.mean())
        self._variances = float(spread(*u)), float(spread(*w))

    def __call__(self, factor: float) -> _Estimate:
        value = self._means[1] - factor * self._means[0]
        if self._design == "paired":
            of = max(self._of_w, abs(factor) * self._of_u)
            variance = float(spread(self._w - factor * self._u, of))
            return _Estimate(value, math.sqrt(variance / self._u.size), self._u.size - 1)
        variances = factor**2 * self._variances[0], self._variances[1]
        sizes = self._u.size, self._w.size
        if self._design == "pooled":
            df = float(sum(sizes) - 2)
            pooled = (variances[0] * (sizes[0] - 1) + variances[1] * (sizes[1] - 1)) / df
            return _Estimate(value, math.sqrt(pooled * (1 / sizes[0] + 1 / sizes[1])), df)
        terms = variances[0] / sizes[0], variances[1] / sizes[1]
        return _Estimate(value, math.sqrt(sum(terms)), welch_df(terms, (sizes[0] - 1, sizes[1] - 1)))


def _tested(result: TostResult, below: _Estimate, above: _Estimate) -> TostResult:
    """``result`` with the p-values of "below is positive" and "above is negative"."""
    t_below, t_above = below.value / below.se, above.value / above.se
    p_lower, p_upper = float(upper_tail(t_below, below.df)), float(lower_tail(t_above, above.df))
    p_outside = min(float(lower_tail(t_below, below.df)), float(upper_tail(t_above, above.df)))
    return replace(
        result,
        p_lower=p_lower,
        p_upper=p_upper,
        p_value=max(p_lower, p_upper),
        p_outside=p_outside,
        pass_raw=max(p_lower, p_upper) < result.alpha,
    )


def _degenerate(result: TostResult) -> TostResult:
    """No variance, so no t: never a pass, but values that lie apart in every seed are no accident."""
    apart = separation_p(result.n_upstream, result.n_worldflux)
    if result.design == "paired":
        # The sign test: every one of n differences on one side.
        apart = 0.5**result.n_upstream
    outside = apart if result.estimate_outside else 1.0
    more = ": identical columns are a copy, not a proof" if result.identical else ""
    if result.estimate_outside:
        more = ", and the estimate lies outside of the bounds"
    return replace(
        result, status="degenerate", reason=f"nothing varies between seeds{more}", p_outside=outside
    )


def _end(contrast: Callable[[float], _Estimate], start: float, side: float, alpha: float) -> float | None:
    """The end of the interval on one side: the last bound that the test at ``alpha`` keeps.

    Walks outward from the estimate in doubling steps until a bound is refused, then halves the last step.
    """

    def kept(bound: float) -> bool:
        at = contrast(bound)
        return -side * at.value <= quantile_of(1 - alpha, at.df) * at.se

    inner, step = start, 1e-6 * (1.0 + abs(start))
    while kept(start + side * step):
        inner, step = start + side * step, 2 * step
        if step > _UNBOUNDED:
            return None
    outer = start + side * step
    for _ in range(50):
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if kept(middle) else (inner, middle)
    return inner
