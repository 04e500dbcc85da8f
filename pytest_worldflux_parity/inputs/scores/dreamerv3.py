"""``dreamerv3_scores_json_gz``: the files under ``scores/`` of danijar/dreamerv3, gzipped or plain.

A list of ``{task, method, seed, xs, ys}``: one curve each, ``xs`` in environment frames. ``ys`` may hold
nulls (atari57 has leading ones); other keys are the publisher's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from .builder import TableBuilder
from .columns import MISSING, Columns, shown
from .files import decoded, parsed_json, read_bytes, sha256, unpacked
from .table import ScoreTable


def load(path: Path, duplicates: str | None) -> ScoreTable:
    """Read one file. Raises ScoreTableError naming file, entry, point and field."""
    data = read_bytes(path)
    entries = parsed_json(decoded(unpacked(data, path), path), path)
    if not isinstance(entries, list):
        raise ScoreTableError(f"{shown(entries)} is not a list of curves", where=str(path))
    builder = TableBuilder(path, duplicates)
    for i, entry in enumerate(entries):
        builder.add(_columns(entry, f"{path}: [{i}]"))
    return builder.table("dreamerv3_scores_json_gz", sha256(data), _provenance(entries, path))


def _columns(entry: Any, where: str) -> Columns:
    _check(entry, where)
    return Columns(
        task=entry["task"],
        seed=entry["seed"],
        step=entry["xs"],
        score=entry["ys"],
        where=lambda point: f"{where} point {point}",
        is_run=True,
    )


def _check(entry: Any, where: str) -> None:
    if not isinstance(entry, dict):
        raise ScoreTableError(f"{shown(entry)} is not an object with task, seed, xs and ys", where=where)
    for key in ("task", "seed", "xs", "ys"):
        if key not in entry:
            raise ScoreTableError(f"{key} is missing", where=where)
    for key in ("xs", "ys"):
        if not isinstance(entry[key], list):
            raise ScoreTableError(f"{key} is {shown(entry[key])}, not a list", where=where)
    if len(entry["xs"]) != len(entry["ys"]):
        raise ScoreTableError(f"{len(entry['xs'])} xs and {len(entry['ys'])} ys", where=where)
    if not entry["xs"]:
        raise ScoreTableError("xs is empty: a curve without a point", where=where)


def _provenance(entries: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    methods = list(dict.fromkeys(shown(entry.get("method", MISSING)) for entry in entries))
    if len(methods) > 1:
        raise ScoreTableError(
            f"scores of {len(methods)} methods in one table: {', '.join(methods)}",
            where=str(path),
            mend="keep one method per file",
        )
    return {"method": entries[0]["method"]} if entries and "method" in entries[0] else {}
