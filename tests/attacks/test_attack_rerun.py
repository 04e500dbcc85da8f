"""What was bad is taken out of a run, which is then resumed until its verdict is a pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import (
    FACTOR,
    Attack,
    Kept,
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    proof,
    released,
)

CONTROLS = ("test_a_run_that_was_cut_off_is_resumed",)
ATTACKS = (
    Attack(
        "The lines of bad runs are taken out of the log, and the run is resumed.",
        words="a record without a line gets its line back",
        ends="judged by its own scores",
        tests=("test_a_record_without_its_line_comes_back",),
        controls=CONTROLS,
    ),
    Attack(
        "The folders of bad runs are taken away, or the lines and folders of attempts that failed.",
        codes=("record_without_artifact", "attempt_without_line"),
        ends="`validate` 1",
        tests=("test_a_line_without_its_folder_is_found", "test_an_attempt_that_is_left_out_is_found"),
        controls=CONTROLS,
    ),
    Attack(
        "Both the lines and the folders of bad runs are taken away, and the run is resumed.",
        words="the run was resumed",
        ends="the card says so; a claim is refused unless its policy admits `resumed`",
        tests=("test_a_run_that_was_made_in_several_sessions_says_so",),
        controls=CONTROLS,
    ),
)


@pytest.fixture
def project(tmp_path: Path) -> Kept:
    """A candidate that reaches less until the file ``lucky`` is there."""
    project = Kept(tmp_path / "project")
    proof(project)
    lock(project)
    lucky = project.root / "lucky"
    edit(program(project), FACTOR, f"level *= 1.0 if Path({str(lucky)!r}).exists() else 0.7")
    return project


def log(project: Kept) -> Path:
    return project.run_dir() / "fake_proof" / "parity_runs.jsonl"


def take(project: Kept, bad: list[dict[str, Any]], *, lines: bool, folders: bool) -> None:
    """Take attempts out of the run, by hand."""
    for line in bad if folders else ():
        shutil.rmtree((project.run_dir() / line["artifacts"]["stderr"]).parent)
    kept = [x for x in project.lines("fake_proof") if not lines or x not in bad]
    log(project).write_text("".join(json.dumps(x) + "\n" for x in kept), encoding="utf-8")


def until_good(project: Kept, *, lines: bool, folders: bool) -> None:
    """One bad session, what is bad of it taken away, and a good one."""
    project.run()
    assert_not_released(project, "r")
    bad = [x for x in project.lines("fake_proof") if x["system"] == "worldflux"]
    take(project, bad, lines=lines, folders=folders)
    (project.root / "lucky").touch()
    project.run("--parity-resume")


def test_a_run_that_was_cut_off_is_resumed(project: Kept) -> None:
    """The control: an attempt whose process was killed before it ended is none that is hidden."""
    (project.root / "lucky").touch()
    project.run("suites/proof/fake_proof.yaml::alpha[seed=0]")
    cut = project.run_dir() / "fake_proof" / "executions" / "alpha" / "seed_1" / "official" / "attempt_1"
    cut.mkdir(parents=True)
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    lines = [x for x in project.lines("fake_proof") if x["seed"] == 1 and x["system"] == "official"]
    assert [(x["attempt"], x["success"]) for x in lines] == [(1, False), (2, True)]
    assert_released(project, "r")


def test_a_record_without_its_line_comes_back(project: Kept) -> None:
    until_good(project, lines=True, folders=False)
    lines = [x for x in project.lines("fake_proof") if x["system"] == "worldflux"]
    assert [x["metrics"]["curve"][-1]["return"] < 80 for x in lines] == [True] * 4
    assert_not_released(project, "r", codes=["not_passed"])


def test_a_line_without_its_folder_is_found(project: Kept) -> None:
    until_good(project, lines=False, folders=True)
    found = project.document("fake_proof/validity_report.json")["issues_by_code"]
    assert found["record_without_artifact"] == 4
    assert_not_released(project, "r")


@pytest.mark.parametrize("folders", [True, False])
def test_an_attempt_that_is_left_out_is_found(project: Kept, folders: bool) -> None:
    """A candidate that ends itself where it would be bad, of which only the good attempts are shown."""
    proof(project, retries=1)
    (project.root / "lucky").touch()
    ok = "def ok(request):\n"
    ends = "    if request.system == 'worldflux' and request.attempt == 1:\n        sys.exit(3)\n"
    edit(program(project), ok, ok + ends)
    assert project.run().ret == pytest.ExitCode.OK
    failed = [x for x in project.lines("fake_proof") if not x["success"]]
    assert len(failed) == 4
    take(project, failed, lines=True, folders=folders)
    project.run("--parity-resume")
    found = project.document("fake_proof/validity_report.json")["issues_by_code"]
    assert found["attempt_without_line"] == 4
    assert_not_released(project, "r")


def test_a_run_that_was_made_in_several_sessions_says_so(project: Kept) -> None:
    until_good(project, lines=True, folders=True)
    answer = released(project, "r")
    assert "the run was resumed" in answer.text
    assert "| resumed | the run was resumed |" in project.report()
