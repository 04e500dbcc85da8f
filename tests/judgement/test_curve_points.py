"""What a suite says that its points are: where they must stand, and what is measured from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StatisticsError
from pytest_worldflux_parity.inputs.prepare import table_results
from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.inputs.scores.curves import Result, auc_return
from pytest_worldflux_parity.judgement.stats.measurements import Observed, measure, observe
from pytest_worldflux_parity.judgement.stats.points import binned
from pytest_worldflux_parity.suite import proof_file, suite_file
from pytest_worldflux_parity.suite.suite import BackendSide, Budget, Metric, Points, Suite, Task
from pytest_worldflux_parity.wire import CurvePoint
from tests.oracles import ORACLES, needs_oracles

untimed = settings(deadline=None, max_examples=80)
ROOT = Path(__file__).parents[2]

EVALUATIONS = Task("t", budget=Budget(1000), points=Points("evaluations", 100))
EPISODES = Task("t", budget=Budget(1000), points=Points("episodes"))
WHOLE = [(step, step / 10) for step in range(0, 1001, 100)]
CURVES = ("episode_return", "final_return_mean", "auc_return")


def result(points: Sequence[tuple[int, float]], nulls: Sequence[int] = ()) -> Result:
    return Result(tuple(CurvePoint(*p) for p in points), {}, tuple(nulls))


def value(points: Sequence[tuple[int, float]], task: Task, metric: str = "auc_return", **more: Any) -> float:
    return measure(result(points), metric, task, **more).value


def refusal(task: Task, points: Sequence[tuple[int, float]], nulls: Sequence[int] = ()) -> str:
    """Why a curve has no number, the same for every number that is taken from it."""
    told = set()
    for metric in CURVES:
        with pytest.raises(StatisticsError) as caught:
            measure(result(points, nulls), metric, task)
        told.add(caught.value.what)
    assert len(told) == 1
    return told.pop()


# --- evaluations ---


def test_a_grid_of_evaluations_is_measured_as_it_always_was() -> None:
    assert value(WHOLE, EVALUATIONS) == auc_return(result(WHOLE).curve) == pytest.approx(50.0)
    assert value(WHOLE, EVALUATIONS, "episode_return") == 100.0
    window = replace(EVALUATIONS, eval_protocol={"eval_window": 2})
    assert value(WHOLE, window, "final_return_mean") == 95.0


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ([500], "no evaluation within 50 frames of 500"),
        ([100, 200, 900], "no evaluation within 50 frames of 100 and 2 more of 10"),
        ([0, 300], "no evaluation within 50 frames of 300"),
    ],
)
def test_an_evaluation_that_is_left_out_is_missing(left_out: list[int], told: str) -> None:
    assert refusal(EVALUATIONS, [p for p in WHOLE if p[0] not in left_out]) == f"points_missing: {told}"


def test_an_evaluation_may_be_half_an_interval_away_and_the_first_one_may_be_absent() -> None:
    moved = [(149, 10.0), (151, 20.0), (349, 30.0), *WHOLE[4:]]
    assert value(moved, EVALUATIONS, "episode_return") == 100.0
    assert "frames of 300" in refusal(EVALUATIONS, [(149, 10.0), (151, 20.0), (249, 30.0), *WHOLE[4:]])
    # Before the first evaluation the curve is level: its span begins at 0 all the same.
    assert value(WHOLE[1:], EVALUATIONS) == pytest.approx(50.5)


def test_points_between_the_evaluations_are_no_choice_of_the_program() -> None:
    more = sorted([*WHOLE, (440, 1e6), (960, 1e6), (990, 1e6)])
    window = replace(EVALUATIONS, eval_protocol={"eval_window": 3})
    for metric in CURVES:
        assert value(more, window, metric) == value(WHOLE, window, metric)


@pytest.mark.parametrize(
    ("end", "tolerance", "there"), [(900, 0.1, True), (900, 0.05, False), (1040, 0.05, True)]
)
def test_the_tolerance_lets_the_last_evaluations_be_absent_and_no_other(
    end: int, tolerance: float, there: bool
) -> None:
    task = replace(EVALUATIONS, budget=Budget(1000, tolerance))
    points = [*(p for p in WHOLE if p[0] < min(end, 1000)), (end, 90.0)]
    if there:
        assert math.isfinite(value(points, task))
        assert "frames of 200" in refusal(task, [p for p in points if p[0] != 200])
    else:
        assert refusal(task, points).startswith("no_point_at_budget")


def test_the_area_ends_at_the_budget_whatever_the_tolerance_admits() -> None:
    task = Task("t", budget=Budget(100, 0.2), points=Points("evaluations", 100))
    assert value([(0, 0.0), (120, 12.0)], task) == pytest.approx(5.0)
    assert value([(0, 0.0), (80, 8.0)], task) == pytest.approx((4.0 * 80 + 8.0 * 20) / 100)


def observed(official: Any, worldflux: Any, task: Task, metric: str = "auc_return") -> Observed:
    """Seed 0 of each side."""
    suite = Suite(
        suite_id="s", family="f", track="quick", tasks=(task,), metrics=(Metric(metric, "calibrated", 0.05),),
        seeds={"official": (0,), "worldflux": (0,)},
        sides={"official": BackendSide("o"), "worldflux": BackendSide("w")},
    )  # fmt: skip
    results = {("official", "t", 0): result(official), ("worldflux", "t", 0): result(worldflux)}
    return observe(suite, [("t", 0, "official"), ("t", 0, "worldflux")], results, {}, {})


def test_the_evaluation_at_0_counts_on_both_sides_or_on_none() -> None:
    """Who leaves it out would gain half an interval of its first evaluation."""
    found = observed(WHOLE, WHOLE[1:], EVALUATIONS)
    numbers = {s: found.values[s, "auc_return", "t"][0].value for s in ("official", "worldflux")}
    assert numbers["official"] == numbers["worldflux"] == pytest.approx(50.5)
    both = observed(WHOLE, WHOLE, EVALUATIONS)
    assert both.values["official", "auc_return", "t"][0].value == pytest.approx(50.0)


def test_an_evaluation_after_the_last_multiple_counts_on_both_sides_or_on_none() -> None:
    """A budget that is no multiple of the interval: who evaluates at its end once more would add a point."""
    task = replace(EVALUATIONS, budget=Budget(1000, 0.1), points=Points("evaluations", 300))
    grid = [(300, 1.0), (600, 2.0), (900, 3.0)]
    more = [*grid, (1000, 100.0)]
    for metric in CURVES:
        one = {s: v[0] for (s, _, _), v in observed(grid, more, task, metric).values.items()}
        assert one["official"] == one["worldflux"]
        assert one["worldflux"].step == 900
        both = observed(more, more, task, metric)
        assert both.values["worldflux", metric, "t"][0].step == 1000
    # A run that is missing anyway has no say, and a curve keeps the only point that is at the budget.
    strict = replace(task, budget=Budget(1000, 0.05))
    lacking = observed(grid, more, strict, "episode_return")
    assert lacking.values["worldflux", "episode_return", "t"][0].value == 100.0
    assert [m.reason for m in lacking.missing] == ["no_point_at_budget"]


# --- episodes ---


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([101, 400, 700, 1000], "the first episode ends at 101 frames, after 10% of 1000"),
        ([50, 351, 600, 1000], "no episode ends between 50 and 351 frames, more than 30% of 1000"),
        ([100, 400, 700, 1000], ""),
    ],
)
def test_episodes_that_begin_late_or_leave_a_gap_are_missing(steps: list[int], told: str) -> None:
    points = [(step, 1.0) for step in steps]
    if told:
        assert refusal(EPISODES, points) == f"points_missing: {told}"
    else:
        assert value(points, EPISODES) == 1.0


def test_short_runs_have_wider_parts() -> None:
    """Two episodes of a budget: what the small proof of DreamerV3 has, measured as it always was."""
    two = Task("t", budget=Budget(2008), points=Points("episodes", bins=2))
    assert value([(1004, 10.0), (2008, 30.0)], two) == auc_return(result([(1004, 10.0), (2008, 30.0)]).curve)
    assert "the first episode" in refusal(two, [(1005, 1.0), (2008, 1.0)])
    one = replace(two, points=Points("episodes", bins=1))
    assert value([(2008, 30.0)], one) == 30.0


def test_bins_are_means_and_empty_ones_lie_on_the_line_between_their_neighbours() -> None:
    curve = result([(0, 2.0), (100, 4.0), (101, 10.0), (500, 40.0), (1010, 100.0)]).curve
    assert binned(curve, 10, 1000) == [3.0, 10.0, 20.0, 30.0, 40.0, 52.0, 64.0, 76.0, 88.0, 100.0]
    assert binned(result([(500, 7.0)]).curve, 4, 1000) == [7.0] * 4


def test_a_program_that_reports_its_good_episodes_twice_as_often_gains_nothing_by_it() -> None:
    """Bins weigh frames; a mean over points would weigh whatever was reported most."""
    honest = [(step, step / 10) for step in range(10, 1001, 10)]
    eager = [*(p for p in honest if p[0] < 900), *((step, 95.0) for step in range(901, 1001))]
    assert value(eager, EPISODES) == pytest.approx(value(honest, EPISODES), abs=0.2)


@untimed
@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.floats(-1e6, 1e6)),
        min_size=1,
        max_size=60,
        unique_by=lambda p: p[0],
    ),
    st.integers(1, 30),
)
def test_bins_lie_between_the_extremes(points: list[tuple[int, float]], bins: int) -> None:
    found = binned(result(sorted(points)).curve, bins, 1000)
    values = [v for _, v in points]
    assert len(found) == bins
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= min(found) <= max(found) <= max(values) + slack


@untimed
@given(st.sets(st.integers(0, 1000), min_size=1, max_size=25), st.sampled_from([EVALUATIONS, EPISODES]))
def test_a_curve_is_whole_or_missing_and_never_another_number(steps: set[int], task: Task) -> None:
    """A constant program has its constant, whatever it reports; or the suite's points are not there."""
    points = [(step, 7.0) for step in sorted(steps)]
    found = observed(points, points, task)
    for values in found.values.values():
        assert values[0].value == pytest.approx(7.0)
    assert {m.reason for m in found.missing} <= {"points_missing", "no_point_at_budget"}
    assert len(found.values) + len(found.missing) == 2


