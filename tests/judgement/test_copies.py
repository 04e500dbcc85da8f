"""Copies of scores, and runs that are one run: what is found of them, and what raises nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from pytest_worldflux_parity.inputs.scores.curves import Result
from pytest_worldflux_parity.judgement.gates.copies import sorted_sides
from pytest_worldflux_parity.judgement.gates.repeats import BY_CHANCE, Repeats, chance, find_repeats
from pytest_worldflux_parity.judgement.stats.coincidence import (
    coincide,
    combined,
    follow,
    gap,
    grain,
    in_order,
    orders,
)
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.suite.suite import Budget, Metric
from pytest_worldflux_parity.wire import CurvePoint
from tests.oracles import ORACLES, needs_oracles
from tests.simulations.copies import RETURN, Cells, alarm, pairs_of, published, repeats_of, suite_of

SEEDS = st.integers(0, 2**32 - 1)


def codes(official: Cells, worldflux: Cells) -> set[str]:
    return {f.code for f in alarm(official, worldflux)}


def normal(rng: np.random.Generator, tasks: int, seeds: int) -> Cells:
    return [rng.normal(100, 3, seeds) * rng.uniform(0.5, 10) for _ in range(tasks)]


# --- lengths of the data ---


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0.0, 1000.0], 1000.0),
        ([0.0, 0.8, 1.0], 0.2),
        ([13120.0, 12705.0, 9050.0], 5.0),
        ([980.1, 733.4, 12.5], 0.1),
        ([0.3333333333, 0.25, -0.5], 1 / 12),
        ([0.0, 0.0], 0.0),
    ],
)
def test_the_grain_is_the_step_of_a_lattice(values: list[float], step: float) -> None:
    assert grain(values) == pytest.approx(step, rel=1e-6)


@given(SEEDS)
def test_numbers_of_full_precision_have_no_lattice(seed: int) -> None:
    values = np.random.default_rng(seed).normal(100, 3, 5)
    assert grain(values) < 1e-6 * np.abs(values).max()


def test_the_gap_is_what_usually_lies_between_neighbours() -> None:
    assert gap([5.0, 1.0, 2.0, 2.0, 900.0]) == 3.0
    assert gap([4.0, 4.0]) == gap([]) == 0.0


@given(st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=80))
def test_chances_are_combined_as_fisher_has_it(chances: list[float]) -> None:
    wanted = chi2.sf(-2 * np.log(chances).sum(), 2 * len(chances))
    assert combined(chances) == pytest.approx(float(wanted), rel=1e-6, abs=1e-300)
    assert combined([]) == 1.0


def test_orders_count_equal_values_once() -> None:
    assert orders([1.0, 2.0, 3.0]) == 6
    assert orders([1.0, 1.0, 0.9]) == 3
    assert in_order([1.0, 0.9, 1.0], [1.0, 0.9, 1.0]) == pytest.approx(1 / 3)
    assert in_order([1.0, 0.9, 1.0], [0.9, 1.0, 1.0]) is None


# --- copies ---


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 4), st.integers(4, 8), st.sampled_from(["equal", "order", "next", "1e-6"]))
def test_a_copy_is_found_in_any_order_and_with_a_little_noise(
    seed: int, tasks: int, seeds: int, how: str
) -> None:
    rng = np.random.default_rng(seed)
    made = {
        "equal": lambda x: x.copy(),
        "order": rng.permutation,
        "next": lambda x: np.roll(x, 1),
        "1e-6": lambda x: x * (1 + rng.normal(0, 1e-7, x.size)),
    }[how]
    official = normal(rng, tasks, seeds)
    assert codes(official, [made(x) for x in official]) == {"identical_scores"}


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.floats(0.5, 2.0), st.floats(-50, 50))
def test_a_copy_at_another_level_and_scale_follows(seed: int, scale: float, level: float) -> None:
    official = normal(np.random.default_rng(seed), 3, 4)
    moved = [np.roll(scale * x + level, 1) for x in official]
    assert codes(official, moved) & {"scores_follow", "identical_scores"}


def test_a_copy_of_whole_percents_is_found_by_the_order_of_many_tasks() -> None:
    """No task of success rates can tell alone."""
    rng = np.random.default_rng(0)
    rates = [rng.permutation([1.0, 1.0, 0.9]) for _ in range(20)]
    assert codes(rates[:2], rates[:2]) == set()
    assert codes(rates, rates) == {"identical_scores"}
    assert codes(rates, [rng.permutation(x) for x in rates]) == set()


def test_one_task_of_several_is_told_by_its_name() -> None:
    rng = np.random.default_rng(0)
    official, own = normal(rng, 5, 5), normal(rng, 5, 5)
    [finding] = alarm(official, [*own[:4], rng.permutation(official[4])])
    assert (finding.code, finding.task_id) == ("identical_scores", "task4")
    assert "of independent runs with a chance of" in finding.detail


@settings(deadline=None, max_examples=150)
@given(SEEDS, st.sampled_from(["normal", "sorted", "bimodal", "saturated", "tenths", "whole"]), SEEDS)
def test_independent_runs_raise_nothing(seed: int, kind: str, shape: int) -> None:
    """Among them what looks like copies: sorted sides, three seeds, seeds that fail or succeed."""
    rng, sizes = np.random.default_rng(seed), np.random.default_rng(shape)
    tasks, seeds = int(sizes.integers(1, 30)), int(sizes.integers(2, 12))
    draw = {
        "normal": lambda: rng.normal(100, 10, seeds),
        "sorted": lambda: np.sort(rng.normal(100, 10, seeds)),
        "bimodal": lambda: rng.integers(0, 2, seeds) * 999 + rng.normal(0, 1, seeds),
        "saturated": lambda: 1000 - np.exp(rng.normal(0, 3, seeds)),
        "tenths": lambda: np.round(np.clip(rng.normal(0.8, 0.2, seeds), 0, 1), 1),
        "whole": lambda: np.round(rng.normal(0, 8, seeds)),
    }[kind]
    assert codes([draw() for _ in range(tasks)], [draw() for _ in range(tasks)]) == set()


def test_two_sorted_sides_follow_each_other_and_are_no_copies() -> None:
    rng = np.random.default_rng(0)
    sides = [[np.sort(rng.normal(100, 10, 5)) for _ in range(26)] for _ in range(2)]
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(*sides, strict=True)]
    assert np.mean(alike) > 0.85
    assert codes(*sides) == set()
    left = [follow(a, b).left for a, b in zip(*sides, strict=True)]
    assert np.sqrt(sum(x for x, _ in left) / sum(y for _, y in left)) > 0.1


def test_sorted_sides_are_told() -> None:
    rng = np.random.default_rng(0)
    rising = {f"task{i}": np.sort(rng.normal(100, 10, 5)) for i in range(6)}
    values = {("official", RETURN, t): {s: Value(v) for s, v in enumerate(x)} for t, x in rising.items()}
    own = suite_of(list(rising))
    [told] = sorted_sides(own, Observed(values))
    assert told.startswith(f"the seeds of the official side are sorted by {RETURN} in all 6 tasks")
    first = {key: values[key] for key in list(values)[:1]}
    assert list(sorted_sides(suite_of(["task0"]), Observed(first))) == []


def test_what_cannot_be_told_is_no_coincidence() -> None:
    for one, other in (([], [1.0]), ([0.0], [0.0, 1.0]), ([5.0, 5.0], [5.0, 5.0]), ([1.0, 2.0], [1.0, 2.0])):
        assert coincide(one, other).chance == 1.0
    assert follow([1.0, 2.0], [2.0, 4.0]).chance == 1.0


# --- runs that are one run ---


def found(*curves: list[float], **scalars: list[float]) -> Repeats:
    results = {
        ("worldflux", "t", seed): Result(
            tuple(CurvePoint(100 * i, v) for i, v in enumerate(curve)),
            {name: values[seed] for name, values in scalars.items()},
        )
        for seed, curve in enumerate(curves)
    }
    own = suite_of(["t"])
    own = type(own)(**{**vars(own), "metrics": (*own.metrics, Metric("loss", "equivalence", 0.1))})
    return find_repeats(own, results, list(results))


NOISE = [0.1234567891234, 51.00987654321, 99.98123456789]


ONE_RUN = "its record is that of seed 0 to nine digits, and takes {} values: one run"


def test_equal_records_of_full_precision_are_one_run() -> None:
    own = found(NOISE, [*NOISE[:2], 98.1], NOISE, NOISE)
    assert [(r.seed, r.detail) for r in own.repeated] == [(2, ONE_RUN.format(3)), (3, ONE_RUN.format(3))]
    assert own.keys == {("worldflux", "t", 2), ("worldflux", "t", 3)}
    assert own.saturated == ()


@given(st.lists(st.integers(0, 9), min_size=10, max_size=200).filter(lambda x: len(set(x)) == 10))
def test_ten_values_are_always_enough(curve: list[int]) -> None:
    values = [float(v) for v in curve]
    assert chance(values) < BY_CHANCE
    assert len(found(values, values).repeated) == 1


@pytest.mark.parametrize(
    "curve",
    [
        [0.0] * 48, [0.0, 0.0, 1.0, 1.0], [0.0, 0.8, 1.0], [0.0, 2 / 3, 1 / 3, 1.0], [1000.0], [512.3489172],
        # Two of few digits, on a lattice, or where a task begins; and one value, but for rounding.
        [812.3, 913.7], [1 / 3, 1 / 7], [0.0, 512.3489172], [-21.0, 512.3489172], [0.0, 1.0, 1.0 + 1e-13],
    ],
)  # fmt: skip
def test_what_hardly_varies_is_saturated_and_counts(curve: list[float]) -> None:
    own = found(curve, curve, curve)
    assert own.repeated == ()
    assert [s.seeds for s in own.saturated] == [(0, 1, 2)]


@pytest.mark.parametrize(
    ("own", "official", "alone"),
    [
        ([[90.6, 91.4, 89.1]] * 3, [[90.1, 90.2, 90.9], [90.5, 91.0, 90.0]], True),
        # Two official runs are equal too, only some of ours are, two values, one official run.
        ([[90.6, 91.4, 89.1]] * 3, [[90.1, 90.2, 90.9]] * 2, False),
        ([[90.6, 91.4, 89.1]] * 2 + [[90.6, 91.4, 89.2]], [[90.1, 90.2, 90.9], [90.5, 91.0, 90.0]], False),
        ([[9.4, 500.0, 500.0]] * 3, [[9.4, 499.0, 500.0], [9.4, 500.0, 498.0]], False),
        ([[90.6, 91.4, 89.1]] * 3, [[90.1, 90.2, 90.9]], False),
        # One number of many digits, in all runs or in three of them; of few digits it may be a bound.
        ([[100.68979884194]] * 3, [[100.158400156], [99.84221134]], True),
        ([[100.68979884194]] * 3 + [[100.3344556677]], [[100.158400156], [99.84221134]], True),
        ([[100.68979884194]] * 2 + [[100.3344556677]], [[100.158400156], [99.84221134]], False),
        ([[1000.0]] * 3, [[999.8221134], [1000.0]], False),
    ],
)
def test_a_side_that_never_varies_beside_one_that_does_stands_alone(
    own: list[list[float]], official: list[list[float]], alone: bool
) -> None:
    results = {
        (system, "t", seed): Result(tuple(CurvePoint(100 * i, v) for i, v in enumerate(curve)), {})
        for system, curves in (("worldflux", own), ("official", official))
        for seed, curve in enumerate(curves)
    }
    repeats = find_repeats(suite_of(["t"]), results, list(results))
    assert repeats.repeated == ()
    assert [s.seeds for s in repeats.alone] == [(0, 1, 2)] * alone


def test_what_is_judged_and_differs_makes_two_runs() -> None:
    """What is not judged, a speed for one, does not."""
    assert found(NOISE, NOISE, loss=[1.0, 1.1]).repeated == ()
    assert len(found(NOISE, NOISE, speed=[1.0, 1.1]).repeated) == 1


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([1e-12, 1e-11]))
def test_the_noise_of_a_device_makes_no_other_run(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    curve = rng.normal(100, 30, 12)
    runs = [list(curve * (1 + noise * rng.normal(0, 1, curve.size))) for _ in range(4)]
    assert [r.detail for r in found(*runs).repeated] == [ONE_RUN.format(12)] * 3
    near = [list(curve * (1 + 1e-7 * rng.normal(0, 1, curve.size))) for _ in range(4)]
    assert found(*near).repeated == ()


def test_a_sum_that_is_nearly_nothing_is_compared_by_the_scale_of_its_curve() -> None:
    assert len(found([*NOISE, 0.0], [*NOISE, 3e-13]).repeated) == 1
    assert found([*NOISE, 0.0], [*NOISE, 3e-7]).repeated == ()


def test_what_stands_beyond_the_budget_makes_no_other_run() -> None:
    own = suite_of(["t"])
    own = replace(own, tasks=(replace(own.tasks[0], budget=Budget(200, 0.1)),))
    curves = [[*NOISE, 0.5 + seed] for seed in range(4)]
    results = {
        ("worldflux", "t", seed): Result(tuple(CurvePoint(100 * i, v) for i, v in enumerate(curve)))
        for seed, curve in enumerate(curves)
    }
    assert [r.seed for r in find_repeats(own, results, list(results)).repeated] == [1, 2, 3]
    assert found(*curves).repeated == ()
    # What is at no budget is not judged, and compared as it is.
    late = replace(own, tasks=(replace(own.tasks[0], budget=Budget(9000)),))
    assert find_repeats(late, results, list(results)).repeated == ()


@pytest.mark.parametrize("more", [[], [99.98123456789], [51.00987654321, 99.98123456789]])
def test_two_numbers_of_full_precision_are_enough(more: list[float]) -> None:
    curve = [51.00987654321, 99.98123456789, *more]
    own, text = found(curve, curve, curve), ONE_RUN.format(2)
    assert [(r.seed, r.detail) for r in own.repeated] == [(1, text), (2, text)]
    assert own.saturated == ()
    near = [998.123456789, 999.765432123]
    assert len(found(near, near).repeated) == 1


# --- published scores ---


@needs_oracles
def test_published_tables_raise_nothing() -> None:
    """Five official Freeway seeds are 48 zeros each; six Meta-World tasks have two equal curves."""
    tables = dict(published(ORACLES))
    assert len(tables) == 4
    rows = list(pairs_of(tables))
    assert {pair for pair, *_ in rows} == {
        "dreamerv3/scores/atari100k-dreamerv3.json.gz ~ dreamerv3/scores/atari100k-ppo_fixhp.json.gz",
        "tdmpc2/results/tdmpc ~ tdmpc2/results/tdmpc2",
    }
    assert [f.line() for *_, own in rows for f in own] == []
    equal = {name.rpartition("/")[2]: repeats_of(table) for name, table in tables.items()}
    assert [name for name, own in equal.items() if own.repeated] == []
    [freeway] = equal["atari100k-dreamerv3.json.gz"].saturated
    assert (freeway.task_id.split()[0], len(freeway.seeds)) == ("atari_freeway", 5)
    assert len(equal["tdmpc2"].saturated) == 6


@needs_oracles
def test_the_published_atari_table_is_sorted() -> None:
    table = dict(published(ORACLES))["dreamerv3/scores/atari100k-dreamerv3.json.gz"]
    values = {
        ("official", RETURN, task): {s: Value(table.curve(task, s)[-1].value) for s in table.seeds(task)}
        for task in table.tasks()
    }
    [told] = sorted_sides(suite_of(table.tasks()), Observed(values))
    assert "in all 26 tasks" in told
