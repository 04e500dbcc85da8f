"""The official table is made up: it stands where the official one stood, and has the candidate's level."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.lab import (
    FACTOR,
    TABLE,
    WORSE,
    AcceptedError,
    ask,
    assert_released,
    document,
    edit,
    lock,
    program,
)
from tests.conftest import Project
from tests.release.judged_runs import table


@pytest.fixture
def passed(passed_quick: Project, tmp_path: Path) -> Project:
    """A copy of a project whose run ``honest`` passed against the table that its lock file pins."""
    return passed_quick.copied(tmp_path / "project")


def made_up(project: Project, run_id: str) -> pytest.RunResult:
    """A run of a candidate that is worse by a third, against a table that is worse by as much."""
    edit(program(project), FACTOR, f'{WORSE} if request.system == "worldflux" else 1.0')
    table(project.root / TABLE, "made up", factor=0.7)
    return project.run(run_id=run_id)


def refuse_unless(refused: bool, project: Project, run_id: str) -> None:
    found = document(project, run_id)
    if not refused:
        raise AcceptedError(found["verdict_reason"])


def test_an_official_table_that_is_pinned_passes_without_a_word(passed: Project) -> None:
    """The control; the same candidate, worse by a third, fails against it."""
    honest = document(passed, "honest")
    assert honest["suite_lock_ref"]["table_pinned"] is True
    assert [w for w in honest["warnings"] if "table" in w] == []
    assert_released(passed, "honest")
    edit(program(passed), FACTOR, f'{WORSE} if request.system == "worldflux" else 1.0')
    assert passed.run(run_id="worse").ret == pytest.ExitCode.TESTS_FAILED
    assert document(passed, "worse")["metrics"]["episode_return"]["verdict"] == "fail"


def test_a_made_up_table_in_the_place_of_the_pinned_one_fails(passed: Project) -> None:
    """The scores alone would pass."""
    result = made_up(passed, "made_up")
    found = document(passed, "made_up")
    refuse_unless(found["verdict"] == "fail", passed, "made_up")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [f["code"] for f in found["gates"]["validity"]["findings"]] == ["table_not_as_pinned"]
    assert found["metrics"]["episode_return"]["reason"].startswith("not comparable, validity: ")


@pytest.mark.parametrize("forgotten", ["the file", "the entry", "the pin"])
def test_a_made_up_table_that_nothing_pins_is_told_before_anything_else(
    passed: Project, forgotten: str
) -> None:
    """Nothing here can know the official table; a release tells by the field that nothing vouched for it."""
    path = lock(passed)
    known = json.loads(path.read_text(encoding="utf-8"))
    if forgotten == "the file":
        path.unlink()
    else:
        if forgotten == "the entry":
            known["suites"] = {"another": known["suites"]["fake_quick"]}
        else:
            del known["suites"]["fake_quick"]["oracle_files"]
        path.write_text(json.dumps(known), encoding="utf-8")
    result = made_up(passed, "made_up")
    found = document(passed, "made_up")
    told = f"no lock entry pins the official table {TABLE}, so nothing says that it is the official one"
    refuse_unless(found["warnings"][:1] != [] and found["warnings"][0].startswith(told), passed, "made_up")
    assert found["suite_lock_ref"]["table_pinned"] is False
    assert [line for line in result.outlines if line.startswith(f"  warning: {told}")]


def test_another_pinned_table_does_not_stand_for_the_official_one(passed: Project) -> None:
    """That the lock file pins the bytes for some other suite says nothing of this one."""
    known = json.loads(lock(passed).read_text(encoding="utf-8"))
    table(passed.root / TABLE, "made up", factor=0.7)
    other = json.loads(lock(passed, "other.json").read_text(encoding="utf-8"))
    known["suites"]["another"] = other["suites"]["fake_quick"]
    lock(passed).write_text(json.dumps(known), encoding="utf-8")
    made_up(passed, "made_up")
    refuse_unless(document(passed, "made_up")["verdict"] == "fail", passed, "made_up")


def test_a_reader_with_the_true_lock_file_refuses_what_was_judged_with_another(passed: Project) -> None:
    """The candidate's lock file pins the made-up table, so its own run has no word about it."""
    true = passed.root / "true_lock.json"
    true.write_bytes(lock(passed).read_bytes())
    suite = "suites/quick/fake_quick.yaml"
    control = passed.run_dir("honest") / "fake_quick" / "evidence_bundle.zip"
    asked = ("--suite", suite, "--lock", true, "--allow-unsigned")
    assert ask(passed, "verify", control, *asked).status == 0
    table(passed.root / TABLE, "made up", factor=0.7)
    lock(passed)
    made_up(passed, "own_lock")
    assert document(passed, "own_lock")["suite_lock_ref"]["table_pinned"] is True
    bundle = passed.run_dir("own_lock") / "fake_quick" / "evidence_bundle.zip"
    answer = ask(passed, "verify", bundle, *asked)
    if answer.status == 0:
        raise AcceptedError(answer.text)
    assert answer.status == 2
    assert "table_not_as_pinned" in answer.text
