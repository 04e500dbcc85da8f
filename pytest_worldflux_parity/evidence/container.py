"""The zip of a bundle: ``zipfile`` reads and writes it, and it has one form only.

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
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from ..errors import EvidenceError, TamperedError
from .statement import SIGNED, UNSIGNED

MAX_MEMBERS = 60_000
MAX_MEMBER_BYTES = 256 << 20
MAX_TOTAL_BYTES = 2 << 30
MAX_NAME = 240

# Of what a run leaves, level 6 takes a tenth less room and three times as long.
_LEVEL = 1
_UNPACKED_BYTES = 1 << 20
_END_RECORD = struct.Struct("<4sHHHHIIH")
_END_MARK = b"PK\5\6"
_CENTRAL_BYTES = 46
# Of an entry's name, extra field and comment, which stand at its byte 28.
_ENTRY_LENGTHS = struct.Struct("<HHH")
# What every member has alike.
_ALIKE_FIELDS = (
    "create_system", "create_version", "extract_version", "reserved", "flag_bits", "volume", "date_time",
    "internal_attr", "external_attr", "extra", "comment",
)  # fmt: skip


def write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member; the bytes depend on name and data alone (and on zlib).

    The statement, whose bytes no other hash covers, stands as it is.
    """
    method = zipfile.ZIP_STORED if name in (UNSIGNED, SIGNED) else zipfile.ZIP_DEFLATED
    archive.writestr(_plain_member(name), data, method, _LEVEL)


def _plain_member(name: str) -> zipfile.ZipInfo:
    """A member as it is written here, but for what it holds."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    return info


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


def name_clashes(names: Iterable[str]) -> Iterator[str]:
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
    yield from name_clashes(names)


def limit_problems(members: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    """How members are more, or larger, than a bundle may hold, each as a clause."""
    if len(members) > MAX_MEMBERS:
        yield f"it holds {len(members)} members, and a bundle at most {MAX_MEMBERS}"
    for member in members:
        if member.file_size > MAX_MEMBER_BYTES:
            size = member.file_size
            yield f"{member.filename} unpacks to {size} bytes, and a member may have {MAX_MEMBER_BYTES}"
    if sum(member.file_size for member in members) > MAX_TOTAL_BYTES:
        yield f"it unpacks to more than {MAX_TOTAL_BYTES} bytes"


def open_archive(handle: BinaryIO) -> zipfile.ZipFile:
    """The archive, once all that can be told without unpacking its members is as it must be.

    Raises:
        EvidenceError: this is no zip, or the end of one is missing.
        TamperedError: it is a zip, and not one as a bundle is.
    """
    _refuse_long_directory(handle)
    try:
        archive = zipfile.ZipFile(handle)
    # Of a directory that is none it may say that it wants another program.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        raise EvidenceError("is no zip: it is truncated, or no bundle", hint="fetch it again") from None
    members = archive.infolist()
    refuse_findings([*name_problems(m.orig_filename for m in members), *limit_problems(members)])
    refuse_findings([problem for member in members if (problem := _member_problem(member))])
    refuse_findings([*_layout_problems(handle, members)])
    return archive


def _refuse_long_directory(handle: BinaryIO) -> None:
    """Stop before more entries are read than a bundle may hold."""
    handle.seek(max(0, handle.seek(0, 2) - _END_RECORD.size - 0xFFFF))
    tail = handle.read()
    place = tail.rfind(_END_MARK)
    length = _END_RECORD.unpack_from(tail, place)[5] if 0 <= place <= len(tail) - _END_RECORD.size else 0
    if length > MAX_MEMBERS * (_CENTRAL_BYTES + MAX_NAME):
        raise TamperedError(
            f"its directory has {length} bytes, and a bundle holds at most {MAX_MEMBERS} members"
        )


def refuse_findings(findings: Sequence[str]) -> None:
    """Stop where something was found.

    Raises:
        TamperedError: with the first, and all of them as its findings.
    """
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise TamperedError(findings[0] + more, findings=findings)


def _member_problem(member: zipfile.ZipInfo) -> str:
    """The most telling difference of an entry from what is written here; empty where there is none."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.flag_bits & 1:
        return f"{member.filename} is encrypted"
    if kind not in (0, stat.S_IFREG):
        return f"{member.filename} is {'a symbolic link' if stat.S_ISLNK(kind) else 'no regular file'}"
    ours = _plain_member(member.filename)
    alike = all(getattr(member, key) == getattr(ours, key) for key in _ALIKE_FIELDS)
    if alike and member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return ""
    return f"the directory's entry of {member.filename} is not as this plugin writes it"


def _layout_problems(handle: BinaryIO, members: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    """Where the bytes of an archive are not its members, their directory and its end alone."""
    size, start = handle.seek(0, 2), 0
    for member in members:
        header = member.FileHeader()
        handle.seek(start)
        if member.header_offset != start or handle.read(len(header)) != header:
            yield (
                f"{member.filename} does not begin where the last one ends, or its header contradicts the "
                "directory"
            )
            return
        start += len(header) + member.compress_size
    length = sum(_CENTRAL_BYTES + len(member.filename) for member in members)
    handle.seek(start)
    directory = handle.read(length)
    if handle.read(size) != _END_RECORD.pack(_END_MARK, 0, 0, len(members), len(members), length, start, 0):
        yield "bytes stand before, between or after its members, its directory and its end"
    for member in members:
        # zipfile cuts them where the directory ends, so that those of the last entry could be anything.
        lengths, directory = directory[28:34], directory[_CENTRAL_BYTES + len(member.filename) :]
        if lengths != _ENTRY_LENGTHS.pack(len(member.filename), 0, 0):
            yield f"the directory's entry of {member.filename} states other lengths than it has"


def unpack(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """The bytes of a member, in pieces; as many as it announces.

    Raises:
        TamperedError: its data are not what the directory says.
    """
    left = archive.getinfo(name).file_size
    try:
        with archive.open(name) as stream:
            while piece := stream.read(_UNPACKED_BYTES):
                left -= len(piece)
                yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise TamperedError(f"{name} does not unpack: {error}") from None
    if left:
        raise TamperedError(f"{name} has {left} bytes less than it announces")


def unpack_last(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of the statement, whose packed bytes no other hash covers: they are it and nothing else.

    Raises:
        TamperedError: as :func:`unpack`, or bytes are hidden behind its data.
    """
    data = b"".join(unpack(archive, member.filename))
    assert archive.fp is not None
    archive.fp.seek(member.header_offset + len(member.FileHeader()))
    packed, hidden = archive.fp.read(member.compress_size), b""
    # Bundles of before have it compressed.
    if member.compress_type == zipfile.ZIP_DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        packed, hidden = unpacker.decompress(packed, len(data) + 1), unpacker.unused_data
    if packed != data or hidden:
        raise TamperedError(f"bytes are hidden behind the data of {member.filename}")
    return data


def sha256_before(handle: BinaryIO, end: int) -> str:
    """sha256 of the first ``end`` bytes."""
    handle.seek(0)
    digest, left = hashlib.sha256(), end
    while left and (piece := handle.read(min(_UNPACKED_BYTES, left))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()
