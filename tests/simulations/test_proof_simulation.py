"""The simulation of the proof decision runs, and a short one keeps what the long one shows."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import proof
import pytest

LOG, PAIRED = ("log_ratio", "unpaired"), ("log_ratio", "paired")


@pytest.mark.parametrize(("kind", "tasks", "n"), [(LOG, 1, 3), (LOG, 3, 5), (PAIRED, 1, 10)])
def test_the_decision_on_the_bound_passes_at_most_at_the_nominal_rate(kind: Any, tasks: int, n: int) -> None:
    """400 replications: three standard errors above 5 %."""
    row = proof.size(kind, tasks, n, 1.05, 400, np.random.default_rng(n))
    assert row.decision <= row.by_test <= 0.05 + 3 * 0.011
    assert row.by_test > 0.01, "on the bound, not beyond it"


@pytest.mark.parametrize(("kind", "n", "deviation"), [(LOG, 3, 0.014), (LOG, 10, 0.04), (PAIRED, 5, 0.024)])
def test_power_is_what_it_is_said_to_be(kind: Any, n: int, deviation: float) -> None:
    row = proof.power(kind, n, deviation, 5000, np.random.default_rng(n))
    assert 0.6 < row.exact < 0.95
    assert row.measured == pytest.approx(row.exact, abs=0.02)


def test_auto_power_pays_for_its_pilot() -> None:
    row = proof.auto_power(LOG, 3, 0.03, 500, np.random.default_rng(0))
    assert row.decision <= 0.05 + 3 * 0.0098
    assert row.decision < row.ordinary, "the ordinary p-value passes more often"
    assert row.seeds > 4


def test_the_script_prints_a_row_for_every_cell() -> None:
    command = [sys.executable, proof.__file__, "--replications", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| log", "| normalized"))]
    assert len(rows) == 16 + 16 + 16
    assert "nan" not in done.stdout
