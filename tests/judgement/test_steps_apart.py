"""At which steps the two sides are compared, and how far apart these are."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.judgement.gates.coverage import (
    apart_findings,
    apart_warnings,
    describe_tolerated,
    share_apart,
    steps_apart,
)
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.suite.suite import SYSTEMS, BackendSide, Budget, Metric, Suite, Task

Steps = Mapping[str, tuple[list[int], list[int]]]
# Up n Down at 400,000 frames, as DreamerV3 and PPO are published: the furthest apart of 26 games.
UP_N_DOWN = {
    "up_n_down": (
        [389112, 326392, 346128, 392736, 359552],
        [399324, 399820, 397580, 399648, 399568],
    )
}


def seen(steps: Steps, budget: Budget | None) -> tuple[Suite, Observed]:
    suite = Suite(
        suite_id="s",
        family="fake",
        track="quick",
        tasks=tuple(Task(name, budget=budget) for name in steps),
        seeds=dict.fromkeys(SYSTEMS, (0, 1, 2)),
        sides={s: BackendSide(s) for s in SYSTEMS},
        metrics=(Metric("loss", "equivalence", 0.1), Metric("episode_return", "calibrated", 0.05)),
    )
    values = {
        (system, "episode_return", task): {seed: Value(1.0, step) for seed, step in enumerate(side)}
        for task, sides in steps.items()
        for system, side in zip(SYSTEMS, sides, strict=True)
    }
    losses = {(s, "loss", task): {0: Value(0.5)} for s in SYSTEMS for task in steps}
    return suite, Observed({**values, **losses})


@pytest.mark.parametrize("budget", [None, Budget(400_000, 0.2)])
def test_published_curves_are_no_finding(budget: Budget | None) -> None:
    suite, observed = seen(UP_N_DOWN, budget)
    assert list(apart_findings(suite, observed)) == []
    assert max(g.share for g in steps_apart(suite, observed)) == pytest.approx(0.18365, abs=1e-5)
    # Where a suite asks for no budget, latest with latest is told of more strictly.
    assert len(list(apart_warnings(steps_apart(suite, observed)))) == (budget is None)


def test_a_side_that_trained_longer_is_a_finding_with_both_steps() -> None:
    suite, observed = seen({"a": ([1000, 1000], [1200, 1200]), "b": ([800, 1000], [1300, 1000])}, None)
    assert share_apart(1000, 1200) < 0.2 < share_apart(900, 1150)
    mean, pair = apart_findings(suite, observed)
    assert (mean.code, mean.task_id, mean.seed) == ("steps_apart", "b", None)
    assert mean.detail == "official at 900 frames on average, worldflux at 1150: more than 20% apart"
    assert (pair.code, pair.task_id, pair.seed) == ("steps_apart", "b", 0)


def test_one_pair_that_is_far_apart_is_a_finding_though_the_means_are_not() -> None:
    suite, observed = seen({"a": ([1000] * 12, [1000] * 11 + [1400])}, None)
    (pair,) = apart_findings(suite, observed)
    assert (pair.code, pair.task_id, pair.seed) == ("steps_apart", "a", 11)
    assert pair.detail == "a seed 11: official at 1000 frames, worldflux at 1400: more than 25% apart"


def test_steps_are_taken_from_the_metric_that_has_them() -> None:
    """A scalar, though it is the primary metric, stands at no step."""
    (gap,) = steps_apart(*seen({"a": ([900], [1000])}, Budget(1000, 0.1)))
    assert (gap.official, gap.worldflux, gap.share) == (900, 1000, 0.1)


def test_the_tolerance_is_told_only_where_it_acted() -> None:
    exact = {"a": ([1000, 1000], [1000, 1000])}
    assert describe_tolerated(*seen(exact, Budget(1000, 0.2))) == ""
    assert describe_tolerated(*seen({"a": ([1, 2], [3, 4])}, None)) == ""
    early = {"a": ([1000, 1000], [1000, 1000]), "b": ([1000, 990], [1000, 850])}
    assert describe_tolerated(*seen(early, Budget(1000, 0.2))) == (
        "2 of 8 results stand before or after their budget, within its tolerance; furthest worldflux b "
        "seed 1, at 850 of 1000 frames (tolerance 20%)"
    )


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_share_is_of_the_later_step(one: int, other: int) -> None:
    share = share_apart(one, other)
    assert share == share_apart(other, one)
    assert 0 <= share <= 1
    assert (share == 0) == (one == other)


@given(st.lists(st.integers(800, 1200), min_size=1, max_size=6))
def test_within_a_claims_tolerance_nothing_but_a_longer_training_is_a_finding(steps: list[int]) -> None:
    """Whatever the ends of curves are, the same ends on both sides are the same training."""
    suite, observed = seen({"a": (steps, sorted(steps))}, Budget(1000, 0.05))
    assert not any(f.seed is None for f in apart_findings(suite, observed))
