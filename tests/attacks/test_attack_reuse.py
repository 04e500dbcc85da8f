"""Of several runs the better one is named, so that its results count (``--parity-reuse``)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.attacks.lab import FACTOR, assert_not_released, document, edit, lock, policy, program, quick
from tests.conftest import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A candidate that reaches less until a file is there, and a bad run and a good one of it."""
    project = Project(tmp_path / "project")
    quick(project)
    lucky = project.root / "lucky"
    edit(program(project), FACTOR, f"level *= 1.0 if Path({str(lucky)!r}).exists() else 0.7")
    lock(project)
    for run_id in ("bad", "good"):
        project.run("--parity-seeds", "0,1", run_id=run_id)
        lucky.touch()
    return project


def test_results_of_one_run_are_reused_in_a_session(project: Project) -> None:
    """The control: with one earlier run alone there is nothing to choose, and the session passes."""
    shutil.rmtree(project.run_dir("bad"))
    assert project.run("--parity-reuse", "reports/parity/good", run_id="next").ret == pytest.ExitCode.OK
    assert sum("reused" in line for line in project.lines(run_id="next")) == 2


@pytest.mark.parametrize("named", ["good", "*"])
def test_the_better_of_two_runs_does_not_count_by_being_named(project: Project, named: str) -> None:
    result = project.run("--parity-reuse", f"reports/parity/{named}", run_id="next")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (text,) = {text for text in result.outlines if "with results of the earlier runs" in text}
    assert ("and not of bad (--parity-reuse)" in text) is (named == "good")
    assert "conflicting_success" in str(document(project, "next"))
    assert_not_released(project, "next")


def test_an_earlier_run_that_is_broken_makes_no_room_for_a_later_one(project: Project) -> None:
    """Without it the candidate, which reaches less again, would have the good run's results."""
    (project.root / "lucky").unlink()
    edit(project.run_dir("bad") / "fake_quick" / "parity_runs.jsonl", '"attempt":1', '"attempt":2')
    project.run("--parity-reuse", "reports/parity/good", run_id="next")
    assert not [line for line in project.lines(run_id="next") if "reused" in line]
    assert document(project, "next")["verdict"] != "pass"


def test_an_earlier_run_that_was_moved_away_is_not_seen_and_no_release_takes_what_is_left(
    project: Project,
) -> None:
    shutil.move(project.run_dir("bad"), project.root / "elsewhere")
    assert project.run("--parity-reuse", "reports/parity/good", run_id="next").ret == pytest.ExitCode.OK
    assert "runs elsewhere, or taken away, are not seen" in project.report("next")
    policy(project, "overrides")
    assert_not_released(project, "next", codes=["results_reused"])
