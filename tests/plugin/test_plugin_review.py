"""Ways to a false pass that a reviewer found, each closed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import Project


def table(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a canonical table; a suite's side that names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"scores": rows}), encoding="utf-8")
    return {"artifact": {"path": path.name, "format": "canonical_json"}}


def rows(offset: float, seeds: range, step: int = 1000) -> list[dict[str, Any]]:
    return [
        {"task": "alpha", "seed": s, "step": step, "score": 100 + offset + (7 * s) % 5 / 10} for s in seeds
    ]


def test_a_scalar_counts_at_the_budget_only(project: Project) -> None:
    folder = project.root / "suites" / "quick"
    loss = {"metrics": [{"name": "loss.late", "rule": "equivalence", "margin": 0.2}], "tasks": ["alpha"]}
    good = [{**r, "score": 2 + r["seed"] / 100, "metric": "loss.late"} for r in rows(0, range(3))]
    hidden = [{**r, "score": 9.0 + r["seed"] / 100} for r in good] + [{**r, "step": 999_999} for r in good]
    official = table(folder / "o.json", [{**r, "score": r["score"] + 0.003} for r in good])
    project.suite(**loss, official=official, worldflux=table(folder / "w.json", hidden))
    assert project.run().ret == 1
    assert project.document()["metrics"]["loss.late"]["verdict"] == "fail"


def test_a_renumbered_part_of_the_official_table_is_a_copy(project: Project) -> None:
    folder = project.root / "suites" / "quick"
    official = [{**r, "score": 100 + r["seed"] * 0.37} for r in rows(0, range(10))]
    copied = [{**r, "seed": r["seed"] - 5} for r in official[5:]]
    sides = {
        "official": table(folder / "o.json", official),
        "worldflux": table(folder / "w.json", copied),
    }
    project.suite(**sides, tasks=["alpha"], seeds={"official": 10, "worldflux": 5})
    assert project.run().ret == 1
    assert project.document()["gates"]["independence"]["findings"][0]["code"] == "identical_scores"


def test_a_single_pair_and_scores_below_the_floor_do_not_pass_quietly(project: Project) -> None:
    folder = project.root / "suites" / "quick"
    sides = {
        "official": table(folder / "o.json", rows(0, range(1))),
        "worldflux": table(folder / "w.json", rows(0.01, range(1))),
    }
    metric = {"name": "episode_return", "rule": "drop_ratio", "margin": 0.05}
    project.suite("one", **sides, tasks=["alpha"], seeds=1, metrics=[metric])
    small = [{**r, "score": 0.04 + r["seed"] / 1000} for r in rows(0, range(3))]
    sides = {
        "official": table(folder / "o2.json", small),
        "worldflux": table(folder / "w2.json", [{**r, "score": r["score"] / 9} for r in small]),
    }
    project.suite("small", **sides, tasks=["alpha"], seeds=3)
    result = project.run()
    assert result.ret == 1
    assert project.document("one/run.json")["verdict"] == "inconclusive"
    assert project.document("small/run.json")["verdict"] == "inconclusive"
    result.stdout.fnmatch_lines(["*the floor of 1 is above 5% of the median official mean of 0.041*"])


def test_a_suite_needs_a_budget_and_programs_of_the_right_side(project: Project) -> None:
    project.suite("nobudget", budget=None)
    project.suite("swapped", official={"backend": "fake_worldflux"})
    result = project.run()
    assert result.ret != 0
    result.stdout.fnmatch_lines(
        [
            "*nobudget.yaml:*task 'alpha' has no budget*",
            "*swapped.yaml:*is the worldflux program and cannot stand for official*valid: fake_official*",
        ]
    )
