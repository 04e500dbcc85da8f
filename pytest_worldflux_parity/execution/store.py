"""The run directory: what was asked, what every attempt gave, and what is still to do.

``<output>/<run_id>/<suite_id>/parity_runs.jsonl`` holds one line per attempt. It is only ever
appended to, under a file lock, in one write, and synced before the plugin goes on; each line carries
the sha256 of all bytes before it (:mod:`.chain`). A line torn by a crash is passed over and counted;
the next line starts afresh.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from .. import schemas, wire
from ..errors import StoreError
from ..schemas.json_text import KeyTwice, utc_now
from . import chain
from .chain import Chain, Follower, parse_line
from .leases import try_lock
from .left_files import left_record, left_request, open_left
from .records import SUCCESS, StoredLine
from .retention import FAILED_RECORD
from .sessions import EVENT_SCHEMA, SESSIONS, SessionEvent, Sessions, read_events

Line = dict[str, Any]
_Found = TypeVar("_Found")

_PRESENCE = ".running"
PRESENCE_WAIT_SEC = 30.0
Run = tuple[str, int, str]

_DISK_IS_FULL = ("the disk is full", "free some space, then go on with --parity-resume")
_TOO_LARGE = ("the file would be larger than it may be", "raise the limit (ulimit -f), then --parity-resume")
_IS_A_LINK = ("is a link", "take it away, then go on with --parity-resume")
_FILES_OPEN = ("too many open files", "raise the limit (ulimit -n), then go on with --parity-resume")
# What this machine is short of, or a program put in the place of a file: what is wrong, and what mends it.
_SHORTAGES = {
    errno.ENOSPC: _DISK_IS_FULL, errno.EDQUOT: _DISK_IS_FULL, errno.EFBIG: _TOO_LARGE,
    errno.EMFILE: _FILES_OPEN, errno.ENFILE: _FILES_OPEN, errno.ELOOP: _IS_A_LINK,
}  # fmt: skip

# What the plugin reads of a line by name; whatever lacks one of them is not a line of ours.
_LINE_KEYS: Mapping[str, type] = {
    "request_id": str, "task_id": str, "seed": int, "system": str, "status": str, "attempt": int,
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """The lines of a ``parity_runs.jsonl`` in order, and how many were torn.

    ``unreadable``: the numbers (1-based) of lines that are whole, but that this plugin never wrote.
    ``repeated``: those of lines in which a key stands twice, and which. ``chain``: what their hashes come to.
    ``sessions``: those that made the run.
    """

    lines: tuple[Line, ...]
    torn: int = 0
    unreadable: tuple[int, ...] = ()
    repeated: Mapping[int, str] = field(default_factory=dict)
    chain: Chain = field(default_factory=Chain)
    sessions: Sessions = field(default_factory=Sessions)

    @cached_property
    def successes(self) -> Mapping[str, Line]:
        """request_id -> its first success: the one that counts."""
        first: dict[str, Line] = {}
        for line in self.lines:
            if line["status"] == SUCCESS:
                first.setdefault(line["request_id"], line)
        return first

    @cached_property
    def _attempts(self) -> Mapping[Run, list[Line]]:
        attempts: dict[Run, list[Line]] = {}
        for line in self.lines:
            attempts.setdefault((line["task_id"], line["seed"], line["system"]), []).append(line)
        return attempts

    def attempts(self, task_id: str, seed: int, system: str) -> list[Line]:
        """All attempts at one run, oldest first."""
        return self._attempts.get((task_id, seed, system), [])


class SuiteStore:
    """The records of one suite in one run."""

    def __init__(self, run_dir: Path, suite_id: str) -> None:
        self.folder = run_dir / suite_id
        self.path = self.folder / "parity_runs.jsonl"

    def read(self) -> Stored:
        """All lines that are whole, and the sessions that made them.

        Raises:
            StoreError: a file is there and cannot be read.
        """
        sessions = _read_file(self.folder / SESSIONS, read_events) or Sessions()
        return replace(_read_file(self.path, _read_lines) or Stored(()), sessions=sessions)

    def head(self) -> str:
        """sha256 of the log as it is now; of nothing where there is none.

        Raises:
            StoreError: it cannot be read.
        """
        return _read_file(self.path, _head_of_file) or chain.EMPTY

    def append(self, line: Mapping[str, Any]) -> Line:
        """Add one line, durably; as it stands in the log.

        Raises:
            StoreError: the disk is full or the folder cannot be written; the file is as it was.
        """
        return self._append(self.path, line)

    def note_session(
        self, event: SessionEvent, run_id: str, command: Sequence[str], retry_failed: str = ""
    ) -> str:
        """Write down that a session begins, goes on or ends, with the head that the log has now.

        Args:
            retry_failed: why it tries anew what had failed; empty: it does not.

        Returns:
            sha256 of ``sessions.jsonl`` with that line.

        Raises:
            StoreError: it cannot be written.
        """
        line = {
            "schema_version": EVENT_SCHEMA,
            "run_id": run_id,
            "suite_id": self.folder.name,
            "event": event,
            "timestamp": utc_now(),
            "command": list(command),
            "log_sha256": self.head(),
            **({"retry_failed": retry_failed} if retry_failed else {}),
        }
        self._append(self.folder / SESSIONS, line)
        return _read_file(self.folder / SESSIONS, _head_of_file) or chain.EMPTY

    def _append(self, path: Path, line: Mapping[str, Any]) -> Line:
        with translated(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = open_left(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                return chain.append_line(descriptor, line)
            finally:
                os.close(descriptor)

    def new_attempt(self, task_id: str, seed: int, system: str) -> tuple[int, Path]:
        """The number and the new, empty folder of the next attempt."""
        return new_attempt_folder(self._run_folder(task_id, seed, system))

    def attempt_folder(self, task_id: str, seed: int, system: str, attempt: int) -> Path:
        """Where an attempt wrote."""
        return self.folder / attempt_place(task_id, seed, system, attempt)

    def _run_folder(self, task_id: str, seed: int, system: str) -> Path:
        return self.attempt_folder(task_id, seed, system, 1).parent

    def started(self, task_id: str, seed: int, system: str) -> list[tuple[int, Path]]:
        """Number and folder of every attempt at a run, ended or not."""
        return numbered_attempts(self._run_folder(task_id, seed, system))


def new_attempt_folder(parent: Path) -> tuple[int, Path]:
    """The number and the new, empty folder of the next attempt below ``parent``.

    Raises:
        StoreError: it cannot be made.
    """
    with translated(parent):
        parent.mkdir(parents=True, exist_ok=True)
        attempt = 1 + max((number for number, _ in numbered_attempts(parent)), default=0)
        while True:
            folder = parent / f"attempt_{attempt}"
            try:
                folder.mkdir()
                return attempt, folder
            except FileExistsError:
                attempt += 1


def numbered_attempts(parent: Path) -> list[tuple[int, Path]]:
    """Number and folder of every attempt below ``parent``, in order."""
    names = ((re.fullmatch(r"attempt_(\d+)", path.name), path) for path in parent.glob("attempt_*"))
    return sorted((int(found[1]), path) for found, path in names if found)


def answer_in(folder: Path) -> tuple[wire.RunRequest, wire.RunRecord] | None:
    """The request and the record of an attempt, where both are there and whole."""
    try:
        return left_request(folder), left_record(folder)
    except (OSError, wire.WireError):
        return None


def never_began(folder: Path) -> bool:
    """Whether an attempt waited for its GPU when what was to run it was killed: its empty folder is removed.

    Its request is the first thing that is put there. Of one that a later attempt has passed the number is
    taken, and it gets a line.
    """
    with suppress(OSError):
        folder.rmdir()
        return True
    return False


def set_record_aside(folder: Path) -> None:
    """Rename the record of an attempt that failed: whoever finds one without a line takes it for a success.

    What its program put in the way goes first. Where nothing can be renamed all the same, the record stays
    beside a line that says how the attempt ended.
    """
    aside = folder / FAILED_RECORD
    with suppress(OSError):
        folder.chmod(0o755)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        os.replace(folder / "metrics.json", aside)
    with suppress(OSError):
        os.unlink(folder / "metrics.json")


def attempt_place(task_id: str, seed: int, system: str, attempt: int) -> str:
    """Where an attempt writes, as a path within the folder of its suite."""
    return f"executions/{safe_name(task_id)}/seed_{seed}/{system}/attempt_{attempt}"


def safe_name(name: str) -> str:
    """A task id, or any name, as one component of a path that every file system and evidence can hold.

    No two names share one: the bytes of other signs than letters, digits and ``_ . + @ -``, and a first dot,
    are written as ``=2F``. :func:`named_by` reads them back.
    """
    return re.sub(r"^\.|[^A-Za-z0-9_.+@-]", lambda found: _hex_escaped(found[0]), name) or "="


def _hex_escaped(sign: str) -> str:
    return "".join(f"={byte:02X}" for byte in sign.encode("utf-8", "surrogateescape"))


def named_by(component: str) -> str:
    """The name that :func:`safe_name` made a component of.

    Raises:
        ValueError: it made this one of none.
    """
    raw = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), component.encode())
    name = raw.decode("utf-8", "surrogateescape")
    if safe_name(name) != component or name in ("", ".", "..") or {"/", "\0"} & {*name}:
        raise ValueError(f"{component!r} stands for no name")
    return name


def write_document(path: Path, document: Mapping[str, Any], schema: str) -> None:
    """Write a JSON document atomically, once it keeps its ``schema`` (a file of ``schemas/``).

    Raises:
        StoreError: it cannot be written, or it does not keep its schema, which is a mistake of ours.
    """
    schemas.check(document, schema, lambda at: f"{path}: {'.'.join(map(str, at))}", StoreError)
    try:
        text = json.dumps(document, indent=2, allow_nan=False)
    except ValueError as error:
        raise StoreError(f"not a document: {error}", where=str(path)) from None
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text atomically.

    Raises:
        StoreError: it cannot be written.
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        wire.write_atomic(path, text)


def latest_run(output: Path, track: str) -> str | None:
    """Name of the run of a track that was sealed last, or None where there is none."""
    found = []
    for path in output.glob("*/run.json"):
        with suppress(OSError, ValueError):
            if wire.load_object(path).get("track") == track:
                found.append((path.stat().st_mtime_ns, path.parent.name))
    return max(found)[1] if found else None


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold a run directory for this process; the lock goes with the process.

    Where workers or programs of a pytest that was killed still end, they are waited for: what they
    finish would be run again.

    Raises:
        StoreError: another pytest holds it, or it cannot be made.
    """
    with _open_lock_file(run_dir, ".lock") as descriptor:
        if not try_lock(descriptor, fcntl.LOCK_EX):
            raise StoreError(
                "another pytest is using this run directory",
                where=str(run_dir),
                hint="wait for it, or choose another --parity-run-id",
            )
        with _open_lock_file(run_dir, _PRESENCE) as others:
            end = time.monotonic() + PRESENCE_WAIT_SEC
            while not try_lock(others, fcntl.LOCK_EX):
                if time.monotonic() > end:
                    raise StoreError(
                        "programs of an earlier pytest still run in this run directory",
                        where=str(run_dir),
                        hint="end them, or choose another --parity-run-id",
                    )
                time.sleep(0.02)
        yield


