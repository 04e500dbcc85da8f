"""``dreamerv3_scores_json_gz``: the files under ``scores/`` of danijar/dreamerv3, gzipped or plain.

A list of ``{task, method, seed, xs, ys}``: one curve each, ``xs`` in environment frames. ``ys`` may hold
nulls (atari57 has leading ones); other keys are the publisher's business.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from .builder import TableBuilder
from .columns import MISSING, Columns, show_value
from .files import parsed_json, read_text
from .json_faults import line_of_row


def read(path: Path, builder: TableBuilder, columns: object) -> tuple[dict[str, str], dict[str, Any]]:
    """Read one file. Raises ScoreTableError naming file, entry, point and field."""
    text, sha256 = read_text(path)
    entries = parsed_json(text, path)
    if not isinstance(entries, list):
        raise ScoreTableError(f"{show_value(entries)} is not a list of curves", where=str(path))
    for i, entry in enumerate(entries):
        builder.add(_columns_of_entry(entry, partial(_locate_entry, path, text, i)))
    return {"": sha256}, _read_method(entries, path)


def _locate_entry(path: Path, text: str, entry: int) -> str:
    return f"{path}:{line_of_row(text, entry)}: [{entry}]"


def _columns_of_entry(entry: Any, where: Callable[[], str]) -> Columns:
    fault = _explain_no_curve(entry)
    if fault:
        raise ScoreTableError(fault, where=where())
    return Columns(
        task=entry["task"],
        seed=entry["seed"],
        step=entry["xs"],
        score=entry["ys"],
        where=lambda point: f"{where()} point {point}",
        is_run=True,
    )


def _explain_no_curve(entry: Any) -> str:
    """Why an entry is no curve; empty where it is one, whatever stands in it."""
    if not isinstance(entry, dict):
        return f"{show_value(entry)} is not an object with task, seed, xs and ys"
    for key in ("task", "seed", "xs", "ys"):
        if key not in entry:
            return f"{key} is missing"
    xs, ys = entry["xs"], entry["ys"]
    for key in ("xs", "ys"):
        if not isinstance(entry[key], list):
            return f"{key} is {show_value(entry[key])}, not a list"
    if len(xs) != len(ys):
        return f"{len(xs)} xs and {len(ys)} ys"
    return "" if xs else "xs is empty: a curve without a point"


def _read_method(entries: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    methods = list(dict.fromkeys(show_value(entry.get("method", MISSING)) for entry in entries))
    if len(methods) > 1:
        raise ScoreTableError(
            f"scores of {len(methods)} methods in one table: {', '.join(methods)}",
            where=str(path),
            hint="keep one method per file",
        )
    return {"method": entries[0]["method"]} if entries and "method" in entries[0] else {}
