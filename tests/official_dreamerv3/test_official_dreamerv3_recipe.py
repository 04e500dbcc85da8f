"""The recipe on its way into the official configuration and back."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from standin_dreamerv3 import CONFIGS, FILES

from backends.official_dreamerv3 import observe
from backends.official_dreamerv3 import recipe as recipes
from pytest_worldflux_parity.wire import Refused

PONG = "atari100k_pong"
CARTPOLE = "dmc_cartpole_balance"


@pytest.fixture(scope="module")
def small():
    """The stand-in's configuration class and command line."""
    module = ModuleType("small")
    exec(FILES["dreamerv3/small.py"], module.__dict__)
    return module


@pytest.fixture(scope="module")
def defaults(small):
    return small.Config(CONFIGS["defaults"]).flat


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"config": "atari"}, "recipe.config is 'atari'; supported here: dmc_proprio, dmc_vision, atari100k"),
        ({"size": "size2m"}, "recipe.size is 'size2m'; supported here: size1m"),
        ({"config": "dmc_proprio"}, "does not fit the task 'atari100k_pong'"),
        ({"batchsize": 1}, "recipe.batchsize is not a known key; did you mean 'batch_size'?"),
        ({"agent.dyn.rssm.determ": 1}, "did you mean 'agent.dyn.rssm.deter'?"),
        ({"unit": 1}, "did you mean 'units'?"),
        ({"agent.report": False}, "not a known key"),
        ({"logger.outputs": ["wandb"]}, "not a known key"),
        ({"jax.platform": "cpu"}, "not a known key"),
        ({"env.dmc.repeat": 2}, "not a known key"),
        ({"units": 0.5}, "recipe.units is 0.5; valid: a int"),
        ({"units": True}, "recipe.units is True; valid: a int"),
        ({"run.steps": 100.5}, "recipe.run.steps is 100.5; valid: a int"),
        ({"run.steps": "100"}, "recipe.run.steps is '100'; valid: a int"),
        ({"agent.opt.lr": "1e-3"}, "recipe.agent.opt.lr is '1e-3'; valid: a float"),
        ({"agent.opt.lr": float("nan")}, "valid: a finite number"),
        ({"agent.contdisc": 1}, "recipe.agent.contdisc is 1; valid: a bool"),
        ({"agent.contdisc": "False"}, "valid: a bool"),
        ({"agent.enc.simple.mults": []}, "is []; valid: a list of whole numbers"),
        ({"agent.enc.simple.mults": 2}, "is 2; valid: a list of whole numbers"),
        ({"jax.compute_dtype": 32}, "is 32; valid: a str"),
    ],
)
def test_a_bad_recipe_is_refused_with_key_and_value(recipe, said, defaults):
    with pytest.raises(Refused) as caught:
        recipes.coerce_recipe(PONG, recipes.complete_recipe(PONG, recipe), defaults)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "official"),
    [("atari_pong", PONG), (PONG, PONG), (CARTPOLE, CARTPOLE), ("dmc_cup_catch", "dmc_cup_catch")],
)
def test_a_game_has_two_names_and_one_meaning(task, official):
    assert recipes.to_official_task(task) == official


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("atari_pongg", "is no game of Atari100k; did you mean 'pong'?"),
        ("atari100k_skiing", "is no game of Atari100k"),
        ("cartpole-balance", "neither dmc_<domain>_<task> nor atari100k_<game>"),
        ("dmc_cartpole", "neither"),
        ("dmc_../x_y", "neither"),
        ("", "neither"),
    ],
)
def test_what_is_no_task_is_refused(task, said):
    with pytest.raises(Refused) as caught:
        recipes.to_official_task(task)
    assert said in str(caught.value)


def test_a_task_that_dm_control_has_not_is_refused_with_the_nearest(monkeypatch):
    suite = ModuleType("suite")
    suite.ALL_TASKS = [("cartpole", "balance"), ("ball_in_cup", "catch")]
    monkeypatch.setitem(sys.modules, "dm_control.suite", suite)
    observe.check_dmc(CARTPOLE)
    observe.check_dmc("dmc_cup_catch")
    with pytest.raises(Refused, match="did you mean 'dmc_cartpole_balance'"):
        observe.check_dmc("dmc_cartpole_balanced")


