"""The one effect that is shown: ``(worldflux - official) / |official|`` of task means; + is higher.

Each rule decides on a statistic of its own, and documents keep its numbers. Each of them means such a
relative difference, and that is what tables, pictures and sentences show: of the estimate, of the ends of
its interval and of the bounds that it is held against alike, so that what is shown lies on the side of its
bound on which it was decided.

=========================  ===========================================  ================================
rule                       its statistic, of official u and worldflux w  the effect that it means
=========================  ===========================================  ================================
``drop_ratio``             mean over pairs of (u - w) / max(|u|, floor)  -drop: the mean of the pairs' own
``calibrated``             mean over tasks of (u - w) / (|u| + |w|) * 2  -d / (1 + d / 2): near that of the
                                                                        geometric mean of the ratios w / u
``normalized_difference``  (w - u) / |u|                                 as it is
``log_ratio``              mean log w - mean log u                       exp(x) - 1
=========================  ===========================================  ================================

Where a quick suite's floor holds in place of scores below it, the effect is relative to the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .effect_kinds import effect_kind
from .tost import tost

# Of a statistic as documents have it: a result's own fields by name.
Fields = Mapping[str, Any]
Ends = tuple[float | None, float | None]
_DIGITS = (2, 3, 4, 6, 9, 12)


@dataclass(frozen=True)
class ShownEffect:
    """One effect; 0.05 is 5 % higher than official.

    Attributes:
        value: None where none is known. interval: its ends; None on a side without an end, both where
            there is none. bounds: where it has to be shown to be; None on an open side.
    """

    value: float | None = None
    interval: Ends = (None, None)
    bounds: Ends = (None, None)

    @property
    def badness(self) -> float:
        """How far the estimate goes towards what is held against it; the larger the worse."""
        if self.value is None:
            return math.inf
        least, most = self.bounds
        if least is not None and most is not None:
            return abs(self.value)
        return self.value if least is None else -self.value

    @property
    def text(self) -> str:
        """``-1.1%``."""
        return _spell(self.value, 1)

    def sentence(self, level: float) -> str:
        """``effect -1.08%, 90% interval -1.69% to -0.48%, bound -5.00%``, with digits that tell them apart.

        Args:
            level: confidence of the interval.
        """
        held = [x for x in self.bounds if x is not None]
        ends = [x for x in self.interval if x is not None]
        digits = next((n for n in _DIGITS if not {*_spell_all(held, n)} & {*_spell_all(ends, n)}), _DIGITS[0])
        low, high = (_spell(x, digits) for x in self.interval)
        within = f", {level:.0%} interval {low} to {high}" if ends else ""
        bounds = " and ".join(_spell_all(held, digits))
        return f"effect {_spell(self.value, digits)}{within}, bound{'s' * (len(held) > 1)} {bounds}"


def _spell(value: float | None, digits: int) -> str:
    return "without an end" if value is None else f"{value:+.{digits}%}"


def _spell_all(values: Sequence[float], digits: int) -> list[str]:
    return [_spell(x, digits) for x in values]


def of_drop(result: Fields, *, higher_is_better: bool) -> ShownEffect:
    """The effect of the documented rule, of a result or of a document's ``stats``."""
    keys = ("mean_drop_ratio", "ci_lower_ratio", "ci_upper_ratio", "margin_ratio")
    return _effect_of_loss([result.get(key) for key in keys], lambda loss: loss, higher_is_better)


def of_contrast(result: Fields, tasks: Sequence[Fields], *, higher_is_better: bool) -> ShownEffect:
    """The effect of a mean contrast of tasks, of a calibrated result.

    Args:
        tasks: fields of its task results.
    """
    numbers = [result[key] for key in ("contrast", "lower", "upper", "margin")]
    return _effect_of_loss(numbers, _relative_to_official(tasks, result["floor"]), higher_is_better)


def of_task(
    result: Fields,
    task: Fields,
    sides: tuple[Sequence[float], Sequence[float]] | None = None,
    *,
    higher_is_better: bool,
) -> ShownEffect:
    """The effect of one task of a calibrated result.

    Args:
        sides: scores of official and worldflux, for the interval: it inverts the linear contrasts by which
            the rule says of a task that it is worse (Fieller). None: no interval is wanted.
    """
    alone = {"contrast": task["contrast"], "lower": None, "upper": None}
    shown = of_contrast({**result, **alone}, [task], higher_is_better=higher_is_better)
    if sides is None or task["standard_error"] is None or shown.value is None:
        return shown
    # Its margin decides nothing of the interval.
    effect, unit = ("difference", result["floor"]) if task["floored"] else ("normalized_difference", 1.0)
    test = tost(*sides, effect=effect, margin=0.5, alpha=1 - result["confidence"])
    low, high = (None if end is None else end / unit for end in (test.ci_low, test.ci_high))
    return replace(shown, interval=(low, high))


def of_test(effect: str, value: float | None, interval: Ends, bounds: Ends) -> ShownEffect:
    """The effect of an equivalence test on an effect of :mod:`.effect_kinds`."""
    value, *ends = (to_relative(effect, x) for x in (value, *interval, *bounds))
    return ShownEffect(value, (ends[0], ends[1]), (ends[2], ends[3]))


def to_relative(effect: str, value: float | None) -> float | None:
    """The relative difference that the value of a proof's effect means; None beyond all numbers."""
    try:
        return None if value is None else effect_kind(effect).to_relative(value)
    except OverflowError:
        return None


def _effect_of_loss(
    numbers: Sequence[float | None], change: Callable[[float], float | None], higher_is_better: bool
) -> ShownEffect:
    """The effect of a loss: a number that is positive where worldflux is worse.

    Args:
        numbers: the loss, the ends of its interval, and the margin that it is held against.
        change: a gain, positive where worldflux is higher, to the effect that it means.
    """
    # Not -x, of which 0 is -0.0.
    value, low, high, margin = (
        None if x is None else change(0.0 - x if higher_is_better else x) for x in numbers
    )
    if higher_is_better:
        return ShownEffect(value, (high, low), (margin, None))
    return ShownEffect(value, (low, high), (None, margin))


def _relative_to_official(tasks: Sequence[Fields], floor: float) -> Callable[[float], float | None]:
    """From a difference relative to the mean of both sides to that relative to the official mean.

    Where ``(w - u) / ((|u| + |w|) / 2)`` is e, ``(w - u) / |u|`` is e / (1 - e / 2) of two positive means and
    e / (1 + e / 2) of two negative ones. Over several tasks the signs are averaged.
    """
    bends = [_bend_of(task) for task in tasks]
    bend = sum(bends) / len(bends)
    unit = 1.0
    if len(tasks) == 1 and bend == 0.0 and not tasks[0]["floored"]:
        # Opposite signs: every contrast is +-2, so it is measured against the official mean itself.
        u, w = abs(tasks[0]["mean_upstream"]), abs(tasks[0]["mean_worldflux"])
        unit = (u + w) / 2 / max(u, floor)

    def change(gain: float) -> float | None:
        # From here on a ratio has no end.
        return None if bend * gain >= 2 else unit * gain / (1 - bend * gain / 2)

    return change


def _bend_of(task: Fields) -> float:
    """The sign of both means of a task; 0 where they have none in common, or where the floor holds."""
    u, w = task["mean_upstream"], task["mean_worldflux"]
    if task["floored"] or not (u > 0 < w or u < 0 > w):
        return 0.0
    return math.copysign(1.0, u)
