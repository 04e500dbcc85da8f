"""Every score file of both official repositories, against a count of its own by ``csv`` and ``json``."""

from __future__ import annotations

import csv
import gzip
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_worldflux_parity.errors import ScoreTableError
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.inputs.scores import RETURN, SUCCESS, ScoreTable, load_table

PROJECT = Path(__file__).parents[2]
LOCK = read_lock(PROJECT / "reports/parity/upstream_lock.json")
# (task, seed, metric) -> scores by step.
Curves = dict[tuple[str, int, str], dict[int, float]]
# Files, tasks, curves and points of each folder; the second runs of TD-MPC are refused.
TDMPC2 = {
    "dreamerv3": (104, 104, 312, 9632),
    "sac": (104, 104, 312, 11912),
    "tdmpc": (104, 104, 312, 12045),
    "tdmpc2": (104, 104, 312, 12110),
    "tdmpc2-pixels": (12, 12, 36, 756),
}


def checkout(suite: str, variable: str) -> Path:
    entry = LOCK.entry(suite)
    path = Path(os.environ.get(variable) or checkout_path(PROJECT, entry.repo, entry.commit))
    if not path.is_dir():
        pytest.skip(
            f"the official checkout is absent; to mend: worldflux-parity fetch-oracles --suite {suite}"
        )
    return path


def curves_of(table: ScoreTable) -> Curves:
    return {
        (points.task, seed, metric): dict(zip(points.steps.tolist(), points.scores.tolist(), strict=True))
        for (_, seed, metric), points in table.points.items()
    }


def first_run(rows: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Of rows with a step twice those before the first that does not rise."""
    if len(dict(rows)) == len(rows):
        return rows
    return rows[: next(i for i, (a, b) in enumerate(pairwise(rows), start=1) if b[0] <= a[0])]


def counted_csv(folder: Path) -> Curves:
    found: dict[tuple[str, int, str], list[tuple[int, float]]] = {}
    for file in folder.glob("*.csv"):
        with open(file, encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                column = "reward" if "reward" in row else "success"
                key = (file.stem, int(row["seed"]), RETURN if column == "reward" else SUCCESS)
                found.setdefault(key, []).append((int(float(row["step"])), float(row[column])))
    return {key: dict(first_run(rows)) for key, rows in found.items()}


def counted_json(file: Path) -> Curves:
    entries = json.loads(gzip.decompress(file.read_bytes()))
    found = {
        (e["task"], e["seed"], RETURN): {x: y for x, y in zip(e["xs"], e["ys"], strict=True) if y is not None}
        for e in entries
    }
    assert len(found) == len(entries)
    return {key: curve for key, curve in found.items() if curve}


@pytest.mark.parametrize("name", TDMPC2)
def test_results_of_tdmpc2(name: str) -> None:
    folder = checkout("tdmpc2_dmcontrol39", "WORLDFLUX_OFFICIAL_TDMPC2") / "results" / name
    duplicates = None
    if name == "tdmpc":
        with pytest.raises(ScoreTableError, match=r"a second score .* for cheetah-run-backwards seed 1"):
            load_table(folder, "tdmpc2_results_csv_dir")
        duplicates = "first"
    table = load_table(folder, "tdmpc2_results_csv_dir", duplicates=duplicates)
    found = curves_of(table)
    assert found == counted_csv(folder)
    tasks = {task for task, _, _ in found}
    assert (len(table.files), len(tasks), len(found), len(table)) == TDMPC2[name]


def test_scores_of_dreamerv3() -> None:
    folder = checkout("dreamer_atari100k", "WORLDFLUX_OFFICIAL_DREAMERV3") / "scores"
    files = sorted(folder.glob("*.json.gz"))
    assert len(files) == 27
    tasks = curves = points = 0
    for file in files:
        table = load_table(file, "dreamerv3_scores_json_gz")
        found = curves_of(table)
        assert found == counted_json(file), file.name
        tasks += len({task for task, _, _ in found})
        curves += len(found)
        points += len(table)
    assert (tasks, curves, points) == (574, 3238, 1_481_408)
