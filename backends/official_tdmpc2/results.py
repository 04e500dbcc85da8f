"""What the official program left behind, read strictly."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.official_tdmpc2 import Refused
from backends.official_tdmpc2 import recipe as recipes
from backends.official_tdmpc2.source import described
from pytest_worldflux_parity import wire

ADAPTER = "official_tdmpc2_torch_subprocess"
PACKAGES = [
    "torch",
    "tensordict",
    "torchrl",
    "dm_control",
    "mujoco",
    "numpy",
    "gymnasium",
    "hydra-core",
    "omegaconf",
    "pandas",
]


def log_dir(run_dir: Path, task: str, seed: int) -> Path:
    """The one folder that the official program logs this run to (``common/parser.py``: work_dir)."""
    return run_dir / "logs" / task / str(seed) / recipes.EXPERIMENT


def evaluations(effective: Mapping[str, Any]) -> list[int]:
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
    points = [_point(row, f"{path}:{i}") for i, row in enumerate(rows[1:], start=2)]
    steps = [step for step, _ in points]
    if steps != due:
        raise Refused(f"{path}: evaluations at steps {steps}, expected {due}")
    return tuple(wire.CurvePoint(step * recipes.ACTION_REPEAT, reward) for step, reward in points)


def _point(row: list[str], where: str) -> tuple[int, float]:
    try:
        step, reward = (float(cell) for cell in row)
    except ValueError:
        raise Refused(f"{where}: {row} is not a step and a reward") from None
    if not (step.is_integer() and math.isfinite(reward)):
        raise Refused(f"{where}: {row} is not a whole step and a finite reward")
    return int(step), reward


def manifest(out_dir: Path, run_dir: Path, logs: Path) -> dict[str, Any]:
    """Configuration, scores and final weights, each with size and sha256.

    Raises:
        Refused: one is not there (the official logger only prints when it cannot save the weights).
    """
    files = {
        "config_snapshot": run_dir / "hydra" / ".hydra" / "config.yaml",
        "score_paths": logs / "eval.csv",
        "checkpoint_paths": logs / "models" / "final.pt",
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
