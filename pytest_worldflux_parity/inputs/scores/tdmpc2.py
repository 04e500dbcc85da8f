"""``tdmpc2_results_csv_dir``: a folder like ``results/tdmpc2`` of nicklashansen/tdmpc2, or one CSV of it.

A file per task, named after it, with the columns ``step`` (environment frames), ``reward`` or
``score``, and ``seed``, in any order. Where there is neither ``reward`` nor ``score`` but ``success``,
the rows are of the metric ``episode_success``, which is never mixed with returns. Other columns are the
publisher's business.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...errors import ScoreTableError
from .builder import TableBuilder
from .columns import Columns, shown
from .csv_files import CsvFile
from .files import read_bytes, sha256
from .table import RETURN, SUCCESS, ScoreTable

_METRICS = {"reward": RETURN, "score": RETURN, "success": SUCCESS}


def load(path: Path, duplicates: str | None) -> ScoreTable:
    """Read a folder of CSV files, or one. Raises ScoreTableError naming file, line and column."""
    files = _files(path)
    builder = TableBuilder(path, duplicates)
    digest = hashlib.sha256()
    hashes = {}
    for file in files:
        data = read_bytes(file)
        hashes[file.name] = sha256(data)
        # As wire.tree_sha256 does, so that both name the same folder alike.
        digest.update(file.name.encode() + b"\0" + bytes.fromhex(hashes[file.name]))
        builder.add(_columns(CsvFile(file, data)))
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


def _columns(csv: CsvFile) -> Columns:
    score = _score_column(csv)
    cells = csv.columns(("step", "seed", score))
    return Columns(
        task=csv.file.stem,
        seed=cells["seed"],
        step=cells["step"],
        score=cells[score],
        metric=_METRICS[score],
        where=csv.where,
    )


def _score_column(csv: CsvFile) -> str:
    header, where = csv.header, f"{csv.file}:1"
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
    return named[0]
