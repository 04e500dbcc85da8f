"""Evidence is refused before the first run where it would be refused after the last, days later."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.lab import ask, lock, proof, quick
from tests.conftest import Project


def longest(project: Project) -> None:
    proof(project, tasks=["a" * 190])


def too_long(project: Project) -> None:
    proof(project, tasks=["a" * 225])


def longer_than_a_folder(project: Project) -> None:
    proof(project, tasks=["a" * 260])


def equal_but_for_case(project: Project) -> None:
    proof(project, tasks=["alpha", "Alpha"])


def equal_but_for_case_in_two_groups(project: Project) -> None:
    groups = [{"family": "fake", "tasks": ["alpha"]}, {"family": "fake", "tasks": ["ALPHA"]}]
    proof(project, tasks=None, groups=groups)


def a_suite_that_is_too_long(project: Project) -> None:
    project.proof("s" * 215, tasks=["alpha"])


def suites_equal_but_for_case(project: Project) -> None:
    project.proof("same", tasks=["alpha"])
    project.proof("Same", tasks=["alpha"])


def a_backend_folder_with_a_blank(project: Project) -> None:
    folder = project.root / "backends" / "fake_worldflux"
    shutil.move(folder, folder.with_name("fake worldflux"))
    proof(project)


def a_quick_suite(project: Project) -> None:
    quick(project)
    project.suite(tasks=["alpha", "aLPHA"], seeds=1)


REFUSED: dict[Callable[[Project], None], str] = {
    too_long: "has 2",
    longer_than_a_folder: "has 2",
    equal_but_for_case: "differ in case only",
    equal_but_for_case_in_two_groups: "differ in case only",
    a_suite_that_is_too_long: "has 2",
    suites_equal_but_for_case: "is also that of",
    a_backend_folder_with_a_blank: "other characters than letters",
    a_quick_suite: "differ in case only",
}


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: name.__name__)
def test_names_that_evidence_cannot_hold_are_refused_at_once(
    name: Callable[[Project], None], tmp_path: Path
) -> None:
    project = Project(tmp_path)
    name(project)
    result = project.run(run_id="named")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert len(said) == 1, result.errlines
    assert REFUSED[name] in said[0]
    assert "suites/" in said[0], "the line says where"
    assert not list(project.root.rglob("executions")), "nothing was run"
    assert not (project.run_dir("named") / "run.json").exists()


def test_the_longest_name_is_held(tmp_path: Path) -> None:
    """The control: what is accepted before the first run stands in the evidence after the last."""
    project = Project(tmp_path)
    longest(project)
    lock(project)
    assert project.run(run_id="named").ret == pytest.ExitCode.OK
    answer = ask(project, "verify", project.run_dir("named") / "fake_proof" / "evidence_bundle.zip")
    assert answer.status == 5, answer.text


@pytest.mark.parametrize("run_id", ["ü", "a/b", "a b", ".a", "a" * 129, "a\n", "٣"])
def test_run_ids_are_names_of_folders_and_of_evidence(tmp_path: Path, run_id: str) -> None:
    project = Project(tmp_path)
    proof(project)
    result = project.run(run_id=run_id)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("at most 128 of them" in line for line in result.errlines), result.errlines
    assert not (project.root / "reports").exists()


# --- signed evidence ---


@pytest.fixture
def signed(passed_proof: Project, tmp_path: Path) -> Project:
    return passed_proof.copied(tmp_path / "project")


def documents(project: Project) -> dict[str, bytes]:
    """What the run concluded, and its evidence."""
    folder = project.run_dir("honest")
    files = [*folder.glob("*"), *(folder / "fake_proof").glob("*")]
    return {p.name: p.read_bytes() for p in files if p.is_file() and not p.name.startswith(".")}


def test_a_resume_without_the_key_leaves_signed_evidence_alone(signed: Project) -> None:
    before = documents(signed)
    result = signed.run("--parity-resume", run_id="honest")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert len(said) == 1, result.errlines
    for part in ("evidence_bundle.zip: ", "is signed, and would become unsigned", "--parity-sign-key"):
        assert part in said[0]
    assert documents(signed) == before


def test_a_resume_with_the_key_signs_again(signed: Project, signing_keys: Path) -> None:
    """The control."""
    result = signed.run("--parity-resume", f"--parity-sign-key={signing_keys / 'own.pem'}", run_id="honest")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    bundle = signed.run_dir("honest") / "fake_proof" / "evidence_bundle.zip"
    assert ask(signed, "verify", bundle, "--key", signing_keys / "own.pub").status == 0


def test_a_resume_of_unsigned_evidence_needs_no_key(tmp_path: Path) -> None:
    project = Project(tmp_path)
    proof(project)
    assert project.run(run_id="honest").ret == pytest.ExitCode.OK
    assert project.run("--parity-resume", run_id="honest").ret == pytest.ExitCode.OK
