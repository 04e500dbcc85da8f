"""A run directory -> ``evidence_bundle.zip``, and back into a folder once all of it is what it was.

What goes in is what stands in the run directory, byte for byte: it was cleaned before it was hashed
(:mod:`..execution.attempt_end`). The statement lists what was taken out of which file.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any, Literal

from .. import schemas
from ..errors import EvidenceError, TamperedError
from ..execution.cleaning import Cleaner, cleaner, count_placeholders
from ..execution.store import translated
from ..schemas.json_text import parse_json
from . import container, statement
from .attempts import Part, all_parts
from .gaps import find_gaps
from .log import LogSummary, summarise_lines
from .members import (
    ENVIRONMENT,
    INPUTS,
    LINES,
    REPORTS,
    RUN,
    Member,
    input_members,
    most_bytes,
    place_of,
    refuse_names,
    run_members,
)
from .reading import read_content
from .signing import PublicKey, SignKey, read_public_key, read_sign_key

SignatureState = Literal["unsigned", "not checked", "valid"]


@dataclass(frozen=True)
class BundleInfo:
    """A bundle that was written.

    Attributes:
        sha256: of the file. members: names, the statement among them.
        redacted: names of environment variables, and forms of keys, that stood in a text and were taken out.
        warnings: what is to be said about the key file, and what a reader will see all the same.
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
        folder: where the members were unpacked, as :func:`.members.place_of` says.
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
) -> BundleInfo:
    """Write the bundle of one suite of a run; the same bytes for the same inputs.

    Args:
        inputs: name of the member (``inputs/suite.yaml``, ...) -> the file, or its bytes.
        predicate: what the statement is to say beside what it takes from the reports.
        root: the project. environ: the environment that the programs ran in.
        sign_key: PEM file of an Ed25519 private key; None leaves the bundle unsigned.

    Raises:
        EvidenceError: the run was not judged, a file is too large, or the key cannot be used.
        StoreError: the bundle cannot be written.
    """
    key = read_sign_key(sign_key) if sign_key else None
    with _writing(path) as handle:
        with zipfile.ZipFile(handle, "w") as archive:
            contents = _Contents(archive, suite_id, cleaner(root, run_dir, environ))
            contents.add_all(run_dir, inputs)
            contents.state(predicate, key, _sha256_of_file(handle))
        sha256 = _sha256_of_file(handle)
    warnings = [key.warning] if key and key.warning else []
    return BundleInfo(
        path=path,
        sha256=sha256,
        members=tuple(archive.namelist()),
        signed=key is not None,
        redacted=contents.redacted,
        keyid=key.keyid if key else "",
        warnings=(*warnings, *contents.warnings),
    )


def check_inputs(
    inputs: Mapping[str, Path | bytes], *, run_dir: Path, root: Path, environ: Mapping[str, str]
) -> None:
    """Refuse before the first run what a reader of the evidence must not see.

    A path that a suite names is part of what it asks, and is held.

    Raises:
        EvidenceError: a text that the evidence holds as it is has a secret in it.
    """
    clean = cleaner(root, run_dir, environ)
    for member in input_members(inputs):
        # Of tables there can be hundreds of megabytes, and they are published as they are.
        told = member.is_text and not member.name.startswith(f"{INPUTS}tables/")
        if told and (found := clean.secret_in(member.text())):
            hint = "take it out; or, if that is no secret, unset the variable"
            raise EvidenceError(f"{found}, and evidence would show it", where=member.name, hint=hint)


