"""What a suite would cost: the numbers of the published tables, and what can never be shown."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from pytest_worldflux_parity.inputs.scores import ScoreTable, load_table
from pytest_worldflux_parity.judgement.proof.planning import SuitePlan, plan_suite
from pytest_worldflux_parity.judgement.stats.power import welch_tost_power
from pytest_worldflux_parity.reporting.proof_markdown import plan_markdown
from tests.judgement.proof_examples import METRICS, fixed, proof_tasks
from tests.oracles import ORACLES, needs_oracles


def plan_of(table: ScoreTable) -> SuitePlan:
    """+-5 %, power 0.8, mean of the last 10 points, 5 seeds given, an hour a run."""
    names = table.tasks()
    tasks = tuple(
        replace(t, id=name) for t, name in zip(proof_tasks(len(names), 5, METRICS[:1]), names, strict=True)
    )
    official = {
        (METRICS[0], name): [
            np.mean([p.value for p in table.curve(name, seed)[-10:]]) for seed in table.seeds(name)
        ]
        for name in names
    }
    hours = {(s, name): 3600.0 for s in ("official", "worldflux") for name in names}
    return plan_suite(fixed(5), tasks, official, hours)


@needs_oracles
def test_what_atari_would_take() -> None:
    plan = plan_of(
        load_table(ORACLES / "dreamerv3/scores/atari100k-dreamerv3.json.gz", "dreamerv3_scores_json_gz")
    )
    assert plan.alone.median_seeds == pytest.approx(427, abs=1)
    games = [plan.alone.seeds[f"atari_{game}"] for game in ("hero", "krull", "frostbite")]
    assert games == pytest.approx([16, 20, 6923], abs=1)
    assert set(plan.never) == {"atari_pong", "atari_freeway"}
    assert all("use normalized_difference" in why for why in plan.never.values())
    assert plan.corrected.median_seeds is not None
    assert plan.corrected.median_seeds > 800
    assert plan.alone.hours == sum(plan.alone.seeds.values()) * 2
    hero = next(c for c in plan.cells if c.task == "atari_hero")
    assert hero.alone is not None
    assert hero.corrected is not None
    assert hero.alone.margin == pytest.approx(0.0950, abs=1e-4)
    assert hero.corrected.margin is not None
    assert hero.corrected.margin > hero.alone.margin
    text = plan_markdown(plan)
    assert "- can never be shown as the suite is (2 tasks):" in text
    assert "| atari_hero | final_return_mean |" in text


@needs_oracles
def test_what_dmcontrol39_would_take() -> None:
    """By the exact power of Welch's test; that of the pooled test would say 2, which is one too few."""
    plan = plan_of(load_table(ORACLES / "tdmpc2/results/tdmpc2", "tdmpc2_results_csv_dir"))
    reward = [c.alone.seeds for c in plan.cells if c.alone and c.alone.seeds]
    assert len(plan.cells) == 39
    assert median(reward) == 3
    assert plan.corrected.median_seeds == 5


def test_a_plan_has_the_power_it_promises() -> None:
    tasks = proof_tasks(1, 7)
    scores = {(m, "task-0"): [100, 103, 98, 101, 99.5] for m in METRICS}
    plan = plan_suite(fixed(7), tasks, scores)
    cell = plan.cells[0]
    deviation = float(np.log(scores[METRICS[0], "task-0"]).std(ddof=1))
    assert cell.deviation == pytest.approx(deviation)
    for need, level in ((cell.alone, 0.05), (cell.corrected, 0.025)):
        assert need is not None
        assert need.alpha == level
        assert need.seeds is not None
        low, high = np.log([0.95, 1.05])
        power = [
            welch_tost_power(0, deviation, n, low=low, high=high, alpha=level)
            for n in (need.seeds - 1, need.seeds)
        ]
        assert power[0] < 0.8 <= power[1]
        assert need.margin is not None
        low, high = np.log1p([-need.margin, need.margin])
        attained = welch_tost_power(0, deviation, 7, low=low, high=high, alpha=level)
        assert attained == pytest.approx(0.8, abs=1e-4)
    assert plan.given.seeds == {"task-0": 7}
    assert plan.given.unknown == ("task-0",), "no duration is known"
    assert "hours are not known" in plan_markdown(plan)


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ([5.0, 5.0], "the scores do not vary"),
        ([-1.0, 5.0], "use normalized_difference"),
    ],
)
def test_what_can_never_be_shown_says_why(scores: list[float], why: str) -> None:
    plan = plan_suite(fixed(5), proof_tasks(1, 5, METRICS[:1]), {(METRICS[0], "task-0"): scores})
    assert why in plan.never["task-0"]
    assert plan.alone.out_of_reach == ("task-0",)
    assert "no task can be shown" in plan_markdown(plan)


def test_what_too_few_scores_tell_is_not_known_and_not_never() -> None:
    scores = {(METRICS[0], "task-0"): [5.0], (METRICS[0], "task-2"): [5.0, 5.0]}
    plan = plan_suite(fixed(5), proof_tasks(3, 5, METRICS[:1]), scores)
    assert plan.unknown == ("task-0", "task-1")
    assert set(plan.never) == {"task-2"}
    assert plan.alone.out_of_reach == ("task-2",)
    text = plan_markdown(plan)
    assert "can never be shown as the suite is (1 tasks)" in text
    assert "- not known, fewer than two official scores: task-0, task-1\n" in text
    assert f"| task-1 | {METRICS[0]} | - | - | not known | not known | - | - |" in text
    assert "1 official scores tell no variance" in plan.cells[0].reason
    none = plan_suite(fixed(5), proof_tasks(1, 5, METRICS[:1]), {})
    assert "for 80% power: not known of any task" in plan_markdown(none)


def test_a_metric_that_can_never_be_shown_decides_over_one_that_is_not_known() -> None:
    plan = plan_suite(fixed(5), proof_tasks(1, 5), {(METRICS[0], "task-0"): [5.0, 5.0]})
    assert (set(plan.never), plan.unknown, plan.corrected.out_of_reach) == ({"task-0"}, (), ("task-0",))


def test_a_relative_difference_is_planned_on_its_own_scale() -> None:
    tasks = proof_tasks(1, 5, METRICS[:1], effect="normalized_difference")
    plan = plan_suite(fixed(5), tasks, {(METRICS[0], "task-0"): [-20, -21, -20.5]})
    assert plan.cells[0].deviation == pytest.approx(0.5 / 20.5)
    zero = plan_suite(fixed(5), tasks, {(METRICS[0], "task-0"): [-1, 1]})
    assert "no relative difference exists" in zero.never["task-0"]
