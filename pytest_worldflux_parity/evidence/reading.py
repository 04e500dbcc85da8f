"""Reading what goes into a bundle: regular files of a bounded size, whole or the end of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import EvidenceError
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
        try:
            size = _checked(descriptor, path)
            return _read(descriptor, size)
        finally:
            os.close(descriptor)
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


def _read(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def log_end(path: str, longest: int) -> tuple[bytes, int | None]:
    """The end of a log; where that is not all of it, how many characters of it may be the rest of a secret.

    It is to be cleaned before it is cut, so that no part of a secret is left over.

    Args:
        longest: characters of the longest secret.

    Raises:
        EvidenceError: it cannot be read or is no regular file.
    """
    # JSON spells a character with up to six.
    margin = 6 * longest
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise EvidenceError("is no regular file", where=path)
            start = max(0, status.st_size - LOG_TAIL_BYTES - margin)
            data = os.pread(descriptor, LOG_TAIL_BYTES + margin, start)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", where=path) from None
    return data, margin if start else None
