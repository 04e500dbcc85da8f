"""The committed golden of DreamerV3, and each planted mistake in the component that shows it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("dm_control", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("ale_py", reason="the extra `dreamerv3` is not installed")

from backends.worldflux_dreamerv3 import (
    heads,
    layers,
    losses,
    model,
    networks,
    normalise,
    optimiser,
    rssm,
)
from backends.worldflux_dreamerv3.agent import Agent
from backends.worldflux_dreamerv3.match.components import environment_atari, find_group, make_spaces
from backends.worldflux_dreamerv3.match.parameters import to_our_name
from backends.worldflux_dreamerv3.match.perturbations import Session
from backends.worldflux_dreamerv3.recipe import SIZES, parse_recipe
from pytest_worldflux_parity.inputs import golden as plugin_golden
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.wire import MatchError
from pytest_worldflux_parity.wire import match as wire_match
from tests.components.match_runs import DREAMERV3, ROOT
from tests.dreamerv3 import matches, mistakes

COUNTS = json.loads((DREAMERV3.golden.parent / "parameter_counts.json").read_text())


def test_parameters_are_counted_at_a_locked_version() -> None:
    """Versions differ in an environment of games alone, so one count is of all."""
    locked = read_lock(ROOT / "reports/parity/upstream_lock.json").programs["dreamerv3"]
    assert COUNTS["source"]["commit"] == locked.versions["2025-09"].commit


@pytest.mark.parametrize("version", ["2025-09", "2026-05"])
def test_each_versions_games_begin_as_officially_and_not_as_the_others(version: str) -> None:
    folder = DREAMERV3.golden_of(version)
    given = wire_match.read_golden(folder, "dreamerv3", "")
    official = plugin_golden.read_golden(folder).outputs["environment_atari/blocks"]
    own = given.arrays.below("inputs/environment_atari/")
    same, other = (
        np.abs(environment_atari(given, own, other_reset=other)["blocks"] - official).max()
        for other in (False, True)
    )
    assert same == 0
    assert other > 1


def test_the_golden_sees_both_sides_of_what_has_two() -> None:
    """Free nats, adaptive clipping, resets, ends and limits are each active in some entries only."""
    with np.load(DREAMERV3.golden / "arrays.npz") as arrays:
        free = arrays["outputs/vector_loss_dyn/loss"] > 1.0
        consec = arrays["inputs/shared/vector/data/consec"][:, 0] == 0
        first = arrays["inputs/shared/vector/obs/is_first"]
        clipped = [
            np.linalg.norm(arrays[f"inputs/vector_optimiser_step/{name}"])
            > 0.3 * max(1e-3, np.linalg.norm(arrays[f"weights/vector/{name}"]))
            for name in ("dyn/dyngru/bias", "dyn/dyngru/kernel", "enc/mlp0/bias", "enc/mlp0/kernel")
        ]
        rewards = [arrays[f"weights/vector/{head}/head/logits/kernel"] for head in ("rew", "val", "slowval")]
    for both in (free, consec, first, np.array(clipped)):
        assert 0 < both.mean() < 1
    assert all(np.abs(kernel).min() > 0 for kernel in rewards)


def test_no_tolerance_is_wide() -> None:
    golden = plugin_golden.read_golden(DREAMERV3.golden)
    assert all(c.tolerance == (1e-4 if c.stage == "gradient" else 1e-5) for c in golden.components)


# Planted mistakes, each in the component where it is.

SEEN_IN = {
    "wrong_lambda": "lambda_return",
    "no_unimix": "vector_divergences",
    "free_nats_off": "vector_divergences",
    "missing_stop_gradient": "vector_divergence_gradients",
    "two_hot_bins_shifted": "vector_replay_loss",
    "return_normalisation_off": "return_normalisation",
    "continue_discounts_twice": "vector_imagination_loss",
    "no_agc": "vector_optimiser_step",
    "no_warmup": "vector_optimiser_step",
    "no_momentum": "vector_optimiser_step",
    "replay_context_dropped": "vector_replay_context",
    "entropy_sign": "vector_imagination_loss",
    "slow_value_copied": "vector_slow_value_update",
    "slow_value_bootstraps": "vector_imagination_loss",
    "gru_update_bias": "vector_core",
    "blocks_interleaved": "vector_core",
    "mean_not_squashed": "vector_policy",
    "resets_ignored": "vector_observe",
    "no_symlog": "vector_encoder",
    "norm_eps_wrong": "vector_prior",
}
PLACES = (heads, layers, losses, model, networks, normalise, optimiser, rssm, Agent)


@pytest.fixture(scope="module")
def session() -> Session:
    return matches.session()


@pytest.fixture
def _restored() -> Iterator[None]:
    before = [dict(vars(place)) for place in PLACES]
    yield
    for place, names in zip(PLACES, before, strict=True):
        for name, value in names.items():
            if vars(place).get(name) is not value:
                setattr(place, name, value)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("name", mistakes.MISTAKES)
def test_a_planted_mistake_is_seen_where_it_is(name: str, session: Session) -> None:
    """That the component agrees without it, the whole match says."""
    mistakes.plant(name)
    component = SEEN_IN[name]
    assert matches.diverging({component: matches.computed(session, component)}) == [component]


def test_the_launcher_names_the_mistakes_there_are() -> None:
    launcher = Path(mistakes.__file__).with_name("mistaken_backend.py")
    command = [sys.executable, str(launcher), "no_such", "request.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "one of: wrong_lambda, " in done.stderr
    assert set(SEEN_IN) == set(mistakes.MISTAKES)


# What it has not.


def test_a_component_that_we_have_not_is_named() -> None:
    with pytest.raises(MatchError, match="'planner'; ours: "):
        find_group("planner")


def test_a_parameter_that_we_have_not_is_named() -> None:
    with pytest.raises(MatchError, match="'dyn/planner/kernel'"):
        to_our_name("dyn/planner/kernel")


# Full sizes.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("config", COUNTS["configs"])
def test_parameter_counts_equal_the_official_programs(config: str, size: str) -> None:
    told = COUNTS["configs"][config]
    recipe = parse_recipe({"config": config, "size": size}, told["task"])
    spaces = (make_spaces(told[key]) for key in ("obs_space", "act_space"))
    shapes = {name: p.shape for name, p in model.parameters(model.Model(recipe, *spaces)).items()}
    names = {"enc": "encoder", "dyn": "dynamics", "dec": "decoder", "rew": "reward", "con": "continue"}
    names |= {"pol": "policy", "val": "value"}
    modules = {
        official: sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(f"{ours}/"))
        for official, ours in names.items()
    }
    assert modules == told["sizes"][size]["modules"]
    assert sum(math.prod(shape) for shape in shapes.values()) == told["sizes"][size]["total"]


def test_every_size_is_counted_and_they_differ() -> None:
    totals = [size["total"] for config in COUNTS["configs"].values() for size in config["sizes"].values()]
    assert [list(config["sizes"]) for config in COUNTS["configs"].values()] == [list(SIZES)] * 3
    assert len(set(totals)) == 21
