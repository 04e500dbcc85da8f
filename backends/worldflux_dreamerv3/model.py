"""World model, actor and critic as one loss and one update (paper, section 3; official dreamerv3/agent.py).

Pure functions: parameters, state, data and noise in, arrays out. Shapes: B = batch_size, T = batch_length,
K = imag_last (or T), N = K * B imagined trajectories of H = imag_length steps, D = deter, S = stoch,
C = classes, F = D + S * C. Everything is time-major here, (T, B, ...); rows of N are time-major too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import heads, networks, normalise, rssm
from .distributions import binary_loss, two_hot, two_hot_bins, two_hot_loss, two_hot_mean
from .layers import Parameters, Params, find_parameters, sg
from .losses import Metrics, Normalisers, actor_critic_losses, replay_critic_loss
from .optimiser import OptimiserState, optimiser_step
from .recipe import AgentRecipe, Recipe
from .rssm import Latent
from .spaces import Space, Spaces, select_inputs

Actions = dict[str, jax.Array]


@dataclass(frozen=True)
class Model:
    """What is fixed during a run: recipe and spaces."""

    recipe: Recipe
    obs_space: Spaces
    act_space: Spaces

    @property
    def config(self) -> AgentRecipe:
        """The leaves ``agent.*``."""
        return self.recipe.agent

    @property
    def rssm(self) -> Any:
        """The leaves ``agent.dyn.rssm.*``."""
        return self.recipe.agent.dyn.rssm

    @cached_property
    def inputs(self) -> Spaces:
        """Observations that are encoded and reconstructed."""
        return select_inputs(self.obs_space)

    @cached_property
    def dtype(self) -> Any:
        """What the networks compute in; parameters, losses and statistics are float32."""
        return jnp.dtype(self.recipe.jax.compute_dtype)

    @property
    def reward_bins(self) -> np.ndarray:
        """Positions of the reward head's bins."""
        return two_hot_bins(self.config.rewhead.bins)

    @property
    def value_bins(self) -> np.ndarray:
        """Positions of the value head's bins."""
        return two_hot_bins(self.config.value.bins)


class TrainState(NamedTuple):
    """All that an update changes."""

    params: Params
    slow_value: Params  # the value head's parameters, moving slowly after them, under the same names
    optimiser: OptimiserState
    normalisers: Normalisers
    slow_updates: jax.Array


class Batch(NamedTuple):
    """Replayed steps, time-major: observations, the actions before them, flags and rewards (T, B)."""

    obs: dict[str, jax.Array]
    previous: Actions
    is_first: jax.Array
    is_last: jax.Array
    is_terminal: jax.Array
    reward: jax.Array


class Noise(NamedTuple):
    """All randomness of one update.

    ``posterior`` (T, B, S, C) and ``imagination`` (H, N, S, C) are Gumbel; ``actions`` are standard normal
    (H, N, ...) for continuous actions and Gumbel (H, N, ..., classes) for discrete ones.
    """

    posterior: jax.Array
    imagination: jax.Array
    actions: Actions


class Aux(NamedTuple):
    """What the loss leaves: latents (T, B, ...) of the batch, normalisers, statistics, and each loss.

    Losses are (T, B), ``repval`` (T - 1, B), those of imagination (H, N).
    """

    latent: Latent
    normalisers: Normalisers
    metrics: Metrics
    losses: dict[str, jax.Array]


# ---------------------------------------------------------------- parameters


