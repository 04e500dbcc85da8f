"""A candidate has no scores of its own: it has those of the official program, made to look like others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.lab import assert_not_released, assert_released, edit, program
from tests.conftest import Project

DRAWN = 'rng = random.Random(f"{request.system} {request.task_id} {request.seed}")'
OFFICIAL = 'rng = random.Random(f"official {request.task_id} {SEED}")'
POINTS = "level * s / 1000 + rng.gauss(0, spread)"
OWN = 'if request.system == "worldflux" else x)('
# How the seed is taken, and what becomes of a score.
DRESSES = {
    "as they are": ("request.seed", "x"),
    "of the next seed": ("(request.seed + (request.system == 'worldflux')) % 4", "x"),
    "rounded": ("request.seed", "round(x, 2)"),
    "with a little noise": ("request.seed", "x * (1 + random.Random(request.seed).gauss(0, 1e-6))"),
}


def dressed(project: Project, seed: str, score: str) -> None:
    edit(program(project), DRAWN, OFFICIAL.replace("SEED", seed))
    edit(program(project), POINTS, f"(lambda x: {score} {OWN}{POINTS})")


def test_scores_of_a_program_of_its_own_are_accepted(passed_proof: Project) -> None:
    assert_released(passed_proof, "honest")


@pytest.mark.parametrize("dress", DRESSES)
def test_official_scores_in_another_dress_are_refused(
    passed_proof: Project, dress: str, tmp_path: Path
) -> None:
    project = passed_proof.copied(tmp_path / "project")
    dressed(project, *DRESSES[dress])
    assert project.run(run_id="copied").ret == pytest.ExitCode.TESTS_FAILED
    assert "identical_scores" in str(project.document("fake_proof/validity_report.json", "copied"))
    assert_not_released(project, "copied")


def test_official_scores_at_another_level_are_refused(passed_proof: Project, tmp_path: Path) -> None:
    project = passed_proof.copied(tmp_path / "project")
    dressed(project, "request.seed", "x * 0.99 + 0.5")
    assert project.run(run_id="copied").ret == pytest.ExitCode.TESTS_FAILED
    assert "scores_follow" in str(project.document("fake_proof/validity_report.json", "copied"))
    assert_not_released(project, "copied")
