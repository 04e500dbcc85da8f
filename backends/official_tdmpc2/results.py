"""What the official program left behind, read strictly."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused


def find_log_dir(run_dir: Path, task: str, seed: int) -> Path:
    """The one folder that the official program logs this run to (``common/parser.py``: work_dir)."""
    return run_dir / "logs" / task / str(seed) / recipes.EXPERIMENT


def list_evaluation_steps(effective: Mapping[str, Any]) -> list[int]:
    """Agent steps at which an evaluation is due: at the first end of an episode from each multiple of
    ``eval_freq`` on (``trainer/online_trainer.py``)."""
    due, pending = [], False
    for step in range(effective["steps"] + 1):
        pending = pending or step % effective["eval_freq"] == 0
        if pending and step % effective["episode_length"] == 0:
            due.append(step)
            pending = False
    return due


def read_curve(path: Path, due: list[int]) -> tuple[wire.CurvePoint, ...]:
    """Read ``eval.csv`` (columns step, episode_reward; step in agent steps) as a curve over frames.

    Args:
        due: the agent steps that must be there, no more and no fewer.

    Raises:
        Refused: the file is absent, empty or torn, or holds something else; the text names the row.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not text:
        raise Refused(f"{path}: absent or empty; the official program evaluated nothing")
    rows = list(csv.reader(text.splitlines()))
    if rows[0] != ["step", "episode_reward"]:
        raise Refused(f"{path}:1: the columns are {rows[0]}, not step,episode_reward")
    if not text.endswith("\n"):
        raise Refused(f"{path}:{len(rows)}: torn: the last line has no end")
    points = [_read_point(row, f"{path}:{i}") for i, row in enumerate(rows[1:], start=2)]
    steps = [step for step, _ in points]
    if steps != due:
        raise Refused(f"{path}: evaluations at steps {steps}, expected {due}")
    return tuple(wire.CurvePoint(step * recipes.ACTION_REPEAT, reward) for step, reward in points)


def _read_point(row: list[str], where: str) -> tuple[int, float]:
    try:
        step, reward = (float(cell) for cell in row)
    except ValueError:
        raise Refused(f"{where}: {row} is not a step and a reward") from None
    if not (step.is_integer() and math.isfinite(reward)):
        raise Refused(f"{where}: {row} is not a whole step and a finite reward")
    return int(step), reward


def list_files(run_dir: Path, logs: Path) -> dict[str, Path]:
    """Configuration, scores and weights by kind; the official logger only prints what it cannot save."""
    return {
        "config_snapshot": run_dir / "hydra" / ".hydra" / "config.yaml",
        "score_paths": logs / "eval.csv",
        "checkpoint_paths": logs / "models" / "final.pt",
    }