def parameters(model: Model) -> Parameters:
    """Shape and initial distribution of every parameter; nothing is allocated.

    Raises:
        RecipeError: an observation that the networks cannot take.
    """
    config, dyn = model.config, model.rssm

    def compute(params: Params) -> None:
        obs = {key: jnp.zeros((1, *space.shape), space.dtype) for key, space in model.inputs.items()}
        tokens = networks.encode(params, obs, model.inputs, config.enc.simple, model.dtype)
        latent = rssm.initial_latent(1, dyn, model.dtype)
        action = jnp.zeros((1, heads.action_size(model.act_space)), model.dtype)
        deter = rssm.core(params, latent, action, dyn)
        rssm.prior_logits(params, deter, dyn)
        rssm.posterior_logits(params, deter, tokens, dyn)
        networks.decode(params, *latent, model.inputs, config.dec.simple)
        features = latent.features()
        heads.head(params, "reward", features, config.rewhead)
        heads.head(params, "continue", features, config.conhead)
        heads.policy(params, features, model.act_space, config)
        heads.head(params, "value", features, config.value)

    return find_parameters(compute)


def value_parameters(params: Params) -> Params:
    """Those of the value head."""
    return {name: value for name, value in params.items() if name.startswith("value/")}


# ---------------------------------------------------------------- the loss


def loss(
    params: Params, state: TrainState, start: Latent, batch: Batch, noise: Noise, model: Model
) -> tuple[jax.Array, Aux]:
    """Total loss of one batch and what it leaves.

    ``state`` gives the slow value and the normalisers; ``start`` is the latent before the batch.
    """
    config = model.config

    # World model
    posterior = observe(params, start, batch, noise.posterior, model)
    latent = posterior.latent
    prior = rssm.prior_logits(params, latent.deter, model.rssm)
    kl = rssm.kl_losses(posterior.logits, prior, model.rssm)
    losses = {"dyn": kl.dyn, "rep": kl.rep}
    losses |= reconstruction_losses(params, latent, batch.obs, model)
    features = latent.features()
    losses["rew"] = reward_loss(params, features if config.reward_grad else sg(features), batch.reward, model)
    losses["con"] = continue_loss(params, features, batch.is_terminal, model)

    # Imagination
    last = min(config.imag_last or len(features), len(features))
    latest = jax.tree.map(lambda x: x[-last:], latent)
    trajectory = imagine(params, flatten(latest), noise, model)
    imagined = trajectory.features
    if config.ac_grads:
        imagined = imagined.at[0].set(flatten(latest).features())
    slow_logits = heads.head(state.slow_value, "value", sg(imagined), config.value)
    outcome = actor_critic_losses(
        predict_reward(sg_tree(params), sg(imagined), model),
        predict_continue(sg_tree(params), sg(imagined), model),
        trajectory.actions,
        heads.policy(params, imagined[:-1], model.act_space, config),
        heads.head(params, "value", imagined, config.value),
        slow_logits,
        state.normalisers,
        model.value_bins,
        config,
    )
    losses |= {"policy": outcome.policy, "value": outcome.value}
    normalisers = outcome.normalisers

    # Replay
    if config.repval_loss:
        replayed = features[-last:] if config.repval_grad else sg(features[-last:])
        replay = replay_critic_loss(
            batch.is_last[-last:].astype(jnp.float32),
            batch.is_terminal[-last:].astype(jnp.float32),
            batch.reward[-last:],
            outcome.returns[0].reshape(last, -1),
            heads.head(params, "value", replayed, config.value),
            slow_logits[0].reshape(last, -1, config.value.bins),
            normalisers,
            model.value_bins,
            config,
        )
        losses["repval"], normalisers = replay.loss, replay.normalisers

    means = {name: value.mean() for name, value in losses.items()}
    metrics = outcome.metrics | {f"loss/{name}": mean for name, mean in means.items()}
    metrics |= {"dyn_ent": kl.dyn_ent, "rep_ent": kl.rep_ent}
    total = sum(mean * loss_scale(name, config) for name, mean in means.items())
    return total, Aux(latent, normalisers, metrics, losses)


def loss_scale(name: str, config: AgentRecipe) -> float:
    """Weight of a loss; every reconstruction has that of ``rec``."""
    scales = config.loss_scales
    return getattr(scales, name) if name in vars(scales) else scales.rec


