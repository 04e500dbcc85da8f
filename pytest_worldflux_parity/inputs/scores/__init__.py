"""Score tables: published or measured scores, one loader per format.

    table = load_table(path, "tdmpc2_results_csv_dir", duplicates="last")
    curve = table.curve("walker-walk", seed=1)

Every refusal is a :class:`~pytest_worldflux_parity.errors.ScoreTableError` that names file, row and field.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import ScoreTableError
from . import canonical, dreamerv3, tdmpc2
from .canonical import write_canonical_json
from .table import RETURN, SUCCESS, ScoreRow, ScoreTable
from .tasks import task_key

__all__ = [
    "FORMATS",
    "RETURN",
    "SUCCESS",
    "ScoreRow",
    "ScoreTable",
    "load_table",
    "task_key",
    "write_canonical_json",
]

FORMATS: dict[str, Callable[[Path, str | None], ScoreTable]] = {
    "canonical_json": canonical.load_json,
    "canonical_jsonl": canonical.load_jsonl,
    "dreamerv3_scores_json_gz": dreamerv3.load,
    "tdmpc2_results_csv_dir": tdmpc2.load,
}


def load_table(path: Path, format: str, *, duplicates: str | None = None) -> ScoreTable:
    """Read the score table at ``path``.

    Args:
        format: a key of ``FORMATS``.
        duplicates: which of two different scores for one (task, seed, step) counts, "first" or "last" in
            file order; None refuses them. Equal repetitions are merged and counted either way.

    Raises:
        ScoreTableError: naming file, row and field.
    """
    if format not in FORMATS:
        raise ScoreTableError("unknown format", where=str(path), valid=FORMATS, got=format)
    return FORMATS[format](path, duplicates)
