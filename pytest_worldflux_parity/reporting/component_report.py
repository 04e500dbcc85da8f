"""The document of a component match, written beside what it is of."""

from __future__ import annotations

from pathlib import Path

from ..execution.match_program import REPORT
from ..execution.store import relative, write_document
from ..judgement.gates.components import ComponentEvidence
from ..schemas.json_text import utc_now
from .components import component_match_document


def write_report(evidence: ComponentEvidence, folder: Path, root: Path) -> Path:
    """Write the document of a match into ``folder``; its path.

    Raises:
        StoreError: it cannot be written.
    """
    path = folder / REPORT
    golden_path = relative(Path(evidence.golden.folder), root)
    document = component_match_document(evidence, golden_path=golden_path, time=utc_now())
    write_document(path, document, "component_match.v1")
    return path
