"""The end of an attempt: what it left is cleaned where it stands, before anything of it is hashed.

Logs lose secrets, absolute paths and names of hosts and users. So does a record, but for secrets: a record
with one is not changed behind its program's back, and does not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import RecordError
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..schemas.json_text import loads
from .cleaning import Cleaner, cleaner, secret_names
from .key_forms import is_word
from .left_files import (
    LARGEST_BYTES,
    MOST_RECORD,
    left_record,
    open_left,
    read_left,
    take_away_odd,
    write_at_once,
)
from .retention import FAILED_RECORD
from .store import set_record_aside

# Bytes of a log that are kept: of a longer one its beginning and its end.
MOST_LOG, LOG_BEGINNING = 64 << 20, 1 << 20
_CLEANED_LOGS = ("stdout.log", "stderr.log")
_PROGRESS_FILE = "progress.jsonl"
# In a run's folder, and behind the name of a log that is put aside; neither is part of evidence.
SECRET_NAMES = "secret_names.json"
WITHHELD = ".withheld"
# What we wrote ourselves for the program, with this machine's paths.
_OUR_FILES = ("request.json", "match_request.json", "isolation.json")
# What ties a record to its request, and the plugin compares.
_CONTRACT = frozenset(["schema_version", "request_id", "adapter", "task_id", "seed", "device", "success"])


def cleaner_of(
    request: wire.RunRequest, program: Backend | CommandProgram, folder: Path, root: Path, run_dir: Path
) -> Cleaner:
    """What to look for in what an attempt left; what was asked, and of which program, stays as it is.

    Args:
        folder: of the attempt. root: the project.
    """
    asked = wire.canonical_json(
        [
            request.recipe,
            request.eval_protocol,
            [request.family, request.task_id, request.system, request.adapter, request.suite_id],
            request.run_id,
        ]
    )
    environ = {**os.environ, **_given_variables(program, request.task_id)}
    return cleaner(root, run_dir, environ, [asked, _command_words(program)], folder.resolve())


def _given_variables(program: Backend | CommandProgram, task: str) -> dict[str, str]:
    """The variables of a manifest's ``env`` that may hold a secret: no word, and nothing that is asked."""
    given = program.sides[task].env if isinstance(program, CommandProgram) else {}
    return {name: value for name, value in given.items() if "{" not in value and not is_word(value)}


def _command_words(program: Backend | CommandProgram) -> str:
    """What a suite or a backend says of how the program is started."""
    if isinstance(program, Backend):
        return "\n".join(program.argv)
    return "\n".join(word for side in program.sides.values() for word in side.command)


def note_secret_names(run_dir: Path) -> None:
    """Keep with a run the names of the secret variables that its sessions had; never a value.

    Raises:
        OSError: they cannot be written.
    """
    known = _secret_names_of(run_dir)
    if more := secret_names(os.environ) - known:
        run_dir.mkdir(parents=True, exist_ok=True)
        wire.write_atomic(run_dir / SECRET_NAMES, wire.canonical_json(sorted(known | more)))


