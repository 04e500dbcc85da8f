"""The agent as a whole: what an update returns, moves and leaves alone, and that it learns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import quickly_compiled  # noqa: F401 - a fixture

from backends.worldflux_dreamerv3 import model
from backends.worldflux_dreamerv3.agent import Agent
from backends.worldflux_dreamerv3.recipe import parse_recipe
from backends.worldflux_dreamerv3.rssm import Latent
from backends.worldflux_dreamerv3.spaces import Space

LOSSES = ("con", "dyn", "height", "policy", "position", "rep", "repval", "rew", "value")
METRICS = {
    *(f"loss/{name}" for name in LOSSES),
    *(f"opt/{name}" for name in ("loss", "updates", "grad_norm", "grad_rms", "update_rms", "param_rms")),
    *("opt/param_count", "dyn_ent", "rep_ent", "adv", "adv_std", "adv_mag", "rew", "con", "ret", "val"),
    *("tar", "weight", "slowval", "ret_min", "ret_max", "ret_rate", "ent/action"),
}


pytestmark = pytest.mark.usefixtures("quickly_compiled")


@functools.cache
def agent() -> Agent:
    """One agent for all tests, so that its update is compiled once."""
    return tiny.agent()


def reach(changed: Agent, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], set[str]]:
    """A function from the name of a loss to the networks that its gradient reaches.

    The weights are those of update 0, the zero ones made random.
    """
    rng, seen = np.random.default_rng(5), {}
    state = changed.init_state(0)
    params = {k: v + jnp.asarray(rng.normal(0, 0.1, v.shape), jnp.float32) for k, v in state.params.items()}
    data = tiny.batch(changed)
    monkeypatch.setattr(model, "loss_scale", lambda name, _: seen["scales"][name])

    def total(params: dict[str, jax.Array], scales: dict[str, jax.Array]) -> jax.Array:
        seen["scales"] = scales
        start, batch = changed.arrange(changed.initial_carry(2), data)
        noise = model.draw_noise(jax.random.key(3), *batch.is_first.shape, changed.model)
        return model.loss(params, state, start, batch, noise, changed.model)[0]

    gradient = jax.jit(jax.grad(total))

    def reached(loss: str) -> set[str]:
        found = gradient(params, {name: jnp.float32(name == loss) for name in LOSSES})
        return {k.split("/")[0] for k, g in found.items() if np.asarray(g).any()}

    return reached


def test_an_update_returns_the_official_metrics_and_new_latents_for_replay() -> None:
    a, data = agent(), tiny.batch(agent())
    state, carry, replay, metrics = a.train(a.init_state(0), a.initial_carry(2), data)
    assert set(metrics) == METRICS
    assert all(np.isfinite(v) for v in metrics.values())
    assert {k: v.shape for k, v in replay.items()} == {
        "stepid": (2, 4, 20), "dyn/deter": (2, 4, 16), "dyn/stoch": (2, 4, 3, 4)
    }  # fmt: skip
    np.testing.assert_array_equal(replay["stepid"], data["stepid"][:, 1:])
    np.testing.assert_array_equal(np.asarray(replay["dyn/stoch"]).sum(-1), 1)
    np.testing.assert_array_equal(carry.latent.deter, replay["dyn/deter"][:, -1])
    np.testing.assert_array_equal(carry.actions["action"], data["action"][:, -1])
    assert int(state.optimiser.count) == int(state.slow_updates) == 1


def test_the_same_seeds_give_the_same_update_and_others_do_not() -> None:
    a, data = agent(), tiny.batch(agent())

    def deter(seed: int, noise: int) -> np.ndarray:
        given = {**data, "seed": np.array([0, noise], np.uint32)}
        return np.asarray(a.train(a.init_state(seed), a.initial_carry(2), given)[2]["dyn/deter"])

    np.testing.assert_array_equal(deter(0, 1), deter(0, 1))
    assert not np.array_equal(deter(0, 1), deter(0, 2))
    assert not np.array_equal(deter(0, 1), deter(1, 1))


def test_updates_on_one_batch_lower_its_losses() -> None:
    a, data = agent(), tiny.batch(agent())
    state, carry = a.init_state(0), a.initial_carry(2)
    seen: list[dict[str, Any]] = []
    for _ in range(60):
        state, carry, _, metrics = a.train(state, carry, data)
        seen.append({k: float(v) for k, v in metrics.items()})
    for key in ("loss/position", "loss/height", "loss/rew", "loss/con", "loss/repval"):
        assert seen[-1][key] < 0.8 * seen[0][key], key
    assert a.train._cache_size() == 1  # one program, whatever the update
    value = state.params["value/logits/kernel"]
    assert 0 < np.abs(state.slow_value["value/logits/kernel"]).max() < np.abs(value).max()


def test_the_slow_value_moves_every_so_many_updates() -> None:
    config = parse_recipe({"agent.slowvalue.every": 3, "agent.slowvalue.rate": 0.25}, "dmc_a_b").agent
    value, slow = {"v": jnp.array([4.0])}, {"v": jnp.array([0.0])}
    moved = [float(model.slow_value_update(value, slow, jnp.int32(n), config)["v"][0]) for n in range(4)]
    assert moved == [1.0, 0.0, 0.0, 1.0]


def test_a_batch_starts_from_what_replay_kept_and_a_later_chunk_from_the_carry() -> None:
    a, data = agent(), tiny.batch(agent())
    carry = a.initial_carry(2)._replace(latent=Latent(jnp.full((2, 16), 7.0), jnp.full((2, 12), 5.0)))
    data["consec"][1] = 1
    start, batch = a.arrange(carry, data)
    np.testing.assert_array_equal(start.deter[0], data["dyn/deter"][0, 0])
    np.testing.assert_array_equal(start.stoch[0], data["dyn/stoch"][0, 0].ravel())
    np.testing.assert_array_equal(start.deter[1], np.full(16, 7))
    np.testing.assert_array_equal(batch.previous["action"], np.swapaxes(data["action"][:, :-1], 0, 1))
    np.testing.assert_array_equal(batch.reward, data["reward"][:, 1:].T)


def test_without_context_the_first_action_before_is_that_of_the_carry() -> None:
    a = tiny.agent(replay_context=0)
    data = tiny.batch(a)
    carry = a.initial_carry(2)._replace(actions={"action": jnp.full((2, 2), 0.5)})
    start, batch = a.arrange(carry, data)
    assert start is carry.latent
    np.testing.assert_array_equal(batch.previous["action"][0], np.full((2, 2), 0.5))
    np.testing.assert_array_equal(batch.previous["action"][1:], np.swapaxes(data["action"][:, :-1], 0, 1))


def test_where_gradients_go(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, world = reach(agent(), monkeypatch), {"encoder", "dynamics"}
    assert reached("position") == {"decoder", *world}
    assert reached("rew") == {"reward", *world}
    assert reached("con") == {"continue", *world}
    assert reached("policy") == {"policy"}
    assert reached("value") == {"value"}
    assert reached("repval") == {"value", *world}


def test_where_gradients_go_with_the_switches_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    other = tiny.agent(agent__ac_grads=True, agent__repval_grad=False, agent__reward_grad=False)
    reached, world = reach(other, monkeypatch), {"encoder", "dynamics"}
    assert reached("rew") == {"reward"}
    assert reached("policy") == {"policy", *world}
    assert reached("value") == {"value", *world}
    assert reached("repval") == {"value"}


@pytest.mark.parametrize(
    "changes",
    [
        {"jax__compute_dtype": "bfloat16", "agent__imag_last": 2, "agent__ac_grads": True},
        {"agent__valnorm__impl": "meanstd", "agent__advnorm__impl": "perc", "agent__retnorm__debias": True},
        {"agent__dyn__rssm__norm": "layer", "agent__dyn__rssm__absolute": True, "agent__contdisc": False},
        {"agent__policy_dist_cont": "normal_logstd", "agent__repval_loss": False, "layers": 0},
    ],
)
@pytest.mark.parametrize("make", [tiny.agent, tiny.game_agent])
def test_every_switch_gives_a_state_of_the_same_form(make: Any, changes: dict[str, Any]) -> None:
    """Shapes and dtypes only: nothing is compiled."""
    a = make(**changes)
    state, carry = a.init_state(0), a.initial_carry(2)
    after, onward, _, metrics = jax.eval_shape(a._train, state, carry, tiny.batch(a))
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert describe(after) == describe(state)
    assert describe(onward) == describe(carry)
    assert all(m.dtype in (jnp.float32, jnp.int32) and m.shape == () for m in metrics.values())
    assert ("rand/action" in metrics) == (make is tiny.game_agent)


def test_the_policy_acts_in_its_space_and_remembers() -> None:
    a = agent()
    params, carry, obs = a.init_state(0).params, a.initial_carry(3), tiny.observation(a, 3)
    obs["is_first"][:] = True
    key = np.array([0, 1], np.uint32)
    after, action, entries = a.policy(params, carry, obs, key)
    assert (action["action"].shape, action["action"].dtype) == ((3, 2), np.float32)
    assert {k: (v.shape, v.dtype) for k, v in entries.items()} == {
        "dyn/deter": ((3, 16), np.float32), "dyn/stoch": ((3, 3, 4), np.float32)
    }  # fmt: skip
    np.testing.assert_array_equal(after.latent.deter, entries["dyn/deter"])
    again = a.policy(params, after, obs, key)  # all rows begin anew
    np.testing.assert_array_equal(again[1]["action"], action["action"])
    obs["is_first"][0] = False
    other = a.policy(params, after, obs, key)[1]["action"]
    assert not np.array_equal(other[0], action["action"][0])
    np.testing.assert_array_equal(other[1:], action["action"][1:])


def test_discrete_actions_are_choices() -> None:
    a = tiny.game_agent()
    obs = tiny.observation(a, 3)
    carry, action, _ = a.policy(a.init_state(0).params, a.initial_carry(3), obs, np.array([0, 1], np.uint32))
    assert (action["action"].shape, action["action"].dtype) == ((3,), np.int32)
    assert set(action["action"]) <= {0, 1, 2, 3}
    assert carry.actions["action"].dtype == jnp.int32


def test_sizes_are_known_without_memory() -> None:
    """Each size has about as many numbers as its name says."""
    image, choice = Space((64, 64, 3), np.dtype(np.uint8)), Space((), np.dtype(np.int32), classes=18)
    counts = {}
    for size in ("size1m", "size12m", "size200m", "size400m"):
        recipe = parse_recipe({"size": size}, "atari_pong")
        sized = model.Model(recipe, {"image": image, **tiny.FLAGS}, {"action": choice})
        found = model.parameters(sized).values()
        counts[size] = sum(int(np.prod(p.shape, dtype=np.int64)) for p in found)
    assert counts["size1m"] < 2e6
    assert 10e6 < counts["size12m"] < 16e6
    assert 150e6 < counts["size200m"] < 250e6
    assert 350e6 < counts["size400m"] < 500e6
