"""Lines that each carry the sha256 of all bytes before them: what is changed, taken away or put in shows.

Nothing follows the last line. That lines at the end were taken away is told by a head that stands elsewhere:
in ``sessions.jsonl``, in a document, in print.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .. import wire

# In a line: of the file, before the line.
BEFORE = "sha256_before"
# The head of a file without a byte.
EMPTY = hashlib.sha256().hexdigest()
_PIECE = 1 << 20


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
            self._hold(line.get(BEFORE))
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


def append(descriptor: int, line: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line to a file that is open for both and locked, in one write, and sync it.

    A line that was torn is bytes too: the next one starts afresh, and carries its hash.

    Returns:
        The line as it stands there.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    digest, size, last = hashlib.sha256(), 0, b"\n"
    while piece := os.pread(descriptor, _PIECE, size):
        digest.update(piece)
        size, last = size + len(piece), piece[-1:]
    begin = b"" if last == b"\n" else b"\n"
    digest.update(begin)
    chained = {**line, BEFORE: digest.hexdigest()}
    _write(descriptor, size, begin + wire.canonical_json(chained).encode() + b"\n")
    return chained


def _write(descriptor: int, size: int, data: bytes) -> None:
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
