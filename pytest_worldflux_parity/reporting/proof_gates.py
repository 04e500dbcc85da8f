"""Judgement of a proof suite -> the documents of its gates, and what other documents say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..judgement.gates import finding_dict
from ..judgement.gates.components import ComponentEvidence
from ..judgement.proof_verdict import ProofJudgement
from .components import SCHEMA, compared_fields, component_match_document
from .documents import head_of, recipe_fields

VALIDITY_SCHEMA = "parity.validity.v1"
HELD = {"pass": True, "fail": False, "inconclusive": None}


def validity_document(judgement: ProofJudgement, *, time: str, input: str) -> dict[str, Any]:
    """``validity_report.json``, as ``schemas/validity.v1.json`` has it."""
    gate = judgement.gate("validity")
    return {
        **head_of(VALIDITY_SCHEMA, judgement.suite_id, time, input),
        **validity_summary(judgement),
        "verdict": gate.verdict,
        "reason": gate.reason,
        "claim": judgement.evidence.proof.claim,
        "records_checked": len(judgement.evidence.lines),
        "issues": [finding_dict(f) for f in gate.findings],
        "warnings": list(gate.warnings),
        **_recipes_of_parts(judgement),
    }


def _recipes_of_parts(judgement: ProofJudgement) -> dict[str, Any]:
    """Label of a part -> on what terms its recipes were compared, where any part names some."""
    found = {part.label: own["recipe"] for part in judgement.evidence.parts if (own := recipe_fields(part))}
    return {"recipes": found} if found else {}


def validity_summary(judgement: ProofJudgement) -> dict[str, Any]:
    """What the equivalence report says of validity."""
    gate = judgement.gate("validity")
    return {
        "pass": HELD[gate.verdict],
        "issue_count": len(gate.findings),
        "issues_by_code": dict(sorted(Counter(f.code for f in gate.findings).items())),
    }


def matches(judgement: ProofJudgement) -> Iterator[tuple[str, str, str, ComponentEvidence]]:
    """(label, family, ``golden`` or ``live``, evidence) of every match that there is a report of."""
    for part in judgement.evidence.parts:
        if part.components is not None and part.components.about is not None:
            yield part.label, part.suite.family, "golden", part.components
    for family, found in judgement.evidence.live.items():
        if found.about is not None:
            yield family, family, "live", found


def components_document(
    judgement: ProofJudgement, *, time: str, golden_paths: Mapping[str, str]
) -> dict[str, Any]:
    """``component_match_report.json`` of a proof run, as ``schemas/component_match_set.v1.json`` has it.

    Args:
        golden_paths: label of a part, or ``live/<family>`` -> its golden folder as it is to be named.
    """
    gate = judgement.gate("components")
    reports: list[dict[str, Any]] = [
        {
            "family": family,
            "against": against,
            "report": component_match_document(
                found,
                golden_path=golden_paths.get(label if against == "golden" else f"live/{family}", ""),
                time=time,
            ),
        }
        for label, family, against, found in matches(judgement)
    ]
    return {
        "schema_version": SCHEMA,
        "suite_id": judgement.suite_id,
        "generated_at_utc": time,
        "family": _family_of(judgement),
        "required": _is_required(judgement),
        "all_pass": _is_required(judgement) and gate.verdict == "pass",
        "verdict": gate.verdict,
        "reason": gate.reason,
        "results": [
            {"family": r["family"], "against": r["against"], **row}
            for r in reports
            for row in r["report"]["results"]
        ],
        "reports": reports,
    }


def components_summary(judgement: ProofJudgement, path: str) -> dict[str, Any]:
    """What the equivalence report says of the component match; ``path`` is that of its document."""
    gate = judgement.gate("components")
    found = list(matches(judgement))
    return {
        "required": _is_required(judgement),
        "path": path,
        "present": bool(found),
        "pass": HELD[gate.verdict] if _is_required(judgement) else None,
        "family": _family_of(judgement),
        "result_count": sum(len(m.result.components) for *_, m in found if m.result),
        "components_compared": [compared_fields(part.compared) for part in judgement.evidence.parts],
    }


def _family_of(judgement: ProofJudgement) -> str:
    families = judgement.evidence.proof.families
    return families[0] if len(families) == 1 else "mixed"


def _is_required(judgement: ProofJudgement) -> bool:
    return judgement.evidence.proof.component_match != "none"
