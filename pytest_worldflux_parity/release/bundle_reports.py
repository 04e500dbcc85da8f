"""An evidence bundle -> every report of it, made again from the raw records in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..evidence.attempts import PackedAttempts
from ..inputs.lock_reference import lock_reference
from ..judgement.proof_verdict import ProofJudgement
from ..judgement.quick import Judgement
from ..judgement.recompute import Rejudged, read_object, rejudge
from ..reporting.documents import quick_documents
from ..reporting.proof_documents import EQUIVALENCE, REPORT, documents_of
from ..reporting.proof_markdown import equivalence_text


def recompute(folder: Path) -> dict[str, dict[str, Any] | str]:
    """Every report of an extracted bundle, computed anew from the raw records in it.

    Args:
        folder: with ``run/run.json``, ``run/<suite_id>/`` and ``inputs/``.

    Returns:
        name of a report within the bundle -> what it should be: documents, whose times are not theirs, and
        the text of :func:`equivalence_text`, with the time that the bundle's equivalence report states.

    Raises:
        ParityError: something that is needed is absent or broken.
    """
    return reports_of(rejudge(folder, PackedAttempts(folder / "run")), folder)


def reports_of(found: Rejudged, folder: Path) -> dict[str, dict[str, Any] | str]:
    """Name within the bundle -> each report that a judgement gives; as :func:`recompute`."""
    judgement = found.judgement
    own = _quick(found, judgement) if isinstance(judgement, Judgement) else _proof(found, judgement, folder)
    return {f"run/{found.prepared.suite_id}/{name}": report for name, report in own.items()}


def _quick(found: Rejudged, judgement: Judgement) -> dict[str, dict[str, Any] | str]:
    part = found.prepared.parts[0]
    return {
        **quick_documents(
            judgement,
            part,
            lock_reference(part, found.context),
            found.circumstances,
            time=found.session["generated_at_utc"],
            golden_path=found.golden_paths.get(part.label, ""),
        )
    }


def _proof(found: Rejudged, judgement: ProofJudgement, folder: Path) -> dict[str, dict[str, Any] | str]:
    history = {
        name: read_object(folder / "inputs" / "history" / f"{i}.json")
        for i, name in enumerate(found.circumstances.history)
    }
    documents = documents_of(
        judgement, history, time=found.session["generated_at_utc"], golden_paths=found.golden_paths
    )
    stated = read_object(folder / "run" / found.prepared.suite_id / EQUIVALENCE).get("generated_at")
    return {**documents.by_name, REPORT: equivalence_text(judgement, str(stated))}
