"""Is it equivalent? Two one-sided t-tests (Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657-680).

Every effect is "worldflux minus upstream", so positive means that worldflux scores higher; equivalence
has no better direction. Student's t throughout: with the normal the size at n = 3 is 12 % for 5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from numpy.typing import ArrayLike

from ...errors import StatisticsError
from ...suite.proof_settings import DESIGNS, Design
from .arrays import FloatArray, check_level, same_values, samples, spread
from .effect_kinds import EffectKind, effect_kind
from .student import quantile, satterthwaite, separation_p, upper_tail

Status = Literal["ok", "degenerate", "undefined", "insufficient_pairs"]
Interval: TypeAlias = tuple[float | None, float | None]

# An interval of a ratio that reaches this far has no end worth naming.
_UNBOUNDED = 1e6


@dataclass(frozen=True, kw_only=True)
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

    status: Status = "ok"
    reason: str = ""
    design: Design
    n_upstream: int
    n_worldflux: int
    mean_upstream: float
    mean_worldflux: float
    effect: float | None = None
    standard_error: float | None = None
    df: float | None = None
    low: float
    high: float
    alpha: float
    p_lower: float | None = None
    p_upper: float | None = None
    p_value: float | None = None
    p_outside: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    pass_raw: bool = False
    identical: bool

    @property
    def estimate_outside(self) -> bool:
        """Whether the estimate itself lies outside the bounds, so that more seeds will not help."""
        return self.effect is not None and not self.low < self.effect < self.high


@dataclass(frozen=True)
class LinearEstimate:
    """A linear estimate with its standard error; ``df`` and p-values count only where ``se`` is above 0."""

    value: float
    se: float
    df: float

    @property
    def p_above_zero(self) -> float:
        """One-sided p of "not above zero"."""
        return float(upper_tail(self.value / self.se, self.df))

    @property
    def p_below_zero(self) -> float:
        """One-sided p of "not below zero"."""
        return float(upper_tail(-self.value / self.se, self.df))


def tost(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    effect: str,
    margin: float,
    alpha: float = 0.05,
    design: Design = "unpaired",
) -> TostResult:
    """The TOST of an effect of :mod:`.effect_kinds`, paired, pooled or Welch ("unpaired").

    Samples have shape (n,); paired entries i belong together. A relative effect is tested by two linear
    contrasts, ``mean_w - mean_u + margin |mean_u| > 0`` and its mirror (Sasabuchi 1980, Biometrika
    67:429-439), so the noise of the denominator counts; its interval inverts the same tests (Fieller).

    Raises:
        StatisticsError: bad samples, or a parameter that is out of range or no name.
    """
    check_level("alpha", alpha)
    if design not in DESIGNS:
        raise StatisticsError("not a design", where="tost", valid=DESIGNS, got=design)
    kind = effect_kind(effect)
    u, w = samples(upstream, worldflux, paired=design == "paired")
    low, high = kind.bounds(margin)
    result = TostResult(
        design=design,
        n_upstream=u.size,
        n_worldflux=w.size,
        mean_upstream=float(u.mean()),
        mean_worldflux=float(w.mean()),
        low=low,
        high=high,
        alpha=alpha,
        identical=same_values(u, w),
    )
    if problem := kind.find_problem(u, w):
        return replace(result, status="undefined", reason=problem)
    if min(u.size, w.size) < 2:
        few = f"{u.size} upstream and {w.size} worldflux scores; a test needs two of each"
        return replace(result, status="insufficient_pairs", reason=few)
    return _test_bounds(result, FittedEffect(u, w, kind, design))


def _test_bounds(result: TostResult, fitted: FittedEffect) -> TostResult:
    """``result`` with its p-values and its interval."""
    result = replace(result, effect=fitted.value)
    below, above = fitted.excess(result.low), fitted.excess(result.high)
    if below.se == 0.0 or above.se == 0.0:
        return _judge_degenerate(result)
    p_lower, p_upper = below.p_above_zero, above.p_below_zero
    ci_low, ci_high = fitted.interval(result.alpha)
    return replace(
        result,
        standard_error=fitted.standard_error,
        df=fitted.df if fitted.standard_error > 0.0 else min(below.df, above.df),
        p_lower=p_lower,
        p_upper=p_upper,
        p_value=max(p_lower, p_upper),
        p_outside=min(below.p_below_zero, above.p_above_zero),
        ci_low=ci_low,
        ci_high=ci_high,
        pass_raw=max(p_lower, p_upper) < result.alpha,
    )


class FittedEffect:
    """An effect of two samples of at least two values each, for which it exists."""

    def __init__(self, u: FloatArray, w: FloatArray, kind: EffectKind, design: Design) -> None:
        (self._u, self._of_u), (self._w, self._of_w) = kind.sized(u), kind.sized(w)
        self._design, self._is_relative = design, kind.is_relative
        self._means = float(self._u.mean()), float(self._w.mean())
        self._variances = float(spread(self._u, self._of_u)), float(spread(self._w, self._of_w))
        self._difference = self._contrast(1.0)
        self._size = abs(self._means[0]) if kind.is_relative else 1.0
        self.value = self._difference.value / self._size
        self.standard_error = self._difference.se / self._size
        self.df = self._difference.df

    def excess(self, bound: float) -> LinearEstimate:
        """By how much the effect is above a bound; a relative one before it is divided by the mean."""
        if self._is_relative:
            return self._contrast(1.0 + math.copysign(1.0, self._means[0]) * bound)
        return replace(self._difference, value=self._difference.value - bound)

    def interval(self, alpha: float) -> Interval:
        """The bounds that the tests at ``alpha`` keep; None on a side where they have no end."""
        if self._is_relative:
            return self._find_end(-1.0, alpha), self._find_end(1.0, alpha)
        reach = float(quantile(1 - alpha, self.df)) * self.standard_error
        return self.value - reach, self.value + reach

    def _contrast(self, factor: float) -> LinearEstimate:
        """mean(w) - factor * mean(u)."""
        value = self._means[1] - factor * self._means[0]
        if self._design == "paired":
            of = max(self._of_w, abs(factor) * self._of_u)
            variance = float(spread(self._w - factor * self._u, of))
            return LinearEstimate(value, math.sqrt(variance / self._u.size), self._u.size - 1)
        variances = factor**2 * self._variances[0], self._variances[1]
        sizes = self._u.size, self._w.size
        if self._design == "pooled":
            df = float(sum(sizes) - 2)
            pooled = (variances[0] * (sizes[0] - 1) + variances[1] * (sizes[1] - 1)) / df
            return LinearEstimate(value, math.sqrt(pooled * (1 / sizes[0] + 1 / sizes[1])), df)
        terms = variances[0] / sizes[0], variances[1] / sizes[1]
        df = float(satterthwaite(terms, (sizes[0] - 1, sizes[1] - 1)))
        return LinearEstimate(value, math.sqrt(sum(terms)), df)

    def _find_end(self, side: float, alpha: float) -> float | None:
        """Walk outward in doubling steps until a bound is refused, then halve the last step."""

        def is_kept(bound: float) -> bool:
            at = self.excess(bound)
            return -side * at.value <= float(quantile(1 - alpha, at.df)) * at.se

        inner, step = self.value, 1e-6 * (1.0 + abs(self.value))
        while is_kept(self.value + side * step):
            inner, step = self.value + side * step, 2 * step
            if step > _UNBOUNDED:
                return None
        outer = self.value + side * step
        for _ in range(50):
            middle = (inner + outer) / 2
            inner, outer = (middle, outer) if is_kept(middle) else (inner, middle)
        return inner


def _judge_degenerate(result: TostResult) -> TostResult:
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
