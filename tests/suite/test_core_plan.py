"""Pairs, and request ids that change exactly with what decides a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.suite import pairs
from pytest_worldflux_parity.suite.suite import ArtifactSide, BackendSide, Budget, Metric, Suite, Task

SOURCE = {"backend_tree_sha256": "t", "commit": "c", "checkout": "/here"}


def suite(**changes: Any) -> Suite:
    fields: dict[str, Any] = {
        "suite_id": "s",
        "family": "fake",
        "track": "quick",
        "tasks": (Task("b", recipe={"lr": 1e-3}, eval_protocol={"eval_episodes": 1}), Task("a")),
        "seeds": {"official": (0, 1), "worldflux": (1, 2)},
        "sides": {"official": BackendSide("o"), "worldflux": BackendSide("w")},
        "metrics": (Metric("episode_return", "calibrated", 0.05),),
    }
    return Suite(**{**fields, **changes})


def request_id(own: Suite | None = None, *, task: Task | None = None, seed: int = 0, **how: Any) -> str:
    own = own or suite()
    pair = pairs.Pair(task or own.tasks[0], seed, ("official", "worldflux"))
    keys: dict[str, Any] = {"system": "official", "adapter": "o", "device": "cpu", "source": SOURCE, **how}
    return pairs.request_id(own, pair, **keys)


def test_pairs_are_the_suites_tasks_with_ascending_seeds() -> None:
    found = pairs.pairs(suite())
    assert [str(p.key) for p in found] == [
        "b[seed=0]", "b[seed=1]", "b[seed=2]", "a[seed=0]", "a[seed=1]", "a[seed=2]",
    ]  # fmt: skip
    assert [p.systems for p in found[:3]] == [("official",), ("official", "worldflux"), ("worldflux",)]


def test_beside_a_table_the_live_seeds_are_the_pairs() -> None:
    table = ArtifactSide(Path("x"), "canonical_json")
    own = suite(
        sides={"official": table, "worldflux": BackendSide("w")},
        seeds={"official": (0, 1, 2, 3), "worldflux": (1, 5)},
    )
    assert [p.seed for p in pairs.pairs(own) if p.task.id == "a"] == [1, 5]
    assert [p.systems for p in pairs.pairs(own)][:2] == [("official", "worldflux"), ("worldflux",)]


def test_an_older_suite_expects_what_either_table_has() -> None:
    table = ArtifactSide(Path("x"), "canonical_json")
    own = suite(sides={"official": table, "worldflux": table}, seeds={"official": None, "worldflux": None})
    found = {"official": {"a": frozenset({1, 2})}, "worldflux": {"a": frozenset({2, 3})}}
    assert [str(p.key) for p in pairs.pairs(own, found)] == ["a[seed=1]", "a[seed=2]", "a[seed=3]"]
    for system in ("official", "worldflux"):
        assert pairs.expected_seeds(own, system, "a", found) == {1, 2, 3}
        assert pairs.expected_seeds(own, system, "b", found) == frozenset()


TASK = suite().tasks[0]
DECIDES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "system": {"system": "worldflux"},
    "adapter": {"adapter": "other"},
    "device": {"device": "cuda"},
    "task": {"task": replace(TASK, id="a")},
    "recipe value": {"task": replace(TASK, recipe={"lr": 2e-3})},
    "recipe key": {"task": replace(TASK, recipe={"lr": 1e-3, "more": None})},
    "protocol": {"task": replace(TASK, eval_protocol={"eval_episodes": 2})},
    "family": {"own": suite(family="other")},
    "threads": {"own": suite(threads=2)},
    "commit": {"source": {**SOURCE, "commit": "d"}},
    "backend's tree": {"source": {**SOURCE, "backend_tree_sha256": "u"}},
}
DOES_NOT: dict[str, dict[str, Any]] = {
    "checkout's place": {"source": {**SOURCE, "checkout": "/elsewhere"}},
    "deadline": {"task": replace(TASK, deadline_sec=1.0)},
    "budget": {"task": replace(TASK, budget=Budget(5))},
    "suite's name": {"own": suite(suite_id="t")},
    "retries": {"own": suite(retries=3)},
    "metrics": {"own": suite(metrics=(Metric("auc_return", "drop_ratio", 0.1),))},
    "other seeds": {"own": suite(seeds={"official": (7,), "worldflux": (7,)})},
    "order of keys": {"source": dict(reversed(SOURCE.items()))},
}


@pytest.mark.parametrize("change", DECIDES.values(), ids=DECIDES)
def test_what_decides_a_result_changes_its_id(change: dict[str, Any]) -> None:
    assert request_id(**change) != request_id()


@pytest.mark.parametrize("change", DOES_NOT.values(), ids=DOES_NOT)
def test_what_does_not_decide_a_result_keeps_its_id(change: dict[str, Any]) -> None:
    assert request_id(**change) == request_id()


def test_a_request_survives_its_file(tmp_path: Path) -> None:
    own = suite()
    pair = pairs.pairs(own)[0]
    request = pairs.request(
        own, pair, "official", adapter="o", device="cpu", source=SOURCE,
        run_id="r", out_dir=str(tmp_path), attempt=2,
    )  # fmt: skip
    path = tmp_path / "request.json"
    path.write_text(wire.request_to_json(request), encoding="utf-8")
    assert wire.read_request(str(path)) == request
    assert (request.request_id, request.seed, request.attempt) == (request_id(), 0, 2)
