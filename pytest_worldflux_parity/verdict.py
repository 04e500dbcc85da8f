"""(suite, evidence) -> verdict: pass, fail or inconclusive, each with its reason in one sentence.

*Pass* needs every gate and every metric. *Fail* is a broken gate or a difference that is shown.
Everything else is *inconclusive*; in particular what nobody ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .errors import StatisticsError
from .gates import Finding
from .gates.components import ComponentEvidence
from .gates.coverage import budget_gaps, coverage, empty_tasks
from .gates.fixture import BANNER, is_fixture_line
from .gates.independence import Origin, independence
from .gates.validity import conflicting_successes, recipe_findings, record_findings
from .observations import UNDECIDED_REASONS, Observed
from .plan import Pair, RunKey
from .stats.calibrated import CalibratedResult, TaskScores, calibrated_rule
from .stats.equivalence import EquivalenceResult, equivalence_rule
from .stats.noninferiority import DropRatioResult
from .suite import SYSTEMS, ArtifactSide, Metric, Suite

Word = Literal["pass", "fail", "inconclusive"]

# The reference's generator: the documented rule is reproduced to the last digit.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Evidence:
    """Everything that a verdict rests on.

    Attributes:
        expected: (task, seed, system) that must have a result.
        lines: the stored lines that count; all_lines: every line that answers the same requests.
        recipes, protocols: (system, task, seed) -> what the side says that it effectively used.
        changed: sealed files that are no longer as they were.
        doubts: findings about stored lines that may not be what the programs wrote.
        lock_mismatch: how the official side's commit contradicts the lock; empty where it does not.
        components: the match of components; None where the suite asks for none.
        repeated_rows: per system, the rows of its table that repeat a (task, seed, step), where the
            suite says which of them counts.
        label: of the part of a proof suite; empty where there is one alone.
        fixture_tables: systems whose table says that it is a fixture.
    """

    suite: Suite
    pairs: tuple[Pair, ...]
    expected: tuple[tuple[str, int, str], ...]
    observed: Observed
    lines: tuple[Mapping[str, Any], ...]
    all_lines: tuple[Mapping[str, Any], ...]
    origins: Mapping[str, Origin]
    recipes: Mapping[RunKey, Mapping[str, Any]]
    protocols: Mapping[RunKey, Mapping[str, Any]]
    changed: tuple[str, ...] = ()
    doubts: tuple[Finding, ...] = ()
    torn_lines: int = 0
    lock_mismatch: str = ""
    components: ComponentEvidence | None = None
    repeated_rows: Mapping[str, int] = field(default_factory=dict)
    label: str = ""
    fixture_tables: tuple[str, ...] = ()

    @cached_property
    def fixtures(self) -> tuple[str, ...]:
        """The systems with made-up numbers: a verdict on them is a rehearsal."""
        lines = {line["system"] for line in self.lines if is_fixture_line(line)}
        return tuple(s for s in SYSTEMS if s in lines or s in self.fixture_tables)


@dataclass(frozen=True)
class Part:
    """One gate or one metric, as one verdict case.

    Attributes:
        name: ``components``, ``coverage``, ``validity``, ``independence``, or the question of a metric.
        warnings: sentences that a reader should see even when it passes.
    """

    name: str
    verdict: Word
    reason: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate(Part):
    """A gate and what it found."""

    findings: tuple[Finding, ...] = ()


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
    return Judgement(evidence, verdict, _reason(verdict, parts), gates, metrics)


def gates_of(evidence: Evidence) -> tuple[Gate, ...]:
    """Every gate of a suite, in the order in which they are read."""
    first = [components_gate(evidence.components)] if evidence.components else []
    return (*first, *(gate(evidence) for gate in _GATES))


def _overall(parts: Sequence[Part]) -> Word:
    words = {p.verdict for p in parts}
    if "fail" in words:
        return "fail"
    return "inconclusive" if "inconclusive" in words else "pass"


def _reason(verdict: Word, parts: Sequence[Part]) -> str:
    """One sentence: what decided."""
    deciding = [p for p in parts if p.verdict == verdict]
    if verdict == "pass":
        judged = [p for p in deciding if isinstance(p, Judged)]
        if len(judged) == 1:
            return judged[0].reason
        return f"all {len(judged)} metrics are within their margins and every gate holds"
    first = deciding[0]
    more = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
    return f"{first.name}: {first.reason}{more}"


def components_gate(found: ComponentEvidence) -> Gate:
    """Stands first: where the two do not compute the same, scores need no explanation."""
    result = found.result
    if found.findings or result is None or found.not_run:
        gate = gate_of("components", found.findings, "", ())
        return gate if found.findings else Gate("components", "inconclusive", found.not_run)
    held = (
        f"all {len(result.components)} components match, all {len(result.perturbations)} perturbations are "
        f"caught, all {len(found.golden.parameters)} parameters are mapped"
    )
    return gate_of("components", (), held, ())


def _coverage(evidence: Evidence) -> Gate:
    found = coverage(evidence.observed, len(evidence.expected)) + empty_tasks(
        evidence.suite, evidence.expected
    )
    warnings = tuple(_data_warnings(evidence))
    undecided = [m for m in evidence.observed.missing if m.reason in UNDECIDED_REASONS]
    total = len(evidence.expected)
    if not found and undecided:
        what = f"{len(undecided)} of {total} expected results were not run ({undecided[0].detail})"
        return Gate("coverage", "inconclusive", what, warnings)
    return gate_of("coverage", found, f"all {total} expected results are there", warnings)


def _data_warnings(evidence: Evidence) -> Iterator[str]:
    """What a reader should know about data that are complete all the same."""
    if evidence.fixtures:
        yield f"{BANNER} (of {' and '.join(evidence.fixtures)})"
    gaps = budget_gaps(evidence.suite, evidence.observed)
    if gaps:
        more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        yield f"latest is compared with latest, at steps more than 10 % apart: {gaps[0]}{more}"
    for system, side in evidence.suite.replaced.items():
        what = f"the table {side.path.name}" if isinstance(side, ArtifactSide) else f"the live {side.adapter}"
        yield f"the {system} side is a table of the command line, in place of {what} that the suite names"
    for system, count in evidence.repeated_rows.items():
        side = evidence.suite.sides[system]
        which = side.duplicates if isinstance(side, ArtifactSide) else None
        yield f"{count} rows of the {system} table repeat a (task, seed, step); the {which} of them counts"
    recovered = sum(line.get("recovered") is True for line in evidence.lines)
    if recovered:
        yield f"{recovered} results were recovered without their exit status"
    if evidence.torn_lines:
        yield f"{evidence.torn_lines} torn lines of parity_runs.jsonl were passed over"


def _validity(evidence: Evidence) -> Gate:
    findings = list(evidence.doubts)
    findings += [f for line in evidence.lines for f in record_findings(evidence.suite, line)]
    findings += conflicting_successes(evidence.all_lines)
    findings += recipe_findings(evidence.pairs, evidence.recipes, "effective_recipe")
    findings += recipe_findings(evidence.pairs, evidence.protocols, "eval_protocol")
    findings += [
        Finding("changed_since_sealed", f"{name} changed after the first run") for name in evidence.changed
    ]
    if evidence.lock_mismatch:
        findings.append(Finding("lock_mismatch", evidence.lock_mismatch, system="official"))
    if not findings and evidence.suite.live_systems and not evidence.lines:
        return Gate("validity", "inconclusive", "there is no record yet whose validity could be checked")
    return gate_of("validity", findings, *_validity_scope(evidence))


def _validity_scope(evidence: Evidence) -> tuple[str, list[str]]:
    """What was checked, and a warning where a live side was compared with a table that states nothing."""
    live = evidence.suite.live_systems
    if not live:
        return "published scores on both sides: recipes are not known and were not compared", []
    there = {(line["system"], line["task_id"], line["seed"]) for line in evidence.lines}
    ran = [p for p in evidence.pairs if all((s, p.task.id, p.seed) in there for s in live)]
    stated = (evidence.recipes, evidence.protocols)
    compared = sum(all((s, p.task.id, p.seed) in x for s in SYSTEMS for x in stated) for p in ran)
    if compared < len(ran):
        known = f"{compared} of {len(ran)} pairs"
        return f"effective recipes and protocols compared in {known}", [
            f"recipe and protocol of both sides are known in {known} only, and not compared in the others"
        ]
    return f"both sides effectively used the same recipe and protocol in all {compared} pairs that ran", []


def _independence(evidence: Evidence) -> Gate:
    found = independence(evidence.suite, evidence.observed, evidence.origins)
    return gate_of("independence", found, "the two sides are different programs or tables", [])


_GATES = (_coverage, _validity, _independence)


def case_count(suite: Suite, components: bool) -> int:
    """How many gates and metrics the verdict on a suite has; ``components``: whether these are matched."""
    return components + len(_GATES) + len(suite.metrics)


def gate_of(name: str, findings: Sequence[Finding], held: str, warnings: Sequence[str]) -> Gate:
    """A gate that is broken where there are findings; ``held`` says what holds where there are none."""
    if not findings:
        return Gate(name, "pass", held, tuple(warnings))
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Gate(name, "fail", findings[0].line() + more, tuple(warnings), tuple(findings))


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
        judged = by_rule(metric, name, scores)
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
        sides = [evidence.observed.values.get((s, metric.name, task.id), {}) for s in SYSTEMS]
        if all(sides):
            (u_seeds, u), (w_seeds, w) = (_columns(side) for side in sides)
            rows.append(TaskScores(task.id, u, w, u_seeds, w_seeds))
    return rows


def _columns(by_seed: Mapping[int, Any]) -> tuple[list[int], list[float]]:
    seeds = sorted(by_seed)
    return seeds, [by_seed[s].value for s in seeds]


def by_rule(metric: Metric, name: str, scores: Sequence[TaskScores]) -> Judged:
    """A metric judged by its own rule on scores alone, whatever the gates say.

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
    warnings = _floored(metric, calibrated)
    verdict, reason = calibrated.verdict, calibrated.reason
    if metric.rule == "drop_ratio":
        verdict, reason = _documented_verdict(documented)
        warnings += _disagreement(documented, calibrated)
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


def _floored(metric: Metric, result: CalibratedResult) -> tuple[str, ...]:
    """The warning of scores so small that the floor, not they, sets the scale of a difference."""
    floored = [t.task for t in result.tasks if t.floored]
    if not floored:
        return ()
    return (
        f"in {len(floored)} of {len(result.tasks)} tasks ({floored[0]}, ...) the scores are below the floor "
        f"of {metric.floor:g}, which sets the scale in their place; name a smaller `floor` if they are meant",
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
