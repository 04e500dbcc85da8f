"""The floor of a metric: small beside the official scores, or nothing is decided by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.judgement.metric_rules import Ruling, rule_on
from pytest_worldflux_parity.judgement.stats.calibrated import FLOOR_SHARE, TaskScores, rounded_down
from pytest_worldflux_parity.suite.suite import Metric

untimed = settings(deadline=None, max_examples=60)
DECIDED: tuple[str, ...] = ("calibrated", "drop_ratio")


def scores(means: Sequence[float], factor: float = 1.0, seed: int = 0, n: int = 6) -> list[TaskScores]:
    """Tasks with these official means, and a candidate at ``factor`` times them, both with noise of 0.1 %."""
    rng = np.random.default_rng(seed)
    return [
        TaskScores(f"task{i}", mean + noise[0] * abs(mean), factor * mean + noise[1] * abs(mean))
        for i, (mean, noise) in enumerate(zip(means, rng.normal(0, 1e-3, (len(means), 2, n)), strict=True))
    ]


def judged(
    rows: list[TaskScores], rule: str = "calibrated", *, legacy: bool = False, floor: float = 1.0
) -> Ruling:
    return rule_on(Metric("episode_return", rule, 0.05, floor=floor), rows, legacy=legacy)


@pytest.mark.parametrize("rule", DECIDED)
@pytest.mark.parametrize("factor", [0.0, 1.0])
@pytest.mark.parametrize(("floor", "mean"), [(1e6, 100.0), (1e40, 100.0), (1.0, 0.04), (2e-4, -3e-6)])
def test_a_floor_of_the_size_of_the_scores_decides_nothing(
    rule: str, factor: float, floor: float, mean: float
) -> None:
    """A candidate that lost everything and one that is the same are equally undecided."""
    found = judged(scores([mean, mean, mean], factor), rule, floor=floor)
    assert found.verdict == "inconclusive"
    for words in (f"the floor of {floor:g} is above 5%", "median official mean", "write `floor: "):
        assert words in found.reason


@pytest.mark.parametrize("rule", DECIDED)
def test_a_loss_that_shows_even_against_such_a_floor_fails(rule: str) -> None:
    found = judged(scores([19.0, 19.0, 19.0], 0.0), rule, floor=1.0)
    assert found.verdict == "fail"
    assert any(
        w.startswith("the floor of 1 is above 5% of the median official mean of 19") for w in found.warnings
    )
    assert judged(scores([19.0, 19.0, 19.0], 1.0), rule, floor=1.0).verdict == "inconclusive"
    assert judged(scores([20.1, 20.1, 20.1], 1.0), rule, floor=1.0).verdict == "pass"


@pytest.mark.parametrize("rule", DECIDED)
def test_what_the_reason_says_to_write_is_admitted_and_decides(rule: str) -> None:
    reason = judged(scores([0.04, 0.03, 0.05])).reason
    floor = float(reason.partition("`floor: ")[2].partition("`")[0])
    assert 0.001 < floor <= FLOOR_SHARE * 0.0401
    assert judged(scores([0.04, 0.03, 0.05]), rule, floor=floor).verdict == "pass"
    assert judged(scores([0.04, 0.03, 0.05], 0.02), rule, floor=floor).verdict == "fail"


def test_tasks_without_any_score_have_no_floor() -> None:
    zeros = [TaskScores("a", [0.0, 0.0, 0.0], [0.0, 0.1, 0.0])]
    found = judged(zeros, floor=1e-9)
    assert found.verdict == "inconclusive"
    assert "another metric, or tasks that the official side scores in" in found.reason


def test_a_task_below_an_admitted_floor_is_named_and_all_of_them_are() -> None:
    """Freeway, at which the official program scores 0, beside games of thousands."""
    means = [1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 0.0, 0.25, -0.5]
    found = judged(scores(means))
    assert found.verdict == "pass"
    (warning,) = found.warnings
    assert warning.startswith("3 of 8 tasks are judged against the floor of 1, ")
    for name, mean in (("task5", "0"), ("task6", "0.25"), ("task7", "-0.")):
        assert f"{name} (official mean {mean}" in warning
    assert judged(scores(means[:5])).warnings == ()


def test_a_floor_counts_over_the_tasks_and_not_in_each() -> None:
    """The median: half of the tasks may score little."""
    assert judged(scores([1000.0, 1000.0, 0.1])).verdict == "pass"
    assert judged(scores([1000.0, 0.1, 0.1])).verdict == "inconclusive"


@pytest.mark.parametrize("factor", [1.0, 0.02])
def test_an_older_suite_keeps_the_documented_rule_and_is_warned(factor: float) -> None:
    rows = scores([0.04, 0.03, 0.05], factor)
    ours, older = judged(rows, "drop_ratio"), judged(rows, "drop_ratio", legacy=True)
    assert (ours.verdict, older.verdict) == ("inconclusive", "pass")
    assert older.results["drop_ratio"] == ours.results["drop_ratio"]
    assert [w.partition(" of the")[0] for w in older.warnings] == ["the floor of 1 is above 5%"]
    assert ours.warnings == ()
    assert not any("floor" in w for w in judged(scores([40.0], 0.99), "drop_ratio", legacy=True).warnings)


def test_a_copy_is_told_before_the_floor() -> None:
    copy = [TaskScores("a", [0.04, 0.05, 0.06], [0.04, 0.05, 0.06])]
    for rule in DECIDED:
        found = judged(copy, rule)
        assert found.verdict == "inconclusive"
        assert "a copy, not a comparison" in found.reason
        assert any(w.startswith("the floor of 1 is above 5%") for w in found.warnings)


@untimed
@given(
    st.lists(st.floats(0.01, 1e4), min_size=1, max_size=5),
    st.floats(-12, 12),
    st.sampled_from(DECIDED),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_nothing_passes_under_a_floor_that_is_not_small(
    means: list[float], exponent: float, rule: str, factor: float
) -> None:
    floor = 10.0**exponent
    rows = scores(means, factor)
    found = judged(rows, rule, floor=floor)
    official = [abs(float(np.mean(np.asarray(r.upstream)))) for r in rows]
    admitted = floor <= FLOOR_SHARE * float(np.median(official))
    assert admitted or found.verdict != "pass"
    if factor == 1.0:
        assert (found.verdict == "pass") == admitted


@untimed
@given(st.floats(1e-49, 1e40))
def test_what_is_advised_is_two_digits_that_are_admitted(limit: float) -> None:
    text = rounded_down(limit)
    assert 0.89 * limit <= float(text) <= limit
    assert len(text.partition("e")[0].replace(".", "").lstrip("0")) <= 2


def test_no_advice_where_no_floor_is_small_enough() -> None:
    assert rounded_down(0.0) == rounded_down(1e-51) == ""
