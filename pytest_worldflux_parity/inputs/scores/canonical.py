"""Our own formats: ``canonical_json`` and ``canonical_jsonl``, read and written.

``{"scores": [{"task", "seed", "step", "score"}]}`` or the bare list; a row may carry ``metric``, the
top level ``provenance``. Of ``canonical_jsonl`` each line is one such row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from ...wire import write_atomic
from .builder import TableBuilder
from .columns import MISSING, Columns, shown
from .files import decoded, parsed_json, read_bytes, sha256, unpacked
from .json_faults import line_of_row
from .table import RETURN, ScoreRow, ScoreTable

ROW_KEYS = ("task", "seed", "step", "score", "metric")
_ROW_KEY_SET = frozenset(ROW_KEYS)
_TOP_KEYS = ("scores", "provenance")


def load_json(path: Path, duplicates: str | None) -> ScoreTable:
    """Read ``canonical_json``. Raises ScoreTableError naming file, row and field."""
    data = read_bytes(path)
    text = decoded(unpacked(data, path), path)
    rows, provenance = _document(parsed_json(text, path), path)
    builder = TableBuilder(path, duplicates)
    builder.add(_columns(rows, lambda i: f"{path}:{line_of_row(text, i)}: scores[{i}]"))
    return builder.table("canonical_json", sha256(data), provenance)


def load_jsonl(path: Path, duplicates: str | None) -> ScoreTable:
    """Read ``canonical_jsonl``; blank lines are skipped. Raises ScoreTableError as :func:`load_json`."""
    data = read_bytes(path)
    lines = dict(_lines(decoded(unpacked(data, path), path), path))
    numbers = list(lines)
    builder = TableBuilder(path, duplicates)
    builder.add(_columns(list(lines.values()), lambda i: f"{path}:{numbers[i]}"))
    return builder.table("canonical_jsonl", sha256(data), {})


def write_canonical_json(
    path: Path, rows: Iterable[ScoreRow], provenance: Mapping[str, Any] | None = None
) -> ScoreTable:
    """Write rows, sorted, one a line, atomically; return the table as it reads back.

    Raises:
        ScoreTableError: the rows are not a table that :func:`load_json` takes, or the provenance is not
            JSON. An existing file is left as it was then.
    """
    checked = TableBuilder(path, None)
    checked.add(_columns([row._asdict() for row in rows], lambda i: f"{path}: scores[{i}]"))
    table = checked.table("canonical_json", "", {})
    write_atomic(path, _text(path, table.rows, provenance or {}))
    return load_json(path, None)


def _text(path: Path, rows: Iterable[ScoreRow], provenance: Mapping[str, Any]) -> str:
    try:
        head = json.dumps(dict(provenance), indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ScoreTableError(f"provenance is not JSON: {error}", where=str(path)) from None
    lines = ",\n".join(json.dumps(_row_object(row), allow_nan=False) for row in rows)
    return f'{{"provenance": {head},\n"scores": [\n{lines}\n]}}\n'


def _row_object(row: ScoreRow) -> dict[str, Any]:
    object_ = {"task": row.task, "seed": row.seed, "step": row.step, "score": row.score}
    return object_ if row.metric == RETURN else {**object_, "metric": row.metric}


def _document(document: Any, path: Path) -> tuple[list[Any], Mapping[str, Any]]:
    if isinstance(document, list):
        return document, {}
    if not isinstance(document, dict):
        raise ScoreTableError(f"{shown(document)} is not a list of scores", where=str(path))
    _known_keys(document, _TOP_KEYS, str(path))
    rows, provenance = document.get("scores", MISSING), document.get("provenance", {})
    if not isinstance(rows, list):
        raise ScoreTableError(f"scores is {shown(rows)}, not a list", where=str(path))
    if not isinstance(provenance, dict):
        raise ScoreTableError(f"provenance is {shown(provenance)}, not an object", where=str(path))
    return rows, provenance


def _lines(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    # Only these end a line: str.splitlines would also cut at characters that a JSON string may hold.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.strip():
            yield number, parsed_json(line, path, number)


def _columns(rows: Sequence[Any], where: Callable[[int], str]) -> Columns:
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            what = f"{shown(row)} is not an object with task, seed, step and score"
            raise ScoreTableError(what, where=where(i))
        if not row.keys() <= _ROW_KEY_SET:
            _known_keys(row, ROW_KEYS, where(i))
    task, seed, step, score = ([row.get(key, MISSING) for row in rows] for key in ROW_KEYS[:4])
    return Columns(task, seed, step, score, where, [row.get("metric", RETURN) for row in rows])


def _known_keys(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = next((key for key in row if key not in known), None)
    if unknown is not None:
        raise ScoreTableError(f"unknown key {shown(unknown)}", where=where, valid=known, got=unknown)
