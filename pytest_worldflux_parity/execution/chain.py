"""Lines that each carry the sha256 of all bytes before them: what is changed, taken away or put in shows.

Nothing follows the last line. That lines at the end were taken away is told by a head that stands elsewhere:
in ``sessions.jsonl``, in a document, in print.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .. import wire
from ..schemas.json_text import KeyTwice, loads

# In a line: of the file, before the line.
HASH_BEFORE = "sha256_before"
# The head of a file without a byte.
EMPTY = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Chain:
    """What the hashes in a file of lines come to.

    Attributes:
        head: sha256 of the whole file. heads: every one that it had on the way.
        unchained: lines without a hash, before all that have one: of an earlier version.
        broken: number (1-based) of the first line that does not follow from the bytes before it; 0: none.
    """

    head: str = EMPTY
    unchained: int = 0
    broken: int = 0
    heads: frozenset[str] = frozenset([EMPTY])


def parse_line(text: bytes) -> Any:
    """What a line says; None where it is no JSON, the mistake where a key stands twice."""
    try:
        return loads(text)
    except KeyTwice as twice:
        return twice
    except (ValueError, RecursionError):
        return None


class Follower:
    """Follows a file from its first line on."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._heads = [EMPTY]
        self._number = self._unchained = self._broken = 0
        self._chained = False

    def add(self, text: bytes, line: object) -> None:
        """The next line, and what it says; a torn one says nothing, and its bytes count."""
        self._number += 1
        if isinstance(line, dict):
            self._hold(line.get(HASH_BEFORE))
        body = text.removesuffix(b"\n")
        for part in (body, text[len(body) :]):
            # A write that was cut off leaves a head without the end of its line.
            self._digest.update(part)
            self._heads.append(self._digest.hexdigest())

    def _hold(self, stated: object) -> None:
        follows = stated == self._heads[-1] if stated is not None else not self._chained
        self._unchained += stated is None and not self._chained
        self._chained = self._chained or stated is not None
        self._broken = self._broken or (0 if follows else self._number)

    def chain(self) -> Chain:
        """Of all that was added."""
        return Chain(self._heads[-1], self._unchained, self._broken, frozenset(self._heads))


def prefix_of(data: bytes, head: str) -> bytes | None:
    """What a file of lines held when it had a head; None where it never had it."""
    digest = hashlib.sha256()
    end = 0
    for text in _parts_of(data):
        digest.update(text)
        end += len(text)
        if digest.hexdigest() == head:
            return data[:end]
    return None


def _parts_of(data: bytes) -> Iterator[bytes]:
    """The pieces after which a file has a head: nothing, each line without its end, and its end."""
    yield b""
    for text in io.BytesIO(data):
        body = text.removesuffix(b"\n")
        yield from (body, text[len(body) :])


def append_line(descriptor: int, line: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line to a file that is open for both and locked, in one write, and sync it.

    A line that was torn is bytes too: the next one starts afresh, and carries its hash.

    Returns:
        The line as it stands there.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as handle:
        digest = hashlib.file_digest(handle, "sha256")
    size = os.fstat(descriptor).st_size
    begin = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
    digest.update(begin)
    chained = {**line, HASH_BEFORE: digest.hexdigest()}
    data = begin + wire.canonical_json(chained).encode() + b"\n"
    try:
        # Of a write that fell short the next one says why.
        if rest := data[os.write(descriptor, data) :]:
            os.write(descriptor, rest)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
    return chained
