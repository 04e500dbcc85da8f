"""An evidence bundle -> every report of it, made again from the raw records in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evidence.attempts import PackedAttempts
from ..inputs.lock_reference import lock_reference
from ..judgement.proof_verdict import ProofJudgement
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
    history = history_of(found.circumstances.history, folder)
    own: dict[str, dict[str, Any] | str] = dict(documents_anew(found, history))
    if isinstance(found.judgement, ProofJudgement):
        stated = read_object(folder / "run" / found.prepared.suite_id / EQUIVALENCE).get("generated_at")
        own[REPORT] = equivalence_text(found.judgement, str(stated))
    return {f"run/{found.prepared.suite_id}/{name}": report for name, report in own.items()}


def history_of(names: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> earlier report that a run was held against, as an extracted bundle holds them.

    Raises:
        StoreError: one cannot be read.
    """
    places = folder / "inputs" / "history"
    return {name: read_object(places / f"{i}.json") for i, name in enumerate(names)}


def documents_anew(found: Rejudged, history: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """File name -> each JSON document that a judgement gives, that of the verdict among them.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    time = found.session["generated_at_utc"]
    if isinstance(found.judgement, ProofJudgement):
        made = documents_of(found.judgement, history, time=time, golden_paths=found.golden_paths)
        return dict(made.by_name)
    part = found.prepared.parts[0]
    return quick_documents(
        found.judgement,
        part,
        lock_reference(part, found.context),
        found.circumstances,
        time=time,
        golden_path=found.golden_paths.get(part.label, ""),
    )
