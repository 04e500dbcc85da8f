"""A run directory -> ``evidence_bundle.zip``, and back into a folder once all of it is what it was.

What a member holds is cleaned of absolute paths and secrets. That changes hashes, and a record is tied to
its ``metrics.json`` by one: where a cleaned file is named by its hash, the name is changed with it, so that
in the bundle everything is tied as it was in the run, and what did not fit in the run does not fit in the
bundle either. The statement lists each changed file with both hashes.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from .. import schemas
from ..errors import EvidenceError, TamperedError
from ..execution.store import translated
from ..schemas.json_text import loads
from . import container, packing, statement
from .cleaning import Cleaner, cleaner, refuse_broken
from .container import Entry
from .gaps import gaps
from .log import Head, LogSummary
from .members import (
    ENVIRONMENT,
    EQUIVALENCE,
    LINES,
    REPORTS,
    RUN,
    Member,
    asked_texts,
    input_members,
    refuse_names,
    run_members,
)
from .packing import Ahead
from .signing import PublicKey, SignKey, read_public_key, read_sign_key

_HEX_DIGITS = bytes(ord("0") if chr(byte) in "0123456789abcdef" else ord(" ") for byte in range(256))
_HASH_DIGITS = 64
# Members that are compressed while the next one is cleaned.
_AHEAD = 1
SignatureState = Literal["unsigned", "not checked", "valid"]


@dataclass(frozen=True)
class BundleInfo:
    """A bundle that was written.

    Attributes:
        sha256: of the file. members: names, the statement among them.
        redacted: names of environment variables whose values were looked for.
        warnings: what is to be said about the key file.
    """

    path: Path
    sha256: str
    members: tuple[str, ...]
    signed: bool
    redacted: tuple[str, ...]
    keyid: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle whose every member is what its statement says.

    Attributes:
        folder: where the members were unpacked, under their names.
        sha256: of the file. keyid: of the key that the envelope names; empty where it is unsigned.
    """

    folder: Path
    statement: Mapping[str, Any]
    names: tuple[str, ...]
    sha256: str
    signature: SignatureState
    keyid: str = ""

    @property
    def predicate(self) -> Mapping[str, Any]:
        predicate: Mapping[str, Any] = self.statement["predicate"]
        return predicate


# --- building ---


def build(
    path: Path,
    *,
    run_dir: Path,
    suite_id: str,
    inputs: Mapping[str, Path | bytes],
    predicate: Mapping[str, Any],
    root: Path,
    environ: Mapping[str, str],
    sign_key: Path | None,
    ahead: Ahead | None = None,
) -> BundleInfo:
    """Write the bundle of one suite of a run; the same bytes for the same inputs.

    Args:
        inputs: name of the member (``inputs/suite.yaml``, ...) -> the file, or its bytes.
        predicate: what the statement is to say beside what it takes from the reports.
        root: the project. environ: the environment that the programs ran in.
        sign_key: PEM file of an Ed25519 private key; None leaves the bundle unsigned.
        ahead: the process that packs what the attempts left, where there is one.

    Raises:
        EvidenceError: the run was not judged, a file is too large or holds what may not leave the machine,
            the predicate contradicts the reports, or the key cannot be used.
        StoreError: the bundle cannot be written.
    """
    key = read_sign_key(sign_key) if sign_key else None
    members = [*run_members(run_dir, suite_id), *input_members(inputs)]
    clean = bundle_cleaner(run_dir, suite_id, inputs, root, environ)

    def written(items: Iterator[packing.Item]) -> container.Writer:
        with _written(path) as handle:
            return _write(container.Writer(handle), suite_id, members, items, clean, predicate, key)

    try:
        # What was packed without knowing what is asked for now is of no use.
        there = ahead is not None and ahead.clean == clean
        writer = written(ahead.items() if ahead and there else packing.packed(run_dir, suite_id, clean))
    except packing.PackingLost:
        writer = written(packing.packed(run_dir, suite_id, clean))
    return BundleInfo(
        path=path,
        sha256=writer.sha256,
        members=tuple(e.name for e in writer.entries),
        signed=key is not None,
        redacted=clean.redacted,
        keyid=key.keyid if key else "",
        warnings=(key.warning,) if key and key.warning else (),
    )


def bundle_cleaner(
    run_dir: Path,
    suite_id: str,
    inputs: Mapping[str, Path | bytes],
    root: Path,
    environ: Mapping[str, str],
) -> Cleaner:
    """What :func:`build` takes out of texts; arguments as there.

    Raises:
        EvidenceError: an input cannot be read.
    """
    return cleaner(root, run_dir, environ, asked_texts(run_dir, suite_id, inputs))


