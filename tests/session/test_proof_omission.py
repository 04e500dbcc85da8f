"""Whatever is left out of what a proof is judged by, it never passes for it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.inputs.context import RunContext
from pytest_worldflux_parity.inputs.prepare import PreparedFile, PreparedSuite
from pytest_worldflux_parity.judgement.foreign_records import judge_lines
from pytest_worldflux_parity.suite.pairs import pairs
from pytest_worldflux_parity.suite.proof import parse_proof
from tests.conftest import PROOF
from tests.session.proof_lines import lines_of

TASKS, SEEDS = ("alpha", "beta"), (0, 1, 2)
SUITE = {
    **PROOF,
    "suite_id": "omission",
    "tasks": list(TASKS),
    "seed_policy": {"mode": "fixed", "values": list(SEEDS), "min_seeds": 3},
    "statistical": {"bayesian": {"draws": 1000}},
    "validity": {"artifacts": {"official": ["checkpoint_paths"]}, "model_profile": "tiny"},
    "recipe": {"level": 100},
}


class Program:
    """What of a backend a judgement asks for."""

    kind = "jax_subprocess"
    adapter_id = ""

    def __init__(self, adapter: str) -> None:
        self.adapter = self.adapter_id = adapter


def prepared(match: str) -> PreparedFile:
    proof = parse_proof({**SUITE, "component_match": match}, Path(), lambda at: "suite")
    part = proof.parts[0]
    backends: Any = {s: Program(f"fake_{s}") for s in ("official", "worldflux")}
    own = PreparedSuite(
        part, tuple(pairs(part)), backends=backends, sources={"official": {}, "worldflux": {}}
    )
    return PreparedFile((own,), proof)


CONTEXT = RunContext(Path(), "proof", "r", Path("r"), "cpu", Path("absent"), ())
WHOLE = prepared("none")


def lines(seed: int, ratio: float, deviation: float) -> list[dict[str, Any]]:
    assert WHOLE.proof is not None
    rng = np.random.default_rng(seed)
    return list(lines_of(WHOLE.proof, rng, ratio=ratio, deviation=deviation))


def verdict(rows: list[dict[str, Any]], file: PreparedFile = WHOLE) -> str:
    return judge_lines(file, CONTEXT, rows).verdict


def test_all_of_it_passes() -> None:
    assert verdict(lines(0, 1.0, 0.002)) == "pass"


KEYS = sorted(lines(0, 1.0, 0.01)[0]["metrics"]["metadata"])
# (index of a line, what of it is left out)
OMISSION = st.tuples(
    st.integers(0, 2 * len(TASKS) * len(SEEDS) - 1),
    st.sampled_from(["the line", "its record", "its curve", "the end of its curve", "its success", *KEYS]),
)


def leave_out(rows: list[dict[str, Any]], omissions: set[tuple[int, str]]) -> list[dict[str, Any]]:
    kept = copy.deepcopy(rows)
    for index, what in omissions:
        line = kept[index]
        if what == "its record":
            line["metrics"] = None
        elif what == "its success":
            line.update(status="failed", success=False)
        elif line["metrics"] and what == "its curve":
            line["metrics"]["curve"] = []
        elif line["metrics"] and what == "the end of its curve":
            line["metrics"]["curve"] = line["metrics"]["curve"][:-1]
        elif line["metrics"]:
            line["metrics"]["metadata"].pop(what, None)
    gone = {index for index, what in omissions if what == "the line"}
    return [line for i, line in enumerate(kept) if i not in gone]


# What only one side states is not compared, and a mode that nobody states is no mode.
HARMLESS = {"model_id", "policy_impl", "mode"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sets(OMISSION, max_size=4),
    st.integers(0, 50),
    st.sampled_from([0.8, 0.95, 1.0, 1.2]),
    st.sampled_from([0.002, 0.05]),
)
def test_leaving_out_never_turns_a_not_pass_into_a_pass(
    omissions: set[tuple[int, str]], seed: int, ratio: float, deviation: float
) -> None:
    rows = lines(seed, ratio, deviation)
    whole, less = verdict(rows), verdict(leave_out(rows, omissions))
    assert less != "pass" or whole == "pass"
    if any(what not in HARMLESS for _, what in omissions):
        assert less != "pass"


def test_without_the_component_match_that_is_wanted_nothing_passes() -> None:
    rows = lines(0, 1.0, 0.002)
    for match in ("golden", "live"):
        judgement = judge_lines(prepared(match), CONTEXT, rows)
        assert judgement.verdict == "inconclusive"
        assert "components were not compared" in judgement.reason


@pytest.mark.parametrize(
    "contradiction",
    [
        {"error": "it crashed"},
        {"return_code": 1},
        {"metrics": {"success": False}},
        {"metrics": {"seed": 7}},
        {"metrics": {"task_id": "beta"}},
    ],
)
def test_a_line_that_contradicts_its_own_success_is_a_failed_run(contradiction: dict[str, Any]) -> None:
    rows = lines(0, 1.0, 0.002)
    row = next(r for r in rows if (r["task_id"], r["seed"], r["system"]) == ("alpha", 0, "worldflux"))
    row["metrics"].update(contradiction.pop("metrics", {}))
    row.update(contradiction)
    assert verdict(rows) == "fail"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter": None}, "its line cannot be read: adapter is None, not str"),
        ({"schema_version": "parity.v0"}, "its line cannot be read: schema_version is 'parity.v0'"),
        ({"metrics": {"curve": [{"step": 10.5, "return": 1.0}]}}, "curve[0]: step is 10.5, not int"),
        ({"metrics": {"curve": [{"step": 1, "return": "high"}]}}, "return is 'high', not a finite number"),
        ({"metrics": {"device": None}}, "its record: device is None, not str"),
        ({"metrics": {"seed": 7}}, "its record is of 'alpha', seed 7"),
        ({"metrics": {"success": False}}, "its record says that it is no success"),
        ({"metrics": None}, "it has no metrics"),
        ({"status": "failed", "error": "killed"}, "its status is 'failed', its error 'killed'"),
        ({"return_code": 1}, "its return_code is 1"),
    ],
)
def test_a_foreign_record_that_cannot_be_read_says_why(changes: dict[str, Any], told: str) -> None:
    rows = lines(0, 1.0, 0.002)
    inner = changes.get("metrics")
    rows[0].update({**changes, **({"metrics": {**rows[0]["metrics"], **inner}} if inner else {})})
    judgement = judge_lines(WHOLE, CONTEXT, rows)
    (missing,) = judgement.evidence.parts[0].observed.missing[:1]
    assert told in missing.detail
    assert judgement.verdict != "pass"


def test_steps_of_foreign_records_may_be_floats() -> None:
    rows = lines(0, 1.0, 0.002)
    for point in (p for row in rows for p in row["metrics"]["curve"]):
        point["step"] = float(point["step"])
    assert verdict(rows) == "pass"


def test_lines_of_nothing_here_are_told() -> None:
    rows = lines(0, 1.0, 0.002)
    odd = [{**rows[0], "task_id": "gamma"}, {**rows[0], "seed": "0"}, {**rows[0], "system": "ours"}, {}]
    judgement = judge_lines(WHOLE, CONTEXT, [*rows, *odd])
    told = "4 of 16 lines are of no task, seed and system here; the first: task_id 'gamma', seed 0, system"
    assert any(told in note for note in judgement.notes)
    assert not any("lines are of no task" in note for note in judge_lines(WHOLE, CONTEXT, rows).notes)


def test_a_second_success_with_other_numbers_is_a_finding_whatever_it_answers() -> None:
    rows = lines(0, 1.0, 0.002)
    better = copy.deepcopy(rows[0])
    better["request_id"] = "another"
    for point in better["metrics"]["curve"]:
        point["return"] *= 3
    judgement = judge_lines(WHOLE, CONTEXT, [*rows, better])
    assert "conflicting_success" in {f.code for f in judgement.findings}


def test_a_suite_that_expects_nothing_does_not_pass() -> None:
    assert verdict([]) == "inconclusive"
    assert verdict(lines(0, 1.0, 0.002)[:1]) == "inconclusive"
