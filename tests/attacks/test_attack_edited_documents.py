"""The ``run.json`` of a run that failed is exchanged for one that passed; the records beside it stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.lab import (
    FACTOR,
    WORSE,
    ask,
    assert_not_released,
    assert_released,
    document,
    edit,
    program,
    suite_of,
)
from tests.conftest import Project
from tests.release.judged_runs import AGGREGATE, changed

FILES = {
    "the document": ("run.json",),
    "the document and its lines": ("run.json", "parity_runs.jsonl"),
}


@pytest.fixture(scope="module")
def runs(passed_quick: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Beside the run ``honest`` a run ``worse``, of a candidate that reaches 70 of 100."""
    project = passed_quick.copied(tmp_path_factory.mktemp("runs") / "project")
    edit(program(project), FACTOR, WORSE)
    assert project.run(run_id="worse").ret == pytest.ExitCode.TESTS_FAILED
    edit(program(project), WORSE, FACTOR)
    return project


def test_a_release_believes_the_run_that_passed_and_not_the_other(runs: Project) -> None:
    """The control: neither run was touched."""
    assert_released(runs, "honest")
    assert_not_released(runs, "worse")


@pytest.mark.parametrize("files", FILES)
def test_a_failed_run_gets_the_document_of_one_that_passed(runs: Project, files: str, tmp_path: Path) -> None:
    project = runs.copied(tmp_path / "project")
    for name in FILES[files]:
        target = project.run_dir("worse") / "fake_quick" / name
        passing = project.run_dir("honest") / "fake_quick" / name
        target.write_text(passing.read_text(encoding="utf-8").replace("honest", "worse"), encoding="utf-8")
    for record in project.run_dir("worse").glob("*/executions/*/*/worldflux/*/metrics.json"):
        reached = json.loads(record.read_text(encoding="utf-8"))["curve"][-1]["return"]
        assert reached < 80, "the records are still those of the failure"
    assert document(project, "worse")["verdict"] == "pass"
    assert_not_released(project, "worse", codes=["evidence_differs"])


def without_last_line(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")


# File below the run's folder -> what is done to it.
RECORDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "the session": ("run.json", lambda p: changed(p, lambda d: d.update(project=None, arguments=["-q"]))),
    "the circumstances": (
        "{suite}/circumstances.json", lambda p: changed(p, lambda d: d["machine"].update(platform="other")),
    ),
    "the log": ("{suite}/parity_runs.jsonl", without_last_line),
    "no log": ("{suite}/parity_runs.jsonl", Path.unlink),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("kept", ["passed_quick", "passed_proof"], ids=["unsigned", "signed"])
def test_records_beside_a_bundle_are_those_in_it(
    kept: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Also where nobody names the key."""
    whole: Project = request.getfixturevalue(kept)
    project = whole.copied(tmp_path / "project")
    assert_released(project, "honest")
    place, change = RECORDS[name]
    change(project.run_dir("honest") / place.format(suite=suite_of(project)))
    assert_not_released(project, "honest", codes=["evidence_differs"])
    answer = ask(project, "coverage", "--aggregate", AGGREGATE, "--enforce-pass")
    assert (answer.status, ": evidence_differs" in answer.text) == (1, True), answer.text


def test_a_run_that_was_resumed_and_judged_again_has_its_bundle_anew(
    passed_quick: Project, tmp_path: Path
) -> None:
    """The control."""
    project = passed_quick.copied(tmp_path / "project")
    folder = project.run_dir("honest") / "fake_quick"
    before = (folder / "evidence_bundle.zip").read_bytes()
    assert project.run("--parity-resume", run_id="honest").ret == pytest.ExitCode.OK
    assert (folder / "evidence_bundle.zip").read_bytes() != before
    assert_released(project, "honest")