@contextmanager
def hold_presence(run_dir: Path) -> Iterator[int]:
    """Say that something runs in a run directory, for as long as the block or a program that inherits lasts.

    Returns:
        The descriptor that a program has to inherit.
    """
    with _open_lock_file(run_dir, _PRESENCE) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes, once they let it go; the lock goes with the process."""
    with _open_lock_file(folder, ".lock") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _open_lock_file(run_dir: Path, name: str) -> Iterator[int]:
    with translated(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Foreign errors of the file system become ours, in this one place."""
    try:
        yield
    except OSError as error:
        what, hint = _SHORTAGES.get(
            error.errno or 0, (f"cannot be written: {error.strerror}", "choose a writable --parity-output")
        )
        raise StoreError(what, where=str(path), hint=hint) from None


def _read_file(path: Path, parse: Callable[[BufferedReader], _Found]) -> _Found | None:
    try:
        with os.fdopen(open_left(path), "rb") as handle:
            return parse(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _head_of_file(handle: BufferedReader) -> str:
    return hashlib.file_digest(handle, "sha256").hexdigest()


def _read_lines(handle: BinaryIO) -> Stored:
    lines: list[Line] = []
    torn, unreadable, repeated = 0, list[int](), dict[int, str]()
    follower = Follower()
    for number, text in enumerate(handle, start=1):
        line = parse_line(text)
        follower.add(text, line)
        if isinstance(line, KeyTwice):
            repeated[number] = str(line)
        elif not isinstance(line, dict) or not line.keys() >= _LINE_KEYS.keys():
            torn += bool(text.strip())
        elif _is_ours(line):
            lines.append(StoredLine(line))
        else:
            unreadable.append(number)
    return Stored(tuple(lines), torn, tuple(unreadable), repeated, follower.chain())


def _is_ours(line: Mapping[str, Any]) -> bool:
    # A success must also name its version, where it is judged.
    known = line.get("schema_version", wire.RECORD_SCHEMA) == wire.RECORD_SCHEMA
    return known and all(type(line[key]) is kind for key, kind in _LINE_KEYS.items())


def relative(path: Path, root: Path) -> str:
    """A path relative to the project where it lies in it, so that documents carry no home folder."""
    resolved, base = path.resolve(), root.resolve()
    return str(resolved.relative_to(base)) if resolved.is_relative_to(base) else path.name
