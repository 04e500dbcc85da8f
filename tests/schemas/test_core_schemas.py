"""The schemas themselves: valid, strict, and named by what they describe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import ParityError, StoreError

# Objects whose keys are names that somebody chose, each with what stands at them.
OPEN = {
    "suite.v1": {"recipe", "recipe_map", "recipe_ignore", "windows", "cells"},
    "run.v1": {"gates", "metrics", "values", "values_by_seed", "artifacts", "tasks", "ignored", "mapped"},
    "session.v1": {
        "suites",
        "tables",
        "sources",
        "seeds",
        "overrides",
        "golden",
        "programs",
        "packages",
        "files",
        "trees",
        "sha256s",
    },
    "circumstances.v1": {"tables"},
    "lock.v1": {"suites", "oracle_files", "goldens", "programs", "versions"},
    "policy.v1": {"families"},
    "policy.v2": {"suites"},
    # What the earlier system put into these is not known, and nothing rests on it.
    "aggregate.v1_earlier": {"global_non_inferiority", "evidence_bundle"},
    "request.v1": {"recipe", "windows", "source"},
    "golden.v1": {"source", "packages", "machine", "config", "parameters", "insensitive", "tolerances"},
    "match.v1": {"mapping", "parameters", "packages", "source"},
    "match_run.v1": {"artifacts_sha256"},
    "component_match.v1": {"packages"},
    "suite.proof_v1": {"recipe", "recipe_map", "recipe_ignore", "windows"},
    "component_match_set.v1": {"report"},
    "validity.v1": {"issues_by_code", "recipes", "ignored", "mapped"},
    "suite.parity_v2": {"train_budget", "eval_protocol", "env"},
    "suite.parity_manifest_v1": {"train_budget", "eval_protocol", "env"},
    "equivalence.v1": {"metrics", "issues_by_code", "task_seeds", "versions"},
    "coverage.v1": {"missing_by_reason"},
    "stability.v1": {"metrics"},
    # What records state of their surroundings, and what an equivalence report comes to.
    "environment.v1": {"systems", "stated"},
    "statement.v1": {"global", "taken_out"},
    "run_line.v1": {
        "metrics",
        "artifacts",
        "artifacts_sha256",
        "recipe",
        "eval_protocol",
        "source",
        "artifact_manifest",
    },
    "campaign.v1": {"recipe", "eval_protocol", "cells"},
    "campaign_table.v1": {"tasks", "attempts", "choices"},
    # A program may say more than it is asked for.
    "record.v1": {"", "curve", "scalars", "metadata", "effective_recipe", "eval_protocol", "source"},
}
NAMES = sorted(p.stem for p in Path(schemas.__file__).parent.glob("*.json"))


def objects(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(key at which it stands, schema) of every part that describes an object."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield name, schema
        for key, part in schema.items():
            yield from objects(part, name if key in ("properties", "items", "anyOf") else key)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_is_strict(name: str) -> None:
    schema = schemas.load(name)
    Draft202012Validator.check_schema(schema)
    assert schema["title"]
    loose = {key for key, part in objects(schema) if part.get("additionalProperties") is not False}
    assert loose <= OPEN.get(name, set())


def test_every_document_of_a_run_has_a_schema() -> None:
    run = {"request.v1", "record.v1", "run_line.v1", "session.v1", "run.v1", "aggregate.v1", "isolation.v1"}
    match = {"golden.v1", "match_request.v1", "match.v1", "match_run.v1", "component_match.v1"}
    proof = {"equivalence.v1", "coverage.v1", "stability.v1", "seed_plan.v1", "validity.v1"}
    proof |= {"component_match_set.v1", "circumstances.v1", "session_event.v1"}
    proof |= {"environment.v1", "statement.v1", "dsse.v1"}
    suites = {"suite.v1", "suite.proof_v1", "suite.quick_legacy", "suite.parity_v2"}
    suites |= {
        "suite.parity_manifest_v1",
        "campaign.v1",
        "campaign_table.v1",
        "doctor.v1",
        "check_backend.v1",
    }
    earlier = {"run.v1_earlier", "aggregate.v1_earlier"}
    engines = {"slurm_job.v1", "slurm_node.v1"}
    release = {"lock.v1", "policy.v1", "policy.v2"}
    assert {*run, *match, *proof, *suites, *earlier, *engines, *release, "backend.v1"} == set(NAMES)


def test_a_verdict_and_its_pass_agree() -> None:
    """``pass`` is what older tools count, so it may never say more than the verdict."""
    schema = {k: v for k, v in schemas.load("run.v1").items() if k in ("if", "then", "else")}
    validator = Draft202012Validator(schema)
    for verdict in ("pass", "fail", "inconclusive"):
        for passed in (True, False):
            assert validator.is_valid({"verdict": verdict, "pass": passed}) is (passed == (verdict == "pass"))


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"adapter": "a", "kind": "k", "family": "f", "system": "official", "argv": ["x"]},
         "at top: key 'environment' is missing; to mend: add `environment:`"),
        ({"adapter": 3}, "at adapter: adapter is 3 (int); valid: string"),
        ({"adaptr": "a"}, "at adaptr: unknown key 'adaptr'; did you mean 'adapter'?"),
        ({"system": "oficial"}, "at system: system is 'oficial'; did you mean 'official'?; valid: "),
    ],
)  # fmt: skip
def test_an_error_is_one_line_with_place_value_and_valid_set(document: dict[str, Any], told: str) -> None:
    base = {
        "adapter": "a", "kind": "k", "family": "f", "system": "official", "argv": ["x"], "environment": "own",
    }  # fmt: skip
    whole = document if len(document) > 1 else {**base, **document}
    with pytest.raises(ParityError) as caught:
        schemas.check(whole, "backend.v1", lambda at: f"at {'.'.join(map(str, at)) or 'top'}", StoreError)
    assert isinstance(caught.value, StoreError)
    assert caught.value.line().startswith(told)
