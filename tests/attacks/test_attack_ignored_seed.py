"""A candidate ignores its seed: one run, bit for bit, counts as four."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.lab import (
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    quick,
)
from tests.conftest import Project

SEEDED = 'rng = random.Random(f"{request.system} {request.task_id} {request.seed}")'
IGNORED = 'rng = random.Random(f"{request.system} {request.task_id} {SEED}")'
# What stands in the place of the seed: for the candidate nothing of it, or its half.
SEEDS = {
    "the seed": "request.seed if request.system == 'official' else 0",
    "all but one bit of it": "request.seed if request.system == 'official' else request.seed % 2",
}
CURVE = "for s in (0, 500, 1000))"
POINT = "wire.CurvePoint(s, "
# What is done to curves that are one, so that no two of them are equal.
DRESSES = {
    "the noise of a device": (POINT, f"{POINT}(1 + 1e-12 * request.seed) * ("),
    "a point beyond the budget": (
        CURVE, f"{CURVE} + (wire.CurvePoint(2000, level + request.seed),)"
    ),
    "two points": (CURVE, "for s in (900, 1000))"),
    "a point between the evaluations": (CURVE, "for s in (0, 250 + request.seed, 1000))"),
}  # fmt: skip
EQUIVALENCE = [{"name": "episode_return", "rule": "equivalence", "margin": 0.05}]
QUICK = ("fake_quick", "fake_equivalence")


@pytest.fixture(scope="module")
def quick_suites(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A quick suite by each of the two rules; the run ``honest`` passed."""
    project = Project(tmp_path_factory.mktemp("rules"))
    quick(project)
    quick(project, "fake_equivalence", metrics=EQUIVALENCE)
    lock(project)
    assert project.run(run_id="honest").ret == pytest.ExitCode.OK
    return project


def ignoring(project: Project, what: str) -> None:
    edit(program(project), SEEDED, IGNORED.replace("SEED", SEEDS[what]))


def curves(project: Project, suite: str) -> set[str]:
    """The candidate's curves, as text; equal ones once."""
    lines = project.lines(suite, run_id="ignored")
    return {str(x["metrics"]["curve"]) for x in lines if x["system"] == "worldflux"}


@pytest.mark.parametrize("suite", QUICK)
def test_a_candidate_that_heeds_its_seed_is_accepted(quick_suites: Project, suite: str) -> None:
    assert_released(quick_suites, "honest", suite)


def test_a_proof_of_a_candidate_that_heeds_its_seed_is_accepted(passed_proof: Project) -> None:
    assert_released(passed_proof, "honest")


@pytest.fixture(scope="module", params=SEEDS)
def ignored(
    request: pytest.FixtureRequest, quick_suites: Project, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The quick suites with a run ``ignored``."""
    project = quick_suites.copied(tmp_path_factory.mktemp("ignored") / "project")
    ignoring(project, request.param)
    project.run(run_id="ignored")
    for suite in QUICK:
        assert len(curves(project, suite)) == list(SEEDS).index(request.param) + 1
    return project


@pytest.mark.parametrize("suite", QUICK)
def test_a_quick_run_of_copies_is_refused(ignored: Project, suite: str) -> None:
    document = ignored.document(f"{suite}/run.json", "ignored")
    found = document["gates"]["independence"]["findings"]
    assert {f["code"] for f in found} == {"repeated_run"}
    assert all(f["system"] == "worldflux" for f in found)
    # What is left are the runs that differ, and the numbers are of these.
    assert len(found) == 4 - len(curves(ignored, suite))
    assert_not_released(ignored, "ignored", suite)


def test_a_proof_of_copies_is_refused(passed_proof: Project, tmp_path: Path) -> None:
    project = passed_proof.copied(tmp_path / "project")
    ignoring(project, "the seed")
    project.run(run_id="ignored")
    assert len(curves(project, "fake_proof")) == 1
    validity = project.document("fake_proof/validity_report.json", "ignored")
    assert "repeated_run" in str(validity)
    report = project.document("fake_proof/equivalence_report.json", "ignored")
    assert report["global"]["missing_pairs"] == 0
    assert_not_released(project, "ignored")


@pytest.mark.parametrize("dress", DRESSES)
def test_copies_in_another_dress_are_refused(quick_suites: Project, dress: str, tmp_path: Path) -> None:
    project = quick_suites.copied(tmp_path / "project")
    ignoring(project, "the seed")
    before, after = DRESSES[dress]
    edit(program(project), before, after)
    if after.endswith("* ("):
        edit(program(project), "rng.gauss(0, spread))", "rng.gauss(0, spread)))")
    project.run(run_id="ignored")
    assert len(curves(project, QUICK[0])) == (1 if dress == "two points" else 4)
    found = project.document("fake_quick/run.json", "ignored")["gates"]["independence"]["findings"]
    assert [f["code"] for f in found] == ["repeated_run"] * 3
    assert_not_released(project, "ignored")
