"""A recipe is run as it is written, or refused in one line that says what to change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.worldflux_dreamerv3.recipe import (
    LEAVES,
    SHORTHANDS,
    SIZES,
    RecipeError,
    effective_recipe,
    find_model_profile,
    parse_recipe,
    to_canonical_task,
)

DMC, GAME = "dmc_walker_walk", "atari_pong"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"agent.opt.lrr": 1.0}, "did you mean 'agent.opt.lr'?"),
        ({"batch_sizes": 4}, "did you mean 'batch_size'?"),
        ({"agent.opt.lr": "1e-3"}, "valid: a float (YAML reads 1e-3 as text; write 1.0e-3)"),
        ({"agent.opt.lr": float("inf")}, "a finite number"),
        ({"agent.contdisc": "false"}, "recipe.agent.contdisc is 'false'; valid: a bool"),
        ({"agent.contdisc": 1}, "valid: a bool"),
        ({"batch_size": True}, "recipe.batch_size is True; valid: a int"),
        ({"batch_size": 2.5}, "recipe.batch_size is 2.5; valid: a int"),
        ({"batch_size": 0}, "recipe.batch_size is 0; valid: 1 or more"),
        ({"units": 0}, "units is 0; valid: 1 or more"),
        ({"bins": 40}, "bins is 40; valid: an odd number of 3 or more"),
        ({"agent.imag_loss.lam": 1.5}, "valid: 0 to 1"),
        ({"agent.dyn.rssm.unimix": 1.0}, "valid: 0 up to, not including, 1"),
        ({"agent.enc.simple.mults": [2, 0]}, "a list of whole numbers of 1 or more"),
        ({"agent.enc.simple.mults": 4}, "a list of whole numbers of 1 or more"),
        ({"agent.dyn.rssm.act": "swiglu"}, "supported here: silu, gelu"),
        ({"agent.value.output": "mse"}, "supported here: symexp_twohot"),
        ({"agent.policy_dist_disc": "onehot"}, "supported here: categorical"),
        ({"jax.compute_dtype": "float16"}, "supported here: bfloat16, float32"),
        ({"agent.opt.momentum": False}, "which the official optimiser ignores"),
        ({"agent.opt.schedule": "linear"}, "needs agent.opt.anneal above agent.opt.warmup"),
        ({"agent.dec.simple.bspace": 0}, "0 is not supported here"),
        ({"blocks": 7}, "deter (512) must be a multiple of agent.dyn.rssm.blocks (7)"),
        ({"agent.slowvalue.rate": 0.7}, "valid: 1, or below 0.5"),
        ({"agent.policy.minstd": 2.0}, "must not exceed agent.policy.maxstd"),
        ({"replay.size": 1000}, "must hold one batch of 1040 steps"),
        ({"size": "size2m"}, "valid: size1m, size12m"),
        ({"config": "atari100k"}, "valid for dmc_walker_walk: dmc_proprio, dmc_vision"),
        ({"env.dmc.proprio": False}, "leaves nothing to observe"),
        ({"env.dmc.size": [64]}, "valid: [height, width]"),
    ],
)
def test_a_mistake_is_refused_in_one_line(recipe: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(recipe, DMC)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["cartpole", "dmc_", "crafter_reward", ""])
def test_a_task_of_another_suite_is_refused(task: str) -> None:
    with pytest.raises(RecipeError, match="valid: dmc_<domain>_<task>, atari100k_<game>"):
        parse_recipe({}, task)


def test_the_task_decides_the_named_configuration() -> None:
    proprio, game = parse_recipe({}, DMC), parse_recipe({}, GAME)
    vision = parse_recipe({"config": "dmc_vision"}, DMC)
    assert (proprio.config, proprio.agent.dyn.rssm.deter, proprio.env.dmc.image) == (
        "dmc_proprio",
        512,
        False,
    )
    assert (game.config, game.agent.dyn.rssm.deter, game.run.envs) == ("atari100k", 8192, 1)
    assert (vision.agent.dyn.rssm.deter, vision.env.dmc.proprio, vision.run.train_ratio) == (
        8192,
        False,
        256.0,
    )
    assert to_canonical_task(GAME) == to_canonical_task("atari100k_pong") == game.task == "atari100k_pong"
    assert (proprio.action_repeat, game.action_repeat) == (1, 4)


def test_later_layers_win() -> None:
    """Config, then size, then shorthands, then dotted keys."""
    r = parse_recipe({"agent.value.units": 7, "units": 9, "size": "size12m"}, DMC)
    assert (r.agent.dyn.rssm.deter, r.agent.policy.units, r.agent.value.units) == (2048, 9, 7)


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_recognised(size: str) -> None:
    expected = "official_xl" if size == "size200m" else size
    assert find_model_profile(parse_recipe({"size": size}, DMC)) == expected
    assert find_model_profile(parse_recipe({"size": size, "layers": 2}, DMC)) == "custom"


def test_the_effective_recipe_has_every_leaf_of_its_suite() -> None:
    effective = effective_recipe(parse_recipe({"agent.opt.lr": 1}, DMC))
    extra = {"task", "config", "model_profile", "action_repeat"}
    assert set(effective) == {k for k in LEAVES if not k.startswith("env.atari100k.")} | extra
    assert effective["agent.enc.simple.mults"] == [2, 3, 4, 4]
    assert effective["run.steps"] == 1_100_000
    assert (effective["agent.opt.lr"], type(effective["agent.opt.lr"])) == (1.0, float)
    assert json.loads(json.dumps(effective, allow_nan=False)) == effective


def test_the_effective_recipe_states_the_words_of_the_suite_too() -> None:
    """Validity holds what a suite declares against it, key by key."""
    given = {"size": "size12m", "units": 64, "agent.value.units": 32}
    effective = effective_recipe(parse_recipe(given, DMC), given)
    assert given.items() <= effective.items()
    assert effective["agent.policy.units"] == 64


values = st.one_of(
    st.integers(-3, 600),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
    st.none(),
    st.lists(st.integers(0, 4)),
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*LEAVES, *SHORTHANDS, "size", "config", "nonsense"]), values, max_size=4)
)
def test_any_mapping_is_run_as_written_or_refused_in_one_line(recipe: dict[str, Any]) -> None:
    try:
        effective = effective_recipe(parse_recipe(recipe, DMC))
    except RecipeError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ends are right, and each has something to hold
        return
    for key, value in recipe.items():
        if key in effective:
            assert effective[key] == value


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([k for k, v in LEAVES.items() if isinstance(v, float)]), st.integers(0, 1))
def test_whole_numbers_become_floats_where_the_official_default_is_one(key: str, value: int) -> None:
    try:
        effective = effective_recipe(parse_recipe({key: value}, DMC))
    except RecipeError:
        return
    assert type(effective[key]) is float


@given(st.text(min_size=1).filter(lambda key: key not in (*LEAVES, *SHORTHANDS, "size", "config")))
def test_an_unknown_key_is_never_ignored(key: str) -> None:
    with pytest.raises(RecipeError, match="is not a known key") as caught:
        parse_recipe({key: 1}, DMC)
    assert "\n" not in str(caught.value)
