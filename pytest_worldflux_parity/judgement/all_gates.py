"""Every gate of a verdict, from what was found: components, coverage, validity, independence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..suite.suite import SYSTEMS, ArtifactSide, Suite
from .gates import Finding
from .gates.components import ComponentEvidence
from .gates.copies import sorted_sides
from .gates.coverage import apart_warnings, coverage, empty_tasks, steps_apart, tolerated
from .gates.fixture import BANNER
from .gates.independence import independence
from .gates.programs import beside_a_table, not_shown, overlap
from .gates.validity import (
    conflicting_successes,
    other_commits,
    recipe_findings,
    record_findings,
    source_findings,
)
from .judgement_input import Evidence
from .proof.validity import alike_findings
from .stats.measurements import UNDECIDED_REASONS

Word = Literal["pass", "fail", "inconclusive"]


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


def gates_of(evidence: Evidence) -> tuple[Gate, ...]:
    """Every gate of a suite, in the order in which they are read."""
    first = []
    if evidence.components:
        first = [components_gate(evidence.components)]
    elif evidence.suite.component_match == "required":
        first = [gate_of("components", [evidence.compared.finding()], "", ())]
    return (*first, *(gate(evidence) for gate in _GATES))


def components_gate(found: ComponentEvidence) -> Gate:
    """Stands first: where the two do not compute the same, scores need no explanation."""
    result, warnings = found.result, tuple(_golden_warnings(found))
    if found.findings or result is None or found.not_run:
        gate = gate_of("components", found.findings, "", warnings)
        return gate if found.findings else Gate("components", "inconclusive", found.not_run, warnings)
    held = (
        f"all {len(result.components)} components match, all {len(result.perturbations)} perturbations are "
        f"caught, all {len(found.golden.parameters)} parameters are mapped"
    )
    return gate_of("components", (), held, warnings)


def _golden_warnings(found: ComponentEvidence) -> Iterator[str]:
    if found.golden.standing == "unlocked":
        family = found.golden.family
        yield (
            f"no lock entry pins a golden of the family {family}, so nothing says that components were "
            "compared with the official program "
            f"(to pin it: worldflux-parity pin-golden {family} --suite ID)"
        )


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
    elsewhere = tolerated(evidence.suite, evidence.observed)
    held = f"all {total} expected results are there{f'; {elsewhere}' if elsewhere else ''}"
    return gate_of("coverage", found, held, warnings)


def _data_warnings(evidence: Evidence) -> Iterator[str]:
    """What a reader should know about data that are complete all the same."""
    if evidence.fixtures:
        yield f"{BANNER} (of {' and '.join(evidence.fixtures)})"
    if evidence.table.warning:
        yield evidence.table.warning
    # Where they are compared or required, their own gate says it; two tables have none.
    own_gate = evidence.components is not None or evidence.suite.component_match == "required"
    if evidence.suite.live_systems and not own_gate:
        yield from filter(None, [evidence.compared.left_out])
    yield from apart_warnings(steps_apart(evidence.suite, evidence.observed))
    yield from filter(None, [_unsaid_points(evidence.suite)])
    for system, side in evidence.suite.replaced.items():
        what = f"the table {side.path.name}" if isinstance(side, ArtifactSide) else f"the live {side.adapter}"
        yield f"the {system} side is a table of the command line, in place of {what} that the suite names"
    yield from evidence.repeated_rows
    recovered = sum(line.get("recovered") is True for line in evidence.lines)
    if recovered:
        yield f"{recovered} results were recovered without their exit status"
    if evidence.torn_lines:
        yield f"{evidence.torn_lines} torn lines of parity_runs.jsonl were passed over"
    yield from evidence.log.warnings
    yield from noted_warnings(evidence.noted)


def _unsaid_points(suite: Suite) -> str:
    """The warning of curves with points that their programs placed, whatever an older suite says of them."""
    tasks = suite.unsaid_points
    if not tasks:
        return ""
    more = f" and {len(tasks) - 1} more tasks" if len(tasks) > 1 else ""
    return (
        f"nothing says what the points of the curves of {tasks[0].id}{more} are (`points: evaluations` or "
        "`points: episodes` of worldflux.parity.suite.v1), so each program chose them, and none can be missed"
    )


def noted_warnings(noted: Sequence[str]) -> Iterator[str]:
    """What came beside the programs while they ran, for whoever reads the verdict."""
    yield from (f"after the run was sealed {text}" for text in noted)


def _validity(evidence: Evidence) -> Gate:
    findings = list(evidence.doubts)
    findings += [f for line in evidence.lines for f in record_findings(evidence.suite, line)]
    findings += conflicting_successes(evidence.all_lines)
    findings += source_findings(evidence.lines)
    ran = {(line["system"], line["task_id"], line["seed"]) for line in evidence.lines}
    findings += recipe_findings(evidence.pairs, evidence.recipes, "effective_recipe", ran)
    findings += recipe_findings(evidence.pairs, evidence.protocols, "eval_protocol", ran)
    findings += [
        Finding("changed_since_sealed", f"{name} changed after the first run") for name in evidence.changed
    ]
    if evidence.lock_mismatch:
        findings.append(Finding("lock_mismatch", evidence.lock_mismatch, system="official"))
    if evidence.table.mismatch:
        findings.append(Finding("table_not_as_pinned", evidence.table.mismatch, system="official"))
    if not findings and evidence.suite.live_systems and not evidence.lines:
        return Gate("validity", "inconclusive", "there is no record yet whose validity could be checked")
    held, warnings = _validity_scope(evidence)
    warnings += other_commits(evidence.lines)
    warnings += [f"of a claim this would be a finding: {f.line()}" for f in evidence.packages]
    return gate_of("validity", findings, held, [*warnings, *_unlike(evidence)])


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


def _unlike(evidence: Evidence) -> Iterator[str]:
    """What both sides do not state alike, where that is not asked: a quick run compares numbers first."""
    if evidence.suite.track == "quick":
        # Recipes were compared key by key.
        found = (f for f in alike_findings(evidence.lines) if f.code != "recipe_mismatch")
        for text in dict.fromkeys(f"{f.code}: {f.detail}" for f in found):
            yield f"in a proof this would be a finding: {text}"


def _independence(evidence: Evidence) -> Gate:
    """Two programs, and runs of their own on each side; runs that hardly vary are told of, and count."""
    suite = evidence.suite
    unknown = list(not_shown(evidence.named))
    found = [] if suite.track == "quick" else unknown
    found = [*found, *independence(suite, evidence.observed, evidence.origins, evidence.named)]
    found += [repeat.finding() for repeat in evidence.repeats.repeated]
    warnings = [*beside_a_table(evidence.named), *sorted_sides(suite, evidence.observed)]
    if suite.track == "quick":
        warnings += [f"in a proof this would be a finding: {f.line()}" for f in unknown]
    alike = [s.line() for s in evidence.repeats.saturated]
    held = f"the two sides are {_compared_sides(evidence)}"
    return gate_of(
        "independence", found, f"{held}; saturated: {'; '.join(alike)}" if alike else held, warnings
    )


def _compared_sides(evidence: Evidence) -> str:
    common = overlap(evidence.named)
    if evidence.suite.comparison == "self":
        return "one program on purpose"
    return common.line() if common and common.line() else "different programs or tables"


_GATES = (_coverage, _validity, _independence)


def case_count(suite: Suite, components: bool) -> int:
    """How many gates and metrics the verdict on a suite has; ``components``: whether these are matched."""
    return (components or suite.component_match == "required") + len(_GATES) + len(suite.metrics)


def gate_of(name: str, findings: Sequence[Finding], held: str, warnings: Sequence[str]) -> Gate:
    """A gate that is broken where there are findings; ``held`` says what holds where there are none."""
    if not findings:
        return Gate(name, "pass", held, tuple(warnings))
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Gate(name, "fail", findings[0].line() + more, tuple(warnings), tuple(findings))
