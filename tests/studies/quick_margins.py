"""The margins of a quick suite, from official-against-official data alone.

    python tests/studies/quick_margins.py suites/quick/oracle/tdmpc2_quick.json --live 4 [--power 0.998]

For every metric and task of an oracle table: the spread over the official seeds, and the least
margin at which a program without any difference, run on ``--live`` seeds, is shown to be equivalent
(Welch TOST at 5 %) with the wanted power. All metrics of a suite must pass at once, so the power of
each is well above the 19 in 20 that is wanted of all.

For a suite (``--suite``): the power of each of its metrics at its margin, and how many of all splits of
the official seeds into ``--live`` and the rest pass each metric, and all of them at once.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.judgement.stats.calibrated import CalibratedResult, TaskScores, calibrated_rule
from pytest_worldflux_parity.judgement.stats.equivalence import EquivalenceResult, equivalence_rule
from pytest_worldflux_parity.judgement.stats.power import attainable_margin, se_and_df, tost_power
from pytest_worldflux_parity.suite import suite_file
from pytest_worldflux_parity.suite.suite import Metric, Suite

Values = dict[tuple[str, str], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--live", type=int, default=4, help="seeds of the live side (default: 4)")
    parser.add_argument("--power", type=float, default=0.998)
    parser.add_argument("--suite", type=Path, help="count the splits that pass this suite")
    options = parser.parse_args()
    values = read(options.table)
    if options.suite:
        print_suite(values, suite_file.load(options.suite), options.live)
    else:
        print_margins(values, options.live, options.power)


def print_margins(values: Values, live: int, power: float) -> None:
    """A markdown row per metric and task."""
    print("| metric | task | official mean | spread | margin |\n|---|---|---|---|---|")
    for (metric, task), sample in values.items():
        spread = relative_spread(sample)
        margin = least_margin(spread, sample.size, live, power)
        print(f"| {metric} | {task} | {sample.mean():.4g} | {spread:.2%} | {margin:.1%} |")


def print_suite(values: Values, suite: Suite, live: int) -> None:
    """A markdown row per metric of the suite, and the splits that pass all of them."""
    together = np.array([True])
    print("| metric | margin | spread | power | official splits that pass |\n|---|---|---|---|---|")
    for metric in suite.metrics:
        samples = [values[metric.name, task.id] for task in suite.judged_tasks(metric)]
        spread = max(relative_spread(s) for s in samples)
        power = power_at(metric.margin, spread, samples[0].size, live)
        passed = np.array(splits(values, suite, metric, live))
        together = together & passed
        print(f"| {metric.name} | {metric.margin} | {spread:.2%} | {power:.4f} | {passed.mean():.1%} |")
    print(f"\n{together.sum()} of {together.size} official splits pass every metric")


def read(path: Path) -> Values:
    """(metric, task) -> the last value of every seed."""
    last: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in load_table(path, "canonical_json").rows:
        last[row.metric, row.task][row.seed] = row.score
    return {key: np.array([by_seed[s] for s in sorted(by_seed)]) for key, by_seed in sorted(last.items())}


def relative_spread(sample: np.ndarray) -> float:
    """Standard deviation over the magnitude of the mean."""
    return float(sample.std(ddof=1) / abs(sample.mean())) if sample.mean() else float("inf")


def least_margin(spread: float, official: int, live: int, power: float) -> float:
    """The least relative margin with the wanted power when both sides have the same relative spread."""
    if not np.isfinite(spread):
        return float("inf")
    return attainable_margin(lambda m: power_at(m, spread, official, live), power) or float("inf")


def power_at(margin: float, spread: float, official: int, live: int) -> float:
    """The chance that a program without any difference is shown to be equivalent."""
    se, df = se_and_df([spread**2, spread**2], [official, live])
    return tost_power(0.0, se, df, low=-margin, high=margin)


def splits(values: Values, suite: Suite, metric: Metric, live: int) -> list[bool]:
    """For every split of the official seeds: whether ``live`` of them pass the metric as a candidate."""
    size = len(next(iter(values.values())))
    return [passes(values, suite, metric, list(chosen)) for chosen in combinations(range(size), live)]


def passes(values: Values, suite: Suite, metric: Metric, chosen: list[int]) -> bool:
    """Whether the chosen official seeds pass as a candidate against the other ones."""
    scores = []
    for task in suite.judged_tasks(metric):
        sample = values[metric.name, task.id]
        scores.append(TaskScores(task.id, np.delete(sample, chosen), sample[chosen]))
    return _judge(metric, scores).verdict == "pass"


def _judge(metric: Metric, scores: list[TaskScores]) -> CalibratedResult | EquivalenceResult:
    if metric.rule == "equivalence":
        return equivalence_rule(scores, margin=metric.margin)
    rng = np.random.default_rng(0)
    return calibrated_rule(scores, margin=metric.margin, floor=metric.floor, rng=rng)


if __name__ == "__main__":
    main()
