"""From a curve to the numbers that are compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StatisticsError
from pytest_worldflux_parity.inputs.scores.curves import auc_return, final_return_mean, point_near
from pytest_worldflux_parity.wire import CurvePoint

untimed = settings(deadline=None, max_examples=60)

curves = st.lists(
    st.tuples(st.integers(0, 10**7), st.floats(-1e6, 1e6)), min_size=1, max_size=20, unique_by=lambda p: p[0]
).map(lambda points: [CurvePoint(*p) for p in sorted(points)])


def curve(*points: tuple[int, float]) -> list[CurvePoint]:
    return [CurvePoint(step, value) for step, value in points]


RISING = curve((0, 0.0), (100, 10.0), (200, 30.0), (400, 50.0))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 50.0),
        ({"eval_window": 2}, 40.0),
        ({"eval_window": 99}, 22.5),
        ({"eval_window": {"frames": 100}}, 50.0),
        ({"eval_window": {"frames": 200}}, 40.0),
        ({"eval_window": {"frames": 10**9}}, 22.5),
    ],
)
def test_final_return_is_the_mean_of_the_last_window(options: Any, expected: float) -> None:
    assert final_return_mean(RISING, **options) == expected


def test_auc_is_the_trapezoid_over_its_span() -> None:
    assert auc_return(RISING) == pytest.approx((5 * 100 + 20 * 100 + 40 * 200) / 400)
    assert auc_return(curve((700, 3.5))) == 3.5


def test_the_point_near_a_step_is_the_nearest_within_the_tolerance() -> None:
    assert point_near(RISING, 200, 0.0) == RISING[2]
    assert point_near(RISING, 220, 0.1) == RISING[2]
    assert point_near(RISING, 150, 0.5) == RISING[1]
    assert point_near(RISING, 220, 0.05) is None
    assert point_near([], 220, 0.5) is None


@pytest.mark.parametrize("number", [final_return_mean, auc_return])
def test_an_empty_or_unordered_curve_has_no_number(number: Any) -> None:
    with pytest.raises(StatisticsError, match="empty curve"):
        number([])
    with pytest.raises(StatisticsError, match="rising order"):
        number(curve((100, 1.0), (0, 2.0)))


@pytest.mark.parametrize("size", [0, -1, {"frames": 0}])
def test_a_window_of_nothing_is_none(size: Any) -> None:
    with pytest.raises(StatisticsError, match="eval_window"):
        final_return_mean(RISING, eval_window=size)


@untimed
@given(curves)
def test_numbers_lie_between_the_extremes_of_the_curve(points: list[CurvePoint]) -> None:
    low, high = min(p.value for p in points), max(p.value for p in points)
    slack = 1e-9 * (1 + abs(low) + abs(high))
    for number in (auc_return(points), final_return_mean(points, eval_window=3)):
        assert low - slack <= number <= high + slack


@untimed
@given(curves, st.floats(-100, 100), st.floats(-1e3, 1e3))
def test_numbers_follow_the_unit_of_the_scores(points: list[CurvePoint], factor: float, shift: float) -> None:
    other = [CurvePoint(p.step, factor * p.value + shift) for p in points]
    expected = factor * auc_return(points) + shift
    assert auc_return(other) == pytest.approx(expected, rel=1e-9, abs=1e-4)
