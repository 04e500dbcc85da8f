"""Our own format ``canonical_jsonl``: a row of :mod:`.canonical` a line; blank lines are skipped."""

from __future__ import annotations

from pathlib import Path

from .builder import TableBuilder
from .canonical import columns_of
from .files import lines_of, parsed_json, read_text


def read(path: Path, builder: TableBuilder, columns: object) -> tuple[dict[str, str], dict[str, str]]:
    """Read one file. Raises ScoreTableError naming file, row and field."""
    text, sha256 = read_text(path)
    rows = {number: parsed_json(line, path, number) for number, line in lines_of(text)}
    numbers = list(rows)
    builder.add(columns_of(list(rows.values()), lambda i: f"{path}:{numbers[i]}"))
    return {"": sha256}, {}
