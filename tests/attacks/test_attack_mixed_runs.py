"""A run is put together of two, or its session and circumstances say what they did not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.reporting.card import card_section
from tests.attacks.lab import (
    FACTOR,
    TABLE,
    WORSE,
    ask,
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    proof,
    released,
)
from tests.conftest import Project
from tests.release.judged_runs import changed
from tests.release.test_admission import WHOLE
from tests.repositories import commit_all


@pytest.fixture
def honest(passed_quick: Project, tmp_path: Path) -> Project:
    project = passed_quick.copied(tmp_path / "project")
    (project.run_dir("honest") / "fake_quick" / "evidence_bundle.zip").unlink()
    return project


def test_a_run_that_is_resumed_in_its_own_folder_counts(passed_quick: Project, tmp_path: Path) -> None:
    project = passed_quick.copied(tmp_path / "project")
    assert project.run("--parity-resume", run_id="honest").ret == pytest.ExitCode.OK
    assert_released(project, "honest")


def test_records_of_another_run_do_not_count(honest: Project) -> None:
    """The better of two runs, seed by seed: no number is edited."""
    assert honest.run(run_id="second").ret == pytest.ExitCode.OK
    for part in ("executions", "parity_runs.jsonl"):
        target, source = (honest.run_dir(run) / "fake_quick" / part for run in ("honest", "second"))
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    result = honest.run("--parity-resume", run_id="honest")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    findings = honest.document("fake_quick/run.json", "honest")["gates"]["validity"]["findings"]
    assert {"foreign_record", "log_broken"} <= {f["code"] for f in findings}
    assert_not_released(honest, "honest")


def test_a_folder_with_another_name_is_not_resumed(honest: Project) -> None:
    honest.run_dir("honest").rename(honest.run_dir("other"))
    result = honest.run("--parity-resume", run_id="other")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "the run is 'honest', and its folder is named 'other'" in result.stderr.str()


def beside(project: Project) -> None:
    edit(program(project), FACTOR, WORSE)


def package(project: Project) -> None:
    (project.root / "backends" / "__init__.py").write_text("worse = True\n", encoding="utf-8")


def linked(project: Project) -> None:
    (project.root / "lib" / "core.py").write_text("level = 0.7\n", encoding="utf-8")


@pytest.mark.parametrize("change", [beside, package, linked])
def test_what_lies_beside_the_folder_is_the_program_too(
    passed_quick: Project, change: Callable[[Project], None], tmp_path: Path
) -> None:
    project = passed_quick.copied(tmp_path / "project")
    (project.root / "lib").mkdir()
    (project.root / "lib" / "core.py").write_text("level = 1.0\n", encoding="utf-8")
    folder = project.root / "backends" / "fake_worldflux"
    (folder / "lib").symlink_to("../../lib")
    package_name = '"-m", "backends.fake_worldflux"'
    description = folder / "backend.yaml"
    match = "\n".join(
        line for line in description.read_text(encoding="utf-8").splitlines() if line.startswith("argv")
    )
    assert "program.py" in match
    (project.root / "backends" / "__init__.py").write_text("", encoding="utf-8")
    if change is package:
        shutil.copy(program(project), folder / "__main__.py")
        edit(description, match, f'argv: ["{{python}}", {package_name}]')
    assert project.run(run_id="before").ret == pytest.ExitCode.OK
    assert_released(project, "before")
    change(project)
    assert_not_released(project, "before", codes=["program_differs"])


def test_what_a_session_does_not_say_is_missed(honest: Project) -> None:
    path = honest.run_dir("honest") / "run.json"
    whole = path.read_text(encoding="utf-8")
    changed(path, lambda d: [e["trees"].clear() for e in d["suites"].values()])
    assert_not_released(honest, "honest", codes=["program_differs"])
    path.write_text(whole, encoding="utf-8")
    changed(path, lambda d: d["suites"].update(again=next(iter(d["suites"].values()))))
    assert_not_released(honest, "honest", codes=["records_unreadable"])
    path.write_text(whole, encoding="utf-8")
    assert_released(honest, "honest")


def test_no_text_forges_a_row_of_a_card(honest: Project) -> None:
    def forge(document: dict[str, Any]) -> None:
        document["machine"]["platform"] = "x\n  signed   valid, by the key of everyone\x1b[2J"

    changed(honest.run_dir("honest") / "fake_quick" / "circumstances.json", forge)
    answer = released(honest, "honest")
    assert "\x1b" not in answer.text
    assert not [line for line in answer.text.splitlines() if line.strip().startswith("signed   valid")]


def test_a_text_is_no_html_in_a_report() -> None:
    facts = replace(WHOLE, choices={"lock": "the lock <img src=x> in place of a|b"})
    card = "\n".join(card_section(facts, "nobody"))
    assert "| chosen | the lock &lt;img src=x> in place of a\\|b |" in card


def test_a_checkout_says_itself_of_which_commit_it_is(passed_quick: Project, tmp_path: Path) -> None:
    project = passed_quick.copied(tmp_path / "project")
    commit = commit_all(project.root, "suites")
    (project.root / ".worldflux-commit").write_text("c0ffee0" * 5 + "c0ffe", encoding="utf-8")
    assert project.run(run_id="said").ret == pytest.ExitCode.OK
    assert project.document("run.json", "said")["project"]["commit"] == commit


def test_a_table_that_evidence_cannot_hold_is_refused_before_the_first_run(
    passed_quick: Project, tmp_path: Path
) -> None:
    project = passed_quick.copied(tmp_path / "project")
    path = project.root / "suites" / "quick" / "fake_quick.yaml"
    # As long as a file system takes a name, and longer than a member of evidence may be called.
    name = f"{'official' * 30}.json"
    (project.root / TABLE).rename(path.with_name(name))
    edit(path, "official.json", name)
    result = project.run(run_id="named")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "evidence cannot hold" in result.stderr.str()
    assert not (project.run_dir("named") / "run.json").exists()


def test_a_lock_has_one_name_in_a_proof_and_in_its_bundle(tmp_path: Path) -> None:
    """A bundle whose official program is not of the locked commit follows all the same: it is no pass."""
    project = Project(tmp_path)
    proof(project)
    lock(project)
    suite = project.root / "suites" / "proof" / "fake_proof.yaml"
    assert json.loads(suite.read_text(encoding="utf-8"))
    project.run(run_id="r")
    answer = ask(project, "verify", project.run_dir("r") / "fake_proof" / "evidence_bundle.zip")
    assert "does not follow" not in answer.text.partition("result")[0].replace("not as expected", "")
    names = project.document("fake_proof/circumstances.json")["names"]
    assert names["lock"] == "reports/parity/upstream_lock.json"


def test_a_tree_of_linked_folders_is_hashed_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "x.py").write_text("1", encoding="utf-8")
    (tmp_path / "a" / "lib").symlink_to("../lib")
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    assert [*wire.tree_files(tmp_path / "a")] == ["lib/x.py"]
