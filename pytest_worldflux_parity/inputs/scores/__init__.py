"""Score tables: published or measured scores, one loader per format.

    table = load_table(path, "tdmpc2_results_csv_dir", duplicates="first")
    curve = table.curve("walker-walk", seed=1)

A new format is a module here with a ``load(path, duplicates)`` that gives columns to a ``TableBuilder``
(:mod:`.columns` shows how), and a line of ``FORMATS``. Every refusal is a
:class:`~pytest_worldflux_parity.errors.ScoreTableError` that names file, row and field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from .table import RETURN, SUCCESS, ScoreRow, ScoreTable
from .tasks import task_key

__all__ = [
    "FORMATS",
    "NAMED_AFTER_TASKS",
    "RETURN",
    "SUCCESS",
    "ScoreRow",
    "ScoreTable",
    "load_table",
    "task_key",
]

# Module and function of each; imported when they are called, since arrays are not for every session.
FORMATS = {
    "canonical_json": ("canonical", "load_json"),
    "canonical_jsonl": ("canonical", "load_jsonl"),
    "dreamerv3_scores_json_gz": ("dreamerv3", "load"),
    "tdmpc2_results_csv_dir": ("tdmpc2", "load"),
    "columns": ("mapped", "load"),
    "dreamerv3_logs": ("mapped", "load"),
    "tdmpc2_logs": ("mapped", "load"),
}
# Folders with a file for each task.
NAMED_AFTER_TASKS = ("tdmpc2_results_csv_dir",)
# Read by columns that a suite may write.
MAPPED = ("columns", "dreamerv3_logs", "tdmpc2_logs")
# Steps of these are of no unit that the files say.
UNIT_UNSAID = {"tdmpc2_logs": "2 of DMControl, Meta-World and ManiSkill, 1 of its other domains"}


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
        format: a key of ``FORMATS``.
        duplicates: where a (task, seed, metric) has several runs, which counts: "first" or "last" in file
            order, or a row of each step by "last_point"; None refuses a second run. "one_run" says that
            there is none, in whatever order the rows stand. Equal repetitions are merged and counted in any
            case.
        frames_per_step: environment frames that a step of the table is; None where it counts frames.
        columns: as a suite writes them, of the formats in ``MAPPED``.

    Raises:
        ScoreTableError: naming file, row and field.
    """
    if format not in FORMATS:
        raise ScoreTableError("unknown format", where=str(path), valid=FORMATS, got=format)
    if frames_per_step is None and format in UNIT_UNSAID:
        raise ScoreTableError(
            f"{format} counts steps of the program's own, and nothing says how many frames each is",
            where=str(path),
            mend=f"add `frames_per_step: n` beside its format: {UNIT_UNSAID[format]}",
        )
    if columns is not None and format not in MAPPED:
        raise ScoreTableError(f"{format} has columns of its own", where=str(path), mend="leave `columns` out")
    module, function = FORMATS[format]
    load: Callable[..., ScoreTable] = getattr(import_module(f".{module}", __name__), function)
    more = (columns or {}, format) if format in MAPPED else ()
    return load(path, duplicates, *more).in_frames(frames_per_step or 1)
