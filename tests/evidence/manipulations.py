"""What someone might do to a bundle, as functions on its bytes or on its members."""

from __future__ import annotations

import io
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_worldflux_parity.evidence import attempts, container, statement
from pytest_worldflux_parity.evidence.signing import SignKey
from pytest_worldflux_parity.evidence.statement import summarise_reports
from tests.evidence.evidence_examples import BELOW, sha256

Members = dict[str, bytes]
LINES = f"{BELOW}/parity_runs.jsonl"
FIRST = f"{BELOW}/executions/task-0/seed_0/official/attempt_1/metrics.json"
OTHER = f"{BELOW}/executions/task-0/seed_1/official/attempt_1/metrics.json"
ROWS = f"{BELOW}/attempts/task-0/0001.jsonl"
EQUIVALENCE = f"{BELOW}/equivalence_report.json"
_END = struct.Struct("<4sHHHHIIH")
_ATTEMPTS = re.compile(r"(run/[^/]+)/attempts/([^/]+)/\d+\.jsonl")
_FILE = re.compile(r"(run/[^/]+)/executions/([^/]+)/([^/]+/[^/]+/[^/]+)/([^/]+)")


def members_of(data: bytes) -> Members:
    """The members by name; in the place of the rows of attempts, the files that they hold."""
    found: Members = {}
    for name, content in packed_members_of(data).items():
        if match := _ATTEMPTS.fullmatch(name):
            for raw in content.splitlines():
                row = json.loads(raw)
                for file, text in sorted(row["files"].items()):
                    place = f"{match[1]}/executions/{match[2]}/{row['attempt']}/{file}"
                    found[place] = text.encode("utf-8", "surrogateescape")
        else:
            found[name] = content
    return found


def packed_members_of(data: bytes) -> Members:
    """The members as they are."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _place(name: str) -> str:
    """The name to sort by: files of attempts stand where their rows do."""
    return re.sub(r"^(run/[^/]+)/executions/", r"\1/attempts/", name)


def packed(members: Mapping[str, bytes]) -> Members:
    """Files of attempts back in their rows, in the place of the first of them."""
    found: dict[str, Any] = {}
    for name, data in members.items():
        if match := _FILE.fullmatch(name):
            rows = found.setdefault(f"{match[1]}/attempts/{match[2]}/0001.jsonl", {})
            rows.setdefault(match[3], {})[match[4]] = data.decode("utf-8", "surrogateescape")
        else:
            found[name] = data
    return {
        name: b"".join(attempts.encode_row(*item) for item in content.items())
        if isinstance(content, dict)
        else content
        for name, content in found.items()
    }


def written(members: Mapping[str, bytes]) -> bytes:
    """The members in this order, in the container's own form."""
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        for name, data in packed(members).items():
            container.write_member(archive, name, data)
    return handle.getvalue()


def edited(change: Callable[[Members], object]) -> Callable[[bytes], bytes]:
    """Members changed and packed again; no hash is mended."""

    def apply(data: bytes) -> bytes:
        members = members_of(data)
        change(members)
        return written(members)

    return apply


def forged(
    change: Callable[[Members], object], *, state: Callable[[dict[str, Any]], object] | None = None
) -> Callable[[bytes], bytes]:
    """Members changed, and everything mended that can be mended without a key: hashes and statement."""

    def apply(data: bytes) -> bytes:
        members = members_of(data)
        change(members)
        return forged_bundle(members, state)

    return apply


def forged_bundle(
    members: Members, state: Callable[[dict[str, Any]], object] | None = None, key: SignKey | None = None
) -> bytes:
    document = json.loads(_payload(members))
    members = packed(members)
    document["subject"] = [{"name": n, "digest": {"sha256": sha256(members[n])}} for n in sorted(members)]
    reports = {n.rpartition("/")[2]: data for n, data in members.items() if n.endswith("_report.json")}
    document["predicate"].update(summarise_reports({n: json.loads(data) for n, data in reports.items()}))
    if state:
        state(document["predicate"])
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        for name in sorted(members):
            container.write_member(archive, name, members[name])
        document["predicate"]["bundle"]["archive_sha256"] = sha256(handle.getvalue())
        payload = statement.encode(document)
        if key is None:
            container.write_member(archive, statement.UNSIGNED, payload)
        else:
            signature = key.sign(statement.bytes_to_sign(payload))
            envelope = statement.make_envelope(payload, key.keyid, signature)
            container.write_member(archive, statement.SIGNED, statement.encode(envelope))
    return handle.getvalue()


def _payload(members: Members) -> bytes:
    if statement.UNSIGNED in members:
        return members.pop(statement.UNSIGNED)
    return statement.open_envelope(members.pop(statement.SIGNED))[0]


