"""Layers, distributions and the recurrent model against values worked out by hand or in numpy."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import quickly_compiled  # noqa: F401 - a fixture

from backends.worldflux_dreamerv3 import layers, model, networks, rssm
from backends.worldflux_dreamerv3.distributions import (
    Categorical,
    Normal,
    binary_loss,
    categorical_kl,
    log_probabilities,
    sample_one_hot,
    straight_through,
    two_hot,
    two_hot_bins,
    two_hot_loss,
    two_hot_mean,
)
from backends.worldflux_dreamerv3.layers import Parameter
from backends.worldflux_dreamerv3.recipe import RecipeError, Rssm, Style
from backends.worldflux_dreamerv3.spaces import Space, Spaces

pytestmark = pytest.mark.usefixtures("quickly_compiled")

STYLE = Style()
BINS = two_hot_bins(255)


def normals(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- initial values


def test_initial_kernels_are_truncated_normals_scaled_by_their_inputs() -> None:
    rng = np.random.default_rng(0)
    x = layers.initial_values({"k": Parameter((400, 300), "trunc_normal_in", 0.5)}, rng)["k"]
    limit = 0.5 * 2 * 1.1368 / math.sqrt(400)
    assert np.abs(x).max() <= limit * (1 + 1e-6)
    assert np.abs(x).max() > 0.99 * limit
    assert x.std() == pytest.approx(0.5 / math.sqrt(400), rel=0.01)
    assert abs(x.mean()) < 4 * x.std() / math.sqrt(x.size)


@pytest.mark.parametrize(
    ("shape", "init", "deviation"),
    [
        ((8, 50, 40), "trunc_normal_in", 1 / math.sqrt(400)),  # the blocks count as inputs
        ((3, 3, 40, 60), "normal_in", 1 / math.sqrt(360)),
        ((100, 300), "normal_out", 1 / math.sqrt(300)),
        ((100, 300), "normal_avg", 1 / math.sqrt(200)),
        ((100, 300), "uniform_in", 1 / math.sqrt(300)),  # a limit of 1/10, over the root of 3
    ],
)
def test_fans(shape: tuple[int, ...], init: str, deviation: float) -> None:
    x = layers.initial_values({"k": Parameter(shape, init)}, np.random.default_rng(1))["k"]
    assert x.std() == pytest.approx(deviation, rel=0.03)
    assert x.dtype == np.float32


def test_reward_and_value_outputs_start_at_zero_and_scales_at_one() -> None:
    params = tiny.agent().init_state(0).params
    for name in ("reward/logits/kernel", "value/logits/kernel", "value/layer0/bias"):
        assert not np.asarray(params[name]).any(), name
    assert (np.asarray(params["dynamics/hidden0/scale"]) == 1).all()
    assert 0 < np.abs(params["policy/action/mean/kernel"]).max() < 0.03


# ---------------------------------------------------------------- layers


def test_norms() -> None:
    x = normals(4, 6)
    params = {"n/scale": jnp.asarray(normals(6, seed=1)), "n/shift": jnp.asarray(normals(6, seed=2))}
    rms = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * params["n/scale"]
    centred = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(layers.norm(params, "n", x, "rms"), rms, rtol=1e-5)
    expected = centred * params["n/scale"] + params["n/shift"]
    np.testing.assert_allclose(layers.norm(params, "n", x, "layer"), expected, rtol=1e-5, atol=1e-6)
    assert layers.norm({}, "n", x, "none") is x
    assert layers.norm(params, "n", jnp.asarray(x, jnp.bfloat16), "rms").dtype == jnp.bfloat16


def as_for(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have blocks computed as for small or large networks, or as on a GPU."""
    monkeypatch.setattr(layers, "LARGE_BLOCK", 10**9 if size == "small" else 0)
    monkeypatch.setattr(rssm, "LARGE_GATES", 10**9 if size == "small" else 0)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu" if size == "gpu" else "cpu")


