"""The component match of a suite -> ``parity.component_match.v1``, a table, and one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..inputs.golden_data import Golden
from ..judgement.gates.compared import Compared
from ..judgement.gates.components import (
    ComponentEvidence,
    ComponentResult,
    MatchResult,
    PerturbationResult,
    Sensitivity,
)
from ..judgement.gates.differences import Difference
from ..judgement.quick import Judgement

SCHEMA = "parity.component_match.v1"
STANDINGS = {
    "pinned": "pinned by the lock file",
    "locked": "not the pinned one; of the locked commit, with every output that the lock file asks for",
    "unlocked": "the lock file pins none of its family",
}
COMPONENT_HEADER = ("component", "stage", "largest difference", "tolerance", "perturbations", "result")


def component_match_document(evidence: ComponentEvidence, *, golden_path: str, time: str) -> dict[str, Any]:
    """The document of one match; ``results`` is empty where the program left nothing.

    ``rtol_pass`` decides: the largest difference relative to the largest magnitude of the official
    output. ``atol_pass`` says whether it is within the tolerance as an absolute number, too. The tolerance of
    a component is that of its worst output.

    Args:
        golden_path: as it is to stand in the document.
    """
    golden, result = evidence.golden, evidence.result
    return {
        "schema_version": SCHEMA,
        "generated_at_utc": time,
        "family": golden.family,
        "all_pass": evidence.passed,
        **part_fields(golden),
        "error": evidence.error or None,
        "golden": {"path": golden_path, "standing": golden.standing, **golden.source, **golden.identity},
        "program": dict(evidence.about or {}),
        "first_divergence": _first_divergence_fields(result),
        "results": [_component_fields(c, result) for c in result.components] if result else [],
        "coverage": {
            "official_parameters": len(golden.parameters),
            "mapped": result.mapped if result else 0,
            "own_parameters": result.own if result else 0,
            "covered": result.covered if result else 0,
            "findings": [finding_fields(f) for f in result.mapping_findings] if result else [],
        },
        "sensitivity": _sensitivity_counts(result),
        "perturbations": {
            "total": len(result.perturbations) if result else 0,
            "caught": sum(p.caught for p in result.perturbations) if result else 0,
            "results": [_perturbation_fields(p) for p in result.perturbations] if result else [],
        },
        "findings": [finding_fields(f) for f in evidence.findings],
    }


def _sensitivity_counts(result: MatchResult | None) -> dict[str, int]:
    """How many outputs there are, are shown to be moved by a planted mistake, and need not be shown."""
    shown = [s for c in result.components for s in result.sensitivity(c)] if result else []
    return {
        "outputs": len(shown),
        "sensitive": sum(s.shown for s in shown),
        "declared": sum(bool(s.declared) and not s.shown for s in shown),
    }


def _first_divergence_fields(result: MatchResult | None) -> dict[str, str] | None:
    first = result.first_divergence if result else None
    if first is None:
        return None
    return {
        "component": first.component.name,
        "stage": first.component.stage,
        "output": first.worst.output,
        "detail": first.line(),
    }


def finding_fields(finding: Any) -> dict[str, Any]:
    """A finding, without what it does not name."""
    return {k: v for k, v in asdict(finding).items() if v is not None}


def _component_fields(result: ComponentResult, match: MatchResult) -> dict[str, Any]:
    component, worst = result.component, result.worst
    known = [d for d in result.differences if d.max_abs is not None and d.mean_abs is not None]
    whole = len(known) == len(result.differences)
    largest = max((d.max_abs or 0.0 for d in known), default=0.0) if whole else None
    return {
        "component": component.name,
        "stage": component.stage,
        "tolerance": component.limit(worst.output),
        "reason": component.reason or None,
        "max_abs_diff": largest,
        "mean_abs_diff": _mean_difference(known) if whole else None,
        "max_relative_diff": worst.relative,
        "rtol_pass": result.within,
        "atol_pass": all(d.max_abs is not None and d.max_abs <= component.limit(d.output) for d in known)
        and whole,
        "shape_match": result.shape_match,
        "worst_output": worst.output,
        "outputs": [
            _output_fields(d, s) for d, s in zip(result.differences, match.sensitivity(result), strict=True)
        ],
        "extra_outputs": list(result.extra),
        "pass": result.passed,
        "detail": None if result.passed else result.line(),
    }


def _mean_difference(differences: list[Difference]) -> float:
    """Over all elements of all outputs."""
    total = sum(d.size for d in differences)
    return sum((d.mean_abs or 0.0) * (d.size / total) for d in differences)


def _output_fields(d: Difference, s: Sensitivity) -> dict[str, Any]:
    return {
        "output": d.output,
        "official_shape": list(d.golden_shape),
        "shape": None if d.shape is None else list(d.shape),
        "max_abs_diff": d.max_abs,
        "mean_abs_diff": d.mean_abs,
        "max_relative_diff": d.relative,
        "tolerance": s.tolerance,
        "problem": d.problem or None,
        "sensitive": s.shown,
        "largest_perturbation": s.relative,
        "insensitive_reason": s.declared or None,
    }


def _perturbation_fields(p: PerturbationResult) -> dict[str, Any]:
    return {
        **asdict(p.perturbation),
        "output": p.output,
        "max_relative_diff": p.relative,
        "tolerance": p.tolerance,
        "caught": p.caught,
        "problem": p.problem or None,
    }


def compared_fields(found: Compared) -> dict[str, Any]:
    """How many components of a family were compared, with the golden that the lock pins or with none."""
    return {
        "family": found.family,
        "golden_pinned": found.pin.manifest_sha256 if found.pin else None,
        "components": found.total,
        "compared": found.count,
        "sentence": found.sentence,
    }


def match_reference(judgement: Judgement, path: str) -> dict[str, Any] | None:
    """The ``component_match`` of a suite's document; None where it is no part of the verdict.

    Args:
        path: of the match's own document.
    """
    evidence, suite = judgement.evidence.components, judgement.evidence.suite
    if evidence is None:
        required = suite.names_components
        nothing = {"required": True, "path": None, "present": False, "pass": False}
        return {**nothing, "family": suite.family, "result_count": 0} if required else None
    present = evidence.about is not None
    return {
        "required": suite.requires_components or not evidence.golden.part,
        "path": path if present else None,
        "present": present,
        "pass": evidence.passed,
        **part_fields(evidence.golden),
        "family": evidence.golden.family,
        "result_count": len(evidence.result.components) if evidence.result else 0,
    }


def part_fields(golden: Golden) -> dict[str, int]:
    """How many components are compared, of how many; nothing where that is all of them."""
    return {"compared": len(golden.compared), "of": len(golden.components)} if golden.part else {}


def match_counts(result: MatchResult) -> str:
    """How much was compared, and how much of it holds."""
    passed = sum(c.passed for c in result.components)
    caught = sum(p.caught for p in result.perturbations)
    outputs = _sensitivity_counts(result)
    declared = f" ({outputs['declared']} declared not to be)" if outputs["declared"] else ""
    return (
        f"{passed} of {len(result.components)} match, "
        f"{outputs['sensitive']} of {outputs['outputs']} outputs shown sensitive{declared}, "
        f"{caught} of {len(result.perturbations)} perturbations caught"
    )


def match_headline(evidence: ComponentEvidence) -> str:
    """One line for the terminal."""
    if evidence.error:
        return f"components: match_failed: {evidence.error}"
    if evidence.result is None:
        return f"components: {evidence.not_run}"
    tail = f" ({evidence.not_run})" if evidence.not_run else ""
    part = f"{evidence.golden.part}: " if evidence.golden.part else ""
    return f"components: {part}{match_counts(evidence.result)}{tail}"


def match_rows(evidence: ComponentEvidence) -> Iterator[tuple[str, ...]]:
    """A row of ``COMPONENT_HEADER`` per component; differences are relative to the largest magnitude."""
    for result in evidence.result.components if evidence.result else ():
        assert evidence.result is not None
        component, worst = result.component, result.worst
        _, planted = evidence.result.of(component.name)
        yield (
            component.name,
            component.stage,
            worst.output + " " + (f"{worst.relative:.2e}" if worst.relative is not None else worst.problem),
            f"{component.limit(worst.output):g}",
            f"{sum(p.caught for p in planted)} of {len(planted)} caught",
            ("match" if result.passed else "differs")
            + (f" (tolerance: {component.reason})" if component.reason else ""),
        )


def about_golden(evidence: ComponentEvidence) -> str:
    """One sentence on what was compared with."""
    golden, result = evidence.golden, evidence.result
    mapped = f", {result.mapped} of {len(golden.parameters)} parameters mapped" if result else ""
    return (
        f"golden of {golden.source['repo']} at `{golden.source['commit'][:12]}`, "
        f"sha256 `{golden.arrays_sha256[:16]}` ({STANDINGS[golden.standing]}){mapped}"
    )


def match_lines(evidence: ComponentEvidence) -> Iterator[str]:
    """The table as aligned lines, what is wrong, and the line that counts."""
    rows = [COMPONENT_HEADER, *match_rows(evidence)] if evidence.result else []
    widths = [max(len(row[i]) for row in rows) for i in range(len(COMPONENT_HEADER))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
    for finding in evidence.findings:
        yield finding.line()
    yield match_headline(evidence)