# --- windows and nulls ---


@pytest.mark.parametrize(("window", "mean"), [(2, 95.0), ({"frames": 100}, 95.0), ({"frames": 99}, 100.0)])
def test_a_window_is_points_or_frames(window: Any, mean: float) -> None:
    task = replace(EVALUATIONS, eval_protocol={"eval_window": window})
    assert value(WHOLE, task, "final_return_mean") == mean


UNSAID = Task("t", budget=Budget(1000, 0.1), eval_protocol={"eval_window": 3})
OPEN = Task("t")


@pytest.mark.parametrize(
    ("task", "points", "nulls", "told"),
    [
        (UNSAID, WHOLE, [850], "the score at 850 frames is null"),
        (UNSAID, WHOLE, [1050], "the score at 1050 frames is null"),
        (UNSAID, WHOLE[:-1], [1000, 1020], "the score at 1000 frames and 1 more is null"),
        (UNSAID, [*WHOLE[:-1], (1010, 9.0)], [995], "the score at 995 frames is null"),
        (OPEN, WHOLE, [1100], "the score at 1100 frames is null"),
        (EVALUATIONS, WHOLE, [1000], "the score at 1000 frames is null"),
        (EPISODES, WHOLE, [1000], "the score at 1000 frames is null"),
        (UNSAID, WHOLE, [0, 400, 790], ""),
        (UNSAID, WHOLE, [1101], ""),
        (OPEN, WHOLE, [500], ""),
        (EVALUATIONS, WHOLE, [450], ""),
    ],
)
def test_a_null_where_a_score_is_judged_is_missing(
    task: Task, points: list[tuple[int, float]], nulls: list[int], told: str
) -> None:
    if told:
        assert refusal(task, points, nulls) == f"null_score: {told}"
    else:
        assert measure(result(points, nulls), "episode_return", task).value == 100.0


