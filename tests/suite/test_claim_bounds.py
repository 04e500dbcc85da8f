"""A claim has bounds, wherever it comes from; who wants to go beyond them claims nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.suite import proof_file
from pytest_worldflux_parity.suite.claims import BOUNDS, violations
from tests.components import goldens
from tests.conftest import PROOF, Project
from tests.judgement.proof_examples import manifest

ROOT = Path(__file__).parents[2]
FIVE = {"mode": "fixed", "values": [0, 1, 2, 3, 4]}
CLAIM: Mapping[str, Any] = {
    **PROOF,
    "suite_id": "claim",
    "claim": "proof_grade",
    "component_match": "golden",
    "seed_policy": FIVE,
}
NO_CLAIM = {"claim": "none"}


def written(folder: Path, document: Mapping[str, Any]) -> Path:
    path = folder / "claim.yaml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def refusal(folder: Path, document: Mapping[str, Any]) -> SuiteError:
    path = written(folder, document)
    with pytest.raises(SuiteError) as caught:
        proof_file.load(path)
    assert "\n" not in caught.value.line()
    return caught.value


def one_metric(**own: Any) -> dict[str, Any]:
    return {"metrics": [{"name": "final_return_mean", "margin": 0.3}, {"name": "auc_return", **own}]}


def statistical(**own: Any) -> dict[str, Any]:
    return {"statistical": {"bayesian": own}}


# What a claim may just have, what it may not, the line at which that stands, and the words of the refusal.
AT_THE_BOUND: tuple[tuple[dict[str, Any], dict[str, Any], str, str], ...] = (
    (
        {"statistical": {"alpha": 0.05}},
        {"statistical": {"alpha": 0.051}},
        '"alpha": 0.051',
        "for a claim alpha is at most 0.05, and here 0.051; to mend: write `alpha: 0.05`",
    ),
    (
        one_metric(margin=0.3),
        one_metric(margin=0.301),
        '"margin": 0.301',
        "a relative margin is at most 0.3, and here 0.301; to mend: write `margin: 0.3`",
    ),
    (
        one_metric(margin=0.1, noninferiority_margin=0.3),
        one_metric(margin=0.1, noninferiority_margin=0.9),
        '"noninferiority_margin": 0.9',
        "a non-inferiority margin is at most 0.3, and here 0.9",
    ),
    (
        statistical(probability_threshold_equivalence=0.95),
        statistical(probability_threshold_equivalence=0.94),
        '"probability_threshold_equivalence": 0.94',
        "the probability of equivalence is at least 0.95, and here 0.94",
    ),
    (
        statistical(probability_threshold_noninferiority=0.975),
        statistical(probability_threshold_noninferiority=0.6),
        '"probability_threshold_noninferiority": 0.6',
        "the probability of non-inferiority is at least 0.975, and here 0.6",
    ),
    (
        statistical(draws=10000),
        statistical(draws=9999),
        '"draws": 9999',
        "the draws of the Bayesian check are at least 10000, and here 9999",
    ),
    (
        {"seed_policy": FIVE},
        {"seed_policy": {"mode": "fixed", "values": [0, 1, 2, 3]}},
        '"values": [',
        "the seeds of a task are at least 5, and here 4; to mend: write `values: [0, 1, 2, 3, 4]`",
    ),
    (
        {"points": "episodes", "bins": 10},
        {"points": "episodes", "bins": 9},
        '"bins": 9',
        "the parts of a budget in which episodes are averaged are at least 10, and here 9",
    ),
    (
        {"tasks": [{"id": "alpha", "seeds": [9, 8, 7, 6, 5]}, "beta"]},
        {"tasks": [{"id": "alpha", "seeds": [8, 7, 9]}, "beta"]},
        '"seeds": [',
        "the seeds of a task are at least 5, and here 3; to mend: write `seeds: [0, 1, 2, 3, 4]`",
    ),
    (
        {"seed_policy": {"mode": "auto_power", "pilot_seeds": 5, "max_seeds": 9}},
        {"seed_policy": {"mode": "auto_power", "pilot_seeds": 4, "max_seeds": 9}},
        '"pilot_seeds": 4',
        "the seeds of a task are at least 5, and here 4; to mend: write `pilot_seeds: 5`",
    ),
    (
        {"budget": {"step": 1000, "tolerance": 0.05}},
        {"budget": {"step": 1000, "tolerance": 0.06}},
        '"tolerance": 0.06',
        "budget.tolerance is at most 0.05, and here 0.06",
    ),
    (
        {"tasks": ["alpha", {"id": "beta", "budget": {"step": 900, "tolerance": 0.01}}]},
        {"tasks": ["alpha", {"id": "beta", "budget": {"step": 900, "tolerance": 0.2}}]},
        '"tolerance": 0.2',
        "budget.tolerance is at most 0.05, and here 0.2",
    ),
    (
        {"recipe": {"lr": 1}, "recipe_ignore": {"jit": "it changes no number"}},
        {"recipe": {"lr": 1}, "recipe_ignore": {"lr": "it changes no number"}},
        '"recipe_ignore": {',
        "for a claim every key that the suite asks for is compared, and 'lr' is ignored; to mend: take it",
    ),
    ({"retries": 1}, {"retries": 2}, '"retries": 2', "retries are at most 1, and here 2"),
    ({}, {"component_match": "none"}, '"component_match": "none"', "components must be compared"),
    ({}, statistical(enable=False), '"enable": false', "the Bayesian check must agree"),
    (
        {"validity": {"official_changes": []}},
        {"validity": {"official_changes": ["0" * 64]}},
        '"official_changes": [',
        "a claim rests on the unchanged official program",
    ),
    (
        {"family": "tdmpc2", "validity": {"model_profile": "proof_5m"}},
        {"family": "tdmpc2", "validity": {"model_profile": "custom"}},
        '"model_profile": "custom"',
        "a claim of tdmpc2 rests on the profile proof_5m, and this is custom; to mend: leave model_profile",
    ),
)


@pytest.mark.parametrize(("within", "beyond", "text", "words"), AT_THE_BOUND)
def test_a_claim_goes_up_to_the_bound_and_no_further(
    tmp_path: Path, within: dict[str, Any], beyond: dict[str, Any], text: str, words: str
) -> None:
    assert proof_file.load(written(tmp_path, {**CLAIM, **within})).is_claim
    error = refusal(tmp_path, {**CLAIM, **beyond})
    assert words in error.line()
    assert error.hint.endswith("or write `claim: none`")
    path, _, number = error.where.rpartition(":")
    assert text in Path(path).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert not proof_file.load(written(tmp_path, {**CLAIM, **beyond, **NO_CLAIM})).is_claim


def test_every_bound_that_is_broken_is_told_in_one_line(tmp_path: Path) -> None:
    wide = {**one_metric(margin=0.9), **statistical(draws=1000), "retries": 10}
    error = refusal(tmp_path, {**CLAIM, **wide})
    for words in ("at most 0.3, and here 0.9", "at least 10000, and here 1000", "at most 1, and here 10"):
        assert words in error.line()
    assert (
        error.hint == "write `margin: 0.3`, write `draws: 10000`, write `retries: 1`, or write `claim: none`"
    )


def test_what_a_program_is_given_has_no_bound(tmp_path: Path) -> None:
    """A recipe may call anything alpha, and an error is never placed there."""
    error = refusal(tmp_path, {**CLAIM, "recipe": {"alpha": 0.1}, "statistical": {"alpha": 0.1}})
    lines = Path(error.where.rpartition(":")[0]).read_text(encoding="utf-8").splitlines()
    before = lines[: int(error.where.rpartition(":")[2])]
    assert '"statistical": {' in "\n".join(before)
    assert proof_file.load(written(tmp_path, {**CLAIM, "recipe": {"alpha": 0.9, "retries": 9}})).is_claim


# --- manifests of the earlier system ---


def claiming(**changes: Any) -> dict[str, Any]:
    defaults = {"parity_claim_level": "proof_grade", "component_report_required": True}
    return manifest(**{"defaults": defaults, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed_policy": {"mode": "fixed", "values": [2, 1]}}, "seeds of a task are at least 5, and here 2"),
        (
            {"statistical": {"bayesian": {"probability_threshold_equivalence": 0.9}}},
            "the probability of equivalence is at least 0.95",
        ),
        ({"defaults": {"parity_claim_level": "proof_grade"}}, "`component_report_required: true`"),
        ({"defaults": {"parity_claim_level": "strict"}}, "`component_report_required: true`"),
    ],
)  # fmt: skip
def test_a_manifest_claims_within_the_same_bounds(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert proof_file.load(written(tmp_path, claiming())).is_claim
    error = refusal(tmp_path, claiming(**changes))
    assert words in error.line()
    assert "`parity_claim_level: none`" in error.hint
    unclaimed = {**claiming(**changes), "defaults": {"parity_claim_level": "none"}}
    assert not proof_file.load(written(tmp_path, unclaimed)).is_claim


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("equivalence_margin", "a relative margin is at most 0.3, and here 0.5; to mend: write `equiv"),
        ("noninferiority_margin", "a non-inferiority margin is at most 0.3, and here 0.5"),
    ],
)
def test_a_single_task_of_a_manifest_is_held_to_them(tmp_path: Path, key: str, words: str) -> None:
    document = claiming()
    document["tasks"][64][key] = 0.5
    error = refusal(tmp_path, document)
    assert words in error.line()
    path, _, number = error.where.rpartition(":")
    assert f'"{key}": 0.5' in Path(path).read_text(encoding="utf-8").splitlines()[int(number) - 1]


def test_the_predecessor_of_manifests_is_held_to_them(tmp_path: Path) -> None:
    row = {
        "task_id": "alpha",
        "family": "fake",
        **{s: {"adapter": s, "command": ["python3", s]} for s in ("official", "worldflux")},
    }
    document = {
        "schema_version": "parity.manifest.v1",
        "defaults": {"parity_claim_level": "proof_grade", "component_report_required": True, "alpha": 0.1},
        "seed_policy": FIVE,
        "tasks": [row],
    }
    assert "alpha is at most 0.05, and here 0.1" in refusal(tmp_path, document).line()
    document["defaults"] = {"parity_claim_level": "proof_grade", "component_report_required": True}
    assert proof_file.load(written(tmp_path, document)).is_claim


# --- whatever the values ---


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    alpha=st.floats(0.001, 0.1),
    margin=st.floats(0.01, 0.9),
    beside=st.floats(0.01, 0.9),
    draws=st.integers(1000, 30_000),
    seeds=st.integers(2, 12),
    tolerance=st.floats(0.0, 0.2),
    retries=st.integers(0, 4),
)
def test_a_claim_is_within_every_bound_or_refused(
    tmp_path: Path,
    alpha: float,
    margin: float,
    beside: float,
    draws: int,
    seeds: int,
    tolerance: float,
    retries: int,
) -> None:
    document = {
        **CLAIM,
        "statistical": {"alpha": alpha, "bayesian": {"draws": draws}},
        "metrics": [{"name": "auc_return", "margin": margin, "noninferiority_margin": beside}],
        "seed_policy": {"mode": "fixed", "values": list(range(seeds))},
        "budget": {"step": 1000, "tolerance": tolerance},
        "retries": retries,
    }
    within = (
        alpha <= 0.05,
        max(margin, beside) <= 0.3,
        draws >= 10_000,
        seeds >= 5,
        tolerance <= 0.05,
        retries <= 1,
    )
    unclaimed = proof_file.load(written(tmp_path, {**document, **NO_CLAIM}))
    assert violations(unclaimed) == ()
    if all(within):
        assert proof_file.load(written(tmp_path, document)).is_claim
        return
    both = margin > 0.3 and beside > 0.3
    assert refusal(tmp_path, document).line().count("for a claim ") == within.count(False) + both


def test_every_bound_has_its_example() -> None:
    """A bound that is added is tried at its edge."""
    told = " ".join(words for *_, words in AT_THE_BOUND)
    for bound in BOUNDS.values():
        assert f"{bound.what} {bound.side} {bound.limit:g}" in told


# --- sessions ---


def test_a_claim_beyond_its_bounds_is_refused_before_anything_runs(project: Project) -> None:
    project.proof(**{**CLAIM, "suite_id": "fake_proof"}, retries=3)
    result = project.run()
    assert result.ret != pytest.ExitCode.OK
    text = result.stdout.str() + result.stderr.str()
    assert "fake_proof.yaml" in text
    assert "for a claim retries are at most 1, and here 3; to mend: write `retries: 1`" in text
    assert "Traceback" not in text
    assert not (project.run_dir() / "fake_proof" / "parity_runs.jsonl").exists()


@pytest.mark.parametrize("claim", ["proof_grade", "none"])
def test_seeds_of_the_command_line_make_no_claim(project: Project, claim: str) -> None:
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    project.proof(claim=claim, component_match="golden", tasks=["alpha"], seed_policy=FIVE)
    result = project.run("--parity-seeds", "5,6,7")
    assert {line["seed"] for line in project.lines("fake_proof")} == {5, 6, 7}
    assert project.document("fake_proof/equivalence_report.json")["config"]["parity_claim_level"] == "none"
    lost = "the suite claims proof_grade, and this run claims nothing: --parity-seeds takes the place of its"
    assert (lost in result.stdout.str()) == (claim == "proof_grade")


def test_the_suite_of_the_repository_claims_within_the_bounds() -> None:
    full = proof_file.load(ROOT / "suites" / "proof" / "official_vs_worldflux_full.yaml")
    assert full.is_claim
    assert violations(full) == ()
