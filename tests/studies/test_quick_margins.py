"""The margins' arithmetic: a power that is kept, and splits that see a seed out of line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_worldflux_parity.suite import suite_file
from tests.studies import quick_margins

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("spread", "official", "live"), [(0.01, 12, 4), (0.1, 10, 4), (0.001, 12, 2)])
def test_the_least_margin_has_just_the_wanted_power(spread, official, live):
    margin = quick_margins.least_margin(spread, official, live, 0.998)
    assert quick_margins.power_at(margin, spread, official, live) == pytest.approx(0.998, abs=1e-6)
    assert quick_margins.power_at(0.8 * margin, spread, official, live) < 0.998
    assert quick_margins.least_margin(2 * spread, official, live, 0.998) == pytest.approx(2 * margin)


def test_the_power_is_that_of_simulated_seeds():
    rng = np.random.default_rng(3)
    suite = suite_file.load(ROOT / "suites/quick/tdmpc2_quick.yaml")
    metric = suite.metrics[0]
    passed = []
    for _ in range(150):
        sample = 1 + metric.margin / 3 * rng.standard_normal(8)
        passed.append(quick_margins.passes({(metric.name, suite.tasks[0].id): sample}, suite, metric, [0, 1]))
    wanted = quick_margins.power_at(metric.margin, metric.margin / 3, 6, 2)
    assert np.mean(passed) == pytest.approx(wanted, abs=0.15)


def test_no_spread_means_no_margin_and_a_mean_of_zero_has_none():
    assert quick_margins.relative_spread(np.array([2.0, 2.0])) == 0
    assert quick_margins.least_margin(
        quick_margins.relative_spread(np.array([-1.0, 1.0])), 12, 4, 0.9
    ) == float("inf")


def test_every_split_is_judged_and_one_with_a_seed_out_of_line_does_not_pass():
    suite = suite_file.load(ROOT / "suites/quick/tdmpc2_quick.yaml")
    metric = suite.metrics[0]
    sample = 1 + 0.001 * np.arange(6)
    key = (metric.name, suite.tasks[0].id)
    assert quick_margins.splits({key: sample}, suite, metric, 2) == [True] * 15
    sample[0] *= 1 + 3 * metric.margin
    assert not any(quick_margins.splits({key: sample}, suite, metric, 2)[:5]), "those that chose seed 0"
