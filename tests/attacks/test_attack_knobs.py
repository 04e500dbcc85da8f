"""A suite whose knobs are turned so far that whatever ran passes: its floor, its tolerance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import FACTOR, Kept, assert_released, document, edit, lock, program, quick

LOST = "level *= 0.0"
RETURN: dict[str, Any] = {"name": "episode_return", "rule": "calibrated", "margin": 0.05}
# Success rates and small losses: the default floor of 1 is the size of the whole scale.
SMALL = {"official": {"backend": "fake_official"}, "recipe": {"level": 0.04, "spread": 0.0005}}


def suites(project: Kept) -> None:
    """Suites that ask little of the candidate, and beside each an honest one of the same scores."""
    for name, floor in {"fake_quick": 4.9, "million": 1e6, "beyond": 1e40}.items():
        quick(project, name, metrics=[{**RETURN, "floor": floor}])
    for rule in ("calibrated", "drop_ratio"):
        project.suite(f"rate_{rule}", **SMALL, metrics=[{**RETURN, "rule": rule}])
        project.suite(f"rate_{rule}_meant", **SMALL, metrics=[{**RETURN, "rule": rule, "floor": 0.001}])
    loss = {**RETURN, "higher_is_better": False}
    project.suite("loss", **SMALL, metrics=[loss])
    project.suite("loss_meant", **SMALL, metrics=[{**loss, "floor": 0.001}])
    lock(project)


HONEST = ("fake_quick", "rate_calibrated_meant", "rate_drop_ratio_meant", "loss_meant")
WIDE = ("million", "beyond", "rate_calibrated", "rate_drop_ratio", "loss")


def ran(folder: Path, behaviour: str) -> Kept:
    project = Kept(folder)
    suites(project)
    edit(program(project), FACTOR, behaviour)
    project.run(run_id="tried")
    return project


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A candidate that does what the official program does."""
    return ran(tmp_path_factory.mktemp("alike"), FACTOR)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A candidate that scores nothing."""
    return ran(tmp_path_factory.mktemp("lost"), LOST)


@pytest.mark.parametrize("suite", HONEST)
def test_a_floor_that_is_small_beside_the_scores_decides(alike: Kept, lost: Kept, suite: str) -> None:
    assert document(alike, "tried", suite)["verdict"] == "pass"
    # A loss of nothing is a better one: there only losing it the other way is a failure.
    expected = "pass" if suite == "loss_meant" else "fail"
    assert document(lost, "tried", suite)["verdict"] == expected


@pytest.mark.parametrize("suite", WIDE)
def test_a_floor_as_large_as_the_scores_decides_nothing(alike: Kept, lost: Kept, suite: str) -> None:
    for project in (alike, lost):
        found = document(project, "tried", suite)
        assert found["verdict"] == "inconclusive"
        reason = found["metrics"]["episode_return"]["reason"]
        assert "the floor of " in reason
        assert "% of the median official mean of " in reason
        assert "write `floor: " in reason


def test_a_loss_twice_as_large_is_not_within_the_default_floor(tmp_path: Path) -> None:
    project = ran(tmp_path, "level *= 2.0")
    assert document(project, "tried", "loss")["verdict"] == "inconclusive"
    assert document(project, "tried", "loss_meant")["verdict"] == "fail"


def test_an_honest_suite_with_a_small_floor_is_released(alike: Kept) -> None:
    assert_released(alike, "tried", "fake_quick")
