"""What a program left in its folder, opened as what it is: a regular file of a stated size, and no link.

A link would have others read what it leads to, a pipe or a device would keep whoever opens it waiting, and a
file without end would fill the memory.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..wire import RunRecord, RunRequest, WireError, object_in, record_from_dict, request_from_dict

MOST_RECORD = 64 << 20
# What a record's values may be nested, so that nothing that goes through them ends before they do.
DEEPEST = 100
MOST_ARRAYS = 256 << 20
# Of what is read of a program's folder, bytes at the most. Logs have no such limit: their middle is left out.
LARGEST_BYTES = {
    "metrics.json": MOST_RECORD, "match.json": MOST_RECORD, "request.json": MOST_RECORD,
    "match_request.json": MOST_RECORD, "isolation.json": MOST_RECORD, "outputs.npz": MOST_ARRAYS,
    "perturbed.npz": MOST_ARRAYS,
}  # fmt: skip
LEFT_LOGS = ("stdout.log", "stderr.log", "progress.jsonl")


def read_left(path: str | Path, most: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: it cannot be read, is a link or no regular file, or has more bytes than ``most``.
    """
    descriptor = open_left(path)
    with os.fdopen(descriptor, "rb") as handle:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise OSError(errno.EOVERFLOW, f"has {size} bytes, and may have {most}", str(path))
        return handle.read(size)


def open_left(path: str | Path, how: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file, for reading, or as ``how`` says.

    Raises:
        OSError: it cannot be opened, or is a link or no regular file.
    """
    try:
        # Not to be kept waiting by a pipe.
        descriptor = os.open(path, how | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "is a link", str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return descriptor


def write_at_once(path: Path, data: bytes) -> None:
    """Write bytes so that a reader sees the old file or the new one, and no link is followed.

    Raises:
        OSError: they cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def take_away_odd(folder: Path) -> str:
    """Remove what is read by name and is no file; what there was, or that a file is too large, or empty."""
    said = ""
    for name in (*LARGEST_BYTES, *LEFT_LOGS):
        with suppress(FileNotFoundError):
            status = os.lstat(folder / name)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                os.unlink(folder / name)
                said = said or f"left {'a link' if stat.S_ISLNK(status.st_mode) else 'no file'} as {name}"
            elif status.st_size > LARGEST_BYTES.get(name, status.st_size):
                most = LARGEST_BYTES[name] >> 20
                said = said or f"left {status.st_size} bytes as {name}, which may have {most} MiB"
    return said


def left_record(folder: Path) -> RunRecord:
    """The record in an attempt's folder.

    Raises:
        OSError: it cannot be read. WireError: it is no record.
    """
    path = folder / "metrics.json"
    document = object_in(read_left(path, MOST_RECORD), str(path))
    if _is_deeper(document, DEEPEST):
        raise WireError(f"{path}: is nested deeper than {DEEPEST} levels")
    return record_from_dict(document, str(path))


def _is_deeper(document: object, levels: int) -> bool:
    """Whether JSON holds values within values more than ``levels`` deep."""
    level = [document]
    for _ in range(levels):
        level = [inner for value in level for inner in _inner_of(value) if isinstance(inner, (dict, list))]
    return bool(level)


def _inner_of(value: Any) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value


def left_request(folder: Path) -> RunRequest:
    """The request in an attempt's folder.

    Raises:
        OSError: it cannot be read. WireError: it is no request.
    """
    path = folder / "request.json"
    return request_from_dict(object_in(read_left(path, MOST_RECORD), str(path)), str(path))
