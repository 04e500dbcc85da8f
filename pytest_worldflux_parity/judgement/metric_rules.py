"""The rules by which a quick suite judges a metric: scores in, a ruling out.

Another rule is another entry of ``METRIC_RULES``, and its name in ``schemas/rule_names.py``. What one with
statistics of its own needs beside these stands in the package's ``README.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..suite.suite import Metric
from .stats.arrays import Verdict
from .stats.calibrated import CalibratedResult, TaskScores, calibrated_rule, floor_doubt
from .stats.equivalence import equivalence_rule
from .stats.noninferiority import DropRatioResult
from .stats.shown_effect import Ends, of_contrast, of_drop

# The reference's generator: the documented rule is reproduced to the last digit.
BOOTSTRAP_SEED = 0
# The forms of statistics that documents know; a rule gives those that stand behind its ruling.
STATISTICS = ("drop_ratio", "calibrated", "equivalence")


@dataclass(frozen=True)
class Ruling:
    """What a rule says of one metric.

    Attributes:
        results: name in ``STATISTICS`` -> the statistics behind it.
        interval: the lowest and the highest end of the effect's intervals; None where there is none.
    """

    verdict: Verdict
    reason: str
    warnings: tuple[str, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    interval: tuple[float, float] | None = None


def span_of_intervals(intervals: Iterable[Ends]) -> tuple[float, float] | None:
    """From the lowest to the highest end; None where one has no end, or there is none."""
    ends = list(intervals)
    lows = [low for low, _ in ends if low is not None]
    highs = [high for _, high in ends if high is not None]
    return (min(lows), max(highs)) if len(lows) == len(highs) == len(ends) > 0 else None


def _judge_by_equivalence(metric: Metric, scores: Sequence[TaskScores], *, legacy: bool) -> Ruling:
    result = equivalence_rule(scores, margin=metric.margin, confidence=metric.confidence)
    interval = span_of_intervals((t.tost.ci_low, t.tost.ci_high) for t in result.tasks)
    return Ruling(result.verdict, result.reason, (), {"equivalence": result}, interval)


def _judge_by_contrast(metric: Metric, scores: Sequence[TaskScores], *, legacy: bool) -> Ruling:
    """The rules ``calibrated`` and ``drop_ratio``: documents have both, one of them decides."""
    calibrated = calibrated_rule(
        scores,
        margin=metric.margin,
        confidence=metric.confidence,
        floor=metric.floor,
        higher_is_better=metric.higher_is_better,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    documented = calibrated.documented
    doubt = "" if calibrated.floor_admitted else floor_doubt(calibrated)
    warnings = _warn_of_floor(calibrated)
    verdict, reason = calibrated.verdict, calibrated.reason
    if metric.rule == "drop_ratio":
        verdict, reason = _documented_verdict(documented)
        # Where the floor alone makes the difference, that is told, once.
        warnings += () if calibrated.reason == doubt else _warn_disagreement(documented, calibrated)
    if doubt and verdict == "pass" and not legacy:
        verdict, reason = "inconclusive", doubt
    elif doubt and reason != doubt:
        warnings += (doubt,)
    results = {"drop_ratio": documented, "calibrated": calibrated}
    return Ruling(verdict, reason, warnings, results, _contrast_interval(metric, calibrated))


def _contrast_interval(metric: Metric, calibrated: CalibratedResult) -> tuple[float, float] | None:
    higher = metric.higher_is_better
    if metric.rule == "calibrated":
        tasks = [vars(t) for t in calibrated.tasks]
        return span_of_intervals([of_contrast(vars(calibrated), tasks, higher_is_better=higher).interval])
    if calibrated.documented is None:
        return None
    return span_of_intervals([of_drop(vars(calibrated.documented), higher_is_better=higher).interval])


def _documented_verdict(result: DropRatioResult | None) -> tuple[Verdict, str]:
    if result is None:
        return "inconclusive", "no seed is on both sides"
    if result.identical:
        return "inconclusive", "both sides hold the same scores: a copy, not a comparison"
    if result.sample_size < 2:
        return "inconclusive", "a single pair has no spread to judge by"
    if result.pass_:
        return "pass", result.reason
    return "fail" if result.ci_lower_ratio > result.margin_ratio else "inconclusive", result.reason


def _warn_of_floor(result: CalibratedResult) -> tuple[str, ...]:
    """The warning of tasks with scores so small that the floor, not they, sets the scale of a difference."""
    floored = [t for t in result.tasks if t.floored or abs(t.mean_upstream) < result.floor]
    if not floored or not result.floor_admitted:
        return ()
    named = ", ".join(f"{t.task} (official mean {t.mean_upstream:.4g})" for t in floored)
    return (
        f"{len(floored)} of {len(result.tasks)} tasks are judged against the floor of {result.floor:g}, "
        f"since their scores are below it: {named}",
    )


def _warn_disagreement(documented: DropRatioResult | None, calibrated: CalibratedResult) -> tuple[str, ...]:
    """The warning of a suite that is judged by the documented rule where the calibrated one differs."""
    if documented is None or documented.pass_ == (calibrated.verdict == "pass"):
        return ()
    word = "passes" if documented.pass_ else "does not pass"
    return (
        f"rule drop_ratio {word}, rule calibrated says {calibrated.verdict}: {calibrated.reason}; "
        "drop_ratio is biased toward the candidate, see the design notes",
    )


METRIC_RULES: Mapping[str, Callable[..., Ruling]] = {
    "drop_ratio": _judge_by_contrast,
    "calibrated": _judge_by_contrast,
    "equivalence": _judge_by_equivalence,
}


def rule_on(metric: Metric, scores: Sequence[TaskScores], *, legacy: bool = False) -> Ruling:
    """A metric judged by its own rule on scores alone, whatever the gates say.

    Args:
        legacy: of a suite of the earlier system, whose rule is kept as it is documented: a floor that is
            not admitted is a warning there, and the verdict stays.

    Raises:
        StatisticsError: the scores do not allow it.
    """
    return METRIC_RULES[metric.rule](metric, scores, legacy=legacy)
