"""A golden recorded from the candidate's own, wrong code, pinned in a lock file of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.attacks.lab import (
    assert_not_released,
    assert_released,
    document,
    edit,
    lock,
    match_program,
    matched,
    proof,
    quick,
    released,
    suite_of,
)
from tests.components import goldens
from tests.conftest import Project

OWN = "own_lock.json"


@pytest.fixture(scope="module", params=["quick", "proof"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Runs ``honest``, ``wrong`` (encoder, true golden and lock) and ``own`` (encoder, golden and lock).

    At the end the checkout has the true golden and the true lock file, as that of a release has.
    """
    project = Project(tmp_path_factory.mktemp("own"))
    if request.param == "quick":
        quick(project)
    else:
        proof(project, component_match="golden")
    matched(project)
    assert project.run(run_id="honest").ret == pytest.ExitCode.OK
    edit(match_program(project), '+ params["encoder/bias"])', '+ params["encoder/bias"] + 0.3)')
    assert project.run(run_id="wrong").ret == pytest.ExitCode.TESTS_FAILED
    goldens.write(project.root / "golden", recorded(project))
    lock(project, OWN, pinned=project.root / "golden")
    project.run("-o", f"parity_lock={OWN}", run_id="own")
    goldens.behave(project.root / "golden", "ok")
    return project


def recorded(project: Project) -> dict[str, np.ndarray]:
    """The golden's arrays, with what the candidate put out in the run ``wrong`` for the official outputs."""
    match = project.run_dir("wrong") / suite_of(project) / "component_match" / "attempt_1"
    with np.load(match / "outputs.npz", allow_pickle=False) as outputs:
        return {**goldens.arrays(), **{f"outputs/{name}": outputs[name] for name in outputs.files}}


def test_the_true_golden_tells_the_right_encoder_from_the_wrong_one(project: Project, tmp_path: Path) -> None:
    """The control: the same release, golden and lock file; each run is judged beside the code that ran."""
    right = project.copied(tmp_path / "right")
    edit(match_program(right), '+ params["encoder/bias"] + 0.3)', '+ params["encoder/bias"])')
    assert_released(right, "honest")
    assert "component_mismatch: encoder" in document(project, "wrong")["verdict_reason"]
    assert_not_released(project, "wrong")


def test_a_golden_and_a_lock_of_the_candidate_are_refused(project: Project) -> None:
    assert_not_released(project, "own", codes=["not_passed"])


def test_a_match_report_that_was_edited_is_refused(project: Project, tmp_path: Path) -> None:
    """It stands beside the document of the verdict, and nobody computes with it."""
    copied = project.copied(tmp_path / "project")
    report = copied.run_dir("wrong") / suite_of(project) / "component_match_report.json"
    shutil.copy(report, copied.run_dir("honest") / suite_of(project))
    answer = released(copied, "honest")
    assert (answer.status, ": evidence_differs: " in answer.text) == (1, True), answer.text
    report.with_name("evidence_bundle.zip").unlink()
    (copied.run_dir("honest") / suite_of(project) / "evidence_bundle.zip").unlink()
    answer = released(copied, "honest")
    assert (answer.status, ": document_differs: " in answer.text) == (1, True), answer.text
