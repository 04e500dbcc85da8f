"""What a record must state of itself before a proof may rest on it: every code, and nothing on a good one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.judgement.proof.validity import alike_findings, requirement_findings
from pytest_worldflux_parity.suite.proof import Requirements
from pytest_worldflux_parity.suite.suite import Budget, Task

COMMIT = "a" * 40
CHANGE = "c" * 64
TASK = Task("alpha", budget=Budget(1000, 0.1))
REQUIRED = Requirements(
    policy_mode="trained",
    environment_backend="ale",
    model_profile="official_xl",
    forbidden_shortcuts=(("mode", "mock"), ("resumed", "true")),
    artifacts={"official": ("checkpoint_paths",)},
    official_changes=(CHANGE,),
    train_budget={"steps": 500, "notes": "any"},
)


def line(system: str = "official", **metadata: Any) -> dict[str, Any]:
    stated = {
        "recipe_hash": "r", "artifact_manifest": {"checkpoint_paths": [{"path": "x"}]}, "env_backend": "ale",
        "eval_protocol_hash": "e", "adapter_id": "a", "backend_kind": "k", "policy_mode": "trained",
        "policy_impl": "actor", "model_id": "m", "model_profile": "official_xl", "mode": "live",
        "train_budget": {"steps": 500}, "source": {"commit": COMMIT, "dirty": False, "changes": []},
    }  # fmt: skip
    kept = {k: v for k, v in {**stated, **metadata}.items() if v is not None}
    curve = [{"step": 500, "return": 1.0}, {"step": 950, "return": 2.0}]
    return {
        "task_id": "alpha", "seed": 0, "system": system, "source_commit": COMMIT,
        "metrics": {"metadata": kept, "curve": curve},
    }  # fmt: skip


def codes(line: dict[str, Any], commit: str | None = COMMIT) -> set[str]:
    return {f.code for f in requirement_findings(line, TASK, REQUIRED, commit)}


def test_a_record_that_states_all_of_it_has_no_finding() -> None:
    assert codes(line()) == codes(line("worldflux")) == set()
    changed = {"commit": COMMIT, "changes": [1], "changes_sha256": CHANGE}
    assert codes(line(source=changed)) == set(), "the suite admits this change"


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"recipe_hash": None}, "missing_recipe_hash"),
        ({"artifact_manifest": None}, "missing_artifact_manifest"),
        ({"artifact_manifest": {"other": [1]}}, "missing_artifact"),
        ({"artifact_manifest": {"checkpoint_paths": []}}, "missing_artifact"),
        ({"env_backend": None}, "missing_env_backend"),
        ({"env_backend": "other"}, "environment_backend_mismatch"),
        ({"eval_protocol_hash": None}, "missing_eval_protocol_hash"),
        ({"adapter_id": None}, "adapter_id_mismatch"),
        ({"backend_kind": None}, "backend_kind_mismatch"),
        ({"policy_mode": "diagnostic"}, "policy_mode_mismatch"),
        ({"policy_mode": None}, "policy_mode_mismatch"),
        ({"policy_mode": None}, "missing_policy_mode"),
        ({"mode": None}, "missing_mode"),
        ({"model_profile": None}, "canonical_profile_missing"),
        ({"model_profile": "size1m"}, "model_profile_mismatch"),
        ({"mode": "mock"}, "forbidden_shortcut_detected"),
        ({"resumed": True}, "forbidden_shortcut_detected"),
        ({"train_budget": {"steps": 499}}, "budget_not_reached"),
        ({"train_budget": None}, "budget_not_reached"),
        ({"source": {"commit": COMMIT, "dirty": True}}, "source_tree_dirty"),
        ({"source": {"changes": [1], "changes_sha256": "d" * 64}}, "official_change_not_admitted"),
        ({"source": {"commit": COMMIT, "changes": ["edited"]}}, "official_change_not_admitted"),
        ({"source": {"commit": COMMIT, "changes_sha256": "d" * 64}}, "official_change_not_admitted"),
        ({"source": "trust me"}, "missing_source_provenance"),
        ({"source": {"repo": "r"}}, "missing_source_provenance"),
        ({"mode": "MOCK"}, "forbidden_shortcut_detected"),
    ],
)  # fmt: skip
def test_each_lack_has_its_code(metadata: dict[str, Any], code: str) -> None:
    assert code in codes(line(**metadata))


def test_another_commit_or_a_short_curve_is_found() -> None:
    other = {**line(), "source_commit": "b" * 40}
    assert codes(other) == {"source_commit_mismatch"}
    assert codes(other, commit=None) == set(), "nothing is locked"
    changed = line(source={"commit": COMMIT, "changes": [1], "changes_sha256": "d" * 64})
    assert codes(changed, commit=None) == {"official_change_not_admitted"}, "locked or not"
    short = line()
    short["metrics"]["curve"].pop()
    assert codes(short) == {"budget_not_reached"}


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("policy_impl", "policy_impl_mismatch"),
        ("env_backend", "environment_backend_mismatch"),
        ("model_id", "model_id_mismatch"),
        ("model_profile", "model_profile_mismatch"),
        ("recipe_hash", "recipe_mismatch"),
    ],
)
def test_what_both_sides_must_state_alike(key: str, code: str) -> None:
    assert alike_findings([line(), line("worldflux")]) == []
    found = alike_findings([line(), line("worldflux", **{key: "other"})])
    assert [(f.code, f.task_id, f.seed) for f in found] == [(code, "alpha", 0)]
    assert alike_findings([line()]) == [], "one side alone is not compared"
    for silent in (None, ""):
        found = alike_findings([line(), line("worldflux", **{key: silent})])
        assert [f.code for f in found] == [code], "what one side alone states is compared"
    shown = alike_findings([line(**{key: None}), line("worldflux", **{key: "x"})])
    assert [f.detail for f in shown] == [f"{key} is absent (official) and 'x' (worldflux)"]
    both = [line(**{key: None}), line("worldflux", **{key: None})]
    assert alike_findings(both) == [], "what none of them states is not"


def test_sides_that_trained_to_other_budgets_are_found() -> None:
    def found(official: Any, worldflux: Any) -> list[tuple[str, str]]:
        pair = [line(train_budget=official), line("worldflux", train_budget=worldflux)]
        return [(f.code, f.detail) for f in alike_findings(pair)]

    assert found({"steps": 500}, {"steps": 500.0, "frames": 1000}) == [], "what both name is the same"
    assert found({"steps": 500, "notes": "a"}, {"steps": 500, "notes": "b"}) == []
    assert found({"steps": 500}, {"frames": 1000}) == found("all", {"steps": 1}) == []
    ((code, detail),) = found({"steps": 500}, {"steps": 250})
    assert code == "steps_apart"
    assert detail == "train_budget is {'steps': 500} (official) and {'steps': 250} (worldflux)"


def test_a_profile_may_be_written_with_its_family() -> None:
    """As the earlier system does."""
    assert codes(line(model_profile="dreamerv3:official_xl")) == set()
    for other in ("tdmpc2:official_xl", "dreamerv3:size1m", ":official_xl", "dreamerv3:"):
        assert codes(line(model_profile=other)) == {"model_profile_mismatch"}
    pair = [line(), line("worldflux", model_profile="dreamerv3:official_xl")]
    assert alike_findings(pair) == []


@given(
    st.dictionaries(st.sampled_from(sorted(line()["metrics"]["metadata"])), st.sampled_from([0, [], {}, "x"]))
)
def test_no_metadata_whatever_is_a_traceback(changes: dict[str, Any]) -> None:
    """A program's metadata is its own: whatever it holds, findings come of it and no error."""
    found = [
        *requirement_findings(line(**changes), TASK, REQUIRED, COMMIT),
        *alike_findings([line(**changes), line("worldflux")]),
    ]
    assert {(f.task_id, f.seed) for f in found} == ({("alpha", 0)} if found else set())
    assert found or "recipe_hash" not in changes, "another recipe is always told"