def observe(params: Params, start: Latent, batch: Batch, gumbel: jax.Array, model: Model) -> rssm.Posterior:
    """Latents of the batch, given the latent before it."""
    tokens = networks.encode(params, batch.obs, model.inputs, model.config.enc.simple, model.dtype)
    actions = heads.action_vector(batch.previous, model.act_space, model.dtype)
    return rssm.observe(params, start, tokens, actions, batch.is_first, gumbel, model.rssm)


def reconstruction_losses(
    params: Params, latent: Latent, obs: dict[str, jax.Array], model: Model
) -> dict[str, jax.Array]:
    """Squared errors (T, B) by observation, summed over it: of symlog vectors, of images in 0 to 1."""
    decoder = model.config.dec.simple
    means = networks.decode(params, latent.deter, latent.stoch, model.inputs, decoder)
    return {key: _squared_error(means[key], obs[key], space) for key, space in model.inputs.items()}


def _squared_error(mean: jax.Array, value: jax.Array, space: Space) -> jax.Array:
    value = value.astype(jnp.float32)
    target = value / 255 if space.image else networks.symlog(value)
    return jnp.square(mean - target).sum(tuple(range(-len(space.shape), 0)))


def reward_loss(params: Params, features: jax.Array, reward: jax.Array, model: Model) -> jax.Array:
    """Cross-entropy (...) of the reward head with the observed rewards (...)."""
    logits = heads.head(params, "reward", features, model.config.rewhead)
    return two_hot_loss(logits, two_hot(reward, model.reward_bins))


def continue_loss(params: Params, features: jax.Array, terminal: jax.Array, model: Model) -> jax.Array:
    """Cross-entropy (...) of the continue head, whose target carries the discount if ``contdisc``."""
    logit = heads.head(params, "continue", features, model.config.conhead)[..., 0]
    discount = 1 - 1 / model.config.horizon if model.config.contdisc else 1.0
    return binary_loss(logit, (1 - terminal.astype(jnp.float32)) * discount)


def predict_reward(params: Params, features: jax.Array, model: Model) -> jax.Array:
    """Expected rewards (...)."""
    return two_hot_mean(heads.head(params, "reward", features, model.config.rewhead), model.reward_bins)


def predict_continue(params: Params, features: jax.Array, model: Model) -> jax.Array:
    """Probabilities (...) that the episode goes on."""
    logit = heads.head(params, "continue", features, model.config.conhead)[..., 0]
    return jnp.exp(jax.nn.log_sigmoid(logit.astype(jnp.float32)))


# ---------------------------------------------------------------- imagination


class Trajectory(NamedTuple):
    """Features (H + 1, N, F) of imagined states and the actions (H, N, ...) taken in all but the last."""

    features: jax.Array
    actions: Actions


def imagine(params: Params, start: Latent, noise: Noise, model: Model) -> Trajectory:
    """Roll the policy out in the model from latents (N, ...), without gradient."""
    params, start = rssm.prepare_params(sg_tree(params), model.rssm), sg_tree(start)

    def step(latent: Latent, inputs: tuple[jax.Array, Actions]) -> tuple[Latent, tuple[jax.Array, Actions]]:
        gumbel, action_noise = inputs
        features = latent.features()
        policy = heads.policy(params, features, model.act_space, model.config)
        actions = {key: policy[key].sample(action_noise[key]) for key in policy}
        vector = heads.action_vector(actions, model.act_space, model.dtype)
        return rssm.imagine_step(params, latent, vector, gumbel, model.rssm), (features, actions)

    final, (features, actions) = jax.lax.scan(step, start, (noise.imagination, noise.actions))
    return Trajectory(jnp.concatenate([features, final.features()[None]]), actions)


# ---------------------------------------------------------------- one update


