"""The margins of the quick suite, from official-against-official data alone.

    python tests/tdmpc2/quick_margins.py suites/quick/oracle/tdmpc2_quick.json --live 4 [--power 0.99]

For every metric and task of an oracle table: the spread over the official seeds, and the least
margin at which a program without any difference, run on ``--live`` seeds, is shown to be equivalent
(Welch TOST at 5 %) with the wanted power. For a suite (``--suite``), how many of all splits of the
official seeds into ``--live`` and the rest pass all of its metrics at once.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from pytest_worldflux_parity import suite_file
from pytest_worldflux_parity.scores import load_table
from pytest_worldflux_parity.stats.calibrated import CalibratedResult, TaskScores, calibrated_rule
from pytest_worldflux_parity.stats.equivalence import EquivalenceResult, equivalence_rule
from pytest_worldflux_parity.stats.power import Component, attainable_margin, se_and_df, tost_power
from pytest_worldflux_parity.suite import Metric, Suite

Values = dict[tuple[str, str], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--live", type=int, default=3, help="seeds of the live side (default: 3)")
    parser.add_argument("--power", type=float, default=0.99)
    parser.add_argument("--suite", type=Path, help="also count the splits that pass this suite")
    options = parser.parse_args()
    values = read(options.table)
    print("| metric | task | official mean | spread | margin |\n|---|---|---|---|---|")
    for (metric, task), sample in values.items():
        spread = sample.std(ddof=1) / abs(sample.mean()) if sample.mean() else np.inf
        margin = least_margin(spread, sample.size, options.live, options.power)
        print(f"| {metric} | {task} | {sample.mean():.4g} | {spread:.2%} | {margin:.1%} |")
    if options.suite:
        passed = splits(values, suite_file.load(options.suite), options.live)
        print(f"\n{sum(passed)} of {len(passed)} official splits pass every metric")


def read(path: Path) -> Values:
    """(metric, task) -> the last value of every seed."""
    last: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in load_table(path, "canonical_json").rows:
        last[row.metric, row.task][row.seed] = row.score
    return {key: np.array([by_seed[s] for s in sorted(by_seed)]) for key, by_seed in sorted(last.items())}


def least_margin(spread: float, official: int, live: int, power: float) -> float:
    """The least relative margin with the wanted power when both sides have the same relative spread."""
    if not np.isfinite(spread):
        return float("inf")
    se, df = se_and_df([Component(spread**2, official), Component(spread**2, live)])
    return attainable_margin(lambda m: tost_power(0.0, se, df, low=-m, high=m), power) or float("inf")


def splits(values: Values, suite: Suite, live: int) -> list[bool]:
    """For every split of the official seeds: whether ``live`` of them pass as a candidate."""
    size = len(next(iter(values.values())))
    return [_passes(values, suite, list(chosen)) for chosen in combinations(range(size), live)]


def _passes(values: Values, suite: Suite, chosen: list[int]) -> bool:
    """Whether the chosen official seeds pass as a candidate against the other ones."""
    for metric in suite.metrics:
        scores = []
        for task in suite.judged_tasks(metric):
            sample = values[metric.name, task.id]
            scores.append(TaskScores(task.id, np.delete(sample, chosen), sample[chosen]))
        if not _judge(metric, scores).pass_:
            return False
    return True


def _judge(metric: Metric, scores: list[TaskScores]) -> CalibratedResult | EquivalenceResult:
    if metric.rule == "equivalence":
        return equivalence_rule(scores, margin=metric.margin)
    rng = np.random.default_rng(0)
    return calibrated_rule(scores, margin=metric.margin, floor=metric.floor, rng=rng)


if __name__ == "__main__":
    main()
