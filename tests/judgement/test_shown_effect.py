"""What each rule decides on is shown as one effect: ``(worldflux - official) / |official|``, + is higher."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.judgement.stats.calibrated import CalibratedResult, TaskScores, calibrated_rule
from pytest_worldflux_parity.judgement.stats.noninferiority import drop_ratio_rule
from pytest_worldflux_parity.judgement.stats.shown_effect import (
    Ends,
    ShownEffect,
    of_contrast,
    of_drop,
    of_task,
    of_test,
)
from pytest_worldflux_parity.judgement.stats.tost import tost

untimed = settings(deadline=None, max_examples=60)
# Far from a floor of 1, and of one sign.
SCORES = st.lists(st.floats(20.0, 200.0), min_size=2, max_size=6)
SIGNS = st.sampled_from([1.0, -1.0])


def calibrated(
    u: np.ndarray, w: np.ndarray, *, higher: bool, floor: float = 1.0, tasks: int = 1
) -> CalibratedResult:
    scores = [TaskScores(f"t{i}", u, w) for i in range(tasks)]
    rng = np.random.default_rng(0)
    return calibrated_rule(scores, floor=floor, higher_is_better=higher, rng=rng, resamples=50)


def effect_of(result: CalibratedResult, *, higher: bool) -> ShownEffect:
    return of_contrast(vars(result), [vars(t) for t in result.tasks], higher_is_better=higher)


def relative(u: np.ndarray, w: np.ndarray) -> float:
    """The definition, spelt out."""
    return float((w.mean() - u.mean()) / abs(u.mean()))


def around(interval: Ends, value: float) -> bool:
    """Whether a value lies between two ends, but for rounding."""
    low, high = interval
    return (low is None or low <= value + 1e-9) and (high is None or value <= high + 1e-9)


@untimed
@given(u=SCORES, w=SCORES, sign=SIGNS, higher=st.booleans(), tasks=st.integers(1, 3))
def test_every_rule_shows_the_same_number_for_the_same_scores(
    u: list[float], w: list[float], sign: float, higher: bool, tasks: int
) -> None:
    official, worldflux = sign * np.array(u), sign * np.array(w)
    wanted = pytest.approx(relative(official, worldflux), rel=1e-9, abs=1e-12)
    result = calibrated(official, worldflux, higher=higher, tasks=tasks)
    assert effect_of(result, higher=higher).value == wanted
    for task in result.tasks:
        assert of_task(vars(result), vars(task), higher_is_better=higher).value == wanted
    test = tost(official, worldflux, effect="normalized_difference", margin=0.05)
    assert of_test("normalized_difference", test.effect, (None, None), (None, None)).value == wanted
    # Of one pair the mean over pairs is the same, and a ratio of logs that of the scores.
    pair = drop_ratio_rule(official[:1], worldflux[:1], higher_is_better=higher, rng=np.random.default_rng(0))
    one = pytest.approx(relative(official[:1], worldflux[:1]), rel=1e-9, abs=1e-12)
    assert of_drop(vars(pair), higher_is_better=higher).value == one
    if sign > 0:
        same = tost([u[0]] * 2, [w[0]] * 2, effect="log_ratio", margin=0.05)
        assert of_test("log_ratio", same.effect, (None, None), (None, None)).value == one


@untimed
@given(u=SCORES, w=SCORES, sign=SIGNS, higher=st.booleans())
def test_what_is_shown_lies_on_the_side_of_its_bound_on_which_it_was_decided(
    u: list[float], w: list[float], sign: float, higher: bool
) -> None:
    official, worldflux = sign * np.array(u), sign * np.array(w)
    result = calibrated(official, worldflux, higher=higher)
    n = min(len(u), len(w))
    documented = drop_ratio_rule(
        official[:n], worldflux[:n], higher_is_better=higher, rng=np.random.default_rng(0), resamples=50
    )
    assert result.upper is not None
    decided = [
        (effect_of(result, higher=higher), result.upper, result.margin),
        (of_drop(vars(documented), higher_is_better=higher), documented.ci_upper_ratio, 0.05),
    ]
    for shown, upper, margin in decided:
        bound, end = (sides[0 if higher else 1] for sides in (shown.bounds, shown.interval))
        assert bound is not None
        assert shown.bounds[1 if higher else 0] is None
        assert (bound < 0) is higher
        if abs(upper - margin) > 1e-9:
            within = end is not None and (end > bound if higher else end < bound)
            assert within is (upper < margin)
        assert shown.value is None or around(shown.interval, shown.value)


@untimed
@given(u=SCORES, w=SCORES, higher=st.booleans())
def test_a_task_s_interval_is_that_of_the_test_that_finds_it_worse(
    u: list[float], w: list[float], higher: bool
) -> None:
    result = calibrated(np.array(u), np.array(w), higher=higher)
    (task,) = result.tasks
    shown = of_task(vars(result), vars(task), (u, w), higher_is_better=higher)
    bound = shown.bounds[0 if higher else 1]
    better = shown.interval[1 if higher else 0]
    assert bound is not None
    if better is not None and min(np.std(u), np.std(w)) > 0 and abs((task.p_worse or 0) - 0.05) > 1e-6:
        assert (better < bound if higher else better > bound) is task.worse


@pytest.mark.parametrize(
    ("u", "w", "floor", "effect"),
    [
        ([10.0, 12.0], [-11.0, -11.0], 1.0, -2.0),
        ([-10.0, -12.0], [11.0, 11.0], 1.0, 2.0),
        ([0.4, 0.2], [0.1, 0.1], 1.0, -0.2),
        ([0.0, 0.0], [0.5, 0.25], 0.5, 0.75),
    ],
)
def test_opposite_signs_and_the_floor(u: list[float], w: list[float], floor: float, effect: float) -> None:
    """Where the floor holds in place of the official mean, the effect is relative to the floor."""
    for higher in (True, False):
        result = calibrated(np.array(u), np.array(w), higher=higher, floor=floor)
        shown = of_task(vars(result), vars(result.tasks[0]), (u, w), higher_is_better=higher)
        assert shown.value == pytest.approx(effect)
        assert effect_of(result, higher=higher).value == pytest.approx(effect)
        assert around(shown.interval, effect)


def test_digits_tell_an_end_from_the_bound() -> None:
    text = ShownEffect(-0.03, (-0.0500004, -0.01), (-0.05, None)).sentence(0.9)
    assert text == "effect -3.000000%, 90% interval -5.000040% to -1.000000%, bound -5.000000%"
    assert ShownEffect(-0.5, (None, 0.1), (-0.05, 0.05)).sentence(0.9) == (
        "effect -50.00%, 90% interval without an end to +10.00%, bounds -5.00% and +5.00%"
    )
