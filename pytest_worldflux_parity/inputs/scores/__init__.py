"""Score tables: published or measured scores, one loader per format.

    table = load_table(path, "tdmpc2_results_csv_dir", duplicates="first")
    curve = table.curve("walker-walk", seed=1)

A new format is a module here with a ``read(path, builder, columns)`` that gives columns to a ``TableBuilder``
(:mod:`.columns` shows how) and returns the sha256 of each file and the table's provenance; and a line of
:data:`...schemas.score_formats.SCORE_FORMATS`. Every refusal is a
:class:`~pytest_worldflux_parity.errors.ScoreTableError` that names file, row and field.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from ...schemas.score_formats import SCORE_FORMATS
from .table import RETURN, SUCCESS, ScoreRow, ScoreTable
from .tasks import task_key

__all__ = ["RETURN", "SUCCESS", "ScoreRow", "ScoreTable", "load_table", "task_key"]


def load_table(
    path: Path,
    format: str,
    *,
    duplicates: str | None = None,
    frames_per_step: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> ScoreTable:
    """Read the score table at ``path``.

    Args:
        format: a key of ``SCORE_FORMATS``.
        duplicates: where a (task, seed, metric) has several runs, which counts: "first" or "last" in file
            order, or a row of each step by "last_point"; None refuses a second run. "one_run" says that
            there is none, in whatever order the rows stand. Equal repetitions are merged and counted in any
            case.
        frames_per_step: environment frames that a step of the table is; None where it counts frames.
        columns: as a suite writes them, of the formats that are read by columns.

    Raises:
        ScoreTableError: naming file, row and field.
    """
    known = SCORE_FORMATS.get(format)
    if known is None:
        raise ScoreTableError("unknown format", where=str(path), valid=SCORE_FORMATS, got=format)
    if frames_per_step is None and known.unit:
        raise ScoreTableError(
            f"{format} counts steps of the program's own, and nothing says how many frames each is",
            where=str(path),
            hint=f"add `frames_per_step: n` beside its format: {known.unit}",
        )
    if columns is not None and known.columns is None:
        raise ScoreTableError(f"{format} has columns of its own", where=str(path), hint="leave `columns` out")
    # Imported when they are called: arrays are not for every session.
    from .builder import TableBuilder

    builder = TableBuilder(path, duplicates)
    reader = import_module(f".{known.module}", __name__)
    files, provenance = reader.read(path, builder, {**(known.columns or {}), **(columns or {})})
    return builder.table(format, files, provenance).in_frames(frames_per_step or 1)