@contextmanager
def _writing(path: Path) -> Iterator[BufferedRandom]:
    """A file that takes its place when the block is done, and is gone when it fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "w+b") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _sha256_of_file(handle: BufferedReader | BufferedRandom) -> str:
    """Of all that a file holds."""
    handle.seek(0)
    return hashlib.file_digest(handle, "sha256").hexdigest()


class _Contents:
    """The members as they are written, and what is to be said of them.

    Attributes:
        subjects: name of each member -> sha256.
        reports: name of a document of the suite -> it.
        cleaned: name of a file -> what stands in it in the place of what was taken out, and how often.
        warnings: of texts that should have been cleaned, and were not.
    """

    def __init__(self, archive: zipfile.ZipFile, suite_id: str, clean: Cleaner) -> None:
        self.subjects: dict[str, str] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.cleaned: dict[str, dict[str, int]] = {}
        self.warnings: list[str] = []
        self._archive = archive
        self._suite_id = suite_id
        self._below = f"{RUN}{suite_id}/"
        self._clean = clean

    @property
    def redacted(self) -> tuple[str, ...]:
        """What was taken out as a secret, by its name."""
        words = {word for found in self.cleaned.values() for word in found}
        return tuple(sorted(w[10:-1] for w in words if w.startswith("<redacted:")))

    def add_all(self, run_dir: Path, inputs: Mapping[str, Path | bytes]) -> None:
        """Write everything but the statement, in the order of names.

        Raises:
            EvidenceError: something cannot be a member, or is missing.
        """
        log = _read_log(run_dir / self._suite_id / LINES)
        members = [*run_members(run_dir, self._suite_id), *input_members(inputs)]
        if log is not None:
            members.append(Member(f"{self._below}{LINES}", log))
        summary = summarise_lines((log or b"").split(b"\n"))
        members.append(_environment_member(summary))
        folders = ((f"{self._below}{part.name}", part) for part in all_parts(run_dir, self._suite_id))
        rows: Iterator[tuple[str, Member | Part]] = heapq.merge(
            sorted(((m.name, m) for m in members), key=lambda row: row[0]), folders, key=lambda row: row[0]
        )
        files: set[str] = set()
        for name, item in rows:
            if isinstance(item, Part):
                files |= item.texts.keys()
                for file, text in item.texts.items():
                    self._look(f"{RUN}{file}", text)
                self._add(name, item.data)
            else:
                self._add_member(item)
        refuse_names(self._archive.namelist(), "members of the bundle")
        for problem in container.limit_problems(self._archive.infolist()):
            raise EvidenceError(problem, where="members of the bundle", hint="split the suite")
        self._refuse_incomplete(summary, files)

    def _add_member(self, member: Member) -> None:
        data = member.original()
        if member.is_text and not member.is_verbatim:
            self._look(member.name, data.decode("utf-8", "replace"))
        own = member.name.removeprefix(self._below)
        if own in REPORTS and own.endswith(".json"):
            self.reports[own] = parse_json(data, Path(member.name), EvidenceError)
        self._add(member.name, data)

    def _add(self, name: str, data: bytes) -> None:
        container.write_member(self._archive, name, data)
        self.subjects[name] = hashlib.sha256(data).hexdigest()

    def _look(self, name: str, text: str) -> None:
        """Note what was taken out of a text; say where something is left."""
        if found := count_placeholders(text):
            self.cleaned[name] = found
        if left := self._clean.secret_in(text):
            self.warnings.append(f"{name}: {left}: the run was begun before such was taken out of it")

    def _refuse_incomplete(self, log: LogSummary, files: set[str]) -> None:
        """Make sure that what the lines name is there.

        Raises:
            EvidenceError: it is not.
        """
        attempts = {name.rpartition("/")[0] for name in files}
        for problem in find_gaps(log, files, attempts):
            hint = "bring the file back, or run the pair again"
            raise EvidenceError(problem, where=f"{self._below.removeprefix(RUN)}{LINES}", hint=hint)

    def state(self, predicate: Mapping[str, Any], key: SignKey | None, archive_sha256: str) -> None:
        """Write the statement.

        Args:
            archive_sha256: of all that is written so far.
        """
        cleaned = [{"name": name, "taken_out": self.cleaned[name]} for name in sorted(self.cleaned)]
        made = {"archive_sha256": archive_sha256, "redacted": [*self.redacted], "cleaned": cleaned}
        said = {**predicate, **statement.summarise_reports(self.reports)}
        payload = statement.encode(statement.make_statement(self.subjects, said, made))
        container.write_member(self._archive, *_statement_of(payload, key))


def _read_log(path: Path) -> bytes | None:
    """The log of a suite; None where there is none, since no attempt was made."""
    return read_content(path) if os.path.lexists(path) else None


def _environment_member(summary: LogSummary) -> Member:
    document = summary.environment_document()
    schemas.check(document, "environment.v1", lambda at: ENVIRONMENT, EvidenceError)
    return Member(ENVIRONMENT, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def _statement_of(payload: bytes, key: SignKey | None) -> tuple[str, bytes]:
    """The last member: its name and its bytes."""
    if key is None:
        return statement.UNSIGNED, payload
    signature = key.sign(statement.bytes_to_sign(payload))
    return statement.SIGNED, statement.encode(statement.make_envelope(payload, key.keyid, signature))


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
    with _opening(path) as handle:
        try:
            return _open_archive(handle, into, wanted, signers)
        except TamperedError as error:
            raise TamperedError(error.what, where=str(path), findings=error.findings) from None
        except EvidenceError as error:
            raise EvidenceError(error.what, where=error.where or str(path), hint=error.hint) from None


@contextmanager
def _opening(path: Path) -> Iterator[BufferedReader]:
    try:
        # A pipe would keep whoever opens it waiting.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise EvidenceError("is no regular file", where=str(path))
        with open(path, "rb") as handle:
            yield handle
    except OSError as error:
        place = str(error.filename or path)
        raise EvidenceError(f"cannot be read: {error.strerror or error}", where=place) from None


def _open_archive(
    handle: BufferedReader, into: Path, wanted: PublicKey | None, signers: Sequence[PublicKey]
) -> OpenedBundle:
    archive = container.open_archive(handle)
    last = _statement_member(archive.infolist())
    data = container.unpack_last(archive, last)
    payload, keyid, signature = (
        statement.open_envelope(data) if last.filename == statement.SIGNED else (data, "", b"")
    )
    wanted = wanted or next((s for s in signers if keyid and s.keyid == keyid), None)
    if wanted:
        _check_signature(wanted, payload, keyid, signature)
    document = statement.decode(payload, last.filename, "statement.v1")
    members = archive.infolist()[:-1]
    # Nothing is unpacked that the statement does not name, or that is larger than its name allows.
    names = [member.filename for member in members]
    container.refuse_findings([*_size_problems(members), *_listing_problems(document, names)])
    container.refuse_findings([*_unpack_problems(archive, document, into)])
    if (
        container.sha256_before(handle, last.header_offset)
        != document["predicate"]["bundle"]["archive_sha256"]
    ):
        raise TamperedError("the archive is packed otherwise than it was when the statement was made")
    state: SignatureState = "valid" if wanted else "not checked" if keyid else "unsigned"
    return OpenedBundle(into, document, tuple(archive.namelist()), _sha256_of_file(handle), state, keyid)


def _statement_member(members: Sequence[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    names = [m.filename for m in members]
    found = [name for name in names if name in (statement.UNSIGNED, statement.SIGNED)]
    if len(found) != 1:
        raise TamperedError(
            "it has no statement" if not found else "it has a signed and an unsigned statement"
        )
    if names != [*sorted(set(names) - {*found}), *found]:
        raise TamperedError("its members are not in order: sorted by name, the statement last")
    if members[-1].file_size > statement.MAX_STATEMENT_BYTES:
        raise TamperedError(f"its statement has {members[-1].file_size} bytes")
    return members[-1]


def _check_signature(wanted: PublicKey, payload: bytes, keyid: str, signature: bytes) -> None:
    if not keyid:
        raise TamperedError("is not signed, and a key was given: the signature may have been taken off")
    if keyid != wanted.keyid:
        raise TamperedError(f"is signed by another key ({keyid[:16]}...), not by {wanted.keyid[:16]}...")
    if not wanted.signed(statement.bytes_to_sign(payload), signature):
        raise TamperedError("the signature does not hold: the statement is not what this key signed")


def _listing_problems(document: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """How the members are not those that the statement lists."""
    listed = [row["name"] for row in document["subject"]]
    if listed != sorted(set(listed)):
        yield "the statement lists a member twice, or not in order"
    there, stated = frozenset(names), frozenset(listed)
    yield from (f"{name} is missing" for name in listed if name not in there)
    yield from (f"{name} is not in the statement" for name in names if name not in stated)


def _size_problems(members: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    """Members that are larger than what is written under their names."""
    for member in members:
        if member.file_size > (most := most_bytes(member.filename)):
            yield f"{member.filename} unpacks to {member.file_size} bytes, and such a member may have {most}"


def _unpack_problems(archive: zipfile.ZipFile, document: Mapping[str, Any], into: Path) -> Iterator[str]:
    """Unpack every member; how it is not what the statement says."""
    for row in document["subject"]:
        name, digest = row["name"], hashlib.sha256()
        path = into / place_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # "x": nothing that is there is ever written over.
            with open(path, "xb") as out:
                for piece in container.unpack(archive, name):
                    digest.update(piece)
                    out.write(piece)
        except TamperedError as error:
            yield error.what
            continue
        if (found := digest.hexdigest()) != row["digest"]["sha256"]:
            yield f"{name} is not what the statement says: its sha256 is {found[:16]}..."
