"""Score tables: published or measured scores, one loader per format.

    table = load_table(path, "tdmpc2_results_csv_dir", duplicates="first")
    curve = table.curve("walker-walk", seed=1)

A new format is a module here with a ``load(path, duplicates)`` that gives columns to a ``TableBuilder``
(:mod:`.columns` shows how), and a line of ``FORMATS``. Every refusal is a
:class:`~pytest_worldflux_parity.errors.ScoreTableError` that names file, row and field.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ...errors import ScoreTableError
from .table import RETURN, SUCCESS, ScoreRow, ScoreTable
from .tasks import task_key

__all__ = ["FORMATS", "RETURN", "SUCCESS", "ScoreRow", "ScoreTable", "load_table", "task_key"]

# Module and function of each; imported when they are called, since arrays are not for every session.
FORMATS = {
    "canonical_json": ("canonical", "load_json"),
    "canonical_jsonl": ("canonical", "load_jsonl"),
    "dreamerv3_scores_json_gz": ("dreamerv3", "load"),
    "tdmpc2_results_csv_dir": ("tdmpc2", "load"),
}


def load_table(path: Path, format: str, *, duplicates: str | None = None) -> ScoreTable:
    """Read the score table at ``path``.

    Args:
        format: a key of ``FORMATS``.
        duplicates: where a (task, seed, metric) has a step twice, which of its runs counts: "first" or
            "last" in file order, or a row of each step by "last_point"; None refuses different scores.
            Equal repetitions are merged and counted either way.

    Raises:
        ScoreTableError: naming file, row and field.
    """
    if format not in FORMATS:
        raise ScoreTableError("unknown format", where=str(path), valid=FORMATS, got=format)
    module, function = FORMATS[format]
    load: Callable[[Path, str | None], ScoreTable] = getattr(import_module(f".{module}", __name__), function)
    return load(path, duplicates)
