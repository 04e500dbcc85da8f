"""Integrity: a stored line is about the run that it is used for, and is what the program wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import StoreError
from ..execution.attempt_files import Attempt, AttemptFiles
from ..execution.records import BY, REUSED, fill_in, line_sha256, record_of, unreadable
from ..execution.store import Line, Stored, attempt_place
from ..suite.pairs import RunKey
from .gates import Finding

ABSENT, DIFFERENT = "record_without_artifact", "record_differs_from_artifact"


def rewritten_findings(stored: Stored, noted: Mapping[str, str]) -> Iterator[Finding]:
    """That the log no longer holds a line as the session that made it, or kept it, knows it.

    Args:
        noted: sha256 of each such line (:func:`.line_sha256`) -> which run it is of.
    """
    there = {line_sha256(line) for line in stored.lines} if noted else set()
    for sha256, run in noted.items():
        if sha256 not in there:
            yield Finding("record_rewritten", f"the stored line of {run} is not the one that was written")


def line_findings(
    line: Mapping[str, Any], key: RunKey, adapter: str, device: str, files: AttemptFiles, run_id: str
) -> list[Finding]:
    """Findings about one line that is used as the result of ``key``; empty for what the plugin wrote.

    A line is a file's text, which anyone may edit, and no request id protects what it holds.

    Args:
        adapter, device, run_id: what the request for ``key`` names.
        files: those of the run's attempts.
    """
    system, task_id, seed = key
    about: dict[str, Any] = {"task_id": task_id, "seed": seed, "system": system}
    if why := unreadable(line):
        text = f"the stored line is not one that this plugin writes: {why}"
        return [Finding("unreadable_record", text, **about)]
    wanted = {**about, "adapter": adapter, "device": device}
    found = [Finding("foreign_record", text, **about) for text in _find_foreign(line, wanted, run_id)]
    return [*found, *(Finding(*doubt, **about) for doubt in artifact_doubts(line, files))]


def _find_foreign(line: Mapping[str, Any], wanted: Mapping[str, Any], run_id: str) -> Iterable[str]:
    metrics = line["metrics"]
    if line.get("run_id") != run_id:
        yield f"the line is of the run {line.get('run_id')!r}, not of {run_id!r}"
    for what, stated, fields in (
        ("the line", line, wanted),
        ("its record", metrics, {k: v for k, v in wanted.items() if k != "system"}),
    ):
        for name, value in fields.items():
            if stated.get(name) != value:
                yield f"{what} has {name} {stated.get(name)!r}, not {value!r}"
    if metrics.get("request_id", "") not in ("", line["request_id"]):
        yield "its record answers another request"


def artifact_doubts(line: Mapping[str, Any], files: AttemptFiles) -> Iterator[tuple[str, str]]:
    """(code, text) of why a line may not be what its metrics.json says.

    Every success has both from the attempt on, and no retention takes the file away: without either,
    nothing shows that the line was not edited.
    """
    ties = {"its path": line.get("artifacts", {}), "its sha256": line.get("artifacts_sha256", {})}
    if missing := " and ".join(name for name, tie in ties.items() if not tie.get("metrics")):
        yield ABSENT, f"the line is not tied to its metrics.json: {missing} is not there"
        return
    path, sealed = (tie["metrics"] for tie in ties.values())
    place = attempt_place(line["task_id"], line["seed"], line["system"], line["attempt"])
    if path.partition("/")[2] != f"{place}/metrics.json":
        yield DIFFERENT, f"{path} is not where this attempt wrote"
        return
    try:
        data = files.read(path)
    except OSError:
        yield ABSENT, f"{path} cannot be read, so nothing shows that the line is as it was stored"
        return
    if hashlib.sha256(data).hexdigest() != sealed:
        yield DIFFERENT, "metrics.json is not the file that was stored"
        return
    if "filled_in" in line and not _is_filled_in_by_us(line):
        yield DIFFERENT, "filled_in is not what the plugin fills in of this record"
    try:
        if wire.record_from_dict(wire.object_in(data, path), path) != record_of(line):
            yield DIFFERENT, "the stored record is not what metrics.json says"
    except wire.WireError as error:
        yield DIFFERENT, str(error)


def _is_filled_in_by_us(line: Mapping[str, Any]) -> bool:
    """Whether what a line says that was filled in is what the plugin fills in; anyone may have edited it."""
    try:
        return bool(line["filled_in"] == {"by": BY, "metadata": fill_in(line)})
    except (AttributeError, KeyError, TypeError):
        return False


def unlisted_attempts(files: AttemptFiles, suite_id: str, stored: Stored) -> Iterator[Finding]:
    """Attempts that left a record and have no line: someone took the line away, or no resume brought it."""
    listed = {(line["request_id"], line["attempt"]) for line in stored.lines}
    for attempt in files.attempts(suite_id):
        if "metrics.json" not in attempt.names:
            continue
        request = _read_request(files, attempt)
        if request is None:
            place = attempt.path.removeprefix(f"{suite_id}/")
            yield Finding("attempt_without_line", f"{place} has no readable request")
        elif (request.request_id, request.attempt) not in listed:
            what = f"attempt {request.attempt} left a record, and parity_runs.jsonl has no line of it"
            yield Finding("attempt_without_line", what, request.task_id, request.seed, request.system)
    yield from _find_numbers_left_out(stored)


def _find_numbers_left_out(stored: Stored) -> Iterator[Finding]:
    """Attempts of which later ones tell: they are numbered in the order of their folders."""
    runs: dict[str, list[Line]] = {}
    # What an earlier run made is counted in the log of that run.
    for line in (line for line in stored.lines if REUSED not in line):
        place = attempt_place(line["task_id"], line["seed"], line["system"], 1)
        runs.setdefault(place, []).append(line)
    for lines in runs.values():
        last, there = lines[-1], {line["attempt"] for line in lines}
        # A line that was edited may have any number.
        if absent := [n for n in range(1, min(max(there), len(there) + 1)) if n not in there]:
            what = f"parity_runs.jsonl has attempt {max(there)}, and no line of attempt {absent[0]}"
            yield Finding("attempt_without_line", what, last["task_id"], last["seed"], last["system"])


def _read_request(files: AttemptFiles, attempt: Attempt) -> wire.RunRequest | None:
    """What an attempt was asked for, where that can be read."""
    path = Path(attempt.path, "request.json")
    try:
        # As the program read it: with a path in it that this locale has no characters for.
        request = wire.request_from_dict(wire.object_in(files.read(str(path)), str(path)))
    except (OSError, StoreError, wire.WireError):
        return None
    kinds = {"request_id": str, "attempt": int, "task_id": str, "seed": int, "system": str}
    is_sound = request and all(type(getattr(request, name)) is kind for name, kind in kinds.items())
    return request if is_sound else None
