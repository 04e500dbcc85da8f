"""The formats of score tables: the one place to add another. Schemas repeat the names; a test compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ScoreFormat:
    """How a format is read.

    Attributes:
        module: of ``inputs/scores``, whose ``read`` gives a table's builder its rows.
        columns: where such a table has what; of a table that is read by columns, which a suite may write too.
        is_earlier: whether the earlier system knows it: its suites name no other.
        is_named_after_tasks: whether it is a folder with a file for each task.
        unit: what a suite must say of its steps, which are of no unit that its files say.
    """

    module: str
    columns: Mapping[str, Any] | None = None
    is_earlier: bool = False
    is_named_after_tasks: bool = False
    unit: str = ""


# Of TD-MPC2, logs/<task>/<seed>/<exp_name>/eval.csv (common/parser.py, common/logger.py).
_TDMPC2 = {"files": "**/{task}/{seed}/{exp}/eval.csv", "score": "episode_reward"}
# Of DreamerV3, <logdir>/scores.jsonl beside the configuration (dreamerv3/main.py); its steps are frames.
_DREAMERV3 = {"files": "**/scores.jsonl", "beside": "config.yaml", "score": "episode/score"}
_TDMPC2_FRAMES = "2 of DMControl, Meta-World and ManiSkill, 1 of its other domains"

SCORE_FORMATS: Mapping[str, ScoreFormat] = {
    "canonical_json": ScoreFormat("canonical", is_earlier=True),
    "canonical_jsonl": ScoreFormat("canonical_lines", is_earlier=True),
    "dreamerv3_scores_json_gz": ScoreFormat("dreamerv3", is_earlier=True),
    "tdmpc2_results_csv_dir": ScoreFormat("tdmpc2", is_earlier=True, is_named_after_tasks=True),
    "columns": ScoreFormat("mapped", {}),
    "dreamerv3_logs": ScoreFormat("mapped", _DREAMERV3),
    "tdmpc2_logs": ScoreFormat("mapped", _TDMPC2, unit=_TDMPC2_FRAMES),
    "parity_runs": ScoreFormat("stored_runs", {}),
}
# The words of an ``enum`` of schemas, by its ``$comment``.
ENUMS: Mapping[str, tuple[str, ...]] = {
    "score_formats": tuple(SCORE_FORMATS),
    "earlier_score_formats": tuple(name for name, format in SCORE_FORMATS.items() if format.is_earlier),
}
