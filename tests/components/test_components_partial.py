"""A suite that declares a part of the components: what it shows, and that it is no pass of components."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import pytest

from pytest_worldflux_parity.execution.match_program import REPORT
from tests.components import goldens
from tests.conftest import Project

PART = "2 of 6, partial"
COUNTED = "2 of 6 components of the family fake were compared, partial"
SENTENCE = f"{COUNTED}, with a golden that no lock entry pins"
FINDING = f"components_partial: {PART}: the suite declares encoder, heads, and requires all by"


@pytest.fixture
def project(project: Project) -> Project:
    """A quick suite that declares two of six components; the losses after them are wrong."""
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "missing_output")
    project.suite(tasks=["alpha"], components=["heads", "encoder"])
    return project


def test_a_part_that_matches_is_shown_as_a_part_and_no_pass_of_components(project: Project) -> None:
    result = project.run("-v")
    assert result.ret == pytest.ExitCode.OK
    cases = [x.split("::")[1].split(" ")[0] for x in result.outlines if "::" in x and " PASSED" in x]
    assert cases[:2] == ["component[encoder]", "component[heads]"]
    assert [c for c in cases if "verdict[comp" in c] == ["verdict[components_declared]"]
    told = f"components: {PART}: 2 of 2 match, 3 of 3 outputs shown sensitive, 3 of 3 perturbations caught"
    result.stdout.fnmatch_lines([f"  {told}", f"*components of fake *{SENTENCE}, 2 match; golden *"])
    document = project.document()
    assert document["verdict_reason"].endswith(f"; {SENTENCE}")
    assert "components" not in document["gates"]
    assert document["gates"]["components_declared"]["reason"] == (
        f"{PART}: all 2 components match, all 3 perturbations are caught, 3 of 3 parameters are mapped"
    )
    assert document["component_match"] == {
        "required": False, "path": REPORT, "present": True, "pass": None, "compared": 2, "of": 6,
        "family": "fake", "result_count": 2,
    }  # fmt: skip
    match = project.document(f"fake_quick/{REPORT}")
    assert (match["all_pass"], match["compared"], match["of"]) == (None, 2, 6)
    assert [row["component"] for row in match["results"]] == ["encoder", "heads"]
    with zipfile.ZipFile(project.run_dir() / "fake_quick" / "evidence_bundle.zip") as bundle:
        assert json.loads(bundle.read("statement.json"))["predicate"]["component_match_pass"] is None
    assert f"{PART}: 2 of 2 match" in project.report()
    assert PART in (project.run_dir() / "dashboard.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("behaviour", ["wrong_heads", "blind", "mapped_twice"])
def test_a_declared_component_that_fails_is_a_failure(project: Project, behaviour: str) -> None:
    goldens.behave(project.root / "golden", behaviour)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    document = project.document()
    assert document["gates"]["components_declared"]["verdict"] == "fail"
    assert (document["verdict"], document["component_match"]["pass"]) == ("fail", False)


@pytest.mark.parametrize("behaviour", ["unmapped", "left_over", "never_perturbed", "wrong_and_blind"])
def test_what_is_no_fault_of_the_declared_part_is_passed_over(project: Project, behaviour: str) -> None:
    goldens.behave(project.root / "golden", behaviour)
    project.suite(tasks=["alpha"], components=["encoder"])
    assert project.run().ret == pytest.ExitCode.OK
    mapped = "2 of 3" if behaviour == "unmapped" else "3 of 3"
    reason = project.document()["gates"]["components_declared"]["reason"]
    assert reason.endswith(f"{mapped} parameters are mapped")


@pytest.mark.parametrize("asked", ["required", "golden"])
def test_a_suite_that_requires_components_fails_on_a_part(project: Project, asked: str) -> None:
    project.suite(tasks=["alpha"], components=["heads", "encoder"], component_match=asked)
    result = project.run("-v")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = f"{FINDING} `component_match: {asked}`"
    assert [x for x in result.outlines if f"fake_quick cannot pass: {told}" in x], "before anything runs"
    assert [x for x in result.outlines if "verdict[components] FAILED" in x]
    document = project.document()
    assert document["verdict_reason"] == f"components: {told}; {SENTENCE}"
    assert document["component_match"].items() >= {"required": True, "pass": None}.items()


def test_all_of_them_are_no_part(project: Project) -> None:
    goldens.behave(project.root / "golden", "ok")
    project.suite(tasks=["alpha"], components=list(goldens.STAGES), component_match="required")
    assert project.run().ret == pytest.ExitCode.OK
    document = project.document()
    assert document["gates"]["components"]["verdict"] == "pass"
    assert document["component_match"]["pass"] is True
    assert "of" not in document["component_match"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"components": ["encoder", "head"]}, "*fake_quick.yaml:*: the golden has no * 'head'*heads*"),
        ({"components": ["heads", "heads"]}, "*fake_quick.yaml:*: component 'heads' is named twice*"),
        ({"components": []}, "*fake_quick.yaml:*components*"),
        ({"component_match": "none"}, "*: components are named, and component_match is 'none'*leave one*"),
        ({"components": "encoder"}, "*fake_quick.yaml:*: components is *valid: array"),
        ({"worldflux": {"backend": "fake_official"}, "comparison": "self"}, "*no live backend with a match*"),
    ],
)
def test_what_cannot_be_declared_is_refused_in_a_line(
    project: Project, changes: dict[str, Any], said: str
) -> None:
    project.suite(tasks=["alpha"], **{"components": ["encoder"], **changes})
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([said])
    assert not (project.run_dir() / "fake_quick").exists()


def test_a_proof_that_compares_components_does_not_pass_on_a_part(project: Project) -> None:
    project.proof(tasks=["alpha"], components=["encoder", "heads"], component_match="golden")
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = project.document("fake_proof/equivalence_report.json")
    assert report["global"]["verdict"] == "fail"
    assert f"components: fake: {FINDING}" in report["global"]["verdict_reason"]
    assert report["component_match"]["pass"] is False
    assert project.document(f"fake_proof/{REPORT}")["all_pass"] is False


def test_no_part_of_a_proof_hides_behind_another_of_its_family(project: Project) -> None:
    goldens.behave(project.root / "golden", "ok")
    groups = [{"family": "fake", "tasks": ["alpha"], "components": ["encoder"]},
              {"family": "fake", "tasks": ["beta"]}]  # fmt: skip
    project.proof(groups=groups, component_match="golden", family=None, tasks=None)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    gate = project.document(f"fake_proof/{REPORT}")
    assert gate["verdict"] == "fail"
    assert gate["reason"].startswith("fake: components_partial: 1 of 6, partial: the suite declares encoder,")


def test_a_claim_declares_no_part(project: Project) -> None:
    project.proof(tasks=["alpha"], components=["encoder"], component_match="golden", claim="proof_grade")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*for a claim all components are compared, and a part of them is named*"])
