"""The attempts of a run in a bundle: a row each, a few members per task, and back.

Thousands of attempts with a handful of small files each would be ten thousand members. A row holds the files
of one attempt, each with its whole text under the name that it has in the bundle: ``metrics.json`` byte for
byte as the sha256 in its line names it, and of each log the end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import orjson

from .. import wire
from ..errors import StoreError
from ..execution.attempt_files import EXECUTIONS, Attempt, AttemptFolders
from .cleaning import Cleaner, refuse_broken
from .members import ATTEMPTS
from .reading import LOG_TAIL_BYTES, content, log_end

WHOLE = ("request.json", "metrics.json")
TAILS = {
    "stdout.log": "stdout.tail.log",
    "stderr.log": "stderr.tail.log",
    "progress.jsonl": "progress.tail.jsonl",
}
# What is held in memory at a time: a member ends with the attempt that reaches it.
PART_BYTES = 4 << 20
_NAMES = frozenset((*WHOLE, *TAILS.values()))
_ATTEMPT = re.compile(r"[^/]+/[^/]+/attempt_[^/]+")


@dataclass(frozen=True)
class File:
    """A file of an attempt: its path within the run directory, under the name that it has in the bundle.

    Attributes:
        sha256_before, sha256_after: of its bytes as they are and as they go in; empty where nothing changed.
    """

    name: str
    sha256_before: str = ""
    sha256_after: str = ""

    @property
    def tie(self) -> tuple[str, str] | None:
        """Both hashes, where what names it by the one is to name it by the other."""
        changed = self.sha256_before != self.sha256_after
        return (self.sha256_before, self.sha256_after) if changed else None


@dataclass(frozen=True)
class Part:
    """One member: its name below the suite's folder, its bytes, and the files that it holds."""

    name: str
    data: bytes
    files: tuple[File, ...]


# --- packing ---


@dataclass(frozen=True)
class _Read:
    """A file as it was read, or the end of a log.

    Attributes:
        cut: of a log whose beginning is left out, how many of the first characters may be the rest of a
            secret; None where nothing is left out.
    """

    name: str
    data: bytes
    log: bool = False
    cut: int | None = None

    def kept(self, clean: bytes) -> bytes:
        """What goes in, of the cleaned bytes: of a log the last lines."""
        if not self.log:
            return clean
        text = clean.decode("utf-8", "replace")
        if self.cut is not None:
            # It begins with what may be the rest of a secret, and goes on with the rest of a line.
            _, found, rest = text[self.cut :].partition("\n")
            text = rest if found else text[self.cut :]
        return text[-LOG_TAIL_BYTES:].encode()

    def file(self, folder: str, kept: bytes, clean: Cleaner) -> File:
        """What is told of it; the end of a log replaces nothing."""
        name = f"{folder}/{self.name}"
        if self.log or self.data == kept:
            return File(name)
        refuse_broken(f"run/{name}", self.data, kept, clean)
        return File(name, hashlib.sha256(self.data).hexdigest(), hashlib.sha256(kept).hexdigest())


def parts(run_dir: Path, suite_id: str, clean: Cleaner) -> Iterator[Part]:
    """The members of all attempts at a suite, in the order of their names.

    Raises:
        EvidenceError: a file cannot be read or is too large.
    """
    folders = AttemptFolders(run_dir)
    for task in sorted(folders.tasks(suite_id), key=lambda name: f"{name}/"):
        number, held, size = 1, list[tuple[Attempt, list[_Read]]](), 0
        for attempt in folders.attempts_at(suite_id, task):
            read = list(_files(attempt, f"{run_dir}/{attempt.path}", clean))
            held.append((attempt, read))
            size += sum(len(file.data) for file in read)
            if size >= PART_BYTES:
                yield _part(task, number, held, clean)
                number, held, size = number + 1, [], 0
        if held:
            yield _part(task, number, held, clean)


def _files(attempt: Attempt, folder: str, clean: Cleaner) -> Iterator[_Read]:
    for name in WHOLE:
        if name in attempt.names:
            yield _Read(name, content(f"{folder}/{name}"))
    for name, shown in TAILS.items():
        if name in attempt.names:
            data, cut = log_end(f"{folder}/{name}", clean.longest)
            yield _Read(shown, data, log=True, cut=cut)
    if attempt.names.isdisjoint((*WHOLE, *TAILS)):
        # A worker that was killed at once: that there was an attempt is told by its empty log.
        yield _Read(TAILS["stdout.log"], b"")


