"""``tdmpc2_results_csv_dir``: a folder like ``results/tdmpc2`` of nicklashansen/tdmpc2, or one CSV of it.

A file per task, named after it, with the columns ``step`` (environment frames), ``reward`` or
``score``, and ``seed``, in any order. Where neither ``reward`` nor ``score`` has a value but ``success``
has, the rows are of the metric ``episode_success``, which is never mixed with returns. A column that names
a task or environment must name the file's; one that names an agent, method, model or variant must hold one
value in the whole table, which goes to its provenance. Other columns are the publisher's business.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import ScoreTableError
from .builder import TableBuilder
from .columns import Column, Columns, show_value
from .csv_files import CsvFile
from .files import read_bytes, sha256_of_bytes
from .table import RETURN, SUCCESS
from .tasks import names_kind, names_task, task_key

_METRICS = {"reward": RETURN, "score": RETURN, "success": SUCCESS}


def read(path: Path, builder: TableBuilder, columns: object) -> tuple[dict[str, str], dict[str, str]]:
    """Read a folder of CSV files, or one. Raises ScoreTableError naming file, line and column."""
    provenance: dict[str, str] = {}
    files = {}
    for file in _csv_files(path):
        data = read_bytes(file)
        files["" if file == path else file.name] = sha256_of_bytes(data)
        builder.add(_columns_of_file(CsvFile(file, data), provenance))
    return files, provenance


def _csv_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    named = (f for f in path.iterdir() if f.suffix.lower() == ".csv" and not f.name.startswith("."))
    files = sorted(f for f in named if f.is_file())
    if not files:
        raise ScoreTableError("no .csv file in this folder", where=str(path))
    return files


def _columns_of_file(csv: CsvFile, provenance: dict[str, str]) -> Columns:
    scores = _find_score_columns(csv)
    naming = [name for name in csv.header if names_task(name) or names_kind(name)]
    cells = csv.columns(("step", "seed", *scores), naming)
    for name in naming:
        _check_name(csv, name, cells[name], provenance)
    score = next((name for name in scores if _is_filled(cells[name])), scores[0])
    return Columns(
        task=csv.file.stem,
        seed=cells["seed"],
        step=cells["step"],
        score=cells[score],
        metric=_METRICS[score],
        where=csv.where,
    )


def _check_name(csv: CsvFile, column: str, cells: Column, provenance: dict[str, str]) -> None:
    """Refuse rows of another task, and of a second agent; of the only one take its name."""
    task = csv.file.stem
    if names_task(column):
        odd = {cell for cell in set(cells) if cell and task_key(cell) != task_key(task)}
        what = f"the file of the task {task}"
        hint = "name the file after its task, or take the column out"
    else:
        only = provenance.setdefault(column, cells[0])
        odd = {cell for cell in set(cells) if cell != only}
        what = f"a table of {show_value(only)}"
        hint = (
            f"say whose rows count: `format: columns`, `columns: {{where: {{{column}: {show_value(only)}}}}}`"
        )
    if odd:
        row = next(i for i, cell in enumerate(cells) if cell in odd)
        what = f"the column {column} says {show_value(cells[row])} in {what}"
        raise ScoreTableError(what, where=csv.where(row), hint=hint)


def _is_filled(cells: Column) -> bool:
    if isinstance(cells, np.ndarray):
        return not np.ma.getmaskarray(cells).all()
    return any(cell is not None for cell in cells)


def _find_score_columns(csv: CsvFile) -> list[str]:
    header, where = csv.header, f"{csv.file}:1"
    for name in ("step", "seed"):
        if name not in header:
            raise ScoreTableError(f"the column {name} is missing from {show_value(header)}", where=where)
    if "reward" in header and "score" in header:
        raise ScoreTableError("both reward and score are columns; one must be the score", where=where)
    named = [name for name in _METRICS if name in header]
    if not named:
        raise ScoreTableError(
            f"no score column in {show_value(header)}", where=where, valid=("reward", "score", "success")
        )
    return named
