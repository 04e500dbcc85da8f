"""Is it worse? The documented rule of the quick track: the mean drop ratio over pairs.

It stays as it is documented, although it is biased: dividing by one noisy upstream seed rewards the
candidate. :mod:`.calibrated` adds the contrast of task means, which is not, and is three-way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...errors import StatisticsError
from .arrays import FloatArray, check_level, samples
from .effects import drop_ratio, exceeds
from .shown_effect import of_drop

RESAMPLES = 4000
SMALLEST_FLOOR = 1e-50

# Index matrices of the bootstrap are drawn in slices of at most this many entries.
_SLICE = 4_000_000


@dataclass(frozen=True)
class DropRatioResult:
    """The documented rule on n pairs; ratios, not percent, positive is worse.

    ``identical``: both columns hold the same values, which is a copy and proves nothing.
    """

    sample_size: int
    mean_upstream_score: float
    mean_worldflux_score: float
    mean_drop_ratio: float
    ci_lower_ratio: float
    ci_upper_ratio: float
    confidence: float
    margin_ratio: float
    pass_: bool
    identical: bool
    reason: str


def drop_ratio_rule(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    margin: float = 0.05,
    confidence: float = 0.95,
    higher_is_better: bool = True,
    floor: float = 1.0,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> DropRatioResult:
    """The documented rule: pass when the upper bound of the mean drop ratio is at most ``margin``.

    Percentile bootstrap over all pairs, entry i of both arrays (shape (n,)) being the same (task,
    seed). The reference sorts pairs by (task, seed), uses ``default_rng(0)`` and 4000 resamples, and
    interpolates the percentile linearly; so does this function with that order and generator. The
    bounds are one-sided, each at ``confidence``.

    Raises:
        StatisticsError: as :func:`.arrays.samples`, or a parameter is out of range.
    """
    check_rule(margin, confidence, floor)
    u, w = samples(upstream, worldflux, paired=True)
    drops = drop_ratio(u, w, higher_is_better=higher_is_better, floor=floor)
    means = bootstrap_means(drops, resamples, rng)
    lower, upper = np.quantile(means, [1 - confidence, confidence], method="linear")
    result = DropRatioResult(
        sample_size=drops.size,
        mean_upstream_score=float(u.mean()),
        mean_worldflux_score=float(w.mean()),
        mean_drop_ratio=float(drops.mean()),
        ci_lower_ratio=float(lower),
        ci_upper_ratio=float(upper),
        confidence=confidence,
        margin_ratio=margin,
        pass_=not exceeds(float(upper), margin),
        identical=bool(np.array_equal(u, w)),
        reason="",
    )
    return replace(result, reason=reason_of(vars(result), result.pass_, higher_is_better=higher_is_better))


def reason_of(result: Mapping[str, Any], passed: bool, *, higher_is_better: bool) -> str:
    """What the rule says of a result, or of the ``stats`` of a document."""
    shown = of_drop(result, higher_is_better=higher_is_better).sentence(2 * result["confidence"] - 1)
    word = "within" if passed else "not shown to be within"
    return f"{word} the margin of {result['margin_ratio']:.2%} over {result['sample_size']} pairs: {shown}"


def bootstrap_means(values: FloatArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Means of ``resamples`` samples drawn with replacement, shape (resamples,).

    The stream of ``rng.integers`` is the same whether the index matrix is drawn whole or in slices.
    """
    if resamples < 1:
        raise StatisticsError(f"{resamples} resamples are none", where="bootstrap")
    step = max(1, _SLICE // values.size)
    slices = [min(step, resamples - start) for start in range(0, resamples, step)]
    means = [values[rng.integers(0, values.size, size=(rows, values.size))].mean(axis=1) for rows in slices]
    return np.concatenate(means)


def check_rule(margin: float, confidence: float, floor: float) -> None:
    """Check what both rules take.

    Raises:
        StatisticsError: confidence outside (0, 1), margin outside [0, 2), or a floor that is not positive.
    """
    check_level("confidence", confidence)
    if not 0.0 <= margin < 2.0:
        raise StatisticsError(f"margin is {margin}, not a ratio from 0 up to 2")
    if not SMALLEST_FLOOR <= floor <= 1 / SMALLEST_FLOOR:
        raise StatisticsError(
            f"floor is {floor}, not a number from {SMALLEST_FLOOR:g} to {1 / SMALLEST_FLOOR:g}"
        )
