"""The short form of benchmarks/kills.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.benchmarks.kills import Campaign

pytestmark = pytest.mark.long


@pytest.mark.parametrize("seed", [3])
def test_six_random_kills_change_nothing(tmp_path: Path, seed: int) -> None:
    campaign = Campaign(tmp_path, random.Random(seed), tasks=2, seeds=4, workers=2, pause=2.0)
    campaign.write()
    campaign.run("undisturbed", 0)
    campaign.run("disturbed", 6)
    campaign.check("disturbed", campaign.documents("undisturbed"))
    assert campaign.killed.total() >= 1
