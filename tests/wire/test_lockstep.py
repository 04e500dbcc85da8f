"""What is kept of consecutive updates, and how far two programs may be apart in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.wire.initialisation import split_members, summarise_initialisations
from pytest_worldflux_parity.wire.lockstep import (
    UPDATES,
    Trace,
    concatenate_groups,
    group_by_prefix,
    measure_tolerances,
)

WEIGHT = np.arange(6.0).reshape(2, 3)


def outputs(updates: int, weight: np.ndarray = WEIGHT) -> dict[str, np.ndarray]:
    """Of as many updates, whose loss is their number."""
    trace = Trace(("parameters",))
    for number in range(1, updates + 1):
        trace.add({"loss": number}, {"encoder": {"w": weight + number}, "parameters": {"w": weight + number}})
    return trace.outputs()


@settings(max_examples=20, deadline=None)
@given(updates=st.integers(1, UPDATES))
def test_every_update_is_kept_once_and_in_order(updates: int) -> None:
    found = outputs(updates)
    losses = np.concatenate([x for name, x in found.items() if name.endswith("/loss")])
    # A block that has not ended is left out.
    assert losses.tolist() == list(range(1, len(losses) + 1))
    assert len(losses) <= updates
    assert len(losses) == updates or updates < UPDATES
    ends = [int(name.partition("/")[0][-3:]) for name in found]
    assert ends == sorted(ends)
    projections = [x for name, x in found.items() if name.endswith("/projection/encoder")]
    assert sum(len(x) for x in projections) == len(losses)


def test_numbers_are_whole_after_powers_of_two() -> None:
    found = outputs(UPDATES)
    whole = {name: x for name, x in found.items() if "/parameters/" in name}
    assert [name[:3] for name in whole] == ["001", "002", "004", "008", "016", "032", "064"]
    assert np.array_equal(whole["016/parameters/w"], WEIGHT + 16)
    assert list(found)[:3] == ["001/loss", "001/projection/encoder", "001/parameters/w"]


def test_what_is_kept_does_not_follow_the_weights_that_move_on() -> None:
    weight, trace = WEIGHT.copy(), Trace(("parameters",))
    trace.add({}, {"parameters": {"w": weight}})
    weight += 1
    trace.add({"loss": 0.0}, {"parameters": {"w": weight}})
    assert not np.array_equal(trace._kept[1]["parameters/w"], trace._kept[2]["parameters/w"])


@pytest.mark.parametrize("other", [WEIGHT[::-1], WEIGHT * 1.001, WEIGHT.T.reshape(2, 3), -WEIGHT])
def test_a_projection_shows_what_norms_do_not(other: np.ndarray) -> None:
    ours, theirs = (outputs(1, w - 1)["001/projection/encoder"] for w in (other, WEIGHT))
    assert theirs[0, 0] == pytest.approx(np.sqrt(55))
    assert abs(ours - theirs).max() / abs(theirs).max() > 1e-4


def test_groups_are_sorted_and_called_as_their_prefix() -> None:
    named = {"_pi.1": np.ones(2), "_Qs.b": np.zeros(1), "_Qs.a": np.full((1, 1), 2.0)}
    groups = group_by_prefix(named, ("_Qs.", "_pi.", "scale."))
    assert {group: list(tensors) for group, tensors in groups.items()} == {
        "Qs": ["_Qs.a", "_Qs.b"],
        "pi": ["_pi.1"],
    }
    assert concatenate_groups(groups)["Qs"].tolist() == [2.0, 0.0]


def test_a_tolerance_is_ten_times_the_worst_replay_and_never_less_than_a_millionth() -> None:
    golden = {"loss": np.array([2.0, -4.0]), "w": np.ones(3)}
    near = {"loss": np.array([2.0, -4.0 + 4e-6]), "w": np.ones(3)}
    far = {"loss": np.array([2.0 - 12e-6, -4.0]), "w": np.ones(3) + 1e-9}
    assert measure_tolerances(golden, [near, far]) == pytest.approx({"loss": 3e-5, "w": 1e-6})


def test_statistics_of_initialisations_are_those_of_each_member_in_float64() -> None:
    drawn = [{"q": np.stack([np.full(10, 1e8 + n), np.array([3.0, -1] * 5)]).astype("f4"), "b": np.zeros(2)}
             for n in (0, 64)]  # fmt: skip
    found = summarise_initialisations([split_members(one, ("q",)) for one in drawn])
    assert list(found) == ["q[0]", "q[1]", "b"]
    assert found["q[0]"].tolist() == [[1e8, 0, 1e8], [1e8 + 64, 0, 1e8 + 64]]
    assert found["q[1]"].tolist() == [[1.0, 2.0, 2.0]] * 2
    assert found["b"].tolist() == [[0.0, 0.0, 0.0]] * 2
