"""(suite, evidence) -> verdict: pass, fail or inconclusive, each with its reason in one sentence.

*Pass* needs every gate and every metric. *Fail* is a broken gate or a difference that is shown.
Everything else is *inconclusive*; in particular what nobody ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import StatisticsError
from ..suite.suite import SYSTEMS, Metric, Suite
from .all_gates import Gate, Part, Word, gates_of
from .judgement_input import Evidence
from .stats.calibrated import CalibratedResult, TaskScores, calibrated_rule, floor_doubt
from .stats.equivalence import EquivalenceResult, equivalence_rule
from .stats.noninferiority import DropRatioResult

# The reference's generator: the documented rule is reproduced to the last digit.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Judged(Part):
    """A metric and the statistics that it was judged by; None where there were not enough data."""

    metric: Metric | None = None
    documented: DropRatioResult | None = None
    calibrated: CalibratedResult | None = None
    equivalence: EquivalenceResult | None = None


@dataclass(frozen=True)
class Judgement:
    """The verdict on one suite."""

    evidence: Evidence
    verdict: Word
    reason: str
    gates: tuple[Gate, ...]
    metrics: tuple[Judged, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(w for part in (*self.gates, *self.metrics) for w in part.warnings)

    @cached_property
    def primary(self) -> Judged:
        return self.metrics[0]


def judge(evidence: Evidence) -> Judgement:
    """The verdict on a suite."""
    gates = gates_of(evidence)
    broken = [f"{g.name}: {g.reason}" for g in gates if g.verdict == "fail"]
    metrics = tuple(_judged(evidence, m, broken) for m in evidence.suite.metrics)
    parts = (*gates, *metrics)
    verdict = _overall(parts)
    reason = evidence.sentence(_reason(verdict, parts, evidence.compared.left_out))
    return Judgement(evidence, verdict, reason, gates, metrics)


def _overall(parts: Sequence[Part]) -> Word:
    words = {p.verdict for p in parts}
    if "fail" in words:
        return "fail"
    return "inconclusive" if "inconclusive" in words else "pass"


def _reason(verdict: Word, parts: Sequence[Part], left_out: str) -> str:
    """One sentence: what decided, and which components nobody compared where the lock has them compared."""
    decided = _deciding(verdict, parts)
    return decided if left_out in decided else f"{decided}; {left_out}"


def _deciding(verdict: Word, parts: Sequence[Part]) -> str:
    deciding = [p for p in parts if p.verdict == verdict]
    if verdict == "pass":
        judged = [p for p in deciding if isinstance(p, Judged)]
        if len(judged) == 1:
            return judged[0].reason
        return f"all {len(judged)} metrics are within their margins and every gate holds"
    # A metric that cannot be compared because of a gate says nothing more.
    deciding = [p for p in deciding if isinstance(p, Gate)] or deciding
    first = deciding[0]
    more = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
    return f"{first.name}: {first.reason}{more}"


def _judged(evidence: Evidence, metric: Metric, broken: Sequence[str]) -> Judged:
    name = _case_name(evidence.suite, metric)
    scores = _task_scores(evidence, metric)
    lacking = [t.id for t in evidence.suite.judged_tasks(metric) if t.id not in {s.task for s in scores}]
    if lacking:
        what = f"no values on one of the sides of {lacking[0]}" + (
            f" and {len(lacking) - 1} more tasks" if len(lacking) > 1 else ""
        )
        return Judged(name, "fail" if broken else "inconclusive", what, metric=metric)
    try:
        judged = by_rule(metric, name, scores, legacy=evidence.suite.legacy)
    except StatisticsError as error:
        return Judged(name, "inconclusive", error.line(), metric=metric)
    return _held_back(judged, evidence, broken)


def _held_back(judged: Judged, evidence: Evidence, broken: Sequence[str]) -> Judged:
    """No metric passes on data that a gate rejects or that are not complete."""
    if judged.verdict != "pass":
        return judged
    fields = {k: v for k, v in vars(judged).items() if k not in ("verdict", "reason")}
    if broken:
        return Judged(verdict="fail", reason=f"not comparable, {broken[0]}", **fields)
    missing = len(evidence.observed.missing)
    if missing:
        return Judged(verdict="inconclusive", reason=f"{missing} expected results are missing", **fields)
    return judged


def _case_name(suite: Suite, metric: Metric) -> str:
    alone = sum(m.question == metric.question for m in suite.metrics) == 1
    return metric.question if alone else f"{metric.question}:{metric.name}"


def _task_scores(evidence: Evidence, metric: Metric) -> list[TaskScores]:
    """The tasks that have at least one value on each side."""
    rows = []
    for task in evidence.suite.judged_tasks(metric):
        sides = [evidence.observed.runs(s, metric.name, task.id) for s in SYSTEMS]
        if all(sides):
            (u_seeds, u), (w_seeds, w) = (_columns(side) for side in sides)
            rows.append(TaskScores(task.id, u, w, u_seeds, w_seeds))
    return rows


def _columns(by_seed: Mapping[int, Any]) -> tuple[list[int], list[float]]:
    seeds = sorted(by_seed)
    return seeds, [by_seed[s].value for s in seeds]


def by_rule(metric: Metric, name: str, scores: Sequence[TaskScores], *, legacy: bool = False) -> Judged:
    """A metric judged by its own rule on scores alone, whatever the gates say.

    Args:
        legacy: of a suite of the earlier system, whose rule is kept as it is documented: a floor that is
            not admitted is a warning there, and the verdict stays.

    Raises:
        StatisticsError: the scores do not allow it.
    """
    if metric.rule == "equivalence":
        result = equivalence_rule(scores, margin=metric.margin, confidence=metric.confidence)
        return Judged(name, result.verdict, result.reason, metric=metric, equivalence=result)
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
    warnings = _floored(calibrated)
    verdict, reason = calibrated.verdict, calibrated.reason
    if metric.rule == "drop_ratio":
        verdict, reason = _documented_verdict(documented)
        # Where the floor alone makes the difference, that is told, once.
        warnings += () if calibrated.reason == doubt else _disagreement(documented, calibrated)
    if doubt and verdict == "pass" and not legacy:
        verdict, reason = "inconclusive", doubt
    elif doubt and reason != doubt:
        warnings += (doubt,)
    return Judged(
        name, verdict, reason, warnings, metric=metric, documented=documented, calibrated=calibrated
    )


def _documented_verdict(result: DropRatioResult | None) -> tuple[Word, str]:
    if result is None:
        return "inconclusive", "no seed is on both sides"
    if result.identical:
        return "inconclusive", "both sides hold the same scores: a copy, not a comparison"
    if result.sample_size < 2:
        return "inconclusive", "a single pair has no spread to judge by"
    if result.pass_:
        return "pass", result.reason
    return "fail" if result.ci_lower_ratio > result.margin_ratio else "inconclusive", result.reason


def _floored(result: CalibratedResult) -> tuple[str, ...]:
    """The warning of tasks with scores so small that the floor, not they, sets the scale of a difference."""
    floored = [t for t in result.tasks if t.floored or abs(t.mean_upstream) < result.floor]
    if not floored or not result.floor_admitted:
        return ()
    named = ", ".join(f"{t.task} (official mean {t.mean_upstream:.4g})" for t in floored)
    return (
        f"{len(floored)} of {len(result.tasks)} tasks are judged against the floor of {result.floor:g}, "
        f"since their scores are below it: {named}",
    )


def _disagreement(documented: DropRatioResult | None, calibrated: CalibratedResult) -> tuple[str, ...]:
    """The warning of a suite that is judged by the documented rule where the calibrated one differs."""
    if documented is None or documented.pass_ == calibrated.pass_:
        return ()
    word = "passes" if documented.pass_ else "does not pass"
    return (
        f"rule drop_ratio {word}, rule calibrated says {calibrated.verdict}: {calibrated.reason}; "
        "drop_ratio is biased toward the candidate, see the design notes",
    )
