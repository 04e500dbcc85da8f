"""Our own format ``canonical_json``, read and written.

``{"scores": [{"task", "seed", "step", "score"}]}`` or the bare list; a row may carry ``metric``, the
top level ``provenance``. Of ``canonical_jsonl`` each line is one such row (:mod:`.canonical_lines`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from ...wire import write_atomic
from .builder import TableBuilder
from .columns import MISSING, Columns, show_value
from .files import parsed_json, read_text
from .json_faults import line_of_row
from .table import RETURN, ScoreRow, ScoreTable

NAME = "canonical_json"
ROW_KEYS = ("task", "seed", "step", "score", "metric")
_ROW_KEY_SET = frozenset(ROW_KEYS)
_TOP_KEYS = ("scores", "provenance")


def read(path: Path, builder: TableBuilder, columns: object = None) -> tuple[dict[str, str], dict[str, Any]]:
    """Read ``canonical_json``. Raises ScoreTableError naming file, row and field."""
    text, sha256 = read_text(path)
    rows, provenance = _rows_in(parsed_json(text, path), path)
    builder.add(columns_of(rows, lambda i: f"{path}:{line_of_row(text, i)}: scores[{i}]"))
    return {"": sha256}, provenance


def write_canonical_json(
    path: Path, rows: Iterable[ScoreRow], provenance: Mapping[str, Any] | None = None
) -> ScoreTable:
    """Write rows, sorted, one a line, atomically; return the table as it reads back.

    Raises:
        ScoreTableError: the rows are not a table that :func:`read` takes, or the provenance is not
            JSON. An existing file is left as it was then.
    """
    checked = TableBuilder(path, None)
    checked.add(columns_of([row._asdict() for row in rows], lambda i: f"{path}: scores[{i}]"))
    table = checked.table(NAME, {"": ""}, {})
    write_atomic(path, _write_table_text(path, table.rows, provenance or {}))
    written = TableBuilder(path, None)
    return written.table(NAME, *read(path, written))


def _write_table_text(path: Path, rows: Iterable[ScoreRow], provenance: Mapping[str, Any]) -> str:
    try:
        head = json.dumps(dict(provenance), indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ScoreTableError(f"provenance is not JSON: {error}", where=str(path)) from None
    lines = ",\n".join(json.dumps(_make_row_object(row), allow_nan=False) for row in rows)
    return f'{{"provenance": {head},\n"scores": [\n{lines}\n]}}\n'


def _make_row_object(row: ScoreRow) -> dict[str, Any]:
    object_ = {"task": row.task, "seed": row.seed, "step": row.step, "score": row.score}
    return object_ if row.metric == RETURN else {**object_, "metric": row.metric}


def _rows_in(document: Any, path: Path) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(document, list):
        return document, {}
    if not isinstance(document, dict):
        raise ScoreTableError(f"{show_value(document)} is not a list of scores", where=str(path))
    _refuse_unknown_keys(document, _TOP_KEYS, str(path))
    rows, provenance = document.get("scores", MISSING), document.get("provenance", {})
    if not isinstance(rows, list):
        raise ScoreTableError(f"scores is {show_value(rows)}, not a list", where=str(path))
    if not isinstance(provenance, dict):
        raise ScoreTableError(f"provenance is {show_value(provenance)}, not an object", where=str(path))
    return rows, provenance


def columns_of(rows: Sequence[Any], where: Callable[[int], str]) -> Columns:
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            what = f"{show_value(row)} is not an object with task, seed, step and score"
            raise ScoreTableError(what, where=where(i))
        if not row.keys() <= _ROW_KEY_SET:
            _refuse_unknown_keys(row, ROW_KEYS, where(i))
    task, seed, step, score = ([row.get(key, MISSING) for row in rows] for key in ROW_KEYS[:4])
    return Columns(task, seed, step, score, where, [row.get("metric", RETURN) for row in rows])


def _refuse_unknown_keys(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = next((key for key in row if key not in known), None)
    if unknown is not None:
        raise ScoreTableError(f"unknown key {show_value(unknown)}", where=where, valid=known, got=unknown)