def check_inputs(
    inputs: Mapping[str, Path | bytes], *, run_dir: Path, root: Path, environ: Mapping[str, str]
) -> None:
    """Refuse before the first run what :func:`build` would refuse after the last; arguments as there.

    Raises:
        EvidenceError: an input that is not to be changed holds a path or a secret of this machine.
    """
    members = [m for m in input_members(inputs) if m.is_verbatim and m.is_text]
    clean = cleaner(root, run_dir, environ, [m.original() for m in members])
    for member in members:
        member.read(clean)


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when the block is done, and is gone when it fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _write(
    writer: container.Writer,
    suite_id: str,
    members: Sequence[Member],
    items: Iterator[packing.Item],
    clean: Cleaner,
    predicate: Mapping[str, Any],
    key: SignKey | None,
) -> container.Writer:
    """Write every member, and what is stated of them."""
    head = next(items)
    assert isinstance(head, Head)
    contents = _Contents(writer, suite_id, clean)
    rows = sorted([*members, _environment(head.summary, clean)], key=lambda m: m.name)
    contents.add_all(rows, items, head.sha256_before)
    contents.refuse_incomplete(head.summary)
    said = _said(predicate, contents.reports, clean)
    made = {"archive_sha256": writer.sha256, "redacted": list(clean.redacted), "cleaned": contents.cleaned}
    payload = statement.encoded(statement.statement(contents.subjects, said, made))
    name, data = _signed(payload, key)
    writer.add(name, container.squeeze(data, name))
    writer.close()
    return writer


