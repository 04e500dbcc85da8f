"""A candidate reports the points of its curve that it likes, and leaves the others out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import (
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    proof,
)
from tests.conftest import Project

STEPS = "for s in (0, 500, 1000))"
EVERY = "for s in range(0, 1001, 100))"
# What the candidate reports of the same training.
CHOSEN = {
    "none before it is good": "(800, 900, 1000)",
    "none of the middle": "(0, 100, 200, 900, 1000)",
}
SAID: dict[str, dict[str, Any]] = {
    "evaluations": {
        "points": "evaluations",
        "eval_protocol": {"eval_interval": 100, "eval_episodes": 1, "eval_window": 3},
    },
    "episodes": {"points": "episodes", "eval_protocol": {"eval_episodes": 1, "eval_window": {"frames": 200}}},
}


def only_worldflux(steps: str) -> str:
    return f"for s in ({steps} if request.system == 'worldflux' else range(0, 1001, 100)))"


@pytest.fixture(scope="module", params=SAID)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A proof suite that says what its points are; the run ``honest`` of programs that report all of them."""
    project = Project(tmp_path_factory.mktemp(request.param))
    edit(program(project), STEPS, EVERY)
    proof(project, **SAID[request.param])
    lock(project)
    project.run(run_id="honest")
    return project


def report(project: Project, run_id: str) -> dict[str, Any]:
    return project.document("fake_proof/equivalence_report.json", run_id)


def test_a_curve_with_every_point_is_accepted(whole: Project) -> None:
    assert report(whole, "honest")["global"]["verdict"] == "pass"
    assert_released(whole, "honest")


@pytest.mark.parametrize("chosen", CHOSEN)
def test_a_curve_with_points_where_the_candidate_chose_is_refused(
    whole: Project, chosen: str, tmp_path: Path
) -> None:
    project = whole.copied(tmp_path / "project")
    edit(program(project), EVERY, only_worldflux(CHOSEN[chosen]))
    assert project.run(run_id="chosen").ret == pytest.ExitCode.TESTS_FAILED
    found = report(project, "chosen")["completeness"]["missing_entries"]
    assert {(m["system"], m["reason"]) for m in found} == {("worldflux", "points_missing")}
    assert_not_released(project, "chosen")


def test_more_points_where_the_candidate_is_good_move_nothing(whole: Project, tmp_path: Path) -> None:
    """It stands at half of the official level, but for what it adds between the points that are asked for."""
    project = whole.copied(tmp_path / "project")
    worse = "level * s / 1000 * (0.5 if request.system == 'worldflux' and s % 100 == 0 else 1)"
    edit(program(project), "level * s / 1000", worse)
    edit(program(project), EVERY, only_worldflux("sorted({*range(0, 1001, 100), *range(701, 1000, 30)})"))
    assert project.run(run_id="added").ret == pytest.ExitCode.TESTS_FAILED
    assert report(project, "added")["global"]["verdict"] == "fail"
