"""Every gate of a verdict, from what was found: components, coverage, validity, independence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..suite.suite import SYSTEMS, ArtifactSide, Suite
from .gates import Finding
from .gates.compared import find_partial
from .gates.components import ComponentEvidence
from .gates.copies import sorted_sides
from .gates.coverage import apart_warnings, coverage, describe_tolerated, empty_tasks, steps_apart
from .gates.fixture import BANNER
from .gates.independence import independence
from .gates.programs import beside_a_table, find_not_shown, overlap
from .gates.recipes import recipe_findings
from .gates.validity import (
    conflicting_successes,
    other_commits,
    record_findings,
    source_findings,
)
from .judgement_input import Evidence
from .proof.validity import alike_findings
from .stats.arrays import Verdict
from .stats.measurements import UNDECIDED_REASONS

DECLARED = "components_declared"
NO_RECORD = "there is no record yet whose validity could be checked"


@dataclass(frozen=True)
class VerdictPart:
    """One gate or one metric, as one verdict case.

    Attributes:
        name: ``components``, ``components_declared`` (of a part of them), ``coverage``, ``validity``,
            ``independence``, or the question of a metric.
        warnings: sentences that a reader should see even when it passes.
    """

    name: str
    verdict: Verdict
    reason: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate(VerdictPart):
    """A gate and what it found."""

    findings: tuple[Finding, ...] = ()


def gates_of(evidence: Evidence) -> tuple[Gate, ...]:
    """Every gate of a suite, in the order in which they are read."""
    first = []
    if evidence.components:
        first = [components_gate(evidence.components, evidence.suite)]
    elif evidence.suite.names_components:
        first = [gate_of("components", [evidence.compared.finding()])]
    return (*first, *(gate(evidence) for gate in GATES.values()))


def components_gate(found: ComponentEvidence, suite: Suite) -> Gate:
    """Stands first: where the two do not compute the same, scores need no explanation.

    A part of the components is a gate of another name where the suite does not require all: whoever asks for
    ``components`` finds none that passed.
    """
    golden, result, warnings = found.golden, found.result, _golden_warnings(found)
    findings = (*found.findings, *find_partial(suite, golden))
    name = DECLARED if golden.part and not suite.requires_components else "components"
    if findings or result is None:
        undecided = found.not_run or "components were not compared"
        return gate_of(name, findings, warnings=warnings, undecided=undecided)
    mapped = f"all {len(golden.parameters)} parameters are mapped"
    if golden.part:
        mapped = f"{result.mapped} of {len(golden.parameters)} parameters are mapped"
    held = (
        f"{golden.part + ': ' if golden.part else ''}all {len(result.components)} components match, all "
        f"{len(result.perturbations)} perturbations are caught, {mapped}"
    )
    return gate_of(name, (), held, warnings, found.not_run)


def _golden_warnings(found: ComponentEvidence) -> Iterator[str]:
    if found.golden.standing == "unlocked":
        family = found.golden.family
        yield (
            f"no lock entry pins a golden of the family {family}, so nothing says that components were "
            "compared with the official program "
            f"(to pin it: worldflux-parity pin-golden {family} --suite ID)"
        )


def _judge_coverage(evidence: Evidence) -> Gate:
    total = len(evidence.expected)
    found = coverage(evidence.observed, total) + empty_tasks(evidence.suite, evidence.expected)
    undecided = [m for m in evidence.observed.missing if m.reason in UNDECIDED_REASONS]
    what = (
        f"{len(undecided)} of {total} expected results were not run ({undecided[0].detail})"
        if undecided
        else ""
    )
    elsewhere = describe_tolerated(evidence.suite, evidence.observed)
    held = f"all {total} expected results are there{f'; {elsewhere}' if elsewhere else ''}"
    return gate_of("coverage", found, held, _data_warnings(evidence), what)


def _data_warnings(evidence: Evidence) -> Iterator[str]:
    """What a reader should know about data that are complete all the same."""
    if evidence.fixtures:
        yield f"{BANNER} (of {' and '.join(evidence.fixtures)})"
    yield from evidence.table.warnings
    # Where they are compared or required, their own gate says it; two tables have none.
    own_gate = evidence.components is not None or evidence.suite.component_match == "required"
    if evidence.suite.live_systems and not own_gate:
        yield from filter(None, [evidence.compared.left_out])
    yield from apart_warnings(steps_apart(evidence.suite, evidence.observed))
    yield from filter(None, [_warn_of_unsaid_points(evidence.suite)])
    for system, side in evidence.suite.replaced.items():
        what = f"the table {side.path.name}" if isinstance(side, ArtifactSide) else f"the live {side.adapter}"
        yield f"the {system} side is a table of the command line, in place of {what} that the suite names"
    yield from filter(None, [evidence.reused])
    yield from evidence.repeated_rows
    recovered = sum(line.get("recovered") is True for line in evidence.lines)
    if recovered:
        yield f"{recovered} results were recovered without their exit status"
    if evidence.torn_lines:
        yield f"{evidence.torn_lines} torn lines of parity_runs.jsonl were passed over"
    yield from evidence.log.warnings
    yield from noted_warnings(evidence.noted)


def _warn_of_unsaid_points(suite: Suite) -> str:
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


def _judge_validity(evidence: Evidence) -> Gate:
    lines, ran = evidence.lines, evidence.keys_that_ran
    findings = [
        *evidence.doubts,
        *(f for line in lines for f in record_findings(evidence.suite, line)),
        *conflicting_successes(evidence.all_lines),
        *source_findings(lines),
        *recipe_findings(
            evidence.pairs, evidence.recipes, "effective_recipe", ran, evidence.suite.recipe_terms
        ),
        *evidence.recipe.findings(),
        *recipe_findings(evidence.pairs, evidence.protocols, "eval_protocol", ran),
    ]
    nothing = evidence.recipe.nothing
    if nothing and evidence.suite.track != "quick":
        findings.append(Finding("recipe_not_compared", nothing))
    if evidence.lock_mismatch:
        findings.append(Finding("lock_mismatch", evidence.lock_mismatch, system="official"))
    if evidence.table.mismatch:
        findings.append(Finding("table_not_as_pinned", evidence.table.mismatch, system="official"))
    if not findings and evidence.suite.live_systems and not lines:
        return Gate("validity", "inconclusive", NO_RECORD)
    held, known = _validity_scope(evidence)
    warnings = [
        *known,
        *(f"in a proof this would be a finding: {nothing}" for _ in range(bool(nothing))),
        *evidence.recipe.warnings(),
        *other_commits(lines),
        *(f"of a claim this would be a finding: {f.line()}" for f in evidence.packages),
        *_warn_of_unlike(evidence),
    ]
    return gate_of("validity", findings, held, warnings)


def _validity_scope(evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    """What was checked, and a warning where a live side was compared with a table that states nothing."""
    live = evidence.suite.live_systems
    if not live:
        stated = evidence.recipes.keys() & evidence.protocols.keys()
        alike = sum(all((s, p.task.id, p.seed) in stated for s in SYSTEMS) for p in evidence.pairs)
        if alike:
            return (
                f"two tables that state one recipe and protocol in {alike} of {len(evidence.pairs)} pairs",
                (),
            )
        return "published scores on both sides: recipes are not known and were not compared", ()
    ran = [p for p in evidence.pairs if all((s, p.task.id, p.seed) in evidence.keys_that_ran for s in live)]
    stated = evidence.recipes.keys() & evidence.protocols.keys()
    compared = sum(all((s, p.task.id, p.seed) in stated for s in SYSTEMS) for p in ran)
    if compared == len(ran):
        ignored = len(evidence.suite.recipe_terms.ignored)
        but = f" (but for {ignored} keys that the suite ignores)" if ignored else ""
        held = (
            f"both sides effectively used the same recipe{but} and protocol in all {compared} pairs that ran"
        )
        return held, ()
    known = f"{compared} of {len(ran)} pairs"
    return f"effective recipes and protocols compared in {known}", (
        f"recipe and protocol of both sides are known in {known} only, and not compared in the others",
    )


def _warn_of_unlike(evidence: Evidence) -> Iterator[str]:
    """What both sides do not state alike, where that is not asked: a quick run compares numbers first."""
    if evidence.suite.track == "quick":
        # Recipes were compared key by key.
        found = alike_findings(evidence.lines, beside=["recipe_hash"])
        for text in dict.fromkeys(f"{f.code}: {f.detail}" for f in found):
            yield f"in a proof this would be a finding: {text}"


def _judge_independence(evidence: Evidence) -> Gate:
    """Two programs, and runs of their own on each side; runs that hardly vary are told of, and count."""
    suite, unknown = evidence.suite, list(find_not_shown(evidence.named))
    is_quick = suite.track == "quick"
    found = [
        *(() if is_quick else unknown),
        *independence(suite, evidence.observed, evidence.origins, evidence.named),
        *evidence.repeats.repeated,
    ]
    warnings = [*beside_a_table(evidence.named), *sorted_sides(suite, evidence.observed)]
    if is_quick:
        warnings += [f"in a proof this would be a finding: {f.line()}" for f in unknown]
    common = overlap(evidence.named)
    sides = "one program on purpose" if suite.comparison == "self" else common.line() if common else ""
    held = f"the two sides are {sides or 'different programs or tables'}"
    if evidence.repeats.saturated:
        held += f"; saturated: {'; '.join(s.line() for s in evidence.repeats.saturated)}"
    undecided = "".join(
        f"{one.line()}, and no two of the other side: the program may not heed its seed; to mend: "
        "worldflux-parity check-backend, or more points and episodes that tell its runs apart"
        for one in evidence.repeats.alone[:1]
    )
    return gate_of("independence", found, held, warnings, undecided)


# Another gate is another entry. Of a proof those beside components and coverage stand in its validity.
GATES: Mapping[str, Callable[[Evidence], Gate]] = {
    "coverage": _judge_coverage,
    "validity": _judge_validity,
    "independence": _judge_independence,
}


def case_count(suite: Suite, components: bool) -> int:
    """How many gates and metrics the verdict on a suite has; ``components``: whether these are matched."""
    return (components or suite.names_components) + len(GATES) + len(suite.metrics)


def gate_of(
    name: str, findings: Sequence[Finding], held: str = "", warnings: Iterable[str] = (), undecided: str = ""
) -> Gate:
    """A gate that is broken where there are findings, else open where something is undecided.

    Args:
        held: what holds where neither is.
    """
    if findings:
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        return Gate(name, "fail", findings[0].line() + more, tuple(warnings), tuple(findings))
    return Gate(name, "inconclusive" if undecided else "pass", undecided or held, tuple(warnings))