@pytest.mark.parametrize("size", ["small", "large", "gpu"])
@pytest.mark.parametrize("shares", [0, 2])
def test_a_block_linear_layer_is_a_block_diagonal_matrix(
    monkeypatch: pytest.MonkeyPatch, size: str, shares: int
) -> None:
    as_for(size, monkeypatch)
    kernel, bias = normals(3, 4 + shares, 2), normals(6)
    own, shared = normals(5, 3, 4, seed=3), normals(5, shares, seed=4)
    params = {"b/kernel": jnp.asarray(kernel), "b/bias": jnp.asarray(bias)}
    expected = np.concatenate([np.hstack([own[:, g], shared]) @ kernel[g] for g in range(3)], -1) + bias
    given = own, jnp.asarray(shared) if shares else None, 6, STYLE
    got = layers.block_linear(params, "b", *given)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    ready = layers.with_dense_kernels(params, ["b"], 4)
    assert ("b/dense" in ready) == (size == "small")
    if shares:
        np.testing.assert_array_equal(layers.block_linear(ready, "b", *given), got)


def test_images_are_pooled_enlarged_and_spread() -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1)
    assert layers.pool(x).tolist() == [[[[5.0], [7.0]]]]
    assert layers.enlarge(x)[0, :, :, 0].tolist() == np.kron(x[0, :, :, 0], np.ones((2, 2))).tolist()
    spread = np.zeros((4, 8))
    spread[1::2, 1::2] = x[0, :, :, 0]
    assert layers.spread(x)[0, :, :, 0].tolist() == spread.tolist()


def test_symlog_by_hand() -> None:
    x = np.array([-math.e + 1, 0, math.e - 1], np.float32)
    np.testing.assert_allclose(layers.symlog(x), [-1, 0, 1], rtol=1e-6)


# ---------------------------------------------------------------- encoder and decoder


@pytest.mark.parametrize(
    "changes",
    [{}, {"agent__enc__simple__strided": True, "agent__dec__simple__strided": True}, {"outer": True}],
)
def test_images_become_tokens_and_images_again(changes: dict[str, bool]) -> None:
    outer = changes.pop("outer", False)
    if outer:  # one convolution does not halve, so one more is needed
        mults = {f"agent__{part}__simple__mults": [1, 1, 2] for part in ("enc", "dec")}
        changes = {**mults, **{f"agent__{part}__simple__outer": True for part in ("enc", "dec")}}
    agent = tiny.game_agent(**changes)
    m, params = agent.model, agent.init_state(0).params
    obs = {"image": jnp.asarray(tiny.batch(agent)["image"])}
    encode = jax.jit(lambda p, obs: networks.encode(p, obs, m.inputs, m.config.enc.simple, m.dtype))
    tokens = encode(params, obs)
    assert tokens.shape == (2, 5, 4 * 4 * 8)
    decode = jax.jit(lambda p, *latent: networks.decode(p, *latent, m.inputs, m.config.dec.simple))
    means = decode(params, normals(2, 5, 16), normals(2, 5, 12))
    assert means["image"].shape == (2, 5, 16, 16, 3)
    assert 0 < float(means["image"].min()) < float(means["image"].max()) < 1


def encoder_parameters(spaces: Spaces, **changes: object) -> layers.Parameters:
    """What the encoder of a small recipe, changed, asks for."""
    config = dataclasses.replace(tiny.recipe().agent.enc.simple, **changes)
    obs = {key: jnp.zeros((1, *space.shape), space.dtype) for key, space in spaces.items()}
    return layers.find_parameters(lambda params: networks.encode(params, obs, spaces, config, jnp.float32))


def test_parameters_are_found_where_they_are_used() -> None:
    found = encoder_parameters(tiny.IMAGES | {"position": Space((3,), np.float32)}, mults=(1,))
    assert [(name, p.shape, p.init) for name, p in found.items()][-3:] == [
        ("encoder/conv0/kernel", (5, 5, 3, 4), "trunc_normal_in"),
        ("encoder/conv0/bias", (4,), "zeros"),
        ("encoder/conv0/scale", (4,), "ones"),
    ]


