"""A suite that leaves out of the recipe what its candidate does otherwise, or calls it the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import (
    assert_not_released,
    assert_released,
    document,
    edit,
    lock,
    policy,
    program,
    proof,
)
from tests.conftest import Project

REASON = "it changes no result, they say"
RECIPE = {"level": 100.0, "lr": 0.1}
# The candidate trains at ten times the rate, and states it.
TEN_TIMES = '**({"lr": 1.0} if request.system == "worldflux" else {})'
IGNORED: dict[str, Any] = {"recipe": RECIPE, "recipe_ignore": dict.fromkeys(RECIPE, REASON)}
SCALED: dict[str, Any] = {"recipe": {"level": 100.0}, "recipe_map": {"lr": {"worldflux": "lr", "times": 10}}}


def ran(folder: Path, track: str, **terms: Any) -> Project:
    """A run ``tried`` of a candidate with another recipe than its suite asks for."""
    project = Project(folder)
    write = proof if track == "proof" else Project.suite
    write(project, **{"tasks": ["alpha"], **({} if track == "proof" else {"seeds": 4}), **terms})
    lock(project)
    asked = "" if "lr" in terms["recipe"] else '"lr": 0.1, '
    edit(program(project), "{**request.recipe,", f"{{{asked}**request.recipe, {TEN_TIMES},")
    project.run(run_id="tried")
    return project


def test_a_quick_suite_that_ignores_everything_says_so_and_is_not_released(tmp_path: Path) -> None:
    project = ran(tmp_path, "quick", **IGNORED)
    run = document(project, "tried")
    assert run["verdict_reason"].startswith("with 2 keys of the recipe ignored: ")
    assert f"2 keys of the recipe not compared, as the suite says: level, lr ({REASON})" in run["warnings"]
    assert "not one key of the recipe is compared; recipe_ignore leaves out 2" in str(run["warnings"])
    assert f"0 keys compared, 2 ignored: level, lr ({REASON})" in project.report(run_id="tried")
    assert_not_released(project, "tried", codes=["recipe_ignored"])


def test_a_proof_that_compares_no_key_fails(tmp_path: Path) -> None:
    project = ran(tmp_path, "proof", **IGNORED)
    assert document(project, "tried")["verdict"] == "fail"
    report = project.document("fake_proof/validity_report.json", "tried")
    assert report["issues_by_code"] == {"recipe_not_compared": 1}
    assert_not_released(project, "tried", codes=["recipe_not_compared"])


@pytest.mark.parametrize("track", ["quick", "proof"])
def test_a_factor_that_hides_another_number_is_a_warning_and_is_not_released(
    tmp_path: Path, track: str
) -> None:
    project = ran(tmp_path, track, **SCALED)
    name = "fake_proof/validity_report.json" if track == "proof" else "fake_quick/run.json"
    warnings = project.document(name, "tried")["warnings"]
    assert "numbers that differ count as the same recipe, as the suite says: lr as lr times 10" in warnings
    assert_not_released(project, "tried", codes=["recipe_mapped"])


def test_terms_that_the_policy_admits_are_released(tmp_path: Path) -> None:
    """The control: a candidate with a key of its own, and a name of its own for another."""
    project = Project(tmp_path)
    proof(project, recipe=RECIPE, recipe_map={"lr": "rate"}, recipe_ignore={"jit": REASON})
    lock(project)
    edit(program(project), "{**request.recipe,", "{**request.recipe, **ONLY.get(request.system, {}),")
    edit(program(project), "import json\n", 'import json\n\nONLY = {"worldflux": {"jit": True}}\n')
    assert project.run(run_id="honest").ret == pytest.ExitCode.OK
    assert_not_released(project, "honest", codes=["recipe_ignored", "recipe_mapped"])
    policy(project, "recipe_ignored", "recipe_mapped")
    assert_released(project, "honest")
