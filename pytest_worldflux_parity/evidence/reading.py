"""Reading what goes into a bundle: regular files of a bounded size, whole or the end of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import EvidenceError
from ..execution.left_files import open_left, read_left
from . import container

LOG_TAIL_BYTES = 4000


def read_content(path: str | Path) -> bytes:
    """All bytes of a file.

    Raises:
        EvidenceError: it cannot be read, is a link or no regular file, or is too large.
    """
    try:
        return read_left(path, container.MAX_MEMBER_BYTES)
    except OSError as error:
        hint = "evaluate or log less often" if error.errno == errno.EOVERFLOW else ""
        raise EvidenceError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from None


def read_log_end(path: str) -> str:
    """The last lines of a log.

    Raises:
        EvidenceError: it cannot be read or is no regular file.
    """
    try:
        with os.fdopen(open_left(path), "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - LOG_TAIL_BYTES))
            text = handle.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", where=path) from None
    # Of a line that is cut the rest is left out, where there are others.
    return text.partition("\n")[2] or text if size > LOG_TAIL_BYTES else text