def configuration(small, task, recipe, **fixed):
    asked = recipes.complete_recipe(task, recipe)
    asked = recipes.coerce_recipe(task, asked, small.Config(CONFIGS["defaults"]).flat)
    config = small.parse(recipes.make_flags(task, 3, asked, "log", fixed), CONFIGS)
    found = recipes.effective_recipe(config, CONFIGS, asked, "current")
    recipes.confirm_recipe(asked, found)
    return found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("np.copyto(dst, self.buffers[0])", "current"),
        ("np.copyto(self.buffers[0], dst)", "stale"),
        ("np.copyto(dst, self.buffers[1])", None),
        ("self.buffers.clear()", None),
    ],
)
def test_what_a_reset_of_a_game_shows_is_read_off_the_code(tmp_path, line, found):
    path = tmp_path / "embodied/envs/atari.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\nnp.copyto(a, b)\n", encoding="utf-8")
    if found is None:
        with pytest.raises(Refused, match="not known of this version"):
            recipes.read_reset_frame(tmp_path)
    else:
        assert recipes.read_reset_frame(tmp_path) == found


def test_another_reset_than_the_checkouts_is_refused(small):
    asked = {recipes.RESET_FRAME: "stale"}
    assert configuration(small, PONG, {recipes.RESET_FRAME: "current"})[recipes.RESET_FRAME] == "current"
    with pytest.raises(Refused, match="'stale' was asked for and the official program uses 'current'"):
        configuration(small, PONG, asked)
    with pytest.raises(Refused, match="reset_frame"):
        configuration(small, CARTPOLE, asked)


def test_shorthands_come_after_the_size_and_dotted_keys_last(small):
    recipe = {"agent.policy.units": 16, "units": 32, "size": "size12m", "config": "dmc_vision"}
    found = configuration(small, CARTPOLE, recipe)
    assert (found["agent.enc.simple.units"], found["agent.policy.units"]) == (32, 16)
    only_size = configuration(small, CARTPOLE, {"size": "size12m"})
    assert only_size["agent.enc.simple.units"] == 256


def test_the_effective_recipe_has_the_keys_of_the_contract_in_plain_types(small):
    found = configuration(small, PONG, {"run.steps": 40, "agent.enc.simple.mults": [1, 2]})
    assert set(found) == {
        "task", "config", "model_profile", "action_repeat", *recipes.PLAIN,
        "env.atari100k.size", "env.atari100k.repeat", "env.atari100k.actions", recipes.RESET_FRAME,
        "agent.opt.lr", "agent.opt.warmup", "agent.dyn.typ", "agent.dyn.rssm.deter", "agent.dyn.rssm.hidden",
        "agent.dyn.rssm.classes", "agent.enc.simple.units", "agent.enc.simple.layers",
        "agent.enc.simple.mults", "agent.policy.units", "agent.policy.layers", "agent.contdisc",
    }  # fmt: skip
    for key, value in {"run.steps": 40, "replay.size": 5_000_000, "run.train_ratio": 32.0}.items():
        assert (type(found[key]), found[key]) == (type(value), value)
    assert found["agent.enc.simple.mults"] == [1, 2]
    assert (found["task"], found["config"], found["action_repeat"]) == (PONG, "atari100k", 4)


@pytest.mark.parametrize(
    ("recipe", "profile"),
    [
        ({}, "official_xl"),
        ({"size": "size200m"}, "official_xl"),
        ({"size": "size1m"}, "size1m"),
        ({"units": 64}, "size1m"),
        ({"size": "size400m"}, "size400m"),
        ({"agent.policy.units": 64}, "custom"),
        ({"layers": 1}, "custom"),
        ({"agent.opt.lr": 1e-3}, "official_xl"),
    ],
)
def test_the_profile_is_read_off_the_networks(small, recipe, profile):
    assert configuration(small, PONG, recipe)["model_profile"] == profile


def test_a_value_that_came_out_otherwise_is_refused(small):
    asked = {"config": "atari100k", "units": 32}
    found = configuration(small, PONG, {"units": 64})
    with pytest.raises(Refused, match=r"units: 32 was asked for and the official program uses 64"):
        recipes.confirm_recipe(asked, found)


def test_what_is_fixed_has_the_last_word(small):
    line = recipes.make_flags(
        PONG, 7, {"config": "atari100k", "batch_size": 8}, "here", {"jax.platform": "cpu"}
    )
    assert line[:2] == ["--configs", "atari100k"]
    assert line[-2:] == ["--jax.platform", "cpu"]
    assert line[line.index("--seed") + 1] == "7"
