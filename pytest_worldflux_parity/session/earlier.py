"""What a suite of a run came to when it was judged before; of a run that was not, nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import schemas, wire
from ..errors import StoreError
from ..judgement.circumstances import CIRCUMSTANCES, Circumstances
from ..judgement.run_log import RunLog
from ..reporting.documents import RUN
from ..reporting.proof_documents import EQUIVALENCE


def earlier_circumstances(folder: Path) -> Circumstances | None:
    """What the suite in ``folder`` was last judged with.

    Raises:
        StoreError: it cannot be read.
    """
    path = folder / CIRCUMSTANCES
    try:
        document = wire.load_object(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot be read: {error}", where=str(path), mend=_COPY) from None
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


_COPY = "restore the folder from a copy, or begin a new run"