def _secret_names_of(run_dir: Path) -> set[str]:
    try:
        names = loads((run_dir / SECRET_NAMES).read_bytes())
    except (OSError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def withhold_logs(folder: Path, run_dir: Path) -> None:
    """Put the logs of an attempt aside that an earlier session began and did not clean, where this one does
    not have all of that one's secrets, and cannot look for them. Evidence takes none of what is aside.

    Raises:
        OSError: a file cannot be renamed or written.
    """
    absent = sorted(_secret_names_of(run_dir) - secret_names(os.environ))
    logs = [folder / name for name in (*_CLEANED_LOGS, _PROGRESS_FILE) if os.path.lexists(folder / name)]
    if not absent or not logs:
        return
    for path in logs:
        os.replace(path, path.with_name(f"{path.name}{WITHHELD}"))
    what = f"left by an earlier session, of whose {', '.join(absent)} this one has no value to look for"
    text = f"<redacted:log> {what}; it stands here as *{WITHHELD}\n"
    write_at_once(folder / _CLEANED_LOGS[0], text.encode())


def clean_attempt(
    folder: Path, record: wire.RunRecord | None, where: str, clean: Cleaner
) -> tuple[wire.RunRecord | None, str]:
    """Clean what an attempt left in its folder, once its program has ended; a second time changes nothing.

    Args:
        record: as it was read; None of an attempt that failed. where: whose program it is, for errors.

    Returns:
        The record as it now stands there, or why it does not count, in one line.

    Raises:
        OSError: a file cannot be written; nothing is lost then.
    """
    error = ""
    if record is not None:
        try:
            if clean_document(folder / "metrics.json", where, clean):
                record = left_record(folder)
        except RecordError as leak:
            set_record_aside(folder)
            record, error = None, leak.line()
    clean_texts(folder, clean)
    return record, error


def clean_document(path: Path, where: str, clean: Cleaner) -> bool:
    """Clean what a program found out, where it stands; whether anything was taken out.

    Raises:
        RecordError: it holds a secret. OSError: it cannot be read or written.
    """
    document = wire.object_in(read_left(path, MOST_RECORD), path.name)
    if place := clean.secret_in(document):
        hint = "let the program leave it out of what it writes"
        raise RecordError(f"{path.name}: {place}", where=where, hint=hint)
    return write_clean(path, document, clean)


def clean_texts(folder: Path, clean: Cleaner) -> None:
    """Clean logs, and what we wrote for the program, in a folder whose program has ended.

    Raises:
        OSError: a file cannot be written.
    """
    take_away_odd(folder)
    for name in _CLEANED_LOGS:
        _rewrite_file(folder / name, lambda data: clean.data(_drop_bars(data)))
    _rewrite_file(folder / FAILED_RECORD, clean.data)
    _rewrite_file(folder / _PROGRESS_FILE, lambda data: _clean_lines(data, clean))
    for name in _OUR_FILES:
        with suppress(OSError, wire.WireError):
            document = wire.object_in(read_left(folder / name, LARGEST_BYTES[name]), name)
            write_clean(folder / name, document, clean)


def write_clean(path: Path, document: Mapping[str, Any], clean: Cleaner) -> bool:
    """Write a document anew where it holds what must not leave the machine; whether it did.

    Raises:
        OSError: it cannot be written.
    """
    own = {k: v if k in _CONTRACT else clean.document(v) for k, v in document.items()}
    if own == document:
        return False
    wire.write_atomic(path, wire.canonical_json(own))
    return True


def _rewrite_file(path: Path, clean: Callable[[bytes], bytes]) -> None:
    try:
        data, whole = _read_bounded(path)
    except OSError:
        # There is none, or nothing that a program may leave there.
        return
    cleaned = clean(data)
    if cleaned != data or not whole:
        write_at_once(path, cleaned)


def _read_bounded(path: Path) -> tuple[bytes, bool]:
    """A log, and whether that is all of it: the middle of one without end is left out."""
    with os.fdopen(open_left(path), "rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        if size <= MOST_LOG:
            return handle.read(size), True
        first = handle.read(LOG_BEGINNING)
        handle.seek(size - (MOST_LOG - 2 * LOG_BEGINNING))
        last = handle.read(MOST_LOG - 2 * LOG_BEGINNING)
    # Cut at lines, or states of a progress bar: no half of what is looked for is left over.
    first = first[: max(first.rfind(b"\n"), first.rfind(b"\r"), 0)]
    begins = re.search(rb"[\r\n]", last)
    last = last[begins.end() :] if begins else b""
    note = f"\n... {size - len(first) - len(last)} bytes of this log are left out here ...\n"
    return first + note.encode() + last, False


def _drop_bars(data: bytes) -> bytes:
    """A log as a terminal shows it in the end: of a progress bar its last state."""
    lines = data.split(b"\n") if b"\r" in data else ()
    return b"\n".join(map(_last_state, lines)) if lines else data


def _last_state(line: bytes) -> bytes:
    shown = line.rstrip(b"\r")
    return line[shown.rfind(b"\r") + 1 :]


def _clean_lines(data: bytes, clean: Cleaner) -> bytes:
    """JSON of a line each, whose numbers stay; of a line that is no JSON the text."""
    return b"\n".join(_clean_line(line, clean) for line in data.split(b"\n"))


def _clean_line(line: bytes, clean: Cleaner) -> bytes:
    # Most lines are numbers under short names.
    if clean.data(line) == line:
        return line
    with suppress(ValueError, RecursionError):
        document = clean.document(loads(line))
        # Its keys stay, whatever they name; not a secret.
        if not clean.secret_in(document):
            return wire.canonical_json(document).encode()
    return clean.data(line)