def test_images_that_cannot_be_halved_are_refused() -> None:
    spaces = {"image": Space((20, 16, 3), np.uint8)}
    with pytest.raises(RecipeError, match=r"images of 20x16 pixels become 2x2 after 3 halvings"):
        encoder_parameters(spaces, mults=(1,) * 3)


def test_discrete_observations_are_refused() -> None:
    with pytest.raises(RecipeError, match="observation 'key' is discrete"):
        encoder_parameters({"key": Space((), np.int32, classes=3)})


def test_vectors_are_squashed_and_ordered_by_name() -> None:
    agent = tiny.agent(agent__enc__simple__layers=0)
    obs = {"position": jnp.array([[1.0, 2.0, 3.0]]), "height": jnp.array([-4.0])}
    tokens = networks.encode({}, obs, agent.model.inputs, agent.model.config.enc.simple, jnp.float32)
    np.testing.assert_allclose(tokens, [[-np.log(5), np.log(2), np.log(3), np.log(4)]], rtol=1e-6)


# ---------------------------------------------------------------- distributions


def test_the_uniform_part_of_a_categorical() -> None:
    logits = np.log(np.array([0.7, 0.2, 0.1], np.float32))
    np.testing.assert_allclose(np.exp(log_probabilities(logits, 0.3)), [0.59, 0.24, 0.17], rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_probabilities(logits)), [0.7, 0.2, 0.1], rtol=1e-6)


def test_a_sample_is_the_largest_of_log_probability_plus_noise() -> None:
    log_probs = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    assert sample_one_hot(log_probs, jnp.zeros(3)).tolist() == [1, 0, 0]
    assert sample_one_hot(log_probs, jnp.array([0.0, 0.0, 3.0])).tolist() == [0, 0, 1]
    noise = model.gumbel(jnp.asarray(np.random.default_rng(0).uniform(1e-6, 1, (40_000, 3)), jnp.float32))
    shares = np.asarray(jax.vmap(sample_one_hot, (None, 0))(log_probs, noise)).mean(0)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.01)


def test_a_sample_has_the_gradient_of_its_probabilities() -> None:
    weights, logits = jnp.array([1.0, 2.0, 5.0]), jnp.array([0.3, -0.2, 0.1])

    def value(logits: jax.Array, hard: bool) -> jax.Array:
        log_probs = log_probabilities(logits, 0.1)
        sample = sample_one_hot(log_probs, jnp.zeros(3)) if hard else jnp.exp(log_probs)
        return (straight_through(sample, log_probs) * weights).sum()

    def expected(logits: jax.Array) -> jax.Array:
        return (jnp.exp(log_probabilities(logits, 0.1)) * weights).sum()

    assert value(logits, True) == 1.0
    np.testing.assert_allclose(jax.grad(value)(logits, True), jax.grad(expected)(logits), rtol=1e-6)


def test_the_divergence_is_summed_over_groups() -> None:
    p, q = scipy.special.softmax(normals(2, 3, 4), -1), scipy.special.softmax(normals(2, 3, 4, seed=1), -1)
    expected = scipy.stats.entropy(p, q, axis=-1).sum(-1)
    np.testing.assert_allclose(categorical_kl(jnp.log(p), jnp.log(q)), expected, rtol=1e-5)


