"""What the official program left behind, read strictly."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import platform
from collections import defaultdict
from pathlib import Path
from typing import Any

from backends.official_dreamerv3 import Refused
from backends.official_dreamerv3.source import described
from pytest_worldflux_parity import wire

ADAPTER = "official_dreamerv3_jax_subprocess"
SCORES = "scores.jsonl"
PACKAGES = [
    "jax",
    "jaxlib",
    "optax",
    "chex",
    "ninjax",
    "elements",
    "portal",
    "numpy",
    "dm_control",
    "mujoco",
    "ale-py",
    "pillow",
]


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
    rows = [_row(line, f"{path}:{i}") for i, line in enumerate(text.splitlines(), start=1)]
    if rows != logged:
        raise Refused(f"{path}: holds {rows[:3]}..., and the logger got {logged[:3]}...")
    scores: dict[int, list[float]] = defaultdict(list)
    for step, score in rows:
        scores[step].append(score)
    return tuple(wire.CurvePoint(step, sum(own) / len(own)) for step, own in sorted(scores.items()))


def _row(line: str, where: str) -> tuple[int, float]:
    try:
        row = json.loads(line)
        step, score = row["step"], float(row["episode/score"])
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{where}: {line!r} is not a step and a score") from None
    if not (isinstance(step, int) and math.isfinite(score)):
        raise Refused(f"{where}: {line!r} is not a whole step and a finite score")
    return step, score


def manifest(out_dir: Path, logdir: Path) -> dict[str, Any]:
    """Configuration, scores, metrics and final parameters, each with size and sha256.

    Raises:
        Refused: one is not there.
    """
    files = {
        "config_snapshot": logdir / "config.yaml",
        "score_paths": logdir / SCORES,
        "metrics_paths": logdir / "metrics.jsonl",
        "checkpoint_paths": logdir / "parameters.npz",
    }
    for path in files.values():
        if not path.is_file():
            raise Refused(f"{path}: the official program did not write it")
    return {kind: described([path], out_dir) for kind, path in files.items()}


def kept(out_dir: Path, kind: str) -> Path:
    """The file of this ``kind`` that a run left in its ``out_dir``, as the manifest in its record names it.

    Raises:
        Refused: there is no record of a run of this program, or the file is not the one that it left.
    """
    try:
        return wire.kept(out_dir, kind, ADAPTER)
    except wire.WireError as error:
        raise Refused(str(error)) from None


def versions() -> dict[str, str]:
    """The versions of the packages that decide the result, as far as they are installed."""
    installed = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def python_version() -> str:
    """The version of this interpreter."""
    return platform.python_version()
