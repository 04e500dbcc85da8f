"""The attempts of a run in a bundle: a row each, a few members per task, and back.

Thousands of attempts with a handful of small files each would be ten thousand members. A row holds the files
of one attempt, each with its whole text under the name that it has in the bundle: ``metrics.json`` byte for
byte as the sha256 in its line names it, and of each log the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import StoreError
from ..execution.attempt_files import EXECUTIONS, Attempt, AttemptFolders
from .members import ATTEMPTS, kept_logs
from .reading import read_content, read_log_end

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
class Part:
    """One member: its name below the suite's folder, its bytes, and the texts of the files that it holds.

    Attributes:
        texts: path of a file within the run directory, under the name that it has in the bundle -> its text.
    """

    name: str
    data: bytes
    texts: Mapping[str, str]


# --- packing ---


def all_parts(run_dir: Path, suite_id: str) -> Iterator[Part]:
    """As :func:`parts`, with the attempts of earlier runs that are kept."""
    yield from parts(run_dir, suite_id)
    for kept, suite in kept_logs(run_dir, suite_id):
        place = kept.relative_to(run_dir).as_posix()
        below = place.partition("/")[2]
        for part in parts(kept, suite):
            texts = {f"{place}/{name}": text for name, text in part.texts.items()}
            yield Part(f"{below}/{suite}/{part.name}", part.data, texts)


def all_files(run_dir: Path, suite_id: str) -> dict[str, frozenset[str]]:
    """Path of each attempt in an unpacked bundle, those of earlier runs too -> the names of its files."""
    found = {a.path: a.names for a in PackedAttempts(run_dir).attempts(suite_id)}
    for kept, suite in kept_logs(run_dir, suite_id):
        place = kept.relative_to(run_dir).as_posix()
        found.update((f"{place}/{a.path}", a.names) for a in PackedAttempts(kept).attempts(suite))
    return found


def parts(run_dir: Path, suite_id: str) -> Iterator[Part]:
    """The members of all attempts at a suite, in the order of their names.

    Raises:
        EvidenceError: a file cannot be read or is too large.
    """
    folders = AttemptFolders(run_dir)
    for task in sorted(folders.tasks(suite_id), key=lambda name: f"{name}/"):
        number, held, size = 1, dict[str, dict[str, str]](), 0
        for attempt in folders.attempts_at(suite_id, task):
            held[attempt.path] = dict(_bundled_files(attempt, f"{run_dir}/{attempt.path}"))
            size += sum(map(len, held[attempt.path].values()))
            if size >= PART_BYTES:
                yield _make_part(task, number, held)
                number, held, size = number + 1, {}, 0
        if held:
            yield _make_part(task, number, held)


def _bundled_files(attempt: Attempt, folder: str) -> Iterator[tuple[str, str]]:
    """The name of each file in the bundle, and its text."""
    for name in WHOLE:
        if name in attempt.names:
            yield name, read_content(f"{folder}/{name}").decode("utf-8", "surrogateescape")
    for name, shown in TAILS.items():
        if name in attempt.names:
            yield shown, read_log_end(f"{folder}/{name}")
    if attempt.names.isdisjoint((*WHOLE, *TAILS)):
        # A worker that was killed at once: that there was an attempt is told by its empty log.
        yield TAILS["stdout.log"], ""


def _make_part(task: str, number: int, held: Mapping[str, Mapping[str, str]]) -> Part:
    rows = [encode_row(path.partition(f"/{EXECUTIONS}/{task}/")[2], files) for path, files in held.items()]
    texts = {f"{path}/{name}": text for path, files in held.items() for name, text in files.items()}
    return Part(f"{ATTEMPTS}/{task}/{number:04d}.jsonl", b"".join(rows), texts)


def encode_row(attempt: str, files: Mapping[str, str]) -> bytes:
    """The line of one attempt (``<seed>/<system>/<attempt>``); bytes that are no UTF-8: lone surrogates."""
    return wire.canonical_json({"attempt": attempt, "files": dict(files)}).encode() + b"\n"


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

    def below(self, place: str) -> PackedAttempts:
        """As :meth:`.AttemptFiles.below`."""
        return PackedAttempts(self._run_dir / place)

    def _find_members(self, suite: str) -> list[str]:
        found = (self._run_dir / suite / ATTEMPTS).glob("*/*.jsonl")
        return sorted(path.relative_to(self._run_dir).as_posix() for path in found)

    def _read_member(self, member: str) -> dict[str, dict[str, str]]:
        """Path of each attempt -> its files."""
        suite, _, task, _ = member.split("/")
        found: dict[str, dict[str, str]] = {}
        with open(self._run_dir / member, "rb") as handle:
            for number, raw in enumerate(handle, start=1):
                attempt, files = parse_row(raw, f"run/{member}:{number}")
                path = f"{suite}/{EXECUTIONS}/{task}/{attempt}"
                if path in found:
                    raise StoreError(f"{path} has two rows", where=f"run/{member}:{number}")
                found[path] = files
        return found


def parse_row(raw: bytes, where: str) -> tuple[str, dict[str, str]]:
    """Attempt and files of a row.

    Raises:
        StoreError: it is not one.
    """
    try:
        found: Any = json.loads(raw, object_pairs_hook=_unique_pairs)
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


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key stands twice")
    return mapping
