"""The zip of a bundle: written in one form only, and read in that form only.

Members stand one after the other from the first byte on, without a gap, sorted by name, the statement
last; then the directory, then the end record, and nothing after it. Time, rights and every other field
that could differ are constants. Whatever is not exactly so is refused before anything is unpacked, and
nothing is read that was not announced: sizes and the number of members are bounded.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from ..errors import EvidenceError, TamperedError

MAX_MEMBERS = 60_000
MAX_MEMBER_BYTES = 256 << 20
MAX_TOTAL_BYTES = 2 << 30
# Beyond it a member is packed less, so that no honest bundle looks like a bomb.
MAX_RATIO = 200
MAX_NAME = 240

_STORED, _DEFLATED = 0, 8
_VERSION, _MADE_BY = 20, 3 << 8 | 20
_DATE = 0x21  # 1980-01-01, the first day that a zip can name
_RIGHTS = (stat.S_IFREG | 0o644) << 16
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_CHUNK = 1 << 20
# Of what a run leaves, level 6 takes a tenth less room and three times as long.
_LEVEL = 1
# The bytes of a member, or what gives them in pieces as often as it is called.
Content = bytes | Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Entry:
    """One member as the directory announces it; sizes and ``offset`` in bytes."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def local(self) -> bytes:
        """The header before its data."""
        name = self.name.encode()
        fields = (_VERSION, 0, self.method, 0, _DATE, self.crc, self.packed, self.size, len(name), 0)
        return _LOCAL.pack(_LOCAL_MARK, *fields) + name

    @property
    def central(self) -> bytes:
        """Its entry in the directory."""
        name = self.name.encode()
        head = (_MADE_BY, _VERSION, 0, self.method, 0, _DATE, self.crc, self.packed, self.size)
        return _CENTRAL.pack(_CENTRAL_MARK, *head, len(name), 0, 0, 0, 0, _RIGHTS, self.offset) + name

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + len(self.local) + self.packed


class Writer:
    """Writes members in the order in which they are given; the bytes depend on them alone (and on zlib)."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._digest = hashlib.sha256()
        self._size = 0
        self.entries: list[Entry] = []

    def add(self, name: str, content: Squeezed) -> str:
        """Add one member; its sha256.

        Raises:
            EvidenceError: its name or size could not be read again.
        """
        if problem := name_problem(name):
            raise EvidenceError(f"cannot be a member: its name {problem}", where=name)
        if len(self.entries) >= MAX_MEMBERS or self._size + content.size > MAX_TOTAL_BYTES:
            what = f"a bundle holds at most {MAX_MEMBERS} members and {MAX_TOTAL_BYTES} bytes"
            raise EvidenceError(what, where=name, mend="split the suite")
        offset = self.entries[-1].end if self.entries else 0
        entry = Entry(name, content.method, content.crc, content.length, content.size, offset)
        self._write(entry.local)
        for piece in content.pieces:
            self._write(piece)
        self.entries.append(entry)
        self._size += entry.size
        return content.sha256

    @property
    def sha256(self) -> str:
        """Of all bytes written so far."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Write the directory; the handle stays open."""
        directory = b"".join(e.central for e in self.entries)
        self._write(directory)
        count, offset = len(self.entries), self.entries[-1].end if self.entries else 0
        self._write(_END.pack(_END_MARK, 0, 0, count, count, len(directory), offset, 0))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._handle.write(data)


@dataclass(frozen=True)
class Squeezed:
    """What a member holds in the form in which it stands there, and what is told of it.

    Attributes:
        crc, size, sha256: of what it holds. pieces: what is written, one after the other.
    """

    method: int
    crc: int
    size: int
    sha256: str
    pieces: tuple[bytes, ...]

    @property
    def length(self) -> int:
        """Bytes that are written."""
        return sum(map(len, self.pieces))


def squeeze(content: Content, name: str) -> Squeezed:
    """Compress what a member is to hold, where that is worth it.

    Raises:
        EvidenceError: it is larger than a member may be.
    """
    # Inside of it all is compressed: to look for what repeats takes twice as long and finds a seventh.
    strategy = zlib.Z_RLE if name.endswith(".npz") else zlib.Z_DEFAULT_STRATEGY
    squeezed = _deflated(content, name, strategy)
    if squeezed.size > MAX_RATIO * squeezed.length:
        # By its characters alone it becomes an eighth at most.
        squeezed = _deflated(content, name, zlib.Z_HUFFMAN_ONLY)
    if squeezed.length < squeezed.size:
        return squeezed
    return replace(squeezed, method=_STORED, pieces=tuple(_pieces_of(content)))


