"""What is taken from a curve or table, and what the gates find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import StatisticsError
from pytest_worldflux_parity.execution.records import record_line
from pytest_worldflux_parity.inputs.scores.curves import Result
from pytest_worldflux_parity.judgement.gates import Finding
from pytest_worldflux_parity.judgement.gates.coverage import coverage, steps_apart
from pytest_worldflux_parity.judgement.gates.independence import Origin, independence
from pytest_worldflux_parity.judgement.gates.recipes import recipe_differences
from pytest_worldflux_parity.judgement.gates.validity import (
    conflicting_successes,
    record_findings,
)
from pytest_worldflux_parity.judgement.judgement_input import Evidence
from pytest_worldflux_parity.judgement.quick import judge
from pytest_worldflux_parity.judgement.stats.measurements import Missing, Observed, Value, measure, observe
from pytest_worldflux_parity.suite.suite import BackendSide, Budget, Metric, Suite, Task

RETURN = Metric("episode_return", "calibrated", 0.05)
TASK = Task("t", recipe={"lr": 1.0}, eval_protocol={"eval_episodes": 2, "eval_window": 2})
CURVE = tuple(wire.CurvePoint(s, v) for s, v in ((0, 1.0), (100, 2.0), (200, 4.0), (300, 8.0)))


def suite(*metrics: Metric, tasks: tuple[Task, ...] = (TASK,)) -> Suite:
    return Suite(
        suite_id="s", family="f", track="quick", tasks=tasks, metrics=metrics or (RETURN,),
        seeds={"official": (0, 1), "worldflux": (0, 1)},
        sides={"official": BackendSide("o"), "worldflux": BackendSide("w")},
    )  # fmt: skip


# --- observations ---


@pytest.mark.parametrize(
    ("metric", "budget", "value", "step"),
    [
        ("episode_return", None, 8.0, 300),
        ("episode_return", Budget(200), 4.0, 200),
        ("episode_return", Budget(210, 0.05), 4.0, 200),
        ("final_return_mean", None, 6.0, 300),
        ("final_return_mean", Budget(200), 3.0, 200),
        ("auc_return", None, (1.5 + 3.0 + 6.0) / 3, 300),
        ("auc_return", Budget(100), 1.5, 100),
        ("loss", Budget(200), 0.5, None),
    ],
)
def test_numbers_are_taken_at_the_budget(
    metric: str, budget: Budget | None, value: float, step: int | None
) -> None:
    found = measure(Result(CURVE, {"loss": 0.5}), metric, replace(TASK, budget=budget))
    assert found.value == pytest.approx(value)
    assert found.step == step


@pytest.mark.parametrize(
    ("curve", "metric", "told"),
    [
        ((), "episode_return", "no_point_at_budget: the curve is empty"),
        ((), "auc_return", "no_point_at_budget: the curve is empty"),
        (CURVE[:2], "final_return_mean", "no point within 5% of 200 frames (points from 0 to 100)"),
        (CURVE, "los", "metric_absent: no metric 'los'; did you mean 'loss'?"),
    ],
)
def test_what_is_not_there_is_no_number(curve: Any, metric: str, told: str) -> None:
    with pytest.raises(StatisticsError) as caught:
        measure(Result(curve, {"loss": 0.5}), metric, replace(TASK, budget=Budget(200, 0.05)))
    assert told in caught.value.line()


def test_a_metric_that_no_row_is_of_says_which_are_there() -> None:
    table = Result((), metrics=("episode_return", "length"))
    with pytest.raises(StatisticsError) as caught:
        measure(table, "episode_success", TASK)
    assert "no metric 'episode_success', and there are rows of episode_return, length" in caught.value.line()
    with pytest.raises(StatisticsError, match=r"no metric 'length' at the budget$"):
        measure(table, "length", TASK)


def test_every_expected_number_is_there_or_missing_with_a_reason() -> None:
    own = suite(RETURN, Metric("loss", "equivalence", 0.1))
    expected = [("t", 0, "official"), ("t", 1, "official"), ("t", 0, "worldflux"), ("t", 1, "worldflux")]
    results = {("official", "t", 0): Result(CURVE, {"loss": 1.0}), ("worldflux", "t", 0): Result(CURVE)}
    absent = {("official", "t", 1): ("failed", "crash")}
    seen = observe(own, expected, results, absent, {"official": 2})
    assert seen.values[("official", "loss", "t")] == {0: Value(1.0)}
    assert seen.values[("worldflux", "episode_return", "t")] == {0: Value(8.0, 300)}
    assert [(m.seed, m.system, m.reason) for m in seen.missing] == [
        (0, "worldflux", "metric_absent"), (1, "official", "failed"), (1, "worldflux", "not_run"),
    ]  # fmt: skip


# --- gates ---


def observed(official: Mapping[int, float], worldflux: Mapping[int, float], step: int = 10) -> Observed:
    return Observed(
        {
            ("official", "episode_return", "t"): {s: Value(v, 10) for s, v in official.items()},
            ("worldflux", "episode_return", "t"): {s: Value(v, step) for s, v in worldflux.items()},
        }
    )


def codes(findings: Any) -> list[str]:
    return [f.code for f in findings]


def test_coverage_counts_what_failed_and_not_what_nobody_ran() -> None:
    missing = tuple(Missing("t", n, "official", reason) for n, reason in enumerate(["failed", "deselected"]))
    assert codes(coverage(Observed({}, missing), 4)) == ["failed"]
    assert codes(coverage(Observed({}), 0)) == ["nothing_expected"]
    assert coverage(observed({0: 1.0}, {0: 1.0}), 2) == []


def test_steps_that_lie_apart_are_told_beyond_what_is_tolerated() -> None:
    def told(step: int, budget: Budget | None = None) -> list[str]:
        seen = observed({0: 1.0}, {0: 1.0}, step=step)
        return [
            g.line() for g in steps_apart(suite(tasks=(replace(TASK, budget=budget),)), seen) if g.is_told
        ]

    assert told(12) == ["t seed 0: official at 10 frames, worldflux at 12"]
    assert told(11) == []
    assert told(12, Budget(11, 0.2)) == []
    assert told(13, Budget(11, 0.2)) == ["t seed 0: official at 10 frames, worldflux at 13"]


@pytest.mark.parametrize(
    ("official", "worldflux", "found"),
    [
        (Origin(path="/a", sha256="1"), Origin(path="/a", sha256="1"), ["same_score_file"]),
        (Origin(path="/a", sha256="1"), Origin(path="/b", sha256="1"), ["same_score_file"]),
        (Origin(adapter="a"), Origin(adapter="a"), ["same_program"]),
        (Origin(trees=frozenset("xy")), Origin(trees=frozenset("yz")), ["same_source_tree"]),
        (Origin(adapter="a", trees=frozenset("x")), Origin(adapter="b", trees=frozenset("y")), []),
        (Origin(), Origin(), []),
    ],
)
def test_two_sides_of_one_origin(official: Origin, worldflux: Origin, found: list[str]) -> None:
    origins = {"official": official, "worldflux": worldflux}
    assert codes(independence(suite(), observed({0: 1.0}, {0: 2.0}), origins)) == found


@pytest.mark.parametrize(
    ("official", "worldflux", "copied"),
    [
        ({0: 131.72, 1: 127.05}, {0: 131.72, 1: 127.05}, True),
        ({0: 131.72, 1: 127.05, 2: 140.5}, {0: 131.72, 1: 127.05}, True),
        ({0: 131.72, 1: 127.05}, {0: 131.72, 1: 129.4}, False),
        # Of two values that are as near as they can be nobody can tell.
        ({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}, False),
        ({0: 0.9, 1: 1.0, 2: 1.0}, {0: 0.9, 1: 1.0, 2: 1.0}, False),
        ({0: 1.0}, {1: 1.0}, False),
        # Nothing varies: the rules know no verdict on that, and it is no copy.
        ({0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}, False),
        ({0: 1000.0, 1: 1000.0}, {0: 1000.0, 1: 1000.0}, False),
        ({0: 1.0}, {0: 1.0}, False),
        # Renumbered: equal numbers tell where there are many that they could have been.
        ({0: 131.72, 1: 127.05, 2: 140.5}, {0: 140.5, 1: 131.72, 2: 127.05}, True),
        ({0: 131.72, 1: 127.05, 2: 140.5}, {5: 140.5, 6: 131.72}, True),
        ({0: 13120.0, 1: 12705.0, 2: 9050.0}, {0: 9050.0, 1: 13120.0, 2: 12705.0}, True),
        ({0: 19.0, 1: 20.0, 2: 21.0, 3: 18.0}, {0: 20.0, 1: 19.0, 2: 18.0, 3: 21.0}, False),
        ({0: 300.0, 1: 400.0, 2: 500.0}, {0: 400.0, 1: 300.0, 2: 500.0}, False),
        ({0: 131.72, 1: 127.05, 2: 140.5}, {0: 140.5, 1: 131.72, 2: 127.06}, True),
        ({0: 131.72, 1: 127.05, 2: 140.5}, {0: 141, 1: 132, 2: 127}, False),
        ({0: 131.72, 1: 127.05, 2: 140.5, 3: 188.7}, {0: 140.5, 1: 131.7, 2: 127.1, 3: 188.7}, True),
        ({0: 131.72, 1: 127.05, 2: 140.5}, {0: 140.5, 1: 131.72, 2: 129.1}, False),
    ],
)
def test_copied_scores(official: dict[int, float], worldflux: dict[int, float], copied: bool) -> None:
    origins = {"official": Origin(), "worldflux": Origin()}
    found = independence(suite(), observed(official, worldflux), origins)
    assert codes(found) == (["identical_scores"] if copied else [])


def test_differences_are_named_by_key() -> None:
    left, right = {"a": 1, "b": [1, 2], "c": "x"}, {"a": 1.0, "b": [1, 3], "d": None}
    assert recipe_differences(left, right) == [
        "b: [1, 2] != [1, 3]", "c: 'x' != 'absent'", "d: 'absent' != None",
    ]  # fmt: skip
    assert recipe_differences({"a": 1}, {"a": 1, "more": 2}) != []


def line(system: str = "worldflux", value: float = 1.0, **metadata: Any) -> dict[str, Any]:
    own = suite()
    request = wire.RunRequest(
        "1" * 64, "r", "s", "f", "t", 0, system, "a", "cpu", {"lr": 1.0}, dict(TASK.eval_protocol), "/o", 1.0
    )
    good = {
        "adapter_id": "a", "backend_kind": "k", "mode": "live", "policy_mode": "trained",
        "effective_recipe": {"lr": 1.0, "more": 2}, "eval_protocol": dict(TASK.eval_protocol),
        "source": {"tree_sha256": "ab" * 32},
    }  # fmt: skip
    record = wire.RunRecord(
        "1" * 64, "a", "t", 0, "cpu", (wire.CurvePoint(1, value),), metadata={**good, **metadata}
    )
    return record_line(
        own, request, record, adapter_id="a", backend_kind="k", error="", return_code=0, duration_sec=1.0,
        timestamp="now", command=["x"], artifacts={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"adapter_id": "b"}, "adapter_id_mismatch"),
        ({"backend_kind": "l"}, "backend_kind_mismatch"),
        ({"mode": "mock"}, "mock_mode_forbidden"),
        ({"policy_mode": "random"}, "random_policy_forbidden"),
        ({"source": None}, "missing_source_provenance"),
        ({"effective_recipe": None}, "missing_recipe_metadata"),
        ({"effective_recipe": {}}, "missing_recipe_metadata"),
        ({"effective_recipe": {"lr": 2.0}}, "recipe_mismatch"),
        ({"effective_recipe": [1]}, "missing_recipe_metadata"),
        ({"eval_protocol": None}, "eval_protocol_mismatch"),
        ({"eval_protocol": {"eval_episodes": 3, "eval_window": 2}}, "eval_protocol_mismatch"),
        ({"eval_protocol_hash": "0"}, "eval_protocol_hash_mismatch"),
    ],
)
def test_a_record_that_did_something_else_is_found(metadata: dict[str, Any], code: str) -> None:
    assert code in codes(record_findings(suite(), line(**metadata)))


def test_a_record_that_did_what_was_asked_is_valid() -> None:
    protocol_hash = wire.eval_protocol_hash("f", "t", TASK.eval_protocol)
    assert record_findings(suite(), line(eval_protocol_hash=protocol_hash)) == []
    broken = {**line(), "metrics": {"curve": "x"}}
    assert codes(record_findings(suite(), broken)) == ["unreadable_record"]


@pytest.mark.parametrize("stated", [7, ["x"], {"a": 1}, True, None, "", 1e9])
@pytest.mark.parametrize(
    "key", ["adapter_id", "backend_kind", "mode", "policy_mode", "source", "eval_protocol", "recipe_hash"]
)
def test_whatever_a_program_states_is_judged_without_an_error(key: str, stated: object) -> None:
    for finding in record_findings(suite(), line(**{key: stated})):
        assert finding.line()


def test_a_second_success_counts_only_if_it_differs() -> None:
    assert not list(conflicting_successes([line(), line(), {**line(), "status": "failed"}]))
    assert codes(list(conflicting_successes([line(), line(value=2.0)]))) == ["conflicting_success"]


# --- the verdict ---


def evidence(seen: Observed, **changes: Any) -> Evidence:
    own = changes.pop("suite", suite())
    fields: dict[str, Any] = {
        "suite": own, "pairs": (), "observed": seen, "lines": (line(),), "all_lines": (),
        "expected": tuple(("t", s, system) for system in own.seeds for s in own.seeds[system]),
        "origins": {"official": Origin(), "worldflux": Origin()}, "recipes": {}, "protocols": {},
    }  # fmt: skip
    return Evidence(**{**fields, **changes})


GOOD = observed({0: 100.0, 1: 101.0}, {0: 100.5, 1: 101.5})


CHANGED = Finding("changed_since_sealed", "suite_sha256 changed after the first run")


def test_pass_needs_everything() -> None:
    assert judge(evidence(GOOD)).verdict == "pass"
    open_ = replace(GOOD, missing=(Missing("t", 1, "official", "deselected"),))
    assert judge(evidence(open_)).verdict == "inconclusive"
    gone = replace(GOOD, missing=(Missing("t", 1, "official", "failed"),))
    assert judge(evidence(gone)).verdict == "fail"
    assert judge(evidence(GOOD, doubts=(CHANGED,))).verdict == "fail"
    assert judge(evidence(GOOD, lock_mismatch="other commit")).verdict == "fail"
    assert judge(evidence(GOOD, expected=())).verdict == "fail", "a gate that sees nothing does not hold"
    assert judge(evidence(GOOD, lines=())).verdict == "inconclusive", "nor one without a record"
    assert judge(evidence(Observed({}))).verdict == "inconclusive"


def test_no_metric_passes_where_a_gate_is_broken() -> None:
    judgement = judge(evidence(GOOD, doubts=(CHANGED,)))
    [judged] = judgement.metrics
    assert judged.verdict == "fail"
    assert judged.reason.startswith("not comparable, validity: changed_since_sealed")
    assert judgement.reason.startswith("validity: changed_since_sealed")


def test_the_documented_rule_does_not_pass_a_copy_of_one_pair() -> None:
    own = suite(Metric("episode_return", "drop_ratio", 0.05))
    own = replace(own, seeds={"official": (0,), "worldflux": (0,)})
    judged = judge(evidence(observed({0: 5.0}, {0: 5.0}), suite=own))
    assert judged.verdict == "inconclusive"
    assert "a copy, not a comparison" in judged.reason
