"""(suite, evidence) -> verdict: pass, fail or inconclusive, each with its reason in one sentence.

*Pass* needs every gate and every metric. *Fail* is a broken gate or a difference that is shown.
Everything else is *inconclusive*; in particular what nobody ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import StatisticsError
from ..suite.suite import SYSTEMS, Metric
from .all_gates import Gate, VerdictPart, gates_of
from .judgement_input import Evidence
from .metric_rules import Ruling, rule_on
from .stats.arrays import Verdict
from .stats.calibrated import TaskScores


@dataclass(frozen=True)
class Judged(VerdictPart):
    """A metric, and the ruling on it; None where there were not enough data."""

    metric: Metric | None = None
    ruling: Ruling | None = None


@dataclass(frozen=True)
class Judgement:
    """The verdict on one suite."""

    evidence: Evidence
    verdict: Verdict
    reason: str
    gates: tuple[Gate, ...]
    metrics: tuple[Judged, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(w for part in (*self.gates, *self.metrics) for w in part.warnings)


def judge(evidence: Evidence) -> Judgement:
    """The verdict on a suite."""
    gates = gates_of(evidence)
    broken = [f"{g.name}: {g.reason}" for g in gates if g.verdict == "fail"]
    metrics = tuple(_judge_metric(evidence, m, broken) for m in evidence.suite.metrics)
    words = {p.verdict for p in (*gates, *metrics)}
    verdict: Verdict = "fail" if "fail" in words else "inconclusive" if "inconclusive" in words else "pass"
    reason = _explain_verdict(verdict, gates, metrics)
    # Also which components nobody compared, where the lock has them compared.
    left_out = evidence.compared.left_out
    reason = reason if left_out in reason else f"{reason}; {left_out}"
    return Judgement(evidence, verdict, evidence.sentence(reason), gates, metrics)


def _explain_verdict(verdict: Verdict, gates: Sequence[Gate], metrics: Sequence[Judged]) -> str:
    """What decided, in one sentence."""
    if verdict == "pass" and len(metrics) == 1:
        return metrics[0].reason
    if verdict == "pass":
        return f"all {len(metrics)} metrics are within their margins and every gate holds"
    # A metric that cannot be compared because of a gate says nothing more.
    deciding: list[VerdictPart] = [g for g in gates if g.verdict == verdict]
    deciding = deciding or [m for m in metrics if m.verdict == verdict]
    more = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
    return f"{deciding[0].name}: {deciding[0].reason}{more}"


def _judge_metric(evidence: Evidence, metric: Metric, broken: Sequence[str]) -> Judged:
    alone = sum(m.question == metric.question for m in evidence.suite.metrics) == 1
    judged = Judged(
        metric.question if alone else f"{metric.question}:{metric.name}", "inconclusive", "", metric=metric
    )
    scores = _collect_scores(evidence, metric)
    missing = [t.id for t in evidence.suite.judged_tasks(metric) if t.id not in {s.task for s in scores}]
    if missing:
        more = f" and {len(missing) - 1} more tasks" if len(missing) > 1 else ""
        reason = f"no values on one of the sides of {missing[0]}{more}"
        return replace(judged, verdict="fail" if broken else "inconclusive", reason=reason)
    try:
        ruling = rule_on(metric, scores, legacy=evidence.suite.legacy)
    except StatisticsError as error:
        return replace(judged, reason=error.line())
    verdict, reason = ruling.verdict, ruling.reason
    # No metric passes on data that a gate rejects or that are not complete.
    if verdict == "pass" and broken:
        verdict, reason = "fail", f"not comparable, {broken[0]}"
    elif verdict == "pass" and evidence.observed.missing:
        verdict, reason = "inconclusive", f"{len(evidence.observed.missing)} expected results are missing"
    return replace(judged, verdict=verdict, reason=reason, warnings=ruling.warnings, ruling=ruling)


def _collect_scores(evidence: Evidence, metric: Metric) -> list[TaskScores]:
    """The tasks that have at least one value on each side."""
    rows = []
    for task in evidence.suite.judged_tasks(metric):
        u, w = (sorted(evidence.observed.runs(s, metric.name, task.id).items()) for s in SYSTEMS)
        if u and w:
            columns = [[v.value for _, v in side] for side in (u, w)]
            seeds = [[seed for seed, _ in side] for side in (u, w)]
            rows.append(TaskScores(task.id, columns[0], columns[1], seeds[0], seeds[1]))
    return rows
