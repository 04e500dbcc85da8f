"""The recipe on its way into the official configuration and back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity.wire import Refused


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"batchsize": 1}, "recipe.batchsize is not a known key; did you mean 'batch_size'?"),
        ({"model_size": 1}, "recipe.model_size is not a known key"),
        ({"hydra.run.dir": "x"}, "not a known key"),
        ({"model_profile": "size_5m"}, "supported here: size_1m, proof_5m"),
        ({"steps": 0}, "recipe.steps is 0; valid: 1 or more"),
        ({"steps": 3000.5}, "recipe.steps is 3000.5; valid: a int"),
        ({"steps": True}, "recipe.steps is True; valid: a int"),
        ({"steps": "3000"}, "recipe.steps is '3000'; valid: a int"),
        ({"lr": float("nan")}, "recipe.lr is nan; valid: a finite number"),
        ({"lr": "3e-4"}, "recipe.lr is '3e-4'; valid: a float"),
        ({"mpc": "false"}, "recipe.mpc is 'false'; valid: a bool"),
        ({"mpc": 1}, "recipe.mpc is 1; valid: a bool"),
        ({"obs": "pixels"}, "recipe.obs is 'pixels'; supported here: state, rgb"),
    ],
)
def test_a_bad_recipe_is_refused_with_key_and_value(recipe, said):
    with pytest.raises(Refused) as caught:
        recipes.complete_recipe(recipe)
    assert said in str(caught.value)


def test_the_canonical_profile_and_no_compilation_are_the_defaults():
    assert recipes.complete_recipe({}) == {"model_profile": "proof_5m", "compile": False}


@pytest.mark.parametrize(
    ("profile", "size"),
    [("size_1m", 1), ("proof_5m", 5), ("size_19m", 19), ("size_48m", 48), ("size_317m", 317)],
)
def test_a_profile_is_an_official_size(profile, size):
    assert f"model_size={size}" in recipes.make_overrides("dog-run", 1, {"model_profile": profile})


def test_custom_leaves_the_size_unset_and_passes_the_architecture():
    line = recipes.make_overrides(
        "dog-run", 1, {"model_profile": "custom", "enc_dim": 64, "lr": 3e-4, "mpc": False}
    )
    assert not [word for word in line if word.startswith("model_size")]
    assert {"enc_dim=64", "lr=0.0003", "mpc=false", "task=dog-run", "seed=1"} <= set(line)


def test_the_recipe_cannot_take_the_place_of_what_is_fixed():
    line = recipes.make_overrides("dog-run", 7, recipes.complete_recipe({}))
    assert {"enable_wandb=false", "save_video=false", "save_agent=true", "exp_name=parity"} <= set(line)
    assert len({word.split("=")[0] for word in line}) == len(line)


@pytest.mark.parametrize(
    "task", ["mt30", "mt80", "dog", "", "Dog-run", "dog-run,cat-run", "dog-run x=1", "../dog-run"]
)
def test_what_is_not_the_name_of_one_task_is_refused(task):
    with pytest.raises(Refused, match="not a DMControl task"):
        recipes.make_overrides(task, 1, {"model_profile": "custom"})


def configuration(**changes):
    values = {key: kind(1) for key, kind in recipes.KINDS.items()}
    values.update(obs="state", seed_steps=2500, episode_length=500, obs_shape={"state": (5,)}, action_dim=1)
    return SimpleNamespace(**{**values, **changes})


def agent(*, biased=False):
    """What is read off a new official agent."""
    functions = SimpleNamespace(params={("0", "bias"): np.full(3, float(biased))})
    return SimpleNamespace(discount=0.99, model=SimpleNamespace(_Qs=functions))


def test_how_the_q_functions_begin_is_what_the_agent_shows():
    for biased, value, other in ((False, *recipes.Q_INIT), (True, *reversed(recipes.Q_INIT))):
        found = recipes.effective_recipe(configuration(), agent(biased=biased), "custom")
        recipes.confirm_recipe({"q_init": value}, found)
        with pytest.raises(Refused, match=f"{other!r} was asked for.*{value!r}; to mend: leave it out"):
            recipes.confirm_recipe({"q_init": other}, found)
    with pytest.raises(Refused, match=r"q_init is 'xavier'; supported here: truncated"):
        recipes.complete_recipe({"q_init": "xavier"})
    line = recipes.make_overrides("dog-run", 1, recipes.complete_recipe({"q_init": recipes.Q_INIT[1]}))
    assert not [word for word in line if "q_init" in word]


def test_the_effective_recipe_has_one_type_per_key_whatever_the_official_file_wrote():
    whole = recipes.effective_recipe(configuration(vmax=10, lr=1), agent(), "custom")
    real = recipes.effective_recipe(configuration(vmax=10.0, lr=1.0), agent(), "custom")
    assert {k: (type(v), v) for k, v in whole.items()} == {k: (type(v), v) for k, v in real.items()}
    assert isinstance(whole["vmax"], float)
    assert whole["obs_shape"] == [5]
    derived = {"discount", "seed_steps", "episode_length", "obs_shape", "action_dim", "action_repeat"}
    assert set(whole) == {*recipes.KINDS, "model_profile", "q_init", *derived}


def test_a_value_that_came_out_otherwise_is_refused():
    found = recipes.effective_recipe(configuration(enc_dim=256), agent(), "proof_5m")
    recipes.confirm_recipe({"model_profile": "proof_5m", "enc_dim": 256}, found)
    with pytest.raises(Refused, match=r"enc_dim: 64 was asked for and the official program uses 256"):
        recipes.confirm_recipe({"model_profile": "proof_5m", "enc_dim": 64}, found)


@pytest.mark.parametrize(("action_dim", "iterations"), [(19, 6), (20, 8), (38, 8)])
def test_large_actions_are_planned_with_two_iterations_more(action_dim, iterations):
    found = recipes.effective_recipe(
        configuration(action_dim=action_dim, iterations=iterations), agent(), "custom"
    )
    recipes.confirm_recipe({"iterations": 6}, found)
    with pytest.raises(Refused, match="iterations"):
        recipes.confirm_recipe({"iterations": 5}, found)


def test_both_sides_of_the_pair_take_the_same_keys_and_write_the_same_keys():
    ours = pytest.importorskip("backends.worldflux_tdmpc2.recipe")
    found = ours.effective_recipe(ours.parse_recipe({}), (5,), 1, 500)
    theirs = recipes.effective_recipe(configuration(), agent(), "custom")
    assert set(found) == set(theirs)
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in theirs.items()}
    assert {k: v for k, v in ours.parse_recipe({}).__dict__.items() if k in ("model_profile", "compile")} == (
        recipes.complete_recipe({})
    )