def _part(task: str, number: int, held: list[tuple[Attempt, list[_Read]]], clean: Cleaner) -> Part:
    cleaned = iter(clean.each([file.data for _, read in held for file in read]))
    rows: list[bytes] = []
    files: list[File] = []
    for attempt, read in held:
        kept = [file.kept(next(cleaned)) for file in read]
        files += [f.file(attempt.path, data, clean) for f, data in zip(read, kept, strict=True)]
        texts = {f.name: data.decode("utf-8", "surrogateescape") for f, data in zip(read, kept, strict=True)}
        rows.append(row(attempt.path.partition(f"/{EXECUTIONS}/{task}/")[2], texts))
    return Part(f"{ATTEMPTS}/{task}/{number:04d}.jsonl", b"".join(rows), tuple(files))


def row(attempt: str, files: Mapping[str, str]) -> bytes:
    """The line of one attempt (``<seed>/<system>/<attempt>``); bytes that are no UTF-8: lone surrogates."""
    entry = {"attempt": attempt, "files": dict(files)}
    try:
        text: bytes = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
        return text + b"\n"
    except TypeError:
        # Escapes of lone surrogates are written by the one alone.
        return wire.canonical_json(entry).encode() + b"\n"


# --- reading ---


class PackedAttempts:
    """The files of attempts in an unpacked bundle; what is in memory is a member or two.

    Args:
        run_dir: ``run`` within the folder that the bundle was unpacked into.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._member = lru_cache(maxsize=2)(self._read_member)
        self._members = cache(self._find_members)

    def read(self, name: str) -> bytes:
        """A file by the path that it had in the run directory.

        Raises:
            FileNotFoundError: no row holds it.
            StoreError: a member is not one of rows.
        """
        folder, _, file = name.rpartition("/")
        suite, _, below = folder.partition(f"/{EXECUTIONS}/")
        task = below.partition("/")[0]
        for member in self._members(suite) if suite and "/" not in suite else ():
            if member.split("/")[2] == task and file in (files := self._member(member).get(folder, {})):
                return files[file].encode("utf-8", "surrogateescape")
        raise FileNotFoundError(2, "No such file or directory", name)

    def attempts(self, suite_id: str) -> Iterator[Attempt]:
        """Every attempt, with the files that its row holds.

        Raises:
            StoreError: a member is not one of rows, or an attempt has two.
        """
        seen: set[str] = set()
        for member in self._members(suite_id):
            for path, files in self._member(member).items():
                if path in seen:
                    raise StoreError(f"{path} has two rows", where=f"run/{member}")
                seen.add(path)
                yield Attempt(path, frozenset(files))

    def _find_members(self, suite: str) -> list[str]:
        found = (self._run_dir / suite / ATTEMPTS).glob("*/*.jsonl")
        return sorted(path.relative_to(self._run_dir).as_posix() for path in found)

    def _read_member(self, member: str) -> dict[str, dict[str, str]]:
        """Path of each attempt -> its files."""
        suite, _, task, _ = member.split("/")
        found: dict[str, dict[str, str]] = {}
        with open(self._run_dir / member, "rb") as handle:
            for number, raw in enumerate(handle, start=1):
                attempt, files = parsed(raw, f"run/{member}:{number}")
                path = f"{suite}/{EXECUTIONS}/{task}/{attempt}"
                if path in found:
                    raise StoreError(f"{path} has two rows", where=f"run/{member}:{number}")
                found[path] = files
        return found


def parsed(raw: bytes, where: str) -> tuple[str, dict[str, str]]:
    """Attempt and files of a row.

    Raises:
        StoreError: it is not one.
    """
    try:
        found: Any = json.loads(raw, object_pairs_hook=_once)
        attempt, files = found["attempt"], found["files"]
        regular = (
            len(found) == 2
            and _ATTEMPT.fullmatch(attempt)
            and files.keys() <= _NAMES
            and all(isinstance(text, str) for text in files.values())
        )
        for text in files.values() if regular else ():
            text.encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        regular = False
    if not regular:
        raise StoreError("is not the row of an attempt as this plugin writes it", where=where)
    return attempt, files


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key stands twice")
    return mapping