def test_policies_have_the_textbook_log_probabilities_and_entropies() -> None:
    mean, deviation, event = normals(5, 2), np.exp(normals(5, 2, seed=1)), normals(5, 2, seed=2)
    normal, reference = Normal(mean, deviation, 1), scipy.stats.norm(mean, deviation)
    np.testing.assert_allclose(normal.log_prob(event), reference.logpdf(event).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(normal.entropy(), reference.entropy().sum(-1), rtol=1e-5)
    np.testing.assert_allclose(normal.sample(event), mean + deviation * event, rtol=1e-6)
    logits = normals(5, 3)
    probs = scipy.special.softmax(logits, -1)
    categorical, choice = Categorical(jnp.asarray(logits), 0), np.array([0, 2, 1, 1, 0])
    np.testing.assert_allclose(categorical.log_prob(choice), np.log(probs[range(5), choice]), rtol=1e-5)
    np.testing.assert_allclose(categorical.entropy(), scipy.stats.entropy(probs, axis=-1), rtol=1e-5)
    assert categorical.sample(jnp.zeros((5, 3))).tolist() == logits.argmax(-1).tolist()


def test_the_binary_loss_with_a_soft_target() -> None:
    p = scipy.special.expit(1.5)
    expected = -(0.997 * np.log(p) + 0.003 * np.log(1 - p))
    assert float(binary_loss(jnp.float32(1.5), 0.997)) == pytest.approx(expected, rel=1e-5)


def test_the_policy_is_bounded() -> None:
    agent = tiny.agent()
    params = {name: 50 * np.asarray(value) for name, value in agent.init_state(0).params.items()}

    @jax.jit
    def policy(params: layers.Params, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        normal = model.heads.policy(params, features, tiny.ACTIONS, agent.model.config)["action"]
        return normal.mean, normal.stddev

    mean, stddev = map(np.asarray, policy(params, normals(64, 28)))
    assert 0.9 < np.abs(mean).max() <= 1
    assert 0.1 <= stddev.min() < stddev.max() <= 1.0


# ---------------------------------------------------------------- symexp two-hot


def test_bins_are_symmetric_and_evenly_spaced_in_symlog() -> None:
    np.testing.assert_allclose(layers.symlog(BINS), np.linspace(-20, 20, 255), rtol=1e-5, atol=1e-6)
    assert np.array_equal(BINS, -BINS[::-1])
    assert BINS[127] == 0


def test_equal_probabilities_mean_exactly_zero() -> None:
    assert two_hot_mean(jnp.zeros((3, 255)), BINS).tolist() == [0, 0, 0]


def test_a_target_is_split_between_its_neighbours_by_distance() -> None:
    bins = np.array([-4, -1, 0, 1, 4], np.float32)
    x = jnp.array([-9.0, -4.0, -2.0, 0.0, 0.25, 4.0, 9.0])
    expected = np.zeros((7, 5))
    expected[[0, 1, 3, 5, 6], [0, 0, 2, 4, 4]] = 1
    expected[2, :2] = [1 / 3, 2 / 3]
    expected[4, 2:4] = [0.75, 0.25]
    np.testing.assert_allclose(two_hot(x, bins), expected, atol=1e-6)


weights_of = jax.jit(lambda x: two_hot(x, BINS))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-4e8, 4e8, width=32), min_size=8, max_size=8))
def test_two_hot_weights_sum_to_one_and_mean_their_target(targets: list[float]) -> None:
    x = np.array(targets, np.float32)
    weights = np.asarray(weights_of(x), np.float64)
    assert weights.min() >= 0
    assert ((weights > 0).sum(-1) <= 2).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose((weights * BINS).sum(-1), x, rtol=1e-5, atol=1e-6)


def test_the_two_hot_loss_and_mean_in_numpy() -> None:
    logits, target = normals(6, 255), normals(6, seed=1) * 30
    log_probs = scipy.special.log_softmax(logits.astype(float), -1)
    above = np.searchsorted(BINS, target)
    share = (target - BINS[above - 1]) / (BINS[above] - BINS[above - 1])
    rows = np.arange(6)
    expected = -((1 - share) * log_probs[rows, above - 1] + share * log_probs[rows, above])
    loss = jax.jit(lambda logits, target: two_hot_loss(logits, two_hot(target, BINS)))
    np.testing.assert_allclose(loss(logits, target), expected, rtol=1e-4)
    mean = (np.exp(log_probs) * BINS).sum(-1)
    np.testing.assert_allclose(jax.jit(lambda x: two_hot_mean(x, BINS))(logits), mean, rtol=1e-4)


# ---------------------------------------------------------------- recurrent model


