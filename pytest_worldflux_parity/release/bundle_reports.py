"""An evidence bundle -> every report of it, made again from the raw records in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..evidence.attempts import PackedAttempts
from ..judgement.recompute import read_object, rejudge
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
    found = rejudge(folder, PackedAttempts(folder / "run"))
    suite_id = found.prepared.suite_id
    documents = documents_of(
        found.judgement,
        {
            name: read_object(folder / "inputs" / "history" / f"{i}.json")
            for i, name in enumerate(found.history)
        },
        time=found.session["generated_at_utc"],
        golden_paths=found.golden_paths,
    )
    stated = read_object(folder / "run" / suite_id / EQUIVALENCE).get("generated_at")
    text = equivalence_text(found.judgement, str(stated))
    reports: dict[str, dict[str, Any] | str] = {**documents.by_name, REPORT: text}
    return {f"run/{suite_id}/{name}": report for name, report in reports.items()}
