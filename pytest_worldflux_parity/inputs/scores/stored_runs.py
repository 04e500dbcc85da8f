"""``parity_runs``: the log of a suite in a run of ours, as the table of one of its sides.

The first success of each request counts, as it does for the run. The table says what its records say of
recipe, protocol and program, so that gates compare these too. A log whose lines do not follow is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from ...schemas.json_text import loads
from ...suite.commands import value_at
from ...suite.words import KNOWN, is_never, refusal
from ...wire import RunRecord, WireError, record_from_dict
from .builder import TableBuilder
from .columns import Columns
from .files import read_bytes

LOG = "parity_runs.jsonl"
# System, and the number of a line -> its record.
_Records = dict[str, dict[int, RunRecord]]


def find_logs(path: Path) -> list[Path]:
    """The logs of a folder, of a suite or of a run, or the file itself where it is one."""
    if path.is_dir():
        return [path / LOG] if (path / LOG).is_file() else sorted(path.glob(f"*/{LOG}"))
    return [path] if path.name == LOG else []


def systems_of(path: Path) -> list[str]:
    """The sides that have a success. Raises as :func:`read`."""
    return sorted(_read_records(path)[1])


def read(
    path: Path, builder: TableBuilder, columns: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Read the side that ``where: {system: ...}`` names, or the one that there is.

    Raises:
        ScoreTableError: no log, a broken one, or records that no verdict rests on.
    """
    if unknown := [key for key in columns if key != "where"] or [*({*columns.get("where", {})} - {"system"})]:
        raise ScoreTableError(
            f"{unknown[0]!r} means nothing here", where=str(path), valid=["where: {system: ...}"]
        )
    data, records = _read_records(path)
    system = columns.get("where", {}).get("system") or next(iter(records), "")
    if system not in records or (len(records) > 1 and "where" not in columns):
        what = "the log has runs of both sides" if len(records) > 1 else f"no run of {system!r} succeeded"
        raise ScoreTableError(what, where=str(path), valid=records, hint="columns: {where: {system: NAME}}")
    for number, record in records[system].items():
        _add_record(builder, record, f"{path}:{number}")
    return {"": hashlib.sha256(data).hexdigest()}, _provenance_of([*records[system].values()], path)


def _read_records(path: Path) -> tuple[bytes, _Records]:
    logs = find_logs(path)
    if len(logs) != 1:
        what = f"{len(logs)} logs of suites are here, and one is wanted"
        raise ScoreTableError(what, where=str(path), valid=[str(log.parent) for log in logs])
    data = read_bytes(logs[0])
    found: _Records = {}
    answered: set[str] = set()
    for number, line in _lines_that_follow(data, logs[0]):
        request, metrics = str(line.get("request_id")), line.get("metrics")
        if line.get("status") != "success" or request in answered:
            continue
        try:
            record = record_from_dict(metrics if isinstance(metrics, dict) else {}, "its record")
        except WireError as error:
            raise ScoreTableError(str(error), where=f"{logs[0]}:{number}") from None
        answered.add(request)
        found.setdefault(str(line.get("system")), {})[number] = record
    return data, found


def _lines_that_follow(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines that are whole, each held to the bytes before it."""
    before, chained = hashlib.sha256(), False
    for number, text in enumerate(data.splitlines(keepends=True), start=1):
        try:
            line = loads(text)
        except (ValueError, RecursionError):
            # A write that was cut off.
            line = None
        if isinstance(line, dict):
            stated = line.get("sha256_before")
            if stated != before.hexdigest() and (chained or stated is not None):
                what = "the line does not follow from those before it: the log was edited"
                raise ScoreTableError(what, where=f"{path}:{number}")
            chained = chained or stated is not None
            yield number, line
        before.update(text)


def _add_record(builder: TableBuilder, record: RunRecord, where: str) -> None:
    for key in KNOWN:
        word = record.metadata.get(key)
        # In which environments a program runs is an open set.
        counts = word is not None and (is_never(word) or key != "env_backend")
        if counts and (why := refusal(key, word)):
            raise ScoreTableError(f"metadata.{why}", where=where)
    steps = [point.step for point in record.curve]
    about: dict[str, Any] = {
        "task": record.task_id,
        "seed": record.seed,
        "where": lambda row: where,
        "is_run": True,
    }
    if steps:
        builder.add(Columns(step=steps, score=[point.value for point in record.curve], **about))
    # Of a run that has no curve nothing says how long it was.
    last = [max(steps, default=1)]
    for name, value in record.scalars.items():
        builder.add(Columns(step=last, score=[value], metric=name, **about))


def _provenance_of(records: list[RunRecord], path: Path) -> dict[str, Any]:
    """What the records say of program, recipe and protocol, which has to be one thing."""
    source = {key: _one(records, path, "source", key) for key in ("repo", "commit", "tree_sha256")}
    tasks: dict[str, list[RunRecord]] = {}
    for record in records:
        tasks.setdefault(record.task_id, []).append(record)
    return {
        "adapter": records[0].adapter,
        "repo": source["repo"],
        "commit": source["commit"],
        "source_tree_sha256": source["tree_sha256"],
        "tasks": {
            task: {key: _one(own, path, key) for key in ("effective_recipe", "eval_protocol")}
            for task, own in tasks.items()
        },
    }


def _one(records: list[RunRecord], path: Path, *keys: str) -> Any:
    found: list[Any] = []
    for record in records:
        value = value_at(record.metadata, *keys)
        found += [] if value in found else [value]
    if len(found) > 1:
        what = f"the runs of {records[0].task_id} state {len(found)} values of {'.'.join(keys)}"
        raise ScoreTableError(what, where=str(path), hint="compare runs of one program and recipe")
    return found[0]
