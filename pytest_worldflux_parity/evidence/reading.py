"""Reading what goes into a bundle: regular files of a bounded size, whole or the end of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import EvidenceError
from ..execution.left_files import open_left
from . import container

LOG_TAIL_BYTES = 4000


def content(path: str | Path) -> bytes:
    """All bytes of a file.

    Raises:
        EvidenceError: it cannot be read, is no regular file, or is too large.
    """
    try:
        # Not to be kept waiting by a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as handle:
            return handle.read(_checked(descriptor, path))
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _checked(descriptor: int, path: str | Path) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise EvidenceError("is no regular file", where=str(path))
    if status.st_size > container.MAX_MEMBER_BYTES:
        what = f"has {status.st_size} bytes, and a member of a bundle may have {container.MAX_MEMBER_BYTES}"
        raise EvidenceError(what, where=str(path), mend="evaluate or log less often")
    return status.st_size


def log_end(path: str) -> str:
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