def _deflated(content: Content, name: str, strategy: int) -> Squeezed:
    squeezer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    digest, crc, size, packed = hashlib.sha256(), 0, 0, []
    for piece in _pieces_of(content):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size > MAX_MEMBER_BYTES:
            raise EvidenceError(f"has {size} bytes, and a member may have {MAX_MEMBER_BYTES}", where=name)
        digest.update(piece)
        packed.append(squeezer.compress(piece))
    packed.append(squeezer.flush())
    return Squeezed(_DEFLATED, crc, size, digest.hexdigest(), tuple(packed))


def _pieces_of(content: Content) -> Iterator[bytes]:
    return content() if callable(content) else iter((content,))


def name_problem(name: str) -> str:
    """Why a name cannot be that of a member, as a clause; empty where it can."""
    parts = name.split("/")
    if "\\" in name:
        return "has a backslash"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of its folder (..)"
    if not name or len(name) > MAX_NAME:
        return f"has {len(name)} characters, not 1 to {MAX_NAME}"
    if not all(re.fullmatch(r"[A-Za-z0-9_+=@-][A-Za-z0-9_.+=@-]*", part) for part in parts):
        return "holds other characters than letters, digits and _ . + = @ -, or a part that begins with a dot"
    return ""


def clashes(names: Iterable[str]) -> Iterator[str]:
    """Names that are not to stand beside the others, each as a clause; upper and lower case are one."""
    names = list(names)
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            yield f"{name} stands twice" if other == name else f"{name} and {other} differ in case only"
    for name in names:
        parts = name.lower().split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in seen:
                yield f"{seen['/'.join(parts[:depth])]} is a file, and also the folder of {name}"


def name_problems(names: Iterable[str]) -> Iterator[str]:
    """Why names cannot be those of the members of one bundle, each as a clause."""
    names = list(names)
    for name in names:
        if problem := name_problem(name):
            yield f"{ascii(name)[1:-1]} {problem}"
    yield from clashes(names)


def read_directory(handle: BinaryIO) -> tuple[Entry, ...]:
    """The members of a bundle, once all that can be told without unpacking them is as it must be.

    Raises:
        EvidenceError: this is no zip, or the end of one is missing.
        TamperedError: it is a zip, and not one as a bundle is.
    """
    size = handle.seek(0, 2)
    count, length, start = _end_record(handle, size)
    if count > MAX_MEMBERS:
        raise TamperedError(f"holds {count} members, and a bundle at most {MAX_MEMBERS}")
    if start + length != size - _END.size:
        raise TamperedError("its directory is not where its end says: bytes stand before or between")
    handle.seek(start)
    entries = _entries(handle.read(length), count)
    _refuse(_structure_problems(entries, start))
    return entries


def _end_record(handle: BinaryIO, size: int) -> tuple[int, int, int]:
    """(members, bytes of the directory, its offset)."""
    handle.seek(max(0, size - _END.size - 0xFFFF))
    tail = handle.read()
    place = tail.rfind(_END_MARK)
    if place < 0:
        raise EvidenceError("has no end of a zip: it is truncated, or no bundle", mend="fetch it again")
    follows = len(tail) - place - _END.size
    if follows < 0:
        raise EvidenceError("ends within its end record: it is truncated", mend="fetch it again")
    if follows:
        raise TamperedError(f"{follows} bytes follow the end of the archive")
    _, disk, first, here, count, length, start, comment = _END.unpack_from(tail, place)
    if (disk, first, comment) != (0, 0, 0) or here != count:
        raise TamperedError("its end record is not as this plugin writes it")
    return count, length, start