# --- what stands on the card ---


def test_the_shape_of_each_curve_is_known_also_where_it_has_no_number() -> None:
    found = observed(WHOLE, [(250, 1.0), (1000, 2.0), (2000, 3.0)], EVALUATIONS)
    official, worldflux = (found.shapes[s, "t", 0] for s in ("official", "worldflux"))
    assert (official.points, official.first, official.told(official.gap)) == (11, 0, "100 frames (10.0%)")
    assert (worldflux.points, worldflux.first, worldflux.gap) == (2, 250, 750)
    assert [m.reason for m in found.missing] == ["points_missing"]
    assert observed(WHOLE, WHOLE, EVALUATIONS, metric="loss").shapes == {}


# --- the published curves ---


PUBLISHED = [
    ("published/dreamerv3_against_ppo_atari100k.yaml", "dreamerv3/scores/atari100k-dreamerv3.json.gz", 130),
    ("published/dreamerv3_against_ppo_atari100k.yaml", "dreamerv3/scores/atari100k-ppo_fixhp.json.gz", 130),
    ("published/tdmpc2_against_tdmpc_dmcontrol39.yaml", "tdmpc2/results/tdmpc2", 117),
    ("published/tdmpc2_against_tdmpc_dmcontrol39.yaml", "tdmpc2/results/tdmpc", 117),
]


