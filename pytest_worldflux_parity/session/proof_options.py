"""What a session says to its proof suites: the earlier reports that they are held against."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import StoreError
from ..execution.store import relative
from ..inputs.context import RunContext
from ..judgement.proof.stability import read_report
from ..reporting.proof_documents import EQUIVALENCE

CASES = ("components", "coverage", "validity", "equivalence", "stability", "evidence")


def read_history(context: RunContext, own: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> earlier equivalence report, of all files that ``--parity-history`` names but this run's own.

    Raises:
        StoreError: a pattern names no file, or a file cannot be read or is no equivalence report.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for pattern in context.history:
        paths = [Path(p) for p in sorted(glob.glob(str(context.root / pattern), recursive=True))]
        if not paths:
            raise StoreError(
                "--parity-history names no file", where=pattern, mend="name files that are there"
            )
        for path in paths:
            if path.resolve() == own.resolve():
                continue
            found[relative(path, context.root)] = _history_document(path)
    return found


def _history_document(path: Path) -> Mapping[str, Any]:
    try:
        document = wire.load_object(path)
    except (OSError, wire.WireError) as error:
        raise StoreError(f"--parity-history: cannot be read: {error}", where=str(path)) from None
    report = read_report(document, str(path))
    if isinstance(report, str):
        what, mend = f"--parity-history: it is no equivalence report: {report}", f"name an {EQUIVALENCE}"
        raise StoreError(what, where=str(path), mend=mend)
    return document
