"""``tdmpc2_results_csv_dir``: a folder like ``results/tdmpc2`` of nicklashansen/tdmpc2, or one CSV of it.

A file per task, named after it, with the columns ``step`` (environment frames), ``reward`` or
``score``, and ``seed``, in any order. Where there is neither ``reward`` nor ``score`` but ``success``,
the rows are of the metric ``episode_success``, which is never mixed with returns. Other columns are the
publisher's business.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import ScoreTableError
from .files import decoded, read_bytes, sha256
from .table import RETURN, SUCCESS, RawRow, ScoreTable, TableBuilder, shown

_METRICS = {"reward": RETURN, "score": RETURN, "success": SUCCESS}
# float() would take "1_000", " 1" and digits of any script.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_LONGEST_NUMBER = 60


def load(path: Path, duplicates: str | None) -> ScoreTable:
    """Read a folder of CSV files, or one. Raises ScoreTableError naming file, line and column."""
    files = _files(path)
    builder = TableBuilder(path, lambda at: f"{at[0]}:{at[1]}", duplicates)
    digest = hashlib.sha256()
    hashes = {}
    for file in files:
        data = read_bytes(file)
        hashes[file.name] = sha256(data)
        # As wire.tree_sha256 does, so that both name the same folder alike.
        digest.update(file.name.encode() + b"\0" + bytes.fromhex(hashes[file.name]))
        builder.add(_rows(file, decoded(data, file)))
    if files == [path]:
        return builder.table("tdmpc2_results_csv_dir", hashes[path.name], {})
    return builder.table("tdmpc2_results_csv_dir", digest.hexdigest(), {}, hashes)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(f for f in path.glob("*.csv") if f.is_file() and not f.name.startswith("."))
    if not files:
        raise ScoreTableError("no .csv file in this folder", where=str(path))
    return files


def _rows(file: Path, text: str) -> Iterator[RawRow]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        step, score, seed, metric = _columns(header, file)
        task, width = file.stem, len(header)
        found = False
        for cells in reader:
            at = (file, reader.line_num)
            if not cells:
                continue
            if len(cells) != width:
                raise ScoreTableError(f"{len(cells)} cells under {width} columns", where=f"{file}:{at[1]}")
            yield RawRow(at, task, _seed(cells[seed]), _number(cells[step]), _number(cells[score]), metric)
            found = True
    except csv.Error as error:
        raise ScoreTableError(f"not CSV: {error}", where=f"{file}:{reader.line_num}") from None
    if not found:
        raise ScoreTableError("no row below the header", where=str(file))


def _columns(header: list[str], file: Path) -> tuple[int, int, int, str]:
    """Places of step, score and seed, and the metric that the score column holds."""
    where = f"{file}:1"
    if len(set(header)) != len(header):
        raise ScoreTableError(f"a column stands twice in {shown(header)}", where=where)
    for name in ("step", "seed"):
        if name not in header:
            raise ScoreTableError(f"the column {name} is missing from {shown(header)}", where=where)
    if "reward" in header and "score" in header:
        raise ScoreTableError("both reward and score are columns; one must be the score", where=where)
    named = [name for name in _METRICS if name in header]
    if not named:
        raise ScoreTableError(
            f"no score column in {shown(header)}", where=where, valid=("reward", "score", "success")
        )
    return header.index("step"), header.index(named[0]), header.index("seed"), _METRICS[named[0]]


def _seed(cell: str) -> object:
    """The seed, or the cell itself where it is not an integer, for the builder to refuse."""
    return int(cell) if cell.isascii() and cell.isdecimal() and len(cell) < _LONGEST_NUMBER else cell


def _number(cell: str) -> object:
    """The number, None of an empty cell, or the cell itself for the builder to refuse."""
    if len(cell) > _LONGEST_NUMBER or not _NUMBER.fullmatch(cell):
        return cell or None
    return int(cell) if cell.isdecimal() else float(cell)