def _environment(summary: LogSummary, clean: Cleaner) -> Member:
    document = summary.environment_document(clean.redacted)
    schemas.check(document, "environment.v1", lambda at: ENVIRONMENT, EvidenceError)
    return Member(ENVIRONMENT, clean.data(json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"))


class _Contents:
    """The members as they are written, and what is to be said of them.

    Attributes:
        subjects: name of each member -> sha256. cleaned: the files that were changed, with both hashes.
        reports: name of a document of the suite -> it, without its lists.
    """

    def __init__(self, writer: container.Writer, suite_id: str, clean: Cleaner) -> None:
        self.subjects: dict[str, str] = {}
        self.cleaned: list[dict[str, str]] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self._writer = writer
        # Members that are being compressed, in the order in which they are to be written.
        self._waiting: deque[tuple[str, Callable[[], container.Squeezed]]] = deque()
        self._pool = ThreadPoolExecutor(1)
        self._below = f"{RUN}{suite_id}/"
        self._clean = clean
        self._files: set[str] = set()
        # sha256 of what files of attempts were -> of what they become.
        self._ties: dict[str, str] = {}
        # What was compressed ahead, by the sha256 of what it holds.
        self._squeezed: dict[str, list[container.Squeezed]] = {}

    def add_all(self, members: Sequence[Member], items: Iterable[packing.Item], log_before: str) -> None:
        """Write everything but the statement, in the order of names.

        Args:
            items: what was compressed ahead, the members of attempts, their log.
            log_before: sha256 of the log as it is.

        Raises:
            EvidenceError: something cannot be a member, or may not leave the machine.
        """
        ties = _ties(members, self._clean)
        # What names files of attempts by their hash stands in the suite's folder, after the attempts.
        named: list[Iterable[tuple[str, Callable[[], None]]]] = [
            ((m.name, partial(self._add_member, m, ties)) for m in members),
            (
                (f"{self._below}{item.name}", partial(self._add_packed, item, log_before))
                for item in self._kept(items)
            ),
        ]
        with self._pool:
            for _, add in heapq.merge(*named, key=lambda row: row[0]):
                add()
            self._write_waiting(0)
        refuse_names(self.subjects, "members of the bundle")

    def _add_member(self, member: Member, ties: Mapping[int, Mapping[str, str]]) -> None:
        before, after = _content(
            member, self._clean, {**ties[member.rank], **(self._ties if member.rank else {})}
        )
        if before != after:
            self._note(member.name, _sha256(before), _sha256(after))
        own = member.name.removeprefix(self._below)
        if own in REPORTS and own.endswith(".json"):
            self.reports[own] = _without_lists(_document(after, member.name))
        # Texts may yet change, so none is compressed ahead.
        ahead = None if member.is_text else self._squeezed.get(_sha256(after))
        if ahead:
            ready = ahead.pop()
            self._add(member.name, lambda: ready)
        else:
            self._add(member.name, self._pool.submit(container.squeeze, after, member.name).result)

    def _kept(self, items: Iterable[packing.Item]) -> Iterator[packing.Packed]:
        """The members among items; what was compressed ahead of others is kept for them."""
        for item in items:
            if isinstance(item, packing.Packed):
                yield item
            elif isinstance(item, container.Squeezed):
                self._squeezed.setdefault(item.sha256, []).append(item)

    def _add_packed(self, item: packing.Packed, log_before: str) -> None:
        for file in item.files:
            self._files.add(file.name)
            if file.tie:
                self._note(f"{RUN}{file.name}", *file.tie)
                self._ties[file.sha256_before] = file.sha256_after
        name = f"{self._below}{item.name}"
        self._add(name, lambda: item.content)
        if item.name == LINES and item.content.sha256 != log_before:
            self._note(name, log_before, item.content.sha256)

    def _add(self, name: str, content: Callable[[], container.Squeezed]) -> None:
        self._waiting.append((name, content))
        self._write_waiting(_AHEAD)

    def _write_waiting(self, left: int) -> None:
        """Write those that wait, until so many are left."""
        while len(self._waiting) > left:
            name, content = self._waiting.popleft()
            if name in self.subjects:
                raise EvidenceError(f"{name} stands twice", where="members of the bundle")
            self.subjects[name] = self._writer.add(name, content())

    def _note(self, name: str, before: str, after: str) -> None:
        self.cleaned.append({"name": name, "sha256_before": before, "sha256_after": after})

    def refuse_incomplete(self, log: LogSummary) -> None:
        """Make sure that what the lines name is there.

        Raises:
            EvidenceError: it is not.
        """
        attempts = {name.rpartition("/")[0] for name in self._files}
        for problem in gaps(log, self._files, attempts):
            mend = "bring the file back, or run the pair again"
            raise EvidenceError(problem, where=f"{self._below.removeprefix(RUN)}{LINES}", mend=mend)


def _document(data: bytes, name: str) -> dict[str, Any]:
    try:
        document = loads(data)
    except (ValueError, RecursionError):
        raise EvidenceError("is not JSON", where=name) from None
    return document if isinstance(document, dict) else {}


def _without_lists(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says of the whole; its rows can be megabytes."""
    return {key: value for key, value in document.items() if not isinstance(value, list)}


def _ties(members: Sequence[Member], clean: Cleaner) -> dict[int, dict[str, str]]:
    """Rank of a member -> sha256 of what members of lower ranks were -> sha256 of what they become."""
    ties: dict[int, dict[str, str]] = {0: {}}
    for rank in range(max((m.rank for m in members), default=0)):
        found = {}
        for member in members:
            if member.rank == rank and member.is_text and not member.is_verbatim:
                before, after = _content(member, clean, ties[rank])
                if before != after:
                    found[_sha256(before)] = _sha256(after)
        ties[rank + 1] = ties[rank] | found
    return ties


def _content(member: Member, clean: Cleaner, ties: Mapping[str, str]) -> tuple[bytes, bytes]:
    """What a member is, and what goes into the bundle.

    Raises:
        EvidenceError: a secret is spelled like a part of a document, which would be none without it.
    """
    before, after = member.read(clean)
    if ties and member.is_text:
        after = _retied(after, ties)
    refuse_broken(member.name, before, after, clean)
    return before, after


def _retied(data: bytes, ties: Mapping[str, str]) -> bytes:
    """The text with every hash that stands by itself changed as ``ties`` say.

    What could be one is looked for in the shape of the text: a pattern would try every character.
    """
    shape, least = data.translate(_HEX_DIGITS), b"0" * _HASH_DIGITS
    kept: list[bytes] = []
    done, start = 0, shape.find(least)
    while start >= 0:
        end = shape.find(b" ", start)
        end = end if end >= 0 else len(data)
        alone = not (data[max(0, start - 1) : start].isalnum() or data[end : end + 1].isalnum())
        word = data[start:end].decode()
        if end - start == _HASH_DIGITS and alone and word in ties:
            kept += (data[done:start], ties[word].encode())
            done = end
        start = shape.find(least, end)
    return b"".join((*kept, data[done:])) if kept else data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _said(
    predicate: Mapping[str, Any], reports: Mapping[str, Mapping[str, Any]], clean: Cleaner
) -> dict[str, Any]:
    """What the caller states and what the reports come to."""
    found = statement.summary(reports)
    for word in predicate.keys() & found.keys():
        if predicate[word] != found[word]:
            what = f"the predicate has {word} {predicate[word]!r}, and the reports {found[word]!r}"
            raise EvidenceError(what, where=EQUIVALENCE)
    said: dict[str, Any] = json.loads(clean.data(statement.encoded({**predicate, **found})))
    return said


def _signed(payload: bytes, key: SignKey | None) -> tuple[str, bytes]:
    """The last member: its name and its bytes."""
    if key is None:
        return statement.UNSIGNED, payload
    signature = key.sign(statement.signed_bytes(payload))
    return statement.SIGNED, statement.encoded(statement.envelope(payload, key.keyid, signature))


# --- opening ---


def open_bundle(
    path: Path, into: Path, *, key: Path | None, signers: Sequence[PublicKey] = ()
) -> OpenedBundle:
    """Unpack a bundle, once its structure, its signature and the digest of every member are as they must be.

    Args:
        into: an empty folder. Nothing is ever written outside of it.
        key: PEM file of the Ed25519 public key that must have signed; None: none must.
        signers: keys that are known; a signature that names one of them is checked.

    Raises:
        EvidenceError: the file or the key cannot be read, or is not what its name says.
        TamperedError: the bundle is not what it was when it was built; ``findings`` says all that was found.
    """
    wanted = read_public_key(key) if key else None
    with _opened(path) as handle:
        try:
            return _open(handle, into, wanted, signers)
        except TamperedError as error:
            raise TamperedError(error.what, where=str(path), findings=error.findings) from None
        except EvidenceError as error:
            raise EvidenceError(error.what, where=error.where or str(path), mend=error.mend) from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # A pipe would keep whoever opens it waiting.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise EvidenceError("is no regular file", where=str(path))
        with open(path, "rb") as handle:
            yield handle
    except OSError as error:
        place = str(error.filename or path)
        raise EvidenceError(f"cannot be read: {error.strerror or error}", where=place) from None


def _open(
    handle: BinaryIO, into: Path, wanted: PublicKey | None, signers: Sequence[PublicKey]
) -> OpenedBundle:
    entries = container.read_directory(handle)
    last = _statement_entry(entries)
    data = b"".join(container.unpack(handle, last))
    payload, keyid, signature = (
        statement.opened_envelope(data) if last.name == statement.SIGNED else (data, "", b"")
    )
    wanted = wanted or next((s for s in signers if keyid and s.keyid == keyid), None)
    if wanted:
        _check_signature(wanted, payload, keyid, signature)
    document = statement.decoded(payload, last.name, "statement.v1")
    _refuse([*_listing(document, entries[:-1]), *_unpacked(handle, document, entries[:-1], into)])
    if container.sha256_before(handle, last.offset) != document["predicate"]["bundle"]["archive_sha256"]:
        raise TamperedError("the archive is packed otherwise than it was when the statement was made")
    state: SignatureState = "valid" if wanted else "not checked" if keyid else "unsigned"
    sha256 = container.sha256_before(handle, handle.seek(0, os.SEEK_END))
    return OpenedBundle(into, document, tuple(e.name for e in entries), sha256, state, keyid)


def _refuse(findings: Sequence[str]) -> None:
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise TamperedError(findings[0] + more, findings=findings)


def _statement_entry(entries: Sequence[Entry]) -> Entry:
    found = [e for e in entries if e.name in (statement.UNSIGNED, statement.SIGNED)]
    if len(found) != 1:
        raise TamperedError(
            "it has no statement" if not found else "it has a signed and an unsigned statement"
        )
    names = [e.name for e in entries[:-1]]
    if entries[-1] is not found[0] or names != sorted(names):
        raise TamperedError("its members are not in order: sorted by name, the statement last")
    if found[0].size > statement.MAX_STATEMENT_BYTES:
        raise TamperedError(f"its statement has {found[0].size} bytes")
    return found[0]


def _check_signature(wanted: PublicKey, payload: bytes, keyid: str, signature: bytes) -> None:
    if not keyid:
        raise TamperedError("is not signed, and a key was given: the signature may have been taken off")
    if keyid != wanted.keyid:
        raise TamperedError(f"is signed by another key ({keyid[:16]}...), not by {wanted.keyid[:16]}...")
    if not wanted.signed(statement.signed_bytes(payload), signature):
        raise TamperedError("the signature does not hold: the statement is not what this key signed")


def _listing(document: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    """How the members are not those that the statement lists."""
    listed = [row["name"] for row in document["subject"]]
    known, present = set(listed), {e.name for e in entries}
    if listed != sorted(known):
        yield "the statement lists a member twice, or not in order"
    yield from (f"{name} is missing" for name in listed if name not in present)
    yield from (f"{e.name} is not in the statement" for e in entries if e.name not in known)


def _unpacked(
    handle: BinaryIO, document: Mapping[str, Any], entries: Sequence[Entry], into: Path
) -> Iterator[str]:
    """Unpack every member; how it is not what the statement says."""
    sha256s = {row["name"]: row["digest"]["sha256"] for row in document["subject"]}
    for entry in entries:
        try:
            found = _unpack_one(handle, entry, into / entry.name)
        except TamperedError as error:
            yield error.what
            continue
        if found != sha256s.get(entry.name, found):
            yield f"{entry.name} is not what the statement says: its sha256 is {found[:16]}..."


def _unpack_one(handle: BinaryIO, entry: Entry, path: Path) -> str:
    """Write one member; its sha256."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    # "x": nothing that is there is ever written over.
    with open(path, "xb") as out:
        for piece in container.unpack(handle, entry):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()
