"""A suite whose knobs are turned so far that whatever ran passes: its floor, its tolerance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import FACTOR, assert_released, document, edit, lock, program, quick
from tests.components import goldens
from tests.conftest import Project

LOST = "level *= 0.0"
RETURN: dict[str, Any] = {"name": "episode_return", "rule": "calibrated", "margin": 0.05}
# Success rates and small losses: the default floor of 1 is the size of the whole scale.
SMALL = {"official": {"backend": "fake_official"}, "recipe": {"level": 0.04, "spread": 0.0005}}


def suites(project: Project) -> None:
    """Suites that ask little of the candidate, and beside each an honest one of the same scores."""
    for name, floor in {"fake_quick": 4.9, "million": 1e6, "beyond": 1e40}.items():
        quick(project, name, metrics=[{**RETURN, "floor": floor}])
    for rule in ("calibrated", "drop_ratio"):
        project.suite(f"rate_{rule}", **SMALL, metrics=[{**RETURN, "rule": rule}])
        project.suite(f"rate_{rule}_meant", **SMALL, metrics=[{**RETURN, "rule": rule, "floor": 0.001}])
    loss = {**RETURN, "higher_is_better": False}
    project.suite("loss", **SMALL, metrics=[loss])
    project.suite("loss_meant", **SMALL, metrics=[{**loss, "floor": 0.001}])
    lock(project)


HONEST = ("fake_quick", "rate_calibrated_meant", "rate_drop_ratio_meant", "loss_meant")
WIDE = ("million", "beyond", "rate_calibrated", "rate_drop_ratio", "loss")


def ran(folder: Path, behaviour: str) -> Project:
    project = Project(folder)
    suites(project)
    edit(program(project), FACTOR, behaviour)
    project.run(run_id="tried")
    return project


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A candidate that does what the official program does."""
    return ran(tmp_path_factory.mktemp("alike"), FACTOR)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A candidate that scores nothing."""
    return ran(tmp_path_factory.mktemp("lost"), LOST)


@pytest.mark.parametrize("suite", HONEST)
def test_a_floor_that_is_small_beside_the_scores_decides(alike: Project, lost: Project, suite: str) -> None:
    assert document(alike, "tried", suite)["verdict"] == "pass"
    # A loss of nothing is a better one: there only losing it the other way is a failure.
    expected = "pass" if suite == "loss_meant" else "fail"
    assert document(lost, "tried", suite)["verdict"] == expected


@pytest.mark.parametrize("suite", WIDE)
def test_a_floor_as_large_as_the_scores_decides_nothing(alike: Project, lost: Project, suite: str) -> None:
    for project in (alike, lost):
        found = document(project, "tried", suite)
        assert found["verdict"] == "inconclusive"
        reason = found["metrics"]["episode_return"]["reason"]
        assert "the floor of " in reason
        assert "% of the median official mean of " in reason
        assert "write `floor: " in reason


def test_a_loss_twice_as_large_is_not_within_the_default_floor(tmp_path: Path) -> None:
    project = ran(tmp_path, "level *= 2.0")
    assert document(project, "tried", "loss")["verdict"] == "inconclusive"
    assert document(project, "tried", "loss_meant")["verdict"] == "fail"


def test_an_honest_suite_with_a_small_floor_is_released(alike: Project) -> None:
    assert_released(alike, "tried", "fake_quick")


# --- the tolerance of a budget ---

STEPS = "for s in (0, 500, 1000))"
# One point at step 1, with the level of the official program at the end.
UNTRAINED = "for s in ((0, 500, 1000) if request.system == 'official' else (1,)))"
FIVE = {"mode": "fixed", "values": [0, 1, 2, 3, 4]}


def at(official: int, worldflux: int) -> str:
    """The curve of each side ends at this step."""
    return f"for s in (0, 500, {official} if request.system == 'official' else {worldflux}))"


@pytest.mark.parametrize("tolerance", [0.21, 0.999])
def test_a_budget_that_tolerates_an_untrained_candidate_is_refused(tmp_path: Path, tolerance: float) -> None:
    project = Project(tmp_path)
    path = project.suite(budget={"step": 1000, "tolerance": tolerance})
    edit(program(project), STEPS, UNTRAINED)
    result = project.run(run_id="tried")
    assert result.ret == pytest.ExitCode.INTERRUPTED, result.outlines
    number = 1 + path.read_text(encoding="utf-8").splitlines().index(f'  "tolerance": {tolerance}')
    line = next(x for x in result.outlines if "at most 0.2 of a budget is tolerated" in x)
    assert f"{path.name}:{number}: budget.tolerance is {tolerance}" in line
    assert "write `tolerance: 0.2` or less" in line
    assert not (project.run_dir("tried") / "fake_quick" / "parity_runs.jsonl").exists()


def test_the_widest_tolerance_does_not_help_an_untrained_candidate(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.suite(budget={"step": 1000, "tolerance": 0.2})
    edit(program(project), STEPS, UNTRAINED)
    project.run(run_id="tried")
    assert document(project, "tried")["verdict"] == "fail"


def test_a_candidate_that_trained_half_as_long_again_is_seen(tmp_path: Path) -> None:
    """Both sides are within the tolerance, each at another end of it."""
    project = Project(tmp_path)
    project.suite(budget={"step": 1000, "tolerance": 0.2})
    edit(program(project), STEPS, at(800, 1200))
    result = project.run(run_id="tried")
    found = document(project, "tried")
    (warning,) = [w for w in found["warnings"] if "further apart than the tolerance" in w]
    assert "alpha seed 0: official at 800 frames, worldflux at 1200 and 5 more" in warning
    assert warning in result.stdout.str()
    assert found["steps_apart"]["largest_share"] == pytest.approx(1 / 3)
    assert [(p["task"], p["seed"]) for p in found["steps_apart"]["pairs"]] == [
        (task, seed) for task in ("alpha", "beta") for seed in range(3)
    ]
    reason = found["gates"]["coverage"]["reason"]
    assert "12 of 12 results stand before or after their budget, within its tolerance" in reason
    assert "at 800 of 1000 frames (tolerance 20%)" in reason


def test_honest_ends_of_curves_are_told_without_a_warning(tmp_path: Path) -> None:
    """Published curves end up to 18 % before their budget; the last episode ends where it does."""
    project = Project(tmp_path)
    project.suite(budget={"step": 1000, "tolerance": 0.2})
    edit(program(project), STEPS, at(1000, 820))
    edit(program(project), "level * s / 1000 +", "level +")
    project.run(run_id="tried")
    found = document(project, "tried")
    assert (found["verdict"], found["warnings"]) == ("pass", [])
    assert "furthest worldflux" in found["gates"]["coverage"]["reason"]


@pytest.mark.parametrize(("steps", "is_found"), [((1000, 960), False), ((950, 1050), True)])
def test_a_claim_of_a_candidate_that_trained_longer_has_a_finding(
    tmp_path: Path, steps: tuple[int, int], is_found: bool
) -> None:
    project = Project(tmp_path)
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    budget = {"step": 1000, "tolerance": 0.05}
    project.proof(
        claim="proof_grade", tasks=["alpha"], component_match="golden", seed_policy=FIVE, budget=budget
    )
    edit(program(project), STEPS, at(*steps))
    result = project.run(run_id="tried")
    report = project.document("fake_proof/validity_report.json", run_id="tried")
    told = [i["detail"] for i in report["issues"] if i["code"] == "steps_apart"]
    words = "official at 950 frames on average, worldflux at 1050: more than 5% apart"
    assert told == ([words] if is_found else [])
    apart = project.document("fake_proof/coverage_report.json", run_id="tried")["steps_apart"]
    assert len(apart["pairs"]) == 5
    assert "(tolerance 5%)" in result.stdout.str()
