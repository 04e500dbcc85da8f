"""The documents of a proof: their schemas hold them to the verdict, and their keys are the old ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import ParityError
from pytest_worldflux_parity.judgement.proof.decision import judge_proof
from pytest_worldflux_parity.judgement.proof.results import ProofDecision, ProofGates
from pytest_worldflux_parity.judgement.stats.measurements import FAILED, Missing
from pytest_worldflux_parity.reporting.proof_documents import (
    coverage_document,
    equivalence_document,
    global_keys,
    provenance,
)
from pytest_worldflux_parity.reporting.proof_markdown import equivalence_markdown
from pytest_worldflux_parity.suite.proof_settings import ProofSettings, SeedPolicy
from tests.judgement.proof_examples import (
    FAST,
    HELD,
    METRICS,
    Values,
    columns,
    drawn,
    fixed,
    observed,
    proof_tasks,
    without,
)

KEYS = (
    "parity_pass_final parity_pass_all_metrics parity_pass_primary parity_pass_frequentist "
    "parity_pass_bayesian missing_pairs validity_pass component_match_pass tasks_total tasks_pass_primary "
    "tasks_pass_all_metrics verdict"
)


def document(decision: ProofDecision) -> dict[str, Any]:
    return equivalence_document(
        decision,
        time="2026-01-01T00:00:00Z",
        input="parity_runs.jsonl",
        validity={"pass": decision.gates.validity, "issue_count": 0},
        component_match={"required": False, "present": False, "pass": None},
        provenance=provenance([]),
    )


def checked(found: dict[str, Any], schema: str) -> dict[str, Any]:
    schemas.check(found, schema, lambda at: ".".join(map(str, at)))
    again: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    assert again == found, "plain JSON"
    return found


def decisions() -> dict[str, ProofDecision]:
    tasks = proof_tasks(2, 6)
    values = drawn(tasks, np.random.default_rng(0), deviation=0.01)
    gap = Missing("task-1", 2, "official", FAILED, "exit status 1")
    left = without(values, lambda s, m, t, n: (s, t, n) != ("official", "task-1", 2))
    odd = proof_tasks(1, 4, METRICS[:1])
    relative = proof_tasks(1, 4, METRICS[:1], effect="normalized_difference", alpha=0.01)
    policy = SeedPolicy("auto_power", (), pilot_seeds=6, min_seeds=6, max_seeds=20)
    return {
        "pass": judge_proof(fixed(6), tasks, observed(values), HELD),
        "failed run": judge_proof(fixed(6), tasks, observed(left, [gap]), HELD),
        "nobody ran": judge_proof(fixed(6), tasks, observed({}), ProofGates()),
        "no variance": judge_proof(fixed(4), odd, observed(columns([5] * 4, [6] * 4)), HELD),
        "undefined": judge_proof(fixed(4), odd, observed(columns([-5, 1, 2, 3], [6, 5, 5, 6])), HELD),
        "negative": judge_proof(
            fixed(4), relative, observed(columns([-20, -21, -20.5, -20], [-20, -20.5, -21.5, -20])), HELD
        ),
        "no end": judge_proof(fixed(4), relative, observed(columns([1, -1, 2, 0], [9, 8, -7, 1])), HELD),
        "pilot": judge_proof(
            ProofSettings("x", bayesian=FAST, seed_policy=policy), tasks, observed(values), HELD
        ),
        "no Bayesian check": judge_proof(
            fixed(6, bayesian=replace(FAST, enable=False, dual_pass_required=False)),
            tasks,
            observed(values),
            HELD,
        ),
    }


DECISIONS = decisions()


@pytest.mark.parametrize("name", DECISIONS)
def test_every_document_keeps_its_schema(name: str) -> None:
    decision = DECISIONS[name]
    found = checked(document(decision), "equivalence.v1")
    assert set(KEYS.split()) <= set(found["global"])
    cover = checked(coverage_document(decision, time="t", input="i"), "coverage.v1")
    assert cover["pass"] == (found["global"]["missing_pairs"] == 0)
    text = equivalence_markdown(decision, time="t", notes=["a note"], findings=["mock: x"])
    assert f"**{decision.verdict}**" in text
    assert "None" not in text
    assert "nan" not in text


def test_the_pass_and_its_keys() -> None:
    found = document(DECISIONS["pass"])
    summary = found["global"]
    assert summary["parity_pass_final"] is True
    assert (summary["tasks_total"], summary["tasks_pass_primary"], summary["tasks_pass_all_metrics"]) == (
        2,
        2,
        2,
    )
    assert summary["component_match_pass"] is None, "the suite does not require it"
    assert found["completeness"]["expected_pairs"] == 24
    assert found["completeness"]["task_seed_count"] == 12
    metric = found["tasks"][0]["metrics"]["final_return_mean"]
    assert metric["seed_ids"]["official"] == [0, 1, 2, 3, 4, 5]
    assert metric["ratio_mean"] == pytest.approx(np.exp(metric["mean_effect"]))
    assert metric["se_effect"] * np.sqrt(6) == pytest.approx(metric["std_effect"])
    assert metric["holm_all_metrics"]["p_adjusted"] >= metric["tost"]["p_value"]
    assert found["holm"]["all_metrics"] == {
        "hypotheses": 4,
        "rejected": 4,
        "largest_adjusted_p": max(c.holm_all_metrics for c in DECISIONS["pass"].cells),
    }


def test_what_is_missing_is_listed_with_its_reason() -> None:
    cover = coverage_document(DECISIONS["failed run"], time="t", input="i")
    assert (cover["verdict"], cover["missing_pairs"], cover["complete_task_seed_pairs"]) == ("fail", 1, 11)
    entry = {
        "task_id": "task-1",
        "seed": 2,
        "system": "official",
        "reason": "failed",
        "detail": "exit status 1",
    }
    assert cover["missing_entries"] == [entry]
    assert cover["tasks"][1]["missing_seeds"] == {"official": [2], "worldflux": []}
    nothing = coverage_document(DECISIONS["nobody ran"], time="t", input="i")
    assert (nothing["verdict"], nothing["missing_pairs"]) == ("inconclusive", 24)


def test_a_negative_mean_has_no_ratio() -> None:
    metric = document(DECISIONS["negative"])["tasks"][0]["metrics"]["final_return_mean"]
    assert metric["mean_effect"] is not None
    assert metric["ratio_mean"] is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("verdict", "fail"),
        ("missing_pairs", 1),
        ("validity_pass", False),
        ("parity_pass_all_metrics", False),
        ("component_match_pass", False),
        ("pilot", True),
        ("parity_pass_final", False),
    ],
)
def test_no_document_can_say_pass_and_hold_a_reason_against_it(key: str, value: object) -> None:
    found = document(DECISIONS["pass"])
    found["global"][key] = value
    with pytest.raises(ParityError):
        schemas.check(found, "equivalence.v1", str)


def test_a_required_component_match_that_is_absent_is_false() -> None:
    tasks = proof_tasks(1, 6)
    values: Values = drawn(tasks, np.random.default_rng(0))
    settings = fixed(6, component_match_required=True)
    decision = judge_proof(settings, tasks, observed(values), ProofGates(validity=True))
    assert global_keys(decision)["component_match_pass"] is False


def test_provenance_says_whether_all_records_state_the_same() -> None:
    rows = [
        {
            "system": "official",
            "source_commit": "a",
            "backend_kind": "k",
            "adapter_id": "x",
            "recipe_hash": "1",
        },
        {
            "system": "official",
            "source_commit": "b",
            "backend_kind": "k",
            "adapter_id": "x",
            "recipe_hash": None,
        },
    ]
    official = provenance(rows)["official"]
    assert (official["record_count"], official["source_commits"]) == (2, ["a", "b"])
    assert (official["single_commit"], official["single_backend_kind"]) == (False, True)
    assert official["single_recipe_hash"] is False, "one record states none"
    assert provenance(rows)["worldflux"]["single_commit"] is False


def test_the_report_shows_the_plan_and_what_it_would_take() -> None:
    text = equivalence_markdown(DECISIONS["pilot"], time="t")
    assert "## Plan of seeds, from the variance of the pilot alone" in text
    text = equivalence_markdown(DECISIONS["failed run"], time="t")
    assert "- official task-1 seed 2: failed (exit status 1)" in text
    assert "1 of 12 expected values are missing" in text
