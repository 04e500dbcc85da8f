"""The comparison of how weights begin: what it lets pass by chance, what it sees, and its numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_worldflux_parity.inputs.golden_data import Component, Golden, Match, Perturbation
from pytest_worldflux_parity.judgement.gates.components import ComponentResult, MatchResult, compare
from pytest_worldflux_parity.judgement.gates.initialisation import LEVEL, measure_distributions

DRAWS = 64
Parameters = dict[str, np.ndarray]
Initialise = Callable[[np.random.Generator], Parameters]


def truncated(rng: np.random.Generator, deviation: float, *shape: int) -> np.ndarray:
    """A normal that is cut off at two deviations, as both official programs draw it."""
    size = int(np.prod(shape))
    drawn = rng.standard_normal(2 * size + 40)
    return drawn[np.abs(drawn) < 2][:size].reshape(shape) * deviation


def faithful(rng: np.random.Generator) -> Parameters:
    """Two layers, a norm, a zeroed output and an ensemble of two."""
    return {
        "one.weight": truncated(rng, 0.02, 32, 16),
        "one.bias": np.zeros(32),
        "norm.gain": np.ones(32),
        "out.weight": np.zeros((4, 32)),
        "small": rng.normal(size=(1,)),
        "q[0]": truncated(rng, 0.02, 16, 8),
        "q[1]": truncated(rng, 0.02, 16, 8),
    }


def rows(initialise: Initialise, seed: int, draws: int = DRAWS) -> Parameters:
    """The statistics of many initialisations, as a golden holds them."""
    rng = np.random.default_rng(seed)
    found = [initialise(rng) for _ in range(draws)]
    return {
        name: np.array([[x[name].mean(), x[name].std(), np.abs(x[name]).mean()] for x in found])
        for name in found[0]
    }


def change(name: str, how: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Initialise:
    """The faithful initialisation with one parameter otherwise."""
    return lambda rng: {k: how(rng, v) if k == name else v for k, v in faithful(rng).items()}


MISTAKES: dict[str, tuple[str, Initialise]] = {
    "library_default": (
        "one.weight",
        change("one.weight", lambda rng, x: rng.uniform(-0.25, 0.25, x.shape)),
    ),
    "not_truncated": ("one.weight", change("one.weight", lambda rng, x: rng.normal(0, 0.0176, x.shape))),
    "uniform": (
        "one.weight",
        change("one.weight", lambda rng, x: rng.uniform(-0.03046, 0.03046, x.shape)),
    ),
    "scale": ("q[0]", change("q[0]", lambda rng, x: x * 1.2)),
    "fan": ("one.weight", change("one.weight", lambda rng, x: x * np.sqrt(2))),
    "bias": ("one.bias", change("one.bias", lambda rng, x: rng.uniform(-0.1, 0.1, x.shape))),
    "gain": ("norm.gain", change("norm.gain", lambda rng, x: x * 1.0001)),
    "zeroed": ("out.weight", change("out.weight", lambda rng, x: rng.normal(0, 1e-6, x.shape))),
    "not_random": ("one.weight", change("one.weight", lambda rng, x: np.zeros(x.shape))),
    "members": ("q[1]", lambda rng: {**(x := faithful(rng)), "q[1]": x["q[0]"]}),
    "seed": ("one.weight", lambda rng: faithful(np.random.default_rng(5))),
}


def judge(official: Parameters, ours: Parameters, perturbed: Parameters) -> MatchResult:
    """The whole judgement of one component of this rule."""
    golden = Golden(
        folder="/golden", family="fake", source={"repo": "r", "commit": "0" * 40},
        components=(
            Component("initialisation", "initialisation", tuple(official), 1.0, rule="distribution"),
        ),
        parameters={"w": (2,)}, outputs={f"initialisation/{k}": v for k, v in official.items()},
        manifest_sha256="0" * 64, arrays_sha256="1" * 64,
    )  # fmt: skip
    match = Match(
        mapping={"w": "w"}, parameters={"w": (2,)},
        perturbations=(Perturbation("p", "initialisation", "weight", "a mistake"),),
        outputs={f"initialisation/{k}": v for k, v in ours.items()},
        perturbed={f"p/initialisation/{k}": v for k, v in perturbed.items()},
        packages={}, tree_sha256="2" * 64,
    )  # fmt: skip
    return compare(golden, match)


def component(result: MatchResult) -> ComponentResult:
    return result.components[0]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_mismatch_that_names_its_parameter_and_is_caught_as_a_planted_one(name: str) -> None:
    parameter, mistaken = MISTAKES[name]
    official, ours, wrong = rows(faithful, 1), rows(faithful, 2), rows(mistaken, 3)
    result = component(judge(official, wrong, wrong))
    assert not result.passed
    beyond = [d.output for d in result.differences if d.badness > 1]
    assert beyond[0] == parameter
    assert name == "seed" or len(beyond) == 1, beyond
    assert result.worst.text(1.0).startswith(f"output {result.worst.output}: ")
    right = judge(official, ours, wrong)
    assert component(right).passed
    assert [p.caught for p in right.perturbations] == [True]
    # Where ours is wrong by itself, a planted mistake in the same place shows nothing.
    assert [p.caught for p in judge(official, wrong, wrong).perturbations] == [False]


@pytest.mark.parametrize(
    ("times", "most"), [(150, 2), pytest.param(5000, 10, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_what_begins_the_same_way_is_seldom_told_apart(times: int, most: int) -> None:
    """At most 2 in 1,000 components, whatever they hold; the seeds are fixed."""
    alarms = 0
    for seed in range(times):
        official, ours = rows(faithful, 2 * seed + 100), rows(faithful, 2 * seed + 101)
        alarms += any(d.badness > 1 for d in measure_distributions(official, ours))
    assert alarms <= most


def test_the_statistic_is_students_and_the_level_that_of_bonferroni() -> None:
    official, ours = rows(faithful, 1), rows(faithful, 2)
    found = {d.output: d for d in measure_distributions(official, ours)}
    one, other = official["q[0]"], ours["q[0]"]
    columns = [
        (one[:, 0], other[:, 0]),
        (np.log(one[:, 1]), np.log(other[:, 1])),
        (np.log(one[:, 2] / one[:, 1]), np.log(other[:, 2] / other[:, 1])),
    ]
    t = max(abs(stats.ttest_ind(a, b).statistic) for a, b in columns)
    # Three tests of each of three parameters, and the mean of the one of a single element.
    critical = stats.t.ppf(1 - LEVEL / (2 * 10), 2 * DRAWS - 2)
    assert found["q[0]"].relative == pytest.approx(t / critical, rel=1e-9)


def test_copies_must_be_where_they_officially_are() -> None:
    def copied(rng: np.random.Generator) -> Parameters:
        found = faithful(rng)
        return {**found, "target": found["q[0]"]}

    def apart(rng: np.random.Generator) -> Parameters:
        return {**faithful(rng), "target": truncated(rng, 0.02, 16, 8)}

    official = rows(copied, 1)
    assert all(d.badness <= 1 for d in measure_distributions(official, rows(copied, 2)))
    beyond = [d for d in measure_distributions(official, rows(apart, 2)) if d.badness > 1]
    assert [(d.output, d.what) for d in beyond] == [
        ("target", "officially it begins as a copy of q[0], ours does not")
    ]


@settings(max_examples=80, deadline=None)
@given(
    ours=st.one_of(
        st.none(),
        st.tuples(st.integers(0, 3), st.integers(1, 4)).map(np.zeros),
        st.lists(
            st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 3), min_size=DRAWS, max_size=DRAWS
        ).map(np.array),
    )
)
def test_no_numbers_are_taken_for_a_faithful_initialisation(ours: np.ndarray | None) -> None:
    """Whatever a program leaves is a finite difference or says what is wrong, and is not within."""
    official = {"q[0]": rows(faithful, 1)["q[0]"]}
    (found,) = measure_distributions(official, {} if ours is None else {"q[0]": ours})
    assert found.problem or (found.relative is not None and np.isfinite(found.relative))
    assert found.badness > 1
