"""What the official program left behind, read strictly."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused

SCORES = "scores.jsonl"


def read_curve(path: Path, logged: list[tuple[int, float]]) -> tuple[wire.CurvePoint, ...]:
    """Read ``scores.jsonl``: the score of every finished training episode, step in frames.

    Args:
        logged: step and score of each episode as the program's logger got them; the file must hold
            the same, no more and no fewer.

    Returns:
        Points by ascending step; several episodes that end at one step are one point, their mean.

    Raises:
        Refused: the file is absent, empty or torn, or holds something else; the text names the row.
    """
    if not logged:
        raise Refused("no episode ended within run.steps, so there is no score; to mend: raise run.steps")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not text:
        raise Refused(f"{path}: absent or empty, and {len(logged)} episodes ended")
    if not text.endswith("\n"):
        raise Refused(f"{path}:{text.count(chr(10)) + 1}: torn: the last line has no end")
    rows = [_read_row(line, f"{path}:{i}") for i, line in enumerate(text.splitlines(), start=1)]
    if rows != logged:
        raise Refused(f"{path}: holds {rows[:3]}..., and the logger got {logged[:3]}...")
    return wire.curve_of_episodes(rows)


def _read_row(line: str, where: str) -> tuple[int, float]:
    try:
        row = json.loads(line)
        step, score = row["step"], float(row["episode/score"])
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{where}: {line!r} is not a step and a score") from None
    if not (isinstance(step, int) and math.isfinite(score)):
        raise Refused(f"{where}: {line!r} is not a whole step and a finite score")
    return step, score


def list_files(logdir: Path) -> dict[str, Path]:
    """Configuration, scores, metrics and final parameters by kind."""
    return {
        "config_snapshot": logdir / "config.yaml",
        "score_paths": logdir / SCORES,
        "metrics_paths": logdir / "metrics.jsonl",
        "checkpoint_paths": logdir / "parameters.npz",
    }
