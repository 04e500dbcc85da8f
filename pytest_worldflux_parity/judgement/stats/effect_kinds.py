"""The effects that can be tested: how worldflux is held against upstream, positive where it is higher.

Every effect is tested by the same code (:mod:`.tost`, :mod:`.bayes`), which asks an entry of ``EFFECTS``
for what is its own. Another effect is another entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ...errors import StatisticsError
from .arrays import FloatArray, check_level

# Values whose means are compared, and the size that their rounding is of.
Sized: TypeAlias = tuple[FloatArray, float]

# |mean| below this part of the largest score is 0 within rounding.
_NO_MEAN = 1e-12


@dataclass(frozen=True)
class EffectKind:
    """One effect.

    Attributes:
        bounds: margin -> the bounds of equivalence on the scale of the effect.
        sized: scores of one side -> the values whose means are compared.
        find_problem: scores of upstream and worldflux -> why the effect does not exist for them; empty
            where it does.
        is_relative: whether the difference of means is divided by |mean of upstream|.
        to_relative: value of the effect -> the relative difference of scores that it means.
    """

    bounds: Callable[[float], tuple[float, float]]
    sized: Callable[[FloatArray], Sized]
    find_problem: Callable[[FloatArray, FloatArray], str]
    is_relative: bool = False
    to_relative: Callable[[float], float] = float


def effect_kind(name: str) -> EffectKind:
    """The effect of this name.

    Raises:
        StatisticsError: there is none.
    """
    if name not in EFFECTS:
        raise StatisticsError("not an effect", where="tost", valid=EFFECTS, got=name)
    return EFFECTS[name]


def _symmetric_bounds(margin: float) -> tuple[float, float]:
    if not margin > 0:
        raise StatisticsError(f"bounds {-margin} and {margin} are not in order", where="tost")
    return -margin, margin


def _relative_bounds(margin: float) -> tuple[float, float]:
    return _symmetric_bounds(check_level("margin", margin))


def _log_bounds(margin: float) -> tuple[float, float]:
    check_level("margin", margin)
    return math.log1p(-margin), math.log1p(margin)


def _sized(values: FloatArray) -> Sized:
    return values, float(np.abs(values).max())


def _sized_logs(values: FloatArray) -> Sized:
    """log(x (1 + eps)) = log x + eps, so their rounding is of 1 and of the logs themselves."""
    logs = np.log(values)
    return logs, 1.0 + float(np.abs(logs).max())


def _not_positive(upstream: FloatArray, worldflux: FloatArray) -> str:
    """Scores are never shifted to make a log possible: -20 against -20.1 would become an effect of -15."""
    if min(upstream.min(), worldflux.min()) > 0:
        return ""
    return "a score is not positive, so its log does not exist; use normalized_difference"


def _without_mean(upstream: FloatArray, worldflux: FloatArray) -> str:
    if abs(upstream.mean()) > _NO_MEAN * max(np.abs(upstream).max(), np.abs(worldflux).max()):
        return ""
    return "the mean upstream score is 0 within rounding, so no relative difference exists"


EFFECTS = {
    "log_ratio": EffectKind(_log_bounds, _sized_logs, _not_positive, to_relative=math.expm1),
    "normalized_difference": EffectKind(_relative_bounds, _sized, _without_mean, is_relative=True),
    # In the metric's units; no suite asks for it by name.
    "difference": EffectKind(_symmetric_bounds, _sized, lambda upstream, worldflux: ""),
}
