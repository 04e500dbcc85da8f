"""The simulation judges as the rules do, and its script runs."""

from __future__ import annotations

import subprocess
import sys

import calibration
import numpy as np
import pytest

from pytest_worldflux_parity.judgement.stats.calibrated import TaskScores, calibrated_rule
from pytest_worldflux_parity.judgement.stats.noninferiority import drop_ratio_rule
from tests.oracles import ORACLES, needs_oracles


@pytest.mark.parametrize(("n", "by"), [(3, 0.0), (3, 0.05), (5, 0.2)])
def test_the_arrays_are_judged_as_the_rules_judge_one_by_one(n: int, by: float) -> None:
    pool = np.random.default_rng(1).normal(100, 8, (6, 5))
    pool[0] = [-5, 2, -9, 4, 1]
    pool[1] = 0.0
    rng = np.random.default_rng(2)
    upstream = calibration.draw(pool, n, 25, rng)
    worldflux = calibration.worsened(calibration.draw(pool, n, 25, rng), by)
    fast = calibration.judge(upstream, worldflux, calibration.bootstrap_weights(6 * n))
    for i in range(25):
        tasks = [TaskScores(f"t{j}", upstream[i, j], worldflux[i, j]) for j in range(6)]
        slow = calibrated_rule(tasks, rng=np.random.default_rng(0))
        documented = drop_ratio_rule(upstream[i].ravel(), worldflux[i].ravel(), rng=np.random.default_rng(0))
        assert fast.drop_ratio[i] == documented.pass_
        assert (fast.passes[i], fast.fails[i]) == (slow.verdict == "pass", slow.verdict == "fail")


def test_lowering_a_negative_score_makes_it_worse() -> None:
    assert calibration.worsened(np.array([100.0, -20.0, 0.0]), 0.05) == pytest.approx([95.0, -21.0, 0.0])


@needs_oracles
def test_rates_on_published_scores_are_those_that_the_rule_was_chosen_for() -> None:
    """200 replications: bounds three standard errors beyond the criteria."""
    atari, dmcontrol = calibration.suites(ORACLES, window=10)
    assert (atari.pool.shape, dmcontrol.pool.shape) == ((26, 5), (39, 3))
    for suite, n in ((atari, 5), (dmcontrol, 5)):
        worse = calibration.rates(suite.pool, n, 200, 0.05, np.random.default_rng(1))
        same = calibration.rates(suite.pool, n, 200, 0.0, np.random.default_rng(2))
        assert worse.calibrated_pass <= 0.06 + 3 * 0.017
        assert same.calibrated_fail <= 0.05
        assert same.calibrated_pass > worse.calibrated_pass
    assert same.calibrated_pass == 1.0


@needs_oracles
def test_the_script_prints_a_row_for_every_cell() -> None:
    command = [sys.executable, calibration.__file__, "--oracles", str(ORACLES), "--replications", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| Atari", "| DMC"))]
    assert len(rows) == 7
    assert all("nan" not in row for row in rows)