@needs_oracles
@pytest.mark.parametrize(("name", "table", "count"), PUBLISHED)
def test_every_published_curve_is_whole_and_its_scores_are_what_they_were(
    name: str, table: str, count: int
) -> None:
    """What the suites say of the published points misses none, and moves no final score."""
    suite = suite_file.load(ROOT / "suites" / name)
    form = "tdmpc2_results_csv_dir" if table.startswith("tdmpc2") else "dreamerv3_scores_json_gz"
    found = table_results(suite, load_table(ORACLES / table, form, duplicates="first"), "official")
    compared = 0
    for task in suite.tasks:
        assert task.points is not None
        for (name_of, _), curve in found.items():
            if name_of == task.id:
                before = replace(task, points=None)
                for metric in CURVES[:2]:
                    assert measure(curve, metric, task) == measure(curve, metric, before)
                assert math.isfinite(measure(curve, "auc_return", task).value)
                compared += 1
    assert compared == count


@needs_oracles
def test_areas_of_published_evaluations_are_what_they_were() -> None:
    proof = proof_file.load(ROOT / "suites/proof/official_vs_worldflux_full.yaml")
    part = next(p for p in proof.parts if p.family == "tdmpc2")
    found = table_results(
        part, load_table(ORACLES / "tdmpc2/results/tdmpc2", "tdmpc2_results_csv_dir"), "official"
    )
    equal = 0
    for task in part.tasks:
        assert task.budget is not None
        for seed in (1, 2, 3):
            curve = found[task.id, seed]
            if curve.curve[-1].step >= task.budget.step:
                before = replace(task, points=None)
                assert measure(curve, "auc_return", task) == measure(curve, "auc_return", before)
                equal += 1
    # The others end before the budget, as the coverage of a table that is judged says.
    assert equal == 112


@pytest.mark.parametrize(
    ("name", "steps"),
    [("tdmpc2_proof_small", (0, 3000, 6000)), ("dreamerv3_proof_small", (1004, 2008))],
)
def test_the_numbers_of_the_small_proofs_are_what_they_were(name: str, steps: tuple[int, ...]) -> None:
    """Where both programs of each report: TD-MPC2 evaluates before it trains, DreamerV3 ends two episodes."""
    [part] = proof_file.load(ROOT / f"suites/proof_small/{name}.yaml").parts
    points = [(step, 463.3 - step / 30) for step in steps]
    for task in part.tasks:
        before = replace(task, points=None)
        for metric in CURVES:
            assert value(points, task, metric) == value(points, before, metric)
        assert refusal(task, points[-1:]).startswith("points_missing: ")


def test_the_official_programs_report_where_the_suites_say() -> None:
    """As the tables show that the official programs filled with the quick recipes."""
    for name, step in (("tdmpc2_quick", 6000), ("dreamerv3_quick", 1002)):
        suite = suite_file.load(ROOT / f"suites/quick/{name}.yaml")
        table = load_table(ROOT / f"suites/quick/oracle/{name}.json", "canonical_json")
        found = table_results(suite, table, "official")
        for task in suite.tasks:
            own = [curve for (key, _), curve in found.items() if key == task.id]
            assert own
            assert {measure(curve, metric, task).step for curve in own for metric in CURVES} == {step}
