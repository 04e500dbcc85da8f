"""What is held against a suite when it is judged: earlier reports, and what it came to when judged before."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import StoreError
from ..execution.store import relative
from ..inputs.context import RunContext
from ..judgement.circumstances import CIRCUMSTANCES, Circumstances
from ..judgement.proof.stability import read_report
from ..judgement.run_log import RunLog
from ..reporting.documents import RUN
from ..reporting.proof_documents import EQUIVALENCE


def read_history(context: RunContext, own: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> earlier equivalence report, of all files that ``--parity-history`` names but this run's own.

    Raises:
        StoreError: a pattern names no file, or a file cannot be read or is no equivalence report.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for pattern in context.history:
        paths = [Path(p) for p in sorted(glob.glob(str(context.root / pattern), recursive=True))]
        if not paths:
            hint = "name files that are there"
            raise StoreError("--parity-history names no file", where=pattern, hint=hint)
        reports = (path for path in paths if path.resolve() != own.resolve())
        found.update((relative(path, context.root), _read_report(path)) for path in reports)
    return found


def _read_report(path: Path) -> Mapping[str, Any]:
    try:
        document = wire.load_object(path)
    except (OSError, wire.WireError) as error:
        raise StoreError(f"--parity-history: cannot be read: {error}", where=str(path)) from None
    report = read_report(document, str(path))
    if isinstance(report, str):
        what, hint = f"--parity-history: it is no equivalence report: {report}", f"name an {EQUIVALENCE}"
        raise StoreError(what, where=str(path), hint=hint)
    return document


def earlier_circumstances(folder: Path) -> Circumstances | None:
    """What the suite in ``folder`` was last judged with; None where it was not.

    Raises:
        StoreError: it cannot be read.
    """
    path = folder / CIRCUMSTANCES
    try:
        document = wire.load_object(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        hint = "restore the folder from a copy, or begin a new run"
        raise StoreError(f"cannot be read: {error}", where=str(path), hint=hint) from None
    schemas.check(document, "circumstances.v1", lambda at: str(path), StoreError)
    return Circumstances.from_dict(document)


def earlier_logs(folder: Path) -> Iterator[RunLog]:
    """The logs that documents of the suite in ``folder`` were made of: the log there now goes on from each.

    Raises:
        StoreError: its circumstances cannot be read.
    """
    known = earlier_circumstances(folder)
    if known is not None and known.log is not None:
        yield known.log
    for name in (RUN, EQUIVALENCE):
        # A verdict that cannot be read is written anew, and says nothing of its log.
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield RunLog.from_dict(wire.load_object(folder / name)["log"])
