"""The candidate has a wrong encoder, and a suite that declares the components that match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import manipulations as m
import pytest

from pytest_worldflux_parity.evidence.statement import summarise_reports
from tests.attacks.lab import (
    POLICY,
    AcceptedError,
    ask,
    assert_not_released,
    assert_released,
    document,
    edit,
    match_program,
    matched,
    quick,
)
from tests.conftest import Project
from tests.release.judged_runs import changed

PART = "1 of 6 components of the family fake were compared, partial"
WRONG, RIGHT = '+ params["encoder/bias"] + 0.3)', '+ params["encoder/bias"])'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run ``part`` that declares the environment alone, of a candidate whose encoder is wrong."""
    project = Project(tmp_path_factory.mktemp("part"))
    quick(project, components=["environment"])
    matched(project)
    edit(match_program(project), RIGHT, WRONG)
    assert project.run(run_id="part").ret == pytest.ExitCode.OK
    return project


def bundle(project: Project) -> Path:
    return project.run_dir("part") / "fake_quick" / "evidence_bundle.zip"


def require(project: Project) -> None:
    """A policy that does not admit that components were not compared."""
    changed(project.root / POLICY, _refuse_what_was_not_compared)


def _refuse_what_was_not_compared(policy: dict[str, Any]) -> None:
    for rule in policy["suites"].values():
        rule["admit"].remove("component_match_missing")


def test_a_part_is_released_as_a_part_where_that_is_admitted(runs: Project) -> None:
    """The control: nothing is hidden of it."""
    assert_released(runs, "part")
    answer = ask(runs, "verify", bundle(runs), "--allow-unsigned")
    assert answer.status == 0, answer.text
    assert f"{PART}, 1 match; golden " in answer.text


def test_a_part_that_matches_says_so_and_is_not_released_without_admission(
    runs: Project, tmp_path: Path
) -> None:
    if not document(runs, "part")["verdict_reason"].endswith(f"; {PART}"):
        raise AcceptedError(document(runs, "part")["verdict_reason"])
    assert "components" not in document(runs, "part")["gates"]
    project = runs.copied(tmp_path / "project")
    require(project)
    assert_not_released(project, "part", codes=["component_match_missing"])


def test_the_part_does_not_pass_where_components_are_required(runs: Project, tmp_path: Path) -> None:
    project = runs.copied(tmp_path / "project")
    quick(project, components=["environment"], component_match="required")
    assert project.run(run_id="required").ret == pytest.ExitCode.TESTS_FAILED
    reason = document(project, "required")["verdict_reason"]
    assert reason.startswith("components: components_partial: 1 of 6, partial")


@pytest.mark.parametrize("asked", [{}, {"component_match": "required"}, {"components": ["encoder"]}])
def test_a_reader_who_asks_for_more_finds_the_wrong_component(
    runs: Project, tmp_path: Path, asked: dict[str, Any]
) -> None:
    own = Project(tmp_path)
    quick(own, **asked)
    answer = ask(runs, "verify", bundle(runs), "--suite", own.root / "suites/quick/fake_quick.yaml")
    assert answer.status == 2, answer.text
    assert "component_mismatch: encoder" in answer.text


def passed(name: str, run: dict[str, Any]) -> None:
    """What the documents would say of a whole match."""
    if name == "run.json":
        run["component_match"] = {**run["component_match"], "pass": True, "required": True, "compared": 6}
        run["gates"] = {"components": run["gates"].pop("components_declared"), **run["gates"]}
        run["components_compared"].update(compared=6, sentence="6 of 6 components were compared")
    else:
        run.update(all_pass=True, compared=6)


@pytest.mark.parametrize("name", ["run.json", "component_match_report.json"])
def test_a_document_that_says_more_than_the_records_is_refused(
    runs: Project, tmp_path: Path, name: str
) -> None:
    project = runs.copied(tmp_path / "project")
    changed(project.run_dir("part") / "fake_quick" / name, lambda d: passed(name, d))
    assert_not_released(project, "part", codes=["evidence_differs"])
    bundle(project).unlink()
    assert_not_released(project, "part", codes=["document_differs"])


def test_a_bundle_that_says_more_than_its_records_is_refused(runs: Project, tmp_path: Path) -> None:
    reports: dict[str, Any] = {}

    def change(members: m.Members) -> None:
        for name in ("run.json", "component_match_report.json"):
            place = f"run/fake_quick/{name}"
            reports[name] = json.loads(members[place])
            passed(name, reports[name])
            members[place] = json.dumps(reports[name]).encode()

    def state(predicate: dict[str, Any]) -> None:
        predicate.update(summarise_reports(reports))

    path = m.saved(tmp_path / "bundle.zip", m.forged(change, state=state)(bundle(runs).read_bytes()))
    answer = ask(runs, "verify", path, "--allow-unsigned")
    assert (answer.status, "run.json: component_match." in answer.text) == (2, True), answer.text


def test_a_run_goes_on_with_the_part_that_it_began_with(runs: Project, tmp_path: Path) -> None:
    """Neither less, nor the whole."""
    for part in (["encoder", "environment"], None):
        project = runs.copied(tmp_path / str(part is None))
        quick(project, components=part)
        result = project.run("--parity-resume", run_id="part")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "suite_sha256" in "\n".join([*result.outlines, *result.errlines])