def _entries(directory: bytes, count: int) -> tuple[Entry, ...]:
    entries, at = [], 0
    for number in range(1, count + 1):
        head = directory[at : at + _CENTRAL.size]
        if len(head) < _CENTRAL.size or head[:4] != _CENTRAL_MARK:
            raise TamperedError(f"entry {number} of its directory is not one")
        fields = _CENTRAL.unpack(head)
        length = sum(fields[10:13])
        raw = directory[at : at + _CENTRAL.size + length]
        entries.append(_entry(raw, fields))
        at += len(raw)
    if at != len(directory):
        raise TamperedError(f"its directory holds more than the {count} members that it counts")
    return tuple(entries)


def _entry(raw: bytes, fields: Sequence[int]) -> Entry:
    """One entry of the directory, refused by its most telling difference from what is written here."""
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name = raw[_CENTRAL.size : _CENTRAL.size + fields[10]].decode("utf-8", "backslashreplace")
    shown = name.encode("ascii", "backslashreplace").decode()
    kind = stat.S_IFMT(fields[15] >> 16)
    if problem := name_problem(name):
        raise TamperedError(f"the name {shown!r} {problem}")
    if flags & 1:
        raise TamperedError(f"{shown} is encrypted")
    if kind not in (0, stat.S_IFREG):
        raise TamperedError(f"{shown} is {'a symbolic link' if stat.S_ISLNK(kind) else 'no regular file'}")
    entry = Entry(name, method, crc, packed, size, fields[16])
    if method not in (_STORED, _DEFLATED) or entry.central != raw:
        raise TamperedError(f"the directory's entry of {shown} is not as this plugin writes it")
    return entry


def _structure_problems(entries: Sequence[Entry], start: int) -> Iterator[str]:
    yield from clashes(e.name for e in entries)
    for entry in entries:
        if entry.size > MAX_MEMBER_BYTES:
            yield f"{entry.name} unpacks to {entry.size} bytes, and a member may have {MAX_MEMBER_BYTES}"
        elif entry.size > MAX_RATIO * entry.packed or (
            entry.method == _STORED and entry.size != entry.packed
        ):
            yield f"{entry.name} unpacks from {entry.packed} to {entry.size} bytes, over {MAX_RATIO} to 1"
    if sum(e.size for e in entries) > MAX_TOTAL_BYTES:
        yield f"it unpacks to more than {MAX_TOTAL_BYTES} bytes"
    at = 0
    for entry in entries:
        if entry.offset != at:
            yield f"{entry.name} does not begin where the last one ends: they overlap, or bytes lie between"
            return
        at = entry.end
    if at != start:
        yield "bytes stand between the last member and the directory"


def _refuse(problems: Iterable[str]) -> None:
    found = tuple(problems)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise TamperedError(found[0] + more, findings=found)


def unpack(handle: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The bytes of a member, in pieces; never more than it announces.

    Raises:
        TamperedError: its header or its data are not what the directory says.
    """
    handle.seek(entry.offset)
    if handle.read(len(entry.local)) != entry.local:
        raise TamperedError(f"the header of {entry.name} contradicts the directory")
    crc, size = 0, 0
    pieces = _stored(handle, entry) if entry.method == _STORED else _inflated(handle, entry)
    for piece in pieces:
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size > entry.size:
            break
        yield piece
    if size != entry.size or crc != entry.crc:
        raise TamperedError(f"{entry.name} is not what its checksum says")


def _stored(handle: BinaryIO, entry: Entry) -> Iterator[bytes]:
    left = entry.packed
    while left and (piece := handle.read(min(_CHUNK, left))):
        left -= len(piece)
        yield piece


def _inflated(handle: BinaryIO, entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _stored(handle, entry):
            data = packed
            while data and not inflater.eof:
                yield inflater.decompress(data, _CHUNK)
                data = inflater.unconsumed_tail
            if inflater.unused_data:
                raise TamperedError(f"bytes are hidden after the data of {entry.name}")
        while not inflater.eof and (piece := inflater.decompress(inflater.unconsumed_tail, _CHUNK)):
            yield piece
    except zlib.error:
        raise TamperedError(f"{entry.name} does not unpack") from None
    if not inflater.eof:
        raise TamperedError(f"{entry.name} does not unpack: it ends early")


def sha256_before(handle: BinaryIO, end: int) -> str:
    """sha256 of the first ``end`` bytes."""
    handle.seek(0)
    digest, left = hashlib.sha256(), end
    while left and (piece := handle.read(min(_CHUNK, left))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()
