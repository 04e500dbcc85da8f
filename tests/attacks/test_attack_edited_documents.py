"""The ``run.json`` of a run that failed is exchanged for one that passed; the records beside it stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.lab import (
    FACTOR,
    WORSE,
    Attack,
    Kept,
    assert_not_released,
    assert_released,
    document,
    edit,
    program,
)

ATTACKS = (
    Attack(
        "A run that failed gets the `run.json`, and the log, of one that passed.",
        codes=("evidence_differs",),
        ends="`validate` 1",
        tests=("test_a_failed_run_gets_the_document_of_one_that_passed",),
        controls=("test_a_release_believes_the_run_that_passed_and_not_the_other",),
    ),
)

FILES = {
    "the document": ("run.json",),
    "the document and its lines": ("run.json", "parity_runs.jsonl"),
}


@pytest.fixture(scope="module")
def runs(passed_quick: Kept, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Beside the run ``honest`` a run ``worse``, of a candidate that reaches 70 of 100."""
    project = passed_quick.copied(tmp_path_factory.mktemp("runs") / "project")
    edit(program(project), FACTOR, WORSE)
    assert project.run(run_id="worse").ret == pytest.ExitCode.TESTS_FAILED
    return project


def test_a_release_believes_the_run_that_passed_and_not_the_other(runs: Kept) -> None:
    """The control: neither run was touched."""
    assert_released(runs, "honest")
    assert_not_released(runs, "worse")


@pytest.mark.parametrize("files", FILES)
def test_a_failed_run_gets_the_document_of_one_that_passed(runs: Kept, files: str, tmp_path: Path) -> None:
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