def update(
    state: TrainState, start: Latent, batch: Batch, noise: Noise, model: Model
) -> tuple[TrainState, Latent, Metrics]:
    """One step of the optimiser, then of the slow value; latents (T, B, ...) of the batch, statistics."""
    gradient = jax.value_and_grad(loss, has_aux=True)
    (total, aux), grads = gradient(state.params, state, start, batch, noise, model)
    step = optimiser_step(grads, state.optimiser, state.params, model.config.opt)
    value = value_parameters(step.params)
    slow = slow_value_update(value, state.slow_value, state.slow_updates, model.config)
    metrics = aux.metrics | step.metrics | {"opt/loss": total}
    state = TrainState(step.params, slow, step.state, aux.normalisers, state.slow_updates + 1)
    return state, aux.latent, metrics


def slow_value_update(value: Params, slow: Params, updates: jax.Array, config: AgentRecipe) -> Params:
    """Move ``slow`` towards ``value`` by ``rate``, every so many updates (paper, equation 8)."""
    options = config.slowvalue
    mix = jnp.where(updates % options.every == 0, options.rate, 0.0)
    return {name: mix * value[name] + (1 - mix) * slow[name] for name in slow}


def draw_noise(key: jax.Array, steps: int, rows: int, model: Model) -> Noise:
    """Noise of one update on (steps, rows)."""
    config, dyn = model.config, model.rssm
    lead = (config.imag_length, min(config.imag_last or steps, steps) * rows)
    posterior, imagination = (steps, rows, dyn.stoch, dyn.classes), (*lead, dyn.stoch, dyn.classes)
    actions = action_noise_shapes(lead, model.act_space)
    uniform = draw_uniform(key, {"posterior": posterior, "imagination": imagination, "actions": actions})
    return Noise(
        gumbel(uniform["posterior"]),
        gumbel(uniform["imagination"]),
        action_noise(uniform["actions"], model.act_space),
    )


def draw_uniform(key: jax.Array, shapes: Any) -> Any:
    """Uniform numbers inside (0, 1), in a tree of these shapes, with one call of the generator."""
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    sizes = [math.prod(shape) for shape in leaves]
    bits = jax.random.bits(key, (sum(sizes),)) >> 9
    numbers = (bits.astype(jnp.float32) + 0.5) * 2.0**-23
    parts = jnp.split(numbers, np.cumsum(sizes)[:-1])
    return tree.unflatten(x.reshape(shape) for x, shape in zip(parts, leaves, strict=True))


def gumbel(uniform: jax.Array) -> jax.Array:
    """Standard Gumbel numbers from uniform ones."""
    return -jnp.log(-jnp.log(uniform))


def normal(uniform: jax.Array) -> jax.Array:
    """Standard normal numbers from uniform ones."""
    return math.sqrt(2) * jax.lax.erf_inv(2 * uniform - 1)


def action_noise_shapes(lead: tuple[int, ...], act_space: Spaces) -> dict[str, tuple[int, ...]]:
    """Shapes (*lead, *shape) by continuous action and (*lead, *shape, classes) by discrete one."""
    return {
        name: (*lead, *space.shape, *(() if space.classes is None else (space.classes,)))
        for name, space in act_space.items()
    }


def action_noise(uniform: Actions, act_space: Spaces) -> Actions:
    """Standard normals by continuous action, Gumbels by discrete one, from uniform numbers."""
    return {
        name: normal(uniform[name]) if space.classes is None else gumbel(uniform[name])
        for name, space in act_space.items()
    }


def flatten(latent: Latent) -> Latent:
    """Latents (K, B, ...) as rows (K * B, ...)."""
    return jax.tree.map(lambda x: x.reshape(math.prod(x.shape[:2]), *x.shape[2:]), latent)


def sg_tree(tree: Any) -> Any:
    """``tree`` as constants."""
    return jax.tree.map(sg, tree)


def initial_normalisers(config: AgentRecipe) -> dict[str, dict[str, np.ndarray]]:
    """Zeros for every average that the normalisers keep."""
    configs = {"return": config.retnorm, "value": config.valnorm, "advantage": config.advnorm}
    return {
        key: {name: np.zeros((), np.float32) for name in normalise.initial_names(norm)}
        for key, norm in configs.items()
    }