# --- changes of members ---


def replaced(name: str, old: str, new: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        assert old.encode() in members[name], (name, old)
        members[name] = members[name].replace(old.encode(), new.encode(), 1)

    return change


def removed(*names: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        for name in names:
            del members[name]

    return change


def with_member(name: str, data: bytes = b"{}") -> Callable[[Members], None]:
    def change(members: Members) -> None:
        last = members.popitem()
        members[name] = data
        ordered = dict(sorted(members.items(), key=lambda item: _place(item[0])))
        members.clear()
        members.update(ordered)
        members.update([last])

    return change


def swapped(one: str, other: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[one], members[other] = members[other], members[one]

    return change


def document(name: str, edit: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        found = json.loads(members[name])
        edit(found)
        members[name] = json.dumps(found).encode()

    return change


def lines(keep: Callable[[dict[str, Any]], bool]) -> Callable[[Members], None]:
    """Only the lines that are to be kept."""

    def change(members: Members) -> None:
        rows = [row for row in members[LINES].splitlines(keepends=True) if keep(json.loads(row))]
        assert len(rows) < len(members[LINES].splitlines())
        members[LINES] = b"".join(rows)

    return change


def seed_gone(members: Members) -> None:
    """All that is known of one seed."""
    lines(lambda line: line["seed"] != 3)(members)
    for name in [n for n in members if "/seed_3/" in n]:
        del members[name]


def better_score(members: Members) -> None:
    """One digit of one score, in the record and in its line, with the hash that ties them mended."""
    old = json.loads(members[FIRST])["curve"][-1]["return"]
    new = round(old + 0.1, 10)
    before = sha256(members[FIRST])
    replaced(FIRST, repr(old), repr(new))(members)
    replaced(LINES, repr(old), repr(new))(members)
    replaced(LINES, before, sha256(members[FIRST]))(members)


def raw_rows(
    edit: Callable[[bytes], bytes], more: Callable[[bytes], bytes] | None = None
) -> Callable[[Members], None]:
    """The member of a task's attempts changed as it stands; ``more``: a second member, made of it."""

    def change(members: Members) -> None:
        raw = packed(members)[ROWS]
        for name in [n for n in members if "/executions/task-0/" in n]:
            del members[name]
        members[ROWS] = edit(raw)
        if more:
            members[ROWS.replace("0001", "0002")] = more(raw)

    return change


def digit(members: Members) -> None:
    old = repr(json.loads(members[LINES].splitlines()[0])["metrics"]["curve"][-1]["return"])
    whole, _, rest = old.partition(".")
    replaced(LINES, old, f"{whole}.{(int(rest[0]) + 1) % 10}{rest[1:]}")(members)


def arrays(name: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        handle = io.BytesIO()
        np.savez(handle, z=np.arange(12.0).reshape(3, 4) + 1e-3)
        members[name] = handle.getvalue()

    return change


# --- changes of the archive itself ---


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
        fields = (20, 0, self.method, 0, 0x21, self.crc, self.packed, self.size, len(name), 0)
        return struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *fields) + name

    @property
    def central(self) -> bytes:
        """Its entry in the directory."""
        name = self.name.encode()
        head = (3 << 8 | 20, 20, 0, self.method, 0, 0x21, self.crc, self.packed, self.size)
        tail = (len(name), 0, 0, 0, 0, (stat.S_IFREG | 0o644) << 16, self.offset)
        return struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", *head, *tail) + name

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + len(self.local) + self.packed


def entries_of(data: bytes) -> tuple[Entry, ...]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return tuple(
            Entry(i.filename, i.compress_type, i.CRC, i.compress_size, i.file_size, i.header_offset)
            for i in archive.infolist()
        )


def assembled(body: bytes, directory: bytes, count: int) -> bytes:
    return body + directory + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)


def patched_entry(number: int, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Bytes of one entry of the directory overwritten, ``offset`` from its beginning."""

    def apply(data: bytes) -> bytes:
        entries = entries_of(data)
        at = entries[-1].end + sum(len(e.central) for e in entries[:number]) + offset
        return data[:at] + value + data[at + len(value) :]

    return apply


def renamed(name: str) -> Callable[[bytes], bytes]:
    """The first member under another name, in its header and in the directory."""

    def apply(data: bytes) -> bytes:
        entries = entries_of(data)
        first, raw = entries[0], name.encode()
        shift = len(raw) - len(first.name)
        local = first.local[:26] + struct.pack("<H", len(raw)) + first.local[28:30] + raw
        body = local + data[len(first.local) : entries[-1].end]
        head = first.central[:28] + struct.pack("<H", len(raw)) + first.central[30:46] + raw
        rest = b"".join(replace(e, offset=e.offset + shift).central for e in entries[1:])
        return assembled(body, head + rest, len(entries))

    return apply


def doubled(data: bytes) -> bytes:
    """The first member a second time."""
    entries = entries_of(data)
    directory = b"".join(e.central for e in (entries[0], *entries))
    return assembled(data[: entries[-1].end], directory, len(entries) + 1)


def overlapping(data: bytes) -> bytes:
    """A second name for the bytes of the first member."""
    entries = entries_of(data)
    copy = replace(entries[0], name="environment.jsoo")
    directory = b"".join(e.central for e in (entries[0], copy, *entries[1:]))
    return assembled(data[: entries[-1].end], directory, len(entries) + 1)


def gap(data: bytes) -> bytes:
    """Bytes hidden between the first member and the second."""
    entries = entries_of(data)
    cut = entries[0].end
    moved = [entries[0], *(replace(e, offset=e.offset + 5) for e in entries[1:])]
    body = data[:cut] + b"spare" + data[cut : entries[-1].end]
    return assembled(body, b"".join(e.central for e in moved), len(entries))


def with_first(entry: Entry, packed: bytes) -> Callable[[bytes], bytes]:
    """A member put before all others, as its entry lies about it."""

    def apply(data: bytes) -> bytes:
        entries = entries_of(data)
        head = entry.local + packed
        moved = [entry, *(replace(e, offset=e.offset + len(head)) for e in entries)]
        body = head + data[: entries[-1].end]
        return assembled(body, b"".join(e.central for e in moved), len(entries) + 1)

    return apply


def squeezed(data: bytes, level: int = 9) -> bytes:
    squeezer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return squeezer.compress(data) + squeezer.flush()


def bomb(size: int) -> Callable[[bytes], bytes]:
    """A member of zeros that says how large it is."""
    zeros = bytes(size)
    packed = squeezed(zeros)
    return with_first(Entry("bomb", 8, zlib.crc32(zeros), len(packed), size, 0), packed)


def huge(data: bytes) -> bytes:
    """A member that announces more than any may have."""
    size = container.MAX_MEMBER_BYTES + 1
    entry = Entry("aaa", 8, 0, size // 2, size, 0)
    entries = entries_of(data)
    directory = b"".join(e.central for e in (entry, *entries))
    return assembled(data[: entries[-1].end], directory, len(entries) + 1)


def first_holding(stream: Callable[[bytes], bytes], method: int = 8) -> Callable[[bytes], bytes]:
    """Another stream in the place of the first member's, which announces what it always did."""

    def apply(data: bytes) -> bytes:
        name, text = next(iter(packed_members_of(data).items()))
        packed = stream(text)
        entry = Entry(name, method, zlib.crc32(text), len(packed), len(text), 0)
        rest = entries_of(data)
        cut = rest[0].end
        body = entry.local + packed + data[cut : rest[-1].end]
        moved = [entry, *(replace(e, offset=e.offset + entry.end - cut) for e in rest[1:])]
        return assembled(body, b"".join(e.central for e in moved), len(rest))

    return apply


def last_holding(
    stream: Callable[[bytes], bytes], method: int = 0, more: int = 0
) -> Callable[[bytes], bytes]:
    """Another stream in the place of the statement's, which announces so many bytes more."""

    def apply(data: bytes) -> bytes:
        entries = entries_of(data)
        text = packed_members_of(data)[entries[-1].name]
        packed = stream(text)
        size, offset = len(text) + more, entries[-1].offset
        entry = Entry(entries[-1].name, method, zlib.crc32(text), len(packed), size, offset)
        directory = b"".join(e.central for e in (*entries[:-1], entry))
        return assembled(data[:offset] + entry.local + packed, directory, len(entries))

    return apply


def packed_otherwise(data: bytes) -> bytes:
    """The same members, the first compressed in another way."""
    entries, content = entries_of(data), packed_members_of(data)
    first = entries[0]
    packed = squeezed(content[first.name], level=0)
    entry = replace(first, method=8, packed=len(packed))
    body = entry.local + packed + data[first.end : entries[-1].end]
    moved = [entry, *(replace(e, offset=e.offset + entry.end - first.end) for e in entries[1:])]
    return assembled(body, b"".join(e.central for e in moved), len(entries))


def local_differs(data: bytes) -> bytes:
    """The time in the first member's own header, which the directory contradicts."""
    return data[:10] + b"\x01" + data[11:]


def by_zipfile(data: bytes) -> bytes:
    """Unpacked and zipped again with a usual program."""
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in packed_members_of(data).items():
            archive.writestr(name, content)
    return handle.getvalue()


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
