"""A suite that goes by the id of another one: weaker, and on the other track."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.attacks.lab import (
    POLICY,
    SMALL,
    ask,
    assert_released,
    lock,
)
from tests.conftest import Project
from tests.release.judged_runs import AGGREGATE, write


def verify(cwd: Path, bundle: Path, *more: object) -> tuple[int, str]:
    answer = ask(cwd, "verify", bundle, *more)
    return answer.status, answer.text


def test_the_proof_of_that_id_is_accepted(passed_proof: Project, signing_keys: Path, tmp_path: Path) -> None:
    """The control; where a checkout has no such id at all, the first line says that nothing is expected."""
    assert_released(passed_proof, "honest")
    bundle = passed_proof.run_dir("honest") / "fake_proof" / "evidence_bundle.zip"
    key = ("--key", signing_keys / "own.pub")
    status, text = verify(passed_proof.root, bundle, *key)
    assert (status, text.splitlines()[0]) == (
        0, "judged under: the suite, lock and programs of this checkout",
    ), text  # fmt: skip
    other = Project(tmp_path)
    other.suite("another")
    status, text = verify(other.root, bundle, *key)
    assert status == 0, text
    assert text.startswith("judged under: the bundle's own suite and lock, which its author chose")


@pytest.fixture
def weak(passed_proof: Project, tmp_path: Path) -> Project:
    """A run ``weak`` of a quick suite of the proof's id; the policy, made before, requires the proof."""
    project = passed_proof.copied(tmp_path / "project")
    shutil.rmtree(project.run_dir("honest"))
    project.suite(
        "fake_proof", tasks=SMALL["tasks"], seeds=4, recipe={"level": 100.0, "worldflux_factor": 0.5},
        metrics=[{"name": "episode_return", "rule": "calibrated", "margin": 0.9}],
        official={"backend": "fake_official"},
    )  # fmt: skip
    project.track = "quick"
    assert project.run(run_id="weak").ret == pytest.ExitCode.OK
    return project


@pytest.mark.parametrize("named", [True, False], ids=["by its file", "by its id"])
def test_a_quick_suite_is_not_the_proof_of_its_id(weak: Project, named: bool) -> None:
    """Also where a policy of the earlier system names an id, which two suites have."""
    if not named:
        families = {"fake": {"stage": "required", "suites": ["fake_proof"]}}
        write(weak.root / POLICY, {"schema_version": "worldflux.parity.policy.v1", "families": families})
    path = weak.run_dir("weak") / "fake_proof" / "run.json"
    ask(weak, "aggregate", "--runs-glob", path, "--output", AGGREGATE)
    for command in (("validate", "--run", path), ("coverage", "--enforce-pass")):
        answer = ask(weak, *command, "--aggregate", AGGREGATE, "--required-suite", "fake_proof")
        code = ": not_in_policy: " if named else ": unknown_suite: "
        assert (answer.status, code in answer.text) == (1, True), answer.text


def test_a_checkout_with_the_id_on_another_track_expects_something_else(
    passed_quick: Project, signing_keys: Path, tmp_path: Path
) -> None:
    author = Project(tmp_path)
    author.proof("fake_quick", **SMALL)
    lock(author)
    result = author.run(f"--parity-sign-key={signing_keys / 'own.pem'}", run_id="honest")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    bundle = author.run_dir("honest") / "fake_quick" / "evidence_bundle.zip"
    key = ("--key", signing_keys / "own.pub")
    status, text = verify(passed_quick.root, bundle, *key)
    assert (status, "not as expected: unknown_suite: " in text) == (2, True), text
    status, text = verify(passed_quick.root, bundle, *key, "--policy", passed_quick.root / POLICY)
    assert (status, "not as expected: not_in_policy: " in text) == (2, True), text
