"""What every rule keeps, whatever the scores."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StatisticsError
from pytest_worldflux_parity.judgement.stats.bayes import (
    bayes,
    bayes_seed,
)
from pytest_worldflux_parity.judgement.stats.calibrated import CalibratedResult, TaskScores, calibrated_rule
from pytest_worldflux_parity.judgement.stats.effects import drop_ratio, task_contrast
from pytest_worldflux_parity.judgement.stats.equivalence import equivalence_rule
from pytest_worldflux_parity.judgement.stats.holm import holm
from pytest_worldflux_parity.judgement.stats.noninferiority import bootstrap_means, drop_ratio_rule
from pytest_worldflux_parity.judgement.stats.power import (
    attainable_margin,
    noninferiority_power,
    se_and_df,
    seeds_needed,
    tost_power,
    unpaired_tost_power,
)
from pytest_worldflux_parity.judgement.stats.tost import (
    tost,
)

# No timing limits: the machine may be busy.
untimed = settings(deadline=None, max_examples=60)

any_score = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, -1e-300, 5e-324, 1e50, -1e50, 1000.0]),
)
ordinary = st.floats(50, 1000).map(lambda x: round(x, 3))


def samples(element: st.SearchStrategy[float], least: int = 1) -> st.SearchStrategy[list[float]]:
    return st.lists(element, min_size=least, max_size=6)


@st.composite
def task_lists(
    draw: st.DrawFn, element: st.SearchStrategy[float] = any_score, least: int = 1
) -> list[TaskScores]:
    tasks = []
    for i in range(draw(st.integers(1, 4))):
        u, w = draw(samples(element, least)), draw(samples(element, least))
        first = draw(st.integers(0, 3))
        seeds_w = tuple(range(first, first + len(w)))
        tasks.append(TaskScores(f"t{i}", tuple(u), tuple(w), tuple(range(len(u))), seeds_w))
    return tasks


def calibrated(tasks: list[TaskScores], **options: Any) -> CalibratedResult:
    return calibrated_rule(tasks, resamples=200, rng=np.random.default_rng(0), **options)


def numbers(result: Any) -> list[float]:
    """Every float in a result, however deep."""
    if isinstance(result, float):
        return [result]
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return numbers([getattr(result, f.name) for f in dataclasses.fields(result)])
    if isinstance(result, list | tuple):
        return [number for part in result for number in numbers(part)]
    return []


def shuffled(tasks: list[TaskScores], seed: int) -> list[TaskScores]:
    """The same scores with tasks and seeds in another order."""
    rng = np.random.default_rng(seed)
    mixed = []
    for task in tasks:
        assert task.upstream_seeds is not None
        assert task.worldflux_seeds is not None
        a, b = rng.permutation(len(task.upstream_seeds)), rng.permutation(len(task.worldflux_seeds))
        u, w = np.asarray(task.upstream)[a], np.asarray(task.worldflux)[b]
        seeds = [task.upstream_seeds[i] for i in a], [task.worldflux_seeds[i] for i in b]
        mixed.append(TaskScores(task.task, u, w, *seeds))
    return [mixed[i] for i in rng.permutation(len(mixed))]


def moved(tasks: list[TaskScores], factor: float = 1.0, shift: float = 0.0) -> list[TaskScores]:
    """The worldflux scores times ``factor`` plus ``shift``."""
    return [dataclasses.replace(t, worldflux=np.asarray(t.worldflux) * factor + shift) for t in tasks]


def scaled(tasks: list[TaskScores], factor: float) -> list[TaskScores]:
    return [dataclasses.replace(t, upstream=np.asarray(t.upstream) * factor) for t in moved(tasks, factor)]


@untimed
@given(task_lists(), st.booleans())
def test_calibrated_never_gives_nan_nor_passes_without_data(tasks: list[TaskScores], higher: bool) -> None:
    result = calibrated(tasks, higher_is_better=higher)
    assert all(math.isfinite(x) for x in numbers(result))
    assert result.reason
    if any(min(t.n_upstream, t.n_worldflux) < 2 for t in result.tasks) or result.documented is None:
        assert result.verdict != "pass"


@untimed
@given(task_lists())
def test_equivalence_never_gives_nan_nor_passes_without_data(tasks: list[TaskScores]) -> None:
    result = equivalence_rule(tasks, margin=0.05)
    assert all(math.isfinite(x) for x in numbers(result))
    if any(t.tost.status != "ok" for t in result.tasks):
        assert result.verdict != "pass"


@untimed
@given(task_lists(), st.integers(0, 2**32))
def test_the_order_of_seeds_and_tasks_does_not_matter(tasks: list[TaskScores], seed: int) -> None:
    assert calibrated(shuffled(tasks, seed)) == calibrated(tasks)
    assert equivalence_rule(shuffled(tasks, seed), margin=0.05) == equivalence_rule(tasks, margin=0.05)


@untimed
@given(task_lists(ordinary), st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**40]))
def test_the_unit_of_scores_does_not_matter(tasks: list[TaskScores], unit: float) -> None:
    before, after = calibrated(tasks), calibrated(scaled(tasks, unit), floor=unit)
    assert (before.verdict, before.worse_tasks, before.seeds_needed) == (
        after.verdict,
        after.worse_tasks,
        after.seeds_needed,
    )
    assert before.contrast == pytest.approx(after.contrast)
    assert (
        equivalence_rule(tasks, margin=0.1).verdict
        == equivalence_rule(scaled(tasks, unit), margin=0.1).verdict
    )


def at_level(level: float, seed: int) -> list[TaskScores]:
    """Scores that decide: a candidate at ``level`` times the official mean, both with noise of 1 %."""
    draws = np.random.default_rng(seed).normal(100, 1, (3, 2, 5))
    return [TaskScores(f"t{i}", tuple(u), tuple(level * w)) for i, (u, w) in enumerate(draws)]


@untimed
@given(st.sampled_from([0.5, 0.9, 0.96, 1.0, 1.1]), st.integers(0, 2**32), st.floats(0.3, 1.0))
@example(1.1, 0, 0.5)
@example(0.5, 0, 0.9)
def test_a_worse_candidate_never_turns_fail_into_pass(level: float, seed: int, factor: float) -> None:
    tasks = at_level(level, seed)
    before, after = calibrated(tasks).verdict, calibrated(moved(tasks, factor)).verdict
    assert (before, after) != ("fail", "pass")
    # What is compared are verdicts that were reached, not two that are open.
    assert level not in (0.5, 1.1) or before == {0.5: "fail", 1.1: "pass"}[level]


@untimed
@given(task_lists(ordinary), st.booleans())
def test_lower_is_better_mirrors_the_contrast(tasks: list[TaskScores], higher: bool) -> None:
    one, other = calibrated(tasks, higher_is_better=higher), calibrated(tasks, higher_is_better=not higher)
    assert one.contrast == pytest.approx(-other.contrast)
    if one.lower is not None and other.upper is not None:
        assert one.lower == pytest.approx(-other.upper)


@untimed
@given(st.lists(samples(any_score), min_size=1, max_size=4))
def test_a_copy_never_passes(columns: list[list[float]]) -> None:
    tasks = [TaskScores(f"t{i}", column, list(reversed(column))) for i, column in enumerate(columns)]
    assert calibrated(tasks).identical
    assert calibrated(tasks).verdict != "pass"
    assert equivalence_rule(tasks, margin=0.5).verdict != "pass"


@untimed
@given(samples(any_score), samples(any_score), st.sampled_from(["paired", "pooled", "unpaired"]))
def test_tost_never_gives_nan_and_passes_only_when_ok(u: list[float], w: list[float], design: Any) -> None:
    if design == "paired":
        u, w = u[: len(w)], w[: len(u)]
    for effect in ("log_ratio", "normalized_difference"):
        result = tost(u, w, effect=effect, margin=0.05, design=design)
        assert all(math.isfinite(x) for x in numbers(result))
        assert result.status == "ok" or (not result.pass_raw and result.reason)


@untimed
@given(samples(ordinary, 2), samples(ordinary, 2), st.sampled_from(["pooled", "unpaired"]))
def test_tost_passes_exactly_where_its_interval_is_inside(
    u: list[float], w: list[float], design: Any
) -> None:
    for result in (
        tost(u, w, effect="difference", margin=100, design=design),
        tost(u, w, effect="log_ratio", margin=0.3, design=design),
        tost(u, w, effect="normalized_difference", margin=0.3, design=design),
    ):
        assume(result.status == "ok")
        ends = result.ci_low, result.ci_high
        inside = all(end is not None and result.low < end < result.high for end in ends)
        assert result.p_value is not None
        assume(abs(result.p_value - result.alpha) > 1e-6)
        assert result.pass_raw == inside


@untimed
@given(samples(ordinary, 2), samples(ordinary, 2))
def test_swapping_the_sides_mirrors_the_log_ratio(u: list[float], w: list[float]) -> None:
    one, other = tost(u, w, effect="log_ratio", margin=0.2), tost(w, u, effect="log_ratio", margin=0.2)
    if one.status == "ok":
        assert one.effect == pytest.approx(-other.effect, abs=1e-12)  # type: ignore[operator]
        assert one.ci_low == pytest.approx(-other.ci_high, abs=1e-12)  # type: ignore[operator]


@untimed
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_upward_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert np.all(adjusted >= np.asarray(p))
    assert np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)
    assert holm([p, p])[1] == pytest.approx(adjusted)


def test_a_result_depends_only_on_the_generator_given() -> None:
    values = np.random.default_rng(5).normal(size=40)
    one, same = (bootstrap_means(values, 50, np.random.default_rng(9)) for _ in range(2))
    other = bootstrap_means(values, 50, np.random.default_rng(10))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_bootstrap_in_slices_is_the_bootstrap_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=117)
    whole = bootstrap_means(values, 400, np.random.default_rng(0))
    monkeypatch.setattr("pytest_worldflux_parity.judgement.stats.noninferiority._SLICE", 1000)
    assert np.array_equal(bootstrap_means(values, 400, np.random.default_rng(0)), whole)


def test_drop_ratio_keeps_its_floor_and_its_sign() -> None:
    assert drop_ratio([0.5, -10.0, 100.0], [0.0, -12.0, 90.0]) == pytest.approx([0.5, 0.2, 0.1])
    assert drop_ratio([100.0], [90.0], higher_is_better=False) == pytest.approx([-0.1])
    assert drop_ratio([0.0], [1.0], floor=10.0) == pytest.approx([-0.1])


def test_derivatives_of_the_contrast_are_those_of_its_value() -> None:
    for u, w in [(10.0, 8.0), (-10.0, -30.0), (0.2, 0.6), (3.0, 3.0)]:
        at, h = task_contrast(u, w), 1e-6
        by_u = (task_contrast(u + h, w).value - task_contrast(u - h, w).value) / (2 * h)
        by_w = (task_contrast(u, w + h).value - task_contrast(u, w - h).value) / (2 * h)
        assert float(at.by_upstream) == pytest.approx(float(by_u))
        assert float(at.by_worldflux) == pytest.approx(float(by_w))


def constant_apart(n: int) -> list[TaskScores]:
    return [TaskScores("freeway", [30.0] * n, [0.0] * n)]


def test_scores_without_spread_fail_only_where_order_alone_could_show_it() -> None:
    assert calibrated(constant_apart(2)).verdict == "inconclusive"
    assert calibrated(constant_apart(5)).verdict == "fail"
    assert calibrated([TaskScores("a", [1.0] * 5, [1.0] * 4)]).verdict == "inconclusive"


def test_two_means_of_opposite_sign_are_judged_by_their_noise() -> None:
    """The contrast is 2 there, whatever the means; noise around 0 is no proof of anything."""
    tasks = [TaskScores("pong", [-18.0, 20.0, 15.0, -9.0, 2.0], [18.0, -20.0, -15.0, 9.0, -2.0])]
    result = calibrated(tasks)
    assert result.tasks[0].contrast == pytest.approx(2.0)
    assert result.verdict == "inconclusive"


def test_one_broken_task_fails_a_suite_that_is_fine_on_average() -> None:
    rng = np.random.default_rng(0)
    tasks = [TaskScores(f"t{i}", rng.normal(500, 5, 5), rng.normal(500, 5, 5)) for i in range(30)]
    assert calibrated(tasks).verdict == "pass"
    tasks[7] = dataclasses.replace(tasks[7], worldflux=np.asarray(tasks[7].worldflux) * 0.6)
    result = calibrated(tasks)
    assert result.upper is not None
    assert result.upper <= 0.05
    assert (result.verdict, result.worse_tasks) == ("fail", ("t7",))
    assert "t7" in result.reason


def test_a_table_with_more_seeds_is_used_whole_but_paired_by_seed() -> None:
    rng = np.random.default_rng(0)
    task = TaskScores("a", rng.normal(500, 5, 10), rng.normal(500, 5, 3), range(10), (0, 1, 2))
    result = calibrated([task])
    assert (result.tasks[0].n_upstream, result.tasks[0].n_worldflux) == (10, 3)
    assert result.documented is not None
    assert result.documented.sample_size == 3
    apart = calibrated([dataclasses.replace(task, worldflux_seeds=(20, 21, 22))])
    assert apart.documented is None
    assert apart.verdict == "inconclusive"


def test_inconclusive_says_how_many_seeds_would_do_and_they_do() -> None:
    rng = np.random.default_rng(4)
    tasks = [TaskScores(f"t{i}", rng.normal(500, 80, 4), rng.normal(500, 80, 4)) for i in range(5)]
    result = calibrated(tasks)
    assert result.verdict == "inconclusive"
    needed = result.seeds_needed
    assert needed is not None
    assert f"needs {needed} seeds" in result.reason
    passes = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        more = [TaskScores(t.task, *draw.normal(500, 80, (2, needed))) for t in tasks]
        passes += calibrated(more).verdict == "pass"
    # Power 0.8 of the contrast, planned from an estimated variance.
    assert 60 <= passes <= 97


def test_an_estimate_outside_the_margin_asks_for_no_more_seeds() -> None:
    rng = np.random.default_rng(0)
    tasks = [TaskScores("a", rng.normal(500, 100, 4), rng.normal(400, 100, 4))]
    result = calibrated(tasks)
    assert result.verdict == "inconclusive"
    assert result.seeds_needed is None
    assert "more seeds are not expected" in result.reason


def test_equivalence_fails_on_a_loss_that_became_smaller() -> None:
    rng = np.random.default_rng(0)
    same = [TaskScores(f"t{i}", rng.normal(2, 0.01, 10), rng.normal(2, 0.01, 4)) for i in range(3)]
    assert equivalence_rule(same, margin=0.05).verdict == "pass"
    smaller = equivalence_rule(moved(same, 0.8), margin=0.05)
    assert smaller.verdict == "fail"
    assert smaller.different_tasks == ("t0", "t1", "t2")


def test_equivalence_that_lacks_seeds_says_how_many() -> None:
    rng = np.random.default_rng(1)
    tasks = [TaskScores("a", rng.normal(100, 5, 3), rng.normal(100, 5, 3))]
    result = equivalence_rule(tasks, margin=0.06)
    assert result.verdict == "inconclusive"
    assert result.seeds_needed is not None
    assert result.seeds_needed > 3
    assert f"{result.seeds_needed} seeds" in result.reason


def test_tost_of_what_does_not_exist_is_undefined_and_says_what_to_use() -> None:
    result = tost([-20.0, -21.0], [-20.1, -21.1], effect="log_ratio", margin=0.05)
    assert (result.status, result.effect, result.pass_raw) == ("undefined", None, False)
    assert "normalized_difference" in result.reason
    # Relative to its size, -20 against -20.1 is half a percent: no shift, no effect of -15.
    relative = tost(
        [-20.0, -20.02, -19.98], [-20.1, -20.12, -20.08], effect="normalized_difference", margin=0.05
    )
    assert relative.effect == pytest.approx(-0.005)
    assert relative.pass_raw
    assert tost([1.0, -1.0], [3.0, 4.0], effect="normalized_difference", margin=0.05).status == "undefined"


@untimed
@given(
    scores=st.lists(st.floats(10.0, 1000.0), min_size=2, max_size=6), margin=st.sampled_from([0.05, 0.1, 0.3])
)
@example(scores=[101.3, 99.1, 103.7], margin=0.05)
def test_a_loss_of_just_the_margin_is_within_it(scores: list[float], margin: float) -> None:
    """The drop of each pair is the margin but for rounding; a hair more is above, and is told in digits."""
    u, rng = np.array(scores), np.random.default_rng(0)
    at = drop_ratio_rule(u, (1 - margin) * u, margin=margin, rng=rng)
    assert at.pass_
    assert f"within the margin of {margin:.2%} over " in at.reason
    assert at.reason.endswith(f"-{margin:.2%} to -{margin:.2%}, bound -{margin:.2%}")
    above = drop_ratio_rule(u, (1 - margin - 1e-6) * u, margin=margin, rng=rng)
    assert not above.pass_
    assert not above.reason.startswith("within")
    assert f"-{margin:.2%} to" not in above.reason


@untimed
@given(
    scores=st.lists(st.floats(1.0, 2.0), min_size=2, max_size=20),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 730.0, 1e9]),
    factor=st.sampled_from([0.5, 0.95, 0.97, 1.0, 1.0 + 1 / 3, 1.05]),
)
@example(scores=[1.1, 1.3, 1.7, 1.9, 1.2], scale=100.0, factor=0.97)
def test_scores_without_noise_of_their_own_have_no_t(
    scores: list[float], scale: float, factor: float
) -> None:
    """The official scores times a factor: what a ratio varies by is rounding, whatever their size."""
    u = scale * np.array(scores)
    w = factor * u
    ratio = tost(u, w, effect="log_ratio", margin=0.05, design="paired")
    assert (ratio.status, ratio.pass_raw) == ("degenerate", False)
    assert ratio.estimate_outside is not (0.95 < factor < 1.05) or factor in (0.95, 1.05)
    # At a bound one of the contrasts is rounding alone.
    at_bound = tost(u, 0.95 * u, effect="normalized_difference", margin=0.05, design="paired")
    assert (at_bound.status, at_bound.pass_raw) == ("degenerate", False)
    for effect in ("log_ratio", "normalized_difference"):
        level = tost(np.full(3, u[0]), np.full(4, w[0]), effect=effect, margin=0.05)
        assert (level.status, level.pass_raw) == ("degenerate", False)


def test_a_loss_of_a_ten_thousandth_has_a_t() -> None:
    """Small is not rounding: the scores differ from a constant factor in their ninth digit."""
    u = np.array([101.0, 102.0, 103.0, 104.0])
    w = u * (1 + 1e-9 * np.array([1.0, -1.0, 2.0, -2.0]))
    assert tost(u, w, effect="log_ratio", margin=0.05, design="paired").status == "ok"


def test_tost_of_identical_columns_is_degenerate() -> None:
    paired = tost([3.0, 4.0, 5.0], [3.0, 4.0, 5.0], effect="log_ratio", margin=0.05, design="paired")
    assert (paired.status, paired.pass_raw, paired.identical) == ("degenerate", False, True)
    constant = tost([3.0] * 3, [3.0] * 3, effect="normalized_difference", margin=0.05)
    assert (constant.status, constant.pass_raw) == ("degenerate", False)


@pytest.mark.parametrize("effect", ["log_ratio", "normalized_difference"])
def test_tost_at_the_margin_passes_no_more_often_than_alpha(effect: Any) -> None:
    """With three seeds a side; a normal z in place of t would pass more than twice as often."""
    rng = np.random.default_rng(11)
    draws = rng.normal(1.0, 0.01, (1500, 2, 3))
    passes = sum(tost(u * 100, w * 105, effect=effect, margin=0.05).pass_raw for u, w in draws)
    assert passes / 1500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


def test_bayes_seed_is_one_per_task_and_metric() -> None:
    names = [("a", "bc"), ("ab", "c"), ("a|b", "c"), ("a", "b|c"), ("a", "b")]
    assert len({bayes_seed(*name) for name in names}) == len(names)
    assert bayes_seed("a", "b", base=1) != bayes_seed("a", "b")


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        (("walker-walk", "final_return_mean"), 4550499141624976302),
        (("atari_pong", "auc_return"), 1835795315348937903),
        (("a", "b", 1), 937645925771088342),
        (("höhe", "b"), 15385267401157439818),
    ],
)
def test_bayes_seed_is_that_of_every_published_verdict(name: Any, seed: int) -> None:
    assert bayes_seed(*name) == seed


@pytest.mark.parametrize("paired", [True, False])
def test_bayes_agrees_with_tost_on_clear_cases(paired: bool) -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(500, 5, 10)
    options: dict[str, Any] = {"margin": 0.05, "noninferiority_margin": 0.05, "paired": paired}
    for effect in ("log_ratio", "normalized_difference"):
        same = bayes(u, rng.normal(500, 5, 10), effect=effect, rng=np.random.default_rng(1), **options)
        worse = bayes(u, rng.normal(400, 5, 10), effect=effect, rng=np.random.default_rng(1), **options)
        assert same.pass_all
        assert same.posterior_ci95[0] < same.posterior_ci90[0] < same.posterior_mean < same.posterior_ci90[1]
        assert not worse.pass_equivalence
        assert not worse.pass_noninferiority
    lower = bayes(
        u,
        u * 0.8,
        effect="log_ratio",
        rng=np.random.default_rng(1),
        higher_is_better=False,
        draws=100,
        **options,
    )
    assert lower.pass_noninferiority


def test_bayes_refuses_what_is_undefined() -> None:
    options: dict[str, Any] = {"margin": 0.05, "noninferiority_margin": 0.05, "rng": np.random.default_rng(0)}
    with pytest.raises(StatisticsError, match="not positive"):
        bayes([1.0, 0.0], [1.0, 2.0], effect="log_ratio", **options)
    with pytest.raises(StatisticsError, match="no relative difference"):
        bayes([0.0, 0.0], [1.0, 2.0], effect="normalized_difference", **options)


@pytest.mark.parametrize("bad", [[], [math.nan], [1.0, math.inf], [1e200], [[1.0]], ["x"], [10**400]])
def test_bad_samples_are_refused(bad: Any) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(StatisticsError):
        drop_ratio_rule(bad, [1.0], rng=rng)
    with pytest.raises(StatisticsError):
        calibrated([TaskScores("a", [1.0, 2.0], bad)])
    with pytest.raises(StatisticsError):
        equivalence_rule([TaskScores("a", bad, [1.0, 2.0])], margin=0.05)
    with pytest.raises(StatisticsError):
        tost(bad, [1.0, 2.0], effect="difference", margin=1)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"margin": -0.1}, "margin"),
        ({"margin": math.nan}, "margin"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": math.nan}, "confidence"),
        ({"floor": 0.0}, "floor"),
        ({"floor": math.nan}, "floor"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(options: dict[str, float], field: str) -> None:
    with pytest.raises(StatisticsError, match=field):
        calibrated([TaskScores("a", [1.0, 2.0], [1.0, 2.0])], **options)


def test_lists_of_tasks_that_cannot_be_judged_are_refused() -> None:
    twice = [TaskScores("a", [1.0, 2.0], [1.0, 2.0])] * 2
    for tasks in ([], twice, [TaskScores("a", [1.0, 2.0], [1.0], (0, 0), (0,))]):
        with pytest.raises(StatisticsError):
            calibrated(tasks)
    for tasks in ([], twice):
        with pytest.raises(StatisticsError):
            equivalence_rule(tasks, margin=0.05)
    with pytest.raises(StatisticsError, match="cannot be paired"):
        drop_ratio_rule([1.0], [1.0, 2.0], rng=np.random.default_rng(0))


@untimed
@given(st.floats(0.001, 0.3), st.floats(0.02, 0.2))
def test_power_grows_with_seeds_and_the_needed_number_is_the_least(sd: float, margin: float) -> None:
    def power(n: int) -> float:
        return unpaired_tost_power(0.0, sd, n, low=-margin, high=margin)

    needed = seeds_needed(power)
    assert needed is not None
    assert power(needed) >= 0.8
    assert needed == 2 or power(needed - 1) < 0.8
    reach = attainable_margin(lambda m: unpaired_tost_power(0.0, sd, needed, low=-m, high=m))
    assert reach is not None
    assert reach <= margin * (1 + 1e-5)


def test_power_where_nothing_varies_or_nothing_suffices() -> None:
    assert tost_power(0.0, 0.0, 3, low=-1, high=1) == 1.0
    assert noninferiority_power(0.1, 0.0, 3, margin=0.05) == 0.0
    assert seeds_needed(lambda n: 0.1, most=100) is None
    assert attainable_margin(lambda m: 0.1) is None
    assert se_and_df([0.0], 3) == (0.0, math.inf)
    with pytest.raises(StatisticsError):
        se_and_df([1.0], 1)