@pytest.mark.parametrize("size", ["small", "large", "gpu"])
def test_the_core_is_a_gru_with_block_diagonal_kernels(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """In numpy."""
    as_for(size, monkeypatch)
    agent = tiny.agent()
    config = agent.model.rssm
    names = {k: p for k, p in agent.parameters.items() if k.startswith("dynamics/")}
    p = {k: normals(*v.shape, seed=i) * 0.5 for i, (k, v) in enumerate(names.items())}
    deter, stoch, action = normals(5, 16), normals(5, 12, seed=1), normals(5, 2, seed=2) * 3
    action_in = action / np.maximum(1, np.abs(action))

    def layer(name: str, y: np.ndarray) -> np.ndarray:
        y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-4) * p[f"dynamics/{name}/scale"]
        return y * scipy.special.expit(y)

    def affine(name: str, x: np.ndarray) -> np.ndarray:
        kernel = p[f"dynamics/{name}/kernel"]
        if kernel.ndim == 3:
            x = x.reshape(5, 4, -1)
            return (
                np.stack([x[:, g] @ kernel[g] for g in range(4)], 1).reshape(5, -1)
                + p[f"dynamics/{name}/bias"]
            )
        return x @ kernel + p[f"dynamics/{name}/bias"]

    sources = {"from_deter": deter, "from_stoch": stoch, "from_action": action_in}
    shared = np.concatenate([layer(name, affine(name, x)) for name, x in sources.items()], -1)
    x = np.concatenate([np.concatenate([deter[:, 4 * g : 4 * g + 4], shared], -1) for g in range(4)], -1)
    gates = affine("gru", layer("hidden0", affine("hidden0", x))).reshape(5, 4, 3, 4)
    reset, candidate, update = gates[:, :, 0], gates[:, :, 1], gates[:, :, 2]
    update = scipy.special.expit(update - 1)
    candidate = np.tanh(scipy.special.expit(reset) * candidate)
    expected = update * candidate + (1 - update) * deter.reshape(5, 4, 4)
    got = jax.jit(lambda *x: rssm.core(p, rssm.Latent(*x[:2]), x[2], config))(deter, stoch, action)
    np.testing.assert_allclose(got, expected.reshape(5, 16), rtol=1e-4, atol=1e-5)


def test_a_reset_forgets_state_and_action() -> None:
    agent = tiny.agent()
    config, params = agent.model.rssm, agent.init_state(0).params
    tokens, gumbel = normals(2, 8), normals(2, 3, 4)

    @jax.jit
    def step(scale: float, reset: bool) -> rssm.Posterior:
        before = rssm.Latent(scale * normals(2, 16), scale * normals(2, 12))
        flags = jnp.array([reset, False])
        return rssm.observe_step(params, before, tokens, scale * normals(2, 2), flags, gumbel, config)

    fresh, other = step(0.0, False).latent.deter, step(1.0, True).latent.deter
    np.testing.assert_array_equal(fresh[0], other[0])
    assert not np.allclose(fresh[1], other[1])


def test_divergences_have_free_nats_as_a_whole_and_one_sided_gradients() -> None:
    config = Rssm(stoch=3, classes=4, unimix=0.01, free_nats=1.0)
    post, prior = jnp.asarray(3 * normals(2, 3, 4)), jnp.asarray(normals(2, 3, 4, seed=1))
    divergences = jax.jit(lambda post, prior: rssm.kl_losses(post, prior, config))
    kl = divergences(post, prior)
    raw = categorical_kl(log_probabilities(post, 0.01), log_probabilities(prior, 0.01))
    assert float(raw.min()) > 1
    np.testing.assert_allclose(kl.dyn, raw, rtol=1e-6)
    np.testing.assert_allclose(kl.rep, raw, rtol=1e-6)
    near = divergences(prior + 0.01, prior)
    assert near.dyn.tolist() == near.rep.tolist() == [1.0, 1.0]

    def total(name: str, post: jax.Array, prior: jax.Array) -> jax.Array:
        return getattr(divergences(post, prior), name).sum()

    for name, moved in (("dyn", 1), ("rep", 0)):
        gradient = jax.grad(total, (1, 2))(name, post, prior)
        assert np.abs(gradient[moved]).max() > 0.01
        assert not np.asarray(gradient[1 - moved]).any()
