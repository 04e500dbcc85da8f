"""Evidence without its records, signed by a stranger or by nobody, where a policy names who signs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.lab import POLICY, ask, assert_released, edit, released
from tests.conftest import Project
from tests.release.judged_runs import AGGREGATE, changed


def signers(project: Project, *keys: Path) -> None:
    rows = [{"name": key.stem, "public_key": key.read_text(encoding="utf-8")} for key in keys]
    changed(project.root / POLICY, lambda d: d.update(signers=rows))


def alone(project: Project) -> Path:
    """The documents and their bundle as they travel: with no record beside them."""
    folder = project.run_dir("honest") / "fake_proof"
    shutil.rmtree(folder / "executions")
    for name in ("circumstances.json", "parity_runs.jsonl"):
        (folder / name).unlink()
    return folder / "evidence_bundle.zip"


@pytest.fixture
def travelled(passed_proof: Project, tmp_path: Path) -> Project:
    project = passed_proof.copied(tmp_path / "project")
    alone(project)
    return project


def test_evidence_of_a_signer_of_the_policy_is_accepted(travelled: Project, signing_keys: Path) -> None:
    """The control, by ``validate`` and by ``verify``, and by neither a key has to be named."""
    signers(travelled, signing_keys / "other.pub", signing_keys / "own.pub")
    assert_released(travelled, "honest")
    bundle = travelled.run_dir("honest") / "fake_proof" / "evidence_bundle.zip"
    answer = ask(travelled, "verify", bundle)
    assert answer.status == 0, answer.text


def test_a_name_that_nobody_checked_is_not_enough(travelled: Project) -> None:
    """It names a key, and nobody says that this is anybody's."""
    answer = released(travelled, "honest")
    assert (answer.status, ": unsigned: " in answer.text) == (1, True), answer.text


def test_a_stranger_is_not_a_signer(travelled: Project, signing_keys: Path) -> None:
    """Also where the one who asks names the stranger's key."""
    signers(travelled, signing_keys / "other.pub")
    answer = released(travelled, "honest")
    assert (answer.status, ": unsigned: " in answer.text) == (1, True), answer.text
    run = travelled.run_dir("honest") / "fake_proof" / "equivalence_report.json"
    aggregate = ("--aggregate", "reports/parity/all.json")
    answer = ask(travelled, "validate", "--run", run, *aggregate, "--key", signing_keys / "own.pub")
    assert (answer.status, ": unknown_signer: " in answer.text) == (1, True), answer.text
    answer = ask(travelled, "verify", run.with_name("evidence_bundle.zip"), "--key", signing_keys / "own.pub")
    assert (answer.status, "unknown_signer: " in answer.text) == (2, True), answer.text


def test_a_stranger_is_none_with_the_records_beside_either(
    passed_proof: Project, signing_keys: Path, tmp_path: Path
) -> None:
    """Nobody has to name the key for that; a signer of the policy is one here too."""
    project = passed_proof.copied(tmp_path / "with records")
    signers(project, signing_keys / "own.pub")
    assert_released(project, "honest")
    signers(project, signing_keys / "other.pub")
    answer = released(project, "honest")
    assert (answer.status, ": unknown_signer: " in answer.text) == (1, True), answer.text
    answer = ask(project, "coverage", "--aggregate", AGGREGATE)
    assert (answer.status, ": unknown_signer: " in answer.text) == (1, True), answer.text


BOUNDS: dict[str, tuple[Callable[[Project], object], str]] = {
    "a suite that the policy does not name": (
        lambda p: changed(p.root / POLICY, lambda d: d.update(suites={"suites/proof/other.yaml": {
            "family": "fake", "stage": "required", "evidence": "bundle",
        }})), "not_in_policy",
    ),
    "too few seeds": (
        lambda p: changed(p.root / POLICY, lambda d: d["suites"]["suites/proof/fake_proof.yaml"].update(
            least_seeds=5)), "too_few_seeds",
    ),
    "something that is not admitted": (
        lambda p: edit(p.root / POLICY, '"no_isolation", ', ""), "no_isolation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_a_reader_brings_his_policy(travelled: Project, signing_keys: Path, name: str) -> None:
    change, code = BOUNDS[name]
    change(travelled)
    bundle = travelled.run_dir("honest") / "fake_proof" / "evidence_bundle.zip"
    key = ("--key", signing_keys / "own.pub")
    answer = ask(travelled, "verify", bundle, *key, "--policy", POLICY)
    assert (answer.status, f"not as expected: {code}" in answer.text) == (2, True), answer.text
