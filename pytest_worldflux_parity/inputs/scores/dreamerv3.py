"""``dreamerv3_scores_json_gz``: the files under ``scores/`` of danijar/dreamerv3, gzipped or plain.

A list of ``{task, method, seed, xs, ys}``: one curve each, ``xs`` in environment frames. ``ys`` may hold
nulls (atari57 has leading ones); other keys are the publisher's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from .files import decoded, parsed_json, read_bytes, sha256, unpacked
from .table import MISSING, RawRow, ScoreTable, TableBuilder, shown
from .tasks import task_key


def load(path: Path, duplicates: str | None) -> ScoreTable:
    """Read one file. Raises ScoreTableError naming file, entry, point and field."""
    data = read_bytes(path)
    entries = parsed_json(decoded(unpacked(data, path), path), str(path))
    if not isinstance(entries, list):
        raise ScoreTableError(f"{shown(entries)} is not a list of curves", where=str(path))
    builder = TableBuilder(path, lambda at: f"{path}: [{at[0]}] point {at[1]}", duplicates)
    seen: dict[tuple[str, object], int] = {}
    for i, entry in enumerate(entries):
        curve = _curve(entry, f"{path}: [{i}]")
        builder.add(_points(i, curve))
        _refuse_second_curve(seen, curve, i, path, duplicates)
    return builder.table("dreamerv3_scores_json_gz", sha256(data), _provenance(entries, path))


def _curve(entry: Any, where: str) -> dict[str, Any]:
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
    return entry


def _points(i: int, entry: dict[str, Any]) -> Iterator[RawRow]:
    task, seed = entry["task"], entry["seed"]
    for j, (x, y) in enumerate(zip(entry["xs"], entry["ys"], strict=True)):
        yield RawRow((i, j), task, seed, x, y)


def _refuse_second_curve(
    seen: dict[tuple[str, object], int], entry: dict[str, Any], i: int, path: Path, duplicates: str | None
) -> None:
    """Two curves of one (task, seed) whose steps interleave would read as one run."""
    first = seen.setdefault((task_key(entry["task"]), entry["seed"]), i)
    if first != i and duplicates is None:
        raise ScoreTableError(
            f"a second curve for {entry['task']} seed {entry['seed']}, after the one at [{first}]",
            where=f"{path}: [{i}]",
            mend="say which run counts with `duplicates: first` or `duplicates: last`",
        )


def _provenance(entries: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    methods = list(dict.fromkeys(shown(entry.get("method", MISSING)) for entry in entries))
    if len(methods) > 1:
        raise ScoreTableError(
            f"scores of {len(methods)} methods in one table: {', '.join(methods)}",
            where=str(path),
            mend="keep one method per file",
        )
    return {"method": entries[0]["method"]} if "method" in entries[0] else {}
