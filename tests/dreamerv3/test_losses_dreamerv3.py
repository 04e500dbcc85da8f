"""Returns, normalisers, actor and critic losses and the optimiser against plain numpy."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import quickly_compiled  # noqa: F401 - a fixture

from backends.worldflux_dreamerv3 import losses, normalise
from backends.worldflux_dreamerv3.distributions import (
    Normal,
    two_hot,
    two_hot_bins,
    two_hot_loss,
    two_hot_mean,
)
from backends.worldflux_dreamerv3.optimiser import initial_state, learning_rate, optimiser_step, pack, unpack
from backends.worldflux_dreamerv3.recipe import AgentRecipe, ImagLoss, Opt, PlainNorm, ReturnNorm

pytestmark = pytest.mark.usefixtures("quickly_compiled")

T, N = 5, 6
BINS = two_hot_bins(15)
CONFIG = AgentRecipe(retnorm=ReturnNorm(rate=0.5, limit=0.01))


def uniform(*shape: int, seed: int = 0, low: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, 1, shape).astype(np.float32)


# ---------------------------------------------------------------- returns


returns_of = jax.jit(losses.lambda_return)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.sampled_from([0.9, 1.0]))
def test_lambda_returns_are_the_backward_recursion(seed: int, lam: float, discount: float) -> None:
    rng = np.random.default_rng(seed)
    last, terminal = rng.integers(0, 2, (T, N)).astype(np.float32), rng.uniform(0, 1, (T, N))
    reward, boot = rng.normal(size=(T, N)), rng.normal(size=(T, N))
    expected, later = np.zeros((T - 1, N)), boot[-1]
    for t in reversed(range(T - 1)):
        live, mix = (1 - terminal[t + 1]) * discount, (1 - last[t + 1]) * lam
        later = reward[t + 1] + live * ((1 - mix) * boot[t + 1] + mix * later)
        expected[t] = later
    arrays = (jnp.asarray(x, jnp.float32) for x in (last, terminal, reward, boot))
    np.testing.assert_allclose(returns_of(*arrays, discount, lam), expected, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- normalisers


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=7, max_size=7), st.floats(0, 100))
def test_percentiles_are_those_of_numpy(numbers: list[float], percent: float) -> None:
    x = np.array(numbers, np.float32)
    (got,) = normalise.percentiles(jnp.asarray(x), percent)
    np.testing.assert_allclose(
        got, np.percentile(x, percent), rtol=1e-5, atol=1e-3 * max(1, np.abs(x).max() / 1e3)
    )


@pytest.mark.parametrize("debias", [False, True])
def test_the_return_range_is_an_average_over_updates(debias: bool) -> None:
    config = ReturnNorm(rate=0.1, limit=0.5, debias=debias)
    state = {name: jnp.zeros(()) for name in normalise.initial_names(config)}
    low = high = weight = 0.0
    for seed in range(3):
        x = uniform(40, seed=seed) * 10
        state = normalise.update(config, state, jnp.asarray(x))
        low, high = 0.9 * low + 0.1 * np.percentile(x, 5), 0.9 * high + 0.1 * np.percentile(x, 95)
        weight = 0.9 * weight + 0.1
        factor = 1 / weight if debias else 1.0
        expected = (low * factor, max(0.5, (high - low) * factor))
        np.testing.assert_allclose(normalise.statistics(config, state), expected, rtol=1e-5)


def test_mean_and_deviation_are_corrected_for_their_start() -> None:
    """The official valnorm and advnorm cannot switch the correction off."""
    config = PlainNorm(impl="meanstd", rate=0.1)
    x = uniform(50) * 4
    state = {name: jnp.zeros(()) for name in normalise.initial_names(config)}
    offset, scale = normalise.statistics(config, normalise.update(config, state, jnp.asarray(x)))
    np.testing.assert_allclose([offset, scale], [x.mean(), x.std()], rtol=1e-4)


def test_none_changes_nothing() -> None:
    config = PlainNorm()
    assert normalise.initial_names(config) == ()
    assert normalise.statistics(config, normalise.update(config, {}, jnp.ones(3))) == (0.0, 1.0)


# ---------------------------------------------------------------- actor and critic


def trajectory(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    array = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {
        "reward": array(T, N),
        "cont": jnp.asarray(rng.uniform(0.5, 1, (T, N)), jnp.float32),
        "actions": {"action": array(T - 1, N, 2)},
        "policy": {"action": Normal(array(T - 1, N, 2), jnp.abs(array(T - 1, N, 2)) + 0.1, 1)},
        "value_logits": array(T, N, 15),
        "slow_logits": array(T, N, 15),
        "normalisers": {
            "return": {"low": jnp.float32(-0.1), "high": jnp.float32(0.3)},
            "value": {},
            "advantage": {},
        },
    }


@functools.partial(jax.jit, static_argnums=2)
def _outcome(
    arrays: dict[str, Any], normal: tuple[jax.Array, jax.Array], config: AgentRecipe
) -> losses.ActorCritic:
    policy = {"action": Normal(*normal, 1)}
    return losses.actor_critic_losses(**arrays, policy=policy, bins=BINS, config=config)


def outcome(x: dict[str, Any], config: AgentRecipe = CONFIG) -> losses.ActorCritic:
    normal = x["policy"]["action"]
    arrays = {key: value for key, value in x.items() if key != "policy"}
    return _outcome(arrays, (normal.mean, normal.stddev), config)


def test_actor_and_critic_losses_in_numpy() -> None:
    x = trajectory()
    got = outcome(x)
    value, slow = two_hot_mean(x["value_logits"], BINS), two_hot_mean(x["slow_logits"], BINS)
    returns = losses.lambda_return(jnp.zeros((T, N)), 1 - x["cont"], x["reward"], value, 1.0, 0.95)
    low = 0.5 * -0.1 + 0.5 * np.percentile(returns, 5)
    high = 0.5 * 0.3 + 0.5 * np.percentile(returns, 95)
    advantage = (returns - value[:-1]) / max(0.01, high - low)
    weight = np.cumprod(x["cont"], 0)[:-1]
    policy = x["policy"]["action"]
    log_prob = policy.log_prob(x["actions"]["action"])
    expected = -weight * (log_prob * advantage + 3e-4 * policy.entropy())
    np.testing.assert_allclose(got.policy, expected, rtol=1e-4, atol=1e-5)
    first = two_hot_loss(x["value_logits"][:-1], two_hot(returns, BINS))
    second = two_hot_loss(x["value_logits"][:-1], two_hot(slow[:-1], BINS))
    np.testing.assert_allclose(got.value, weight * (first + second), rtol=1e-4)
    np.testing.assert_allclose(got.normalisers["return"]["high"], high, rtol=1e-5)
    np.testing.assert_allclose(got.metrics["adv_mag"], np.abs(advantage).mean(), rtol=1e-4)
    np.testing.assert_allclose(got.metrics["ret"], ((returns - low) / (high - low)).mean(), rtol=1e-3)


def test_losses_of_actor_and_critic_move_policy_and_value_only() -> None:
    def total(moving: dict[str, jax.Array], still: dict[str, Any]) -> jax.Array:
        mean, x = moving["mean"], {**still, **{k: v for k, v in moving.items() if k != "mean"}}
        policy = dataclasses.replace(still["policy"]["action"], mean=mean)
        got = outcome({**x, "policy": {"action": policy}})
        return got.policy.sum() + got.value.sum()

    x = trajectory()
    moving = {key: x[key] for key in ("reward", "cont", "value_logits", "slow_logits")}
    moving["mean"] = x["policy"]["action"].mean
    gradients = jax.grad(total)(moving, x)
    for key in ("reward", "cont", "slow_logits"):
        assert not np.asarray(gradients[key]).any(), key
    for key in ("mean", "value_logits"):
        assert np.abs(gradients[key]).max() > 0.01, key
    assert not np.asarray(gradients["value_logits"][-1]).any()  # the last step only bootstraps


def test_the_discount_is_in_the_continue_flag_or_beside_it() -> None:
    x = trajectory()
    beside = dataclasses.replace(CONFIG, contdisc=False, horizon=10)
    inside = {**x, "cont": x["cont"] * 0.9}
    np.testing.assert_allclose(outcome(x, beside).returns, outcome(inside).returns, rtol=1e-5)
    # Weights are divided by the first discount, which a flag that carries it is not.
    np.testing.assert_allclose(outcome(x, beside).value * 0.9, outcome(inside).value, rtol=1e-5)


def test_targets_come_from_the_slow_value_if_asked_for() -> None:
    x = trajectory()
    config = dataclasses.replace(CONFIG, imag_loss=ImagLoss(slowtar=True))
    swapped = {**x, "value_logits": x["slow_logits"]}
    np.testing.assert_allclose(outcome(x, config).returns, outcome(swapped).returns, rtol=1e-6)


def test_the_replay_loss_skips_the_last_step_of_an_episode() -> None:
    x = trajectory()
    last, terminal = np.zeros((T, N), np.float32), np.zeros((T, N), np.float32)
    last[2, 1] = terminal[2, 1] = 1
    arrays = [jnp.asarray(a) for a in (last, terminal, x["reward"], uniform(T, N))]
    got = losses.replay_critic_loss(
        *arrays, x["value_logits"], x["slow_logits"], x["normalisers"], BINS, CONFIG
    )
    assert got.loss.shape == (T - 1, N)
    assert float(got.loss[2, 1]) == 0
    assert (np.delete(np.asarray(got.loss).ravel(), 2 * N + 1) > 0).all()
    # After a terminal step there is nothing but its reward.
    np.testing.assert_allclose(got.returns[1, 1], x["reward"][2, 1], rtol=1e-6)


# ---------------------------------------------------------------- optimiser


def numpy_laprop(
    grads: list[dict[str, np.ndarray]], params: dict[str, np.ndarray], c: Opt
) -> dict[str, np.ndarray]:
    """The official chain in float64, parameter by parameter."""
    moments = {k: (np.zeros(v.shape), np.zeros(v.shape)) for k, v in params.items()}
    params = {k: v.astype(float) for k, v in params.items()}
    for t, gradient in enumerate(grads, 1):
        rate = c.lr * min(1.0, (t - 1) / c.warmup)
        for k, p in params.items():
            g = gradient[k].astype(float)
            limit = c.agc * max(1e-3, np.linalg.norm(p))
            g = g / max(1.0, np.linalg.norm(g) / limit)
            square, mean = moments[k]
            square = c.beta2 * square + (1 - c.beta2) * g**2
            mean = c.beta1 * mean + (1 - c.beta1) * g / (np.sqrt(square / (1 - c.beta2**t)) + c.eps)
            moments[k] = square, mean
            decay = c.wd * p if k.endswith("/kernel") else 0.0
            params[k] = p - rate * (mean / (1 - c.beta1**t) + decay)
    return params


@pytest.mark.parametrize("wd", [0.0, 0.1])
def test_updates_are_clipped_scaled_then_averaged(wd: float) -> None:
    config = Opt(lr=0.01, warmup=3, wd=wd)
    shapes = {"a/bias": (7,), "a/kernel": (40, 9), "b/scale": (300,), "c/kernel": (2, 3, 4)}
    params = {k: uniform(*s, seed=i, low=-1) for i, (k, s) in enumerate(shapes.items())}
    params["a/bias"] *= 0  # a norm below the smallest
    grads = [
        {k: uniform(*s, seed=10 * t + i, low=-1) * 10.0 ** (i - 2) for i, (k, s) in enumerate(shapes.items())}
        for t in range(5)
    ]
    state, got = initial_state(params), params
    step = jax.jit(lambda g, s, p: optimiser_step(g, s, p, config))
    for gradient in grads:
        before = got
        got, state, metrics = step(gradient, state, got)
    expected = numpy_laprop(grads, params, config)
    for k in params:
        np.testing.assert_allclose(got[k], expected[k], rtol=1e-4, atol=1e-6, err_msg=k)
    flat = np.concatenate([grads[-1][k].ravel() for k in params])
    np.testing.assert_allclose(metrics["opt/grad_norm"], np.linalg.norm(flat), rtol=1e-5)
    np.testing.assert_allclose(metrics["opt/grad_rms"], np.sqrt((flat**2).mean()), rtol=1e-5)
    moved = np.concatenate([np.asarray(got[k] - before[k]).ravel() for k in params])
    np.testing.assert_allclose(metrics["opt/update_rms"], np.sqrt((moved**2).mean()), rtol=1e-3)
    assert (int(metrics["opt/updates"]), float(metrics["opt/param_count"])) == (5, flat.size)


def test_no_clipping_on_demand() -> None:
    params = {"k": np.ones(4, np.float32)}
    huge = {"k": np.full(4, 1e3, np.float32)}
    for agc, expected in ((0.0, 1e3), (0.3, 0.3)):
        step = optimiser_step(huge, initial_state(params), params, Opt(agc=agc, beta2=0.0))
        root = np.sqrt(np.asarray(step.state.square)[0, :4])
        np.testing.assert_allclose(root, expected, rtol=1e-5)


def test_learning_rates_by_update() -> None:
    warm = learning_rate(Opt(lr=1.0, warmup=4))
    np.testing.assert_allclose([warm(t) for t in (0, 1, 4, 100)], [0, 0.25, 1, 1])
    linear = learning_rate(Opt(lr=1.0, warmup=2, anneal=12, schedule="linear"))
    np.testing.assert_allclose([linear(t) for t in (1, 2, 7, 50)], [0.5, 1, 0.55, 0.1], rtol=1e-6)
    cosine = learning_rate(Opt(lr=1.0, warmup=0, anneal=10, schedule="cosine"))
    np.testing.assert_allclose([cosine(t) for t in (0, 5, 10)], [1, 0.55, 0.1], rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([(), (1,), (256,), (257,), (3, 100)]), min_size=1, max_size=5))
def test_packing_loses_nothing(shapes: list[tuple[int, ...]]) -> None:
    tree = {str(i): jnp.asarray(uniform(*shape, seed=i)) for i, shape in enumerate(shapes)}
    packed = pack(tree)
    assert float(jnp.sum(packed)) == pytest.approx(sum(float(x.sum()) for x in tree.values()), rel=1e-5)
    for name, value in unpack(packed, tree).items():
        np.testing.assert_array_equal(value, tree[name])
