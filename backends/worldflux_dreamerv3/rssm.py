"""Recurrent state-space model (paper, section 3; official dreamerv3/rssm.py).

Shapes: N rows, T steps, D = deter, S = stoch, C = classes. Scans are time-major. The stochastic state is flat
between functions, (..., S * C), and (..., S, C) as logits. Nothing here draws random numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .distributions import categorical_kl, log_probabilities, sample_one_hot, straight_through
from .layers import (
    Parameters,
    Params,
    Style,
    activate,
    block_linear,
    block_parameters,
    layer,
    layer_parameters,
    linear,
    linear_parameters,
    mlp,
    mlp_parameters,
    norm_parameters,
    with_dense_kernels,
)
from .recipe import Rssm

sg = jax.lax.stop_gradient
LARGE_GATES = 128  # gates in a block from which on blocks are worth operations of their own


class Latent(NamedTuple):
    """Deterministic state (..., D) and flat stochastic state (..., S * C)."""

    deter: jax.Array
    stoch: jax.Array

    def features(self) -> jax.Array:
        """What the heads read: (..., D + S * C)."""
        return jnp.concatenate(self, -1)


class Posterior(NamedTuple):
    """Latents (T, N, ...) of observed steps and the logits (T, N, S, C) that they were sampled from."""

    latent: Latent
    logits: jax.Array


def rssm_parameters(config: Rssm, tokens: int, actions: int) -> Parameters:
    """Parameters of the model, for tokens and action vectors of these sizes."""
    style, deter, hidden = _style(config), config.deter, config.hidden
    stoch, blocks = config.stoch * config.classes, config.blocks
    parameters = layer_parameters("dynamics/from_deter", deter, hidden, style)
    parameters |= layer_parameters("dynamics/from_stoch", stoch, hidden, style)
    parameters |= layer_parameters("dynamics/from_action", actions, hidden, style)
    inputs = deter + blocks * 3 * hidden
    for i in range(config.dynlayers):
        parameters |= block_parameters(f"dynamics/hidden{i}", inputs, deter, blocks, style)
        parameters |= norm_parameters(f"dynamics/hidden{i}", deter, style)
        inputs = deter
    parameters |= block_parameters("dynamics/gru", inputs, 3 * deter, blocks, style)
    for name, size, layers in (
        ("prior", deter, config.imglayers),
        ("posterior", tokens + (0 if config.absolute else deter), config.obslayers),
    ):
        parameters |= mlp_parameters(f"dynamics/{name}", size, hidden, layers, style)
        last = hidden if layers else size
        parameters |= linear_parameters(f"dynamics/{name}_logits", last, stoch, style, config.outscale)
    return parameters


def initial_latent(rows: int, config: Rssm, dtype) -> Latent:
    """The all-zero state before the first step of an episode."""
    return Latent(
        jnp.zeros((rows, config.deter), dtype), jnp.zeros((rows, config.stoch * config.classes), dtype)
    )


def core(params: Params, latent: Latent, action: jax.Array, config: Rssm) -> jax.Array:
    """Next deterministic state (N, D) after an action vector (N, A): a GRU with block-diagonal kernels."""
    action = action / sg(jnp.maximum(1, jnp.abs(action)))
    style = _style(config)
    shared = [
        layer(params, "dynamics/from_deter", latent.deter, style),
        layer(params, "dynamics/from_stoch", latent.stoch, style),
        layer(params, "dynamics/from_action", action, style),
    ]
    x, shared = _to_blocks(latent.deter, jnp.concatenate(shared, -1), config.blocks)
    for i in range(config.dynlayers):
        name = f"dynamics/hidden{i}"
        y = activate(params, name, block_linear(params, name, x, shared), style)
        x, shared = y.reshape(x.shape), None
    return _gru(latent.deter, block_linear(params, "dynamics/gru", x, shared), config.blocks)


def prepared(params: Params, config: Rssm) -> Params:
    """``params`` with what :func:`core` would otherwise make of them anew in every step."""
    names = [*(f"dynamics/hidden{i}" for i in range(config.dynlayers)), "dynamics/gru"]
    return with_dense_kernels(params, names, config.deter // config.blocks)


def _to_blocks(deter: jax.Array, shared: jax.Array, blocks: int) -> tuple[jax.Array, jax.Array | None]:
    """What each block reads: its own part (N, G, D / G) of ``deter``, and what all blocks share."""
    return deter.reshape(len(deter), blocks, -1), shared


def _gru(deter: jax.Array, gates: jax.Array, blocks: int) -> jax.Array:
    if jax.default_backend() == "cpu" and gates.shape[-1] >= blocks * LARGE_GATES:
        # Block by block nothing has to be put side by side only to be taken apart again.
        parts = zip(jnp.split(deter, blocks, -1), jnp.split(gates, blocks, -1), strict=True)
        return jnp.concatenate([_gated(*part) for part in parts], -1)
    own = deter.reshape(len(deter), blocks, -1)
    return _gated(own, gates.reshape(len(deter), blocks, -1)).reshape(deter.shape)


def _gated(deter: jax.Array, gates: jax.Array) -> jax.Array:
    """New state (..., D) of reset, candidate and update (..., 3 * D), one after the other."""
    reset, candidate, update = jnp.split(gates, 3, -1)
    update = jax.nn.sigmoid(update - 1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return update * candidate + (1 - update) * deter


def prior_logits(params: Params, deter: jax.Array, config: Rssm) -> jax.Array:
    """Logits (..., S, C) of the stochastic state from the deterministic one alone."""
    x = mlp(params, "dynamics/prior", deter, config.imglayers, _style(config))
    return linear(params, "dynamics/prior_logits", x).reshape(*x.shape[:-1], config.stoch, config.classes)


def posterior_logits(params: Params, deter: jax.Array, tokens: jax.Array, config: Rssm) -> jax.Array:
    """Logits (..., S, C) of the stochastic state from the deterministic one and the observation's tokens."""
    x = tokens if config.absolute else jnp.concatenate([deter, tokens], -1)
    x = mlp(params, "dynamics/posterior", x, config.obslayers, _style(config))
    return linear(params, "dynamics/posterior_logits", x).reshape(*x.shape[:-1], config.stoch, config.classes)


def observe_step(
    params: Params,
    latent: Latent,
    tokens: jax.Array,
    action: jax.Array,
    reset: jax.Array,
    gumbel: jax.Array,
    config: Rssm,
) -> Posterior:
    """One observed step; where ``reset`` (N,) is true, state and action before it count as zeros."""
    keep = ~reset[:, None]
    latent = Latent(*(jnp.where(keep, x, 0) for x in latent))
    deter = core(params, latent, jnp.where(keep, action, 0), config)
    logits = posterior_logits(params, deter, tokens, config)
    log_probs = log_probabilities(logits, config.unimix)
    stoch = straight_through(sample_one_hot(log_probs, gumbel), log_probs).astype(deter.dtype)
    return Posterior(Latent(deter, stoch.reshape(len(deter), -1)), logits)


def observe(
    params: Params,
    latent: Latent,
    tokens: jax.Array,
    actions: jax.Array,
    resets: jax.Array,
    gumbel: jax.Array,
    config: Rssm,
) -> Posterior:
    """Latents of tokens (T, N, E), previous actions (T, N, A), resets (T, N), Gumbels (T, N, S, C)."""

    params = prepared(params, config)

    def step(latent: Latent, inputs: tuple[jax.Array, ...]) -> tuple[Latent, Posterior]:
        posterior = observe_step(params, latent, *inputs, config)
        return posterior.latent, posterior

    return jax.lax.scan(step, latent, (tokens, actions, resets, gumbel))[1]


def imagine_step(
    params: Params, latent: Latent, action: jax.Array, gumbel: jax.Array, config: Rssm
) -> Latent:
    """One step without observation: the stochastic state is sampled from the prior, without gradient."""
    deter = core(params, latent, action, config)
    sample = sample_one_hot(log_probabilities(prior_logits(params, deter, config), config.unimix), gumbel)
    return Latent(deter, sample.reshape(len(deter), -1).astype(deter.dtype))


class KlLosses(NamedTuple):
    """Losses (...) of dynamics and representation, and the mean entropies of prior and posterior."""

    dyn: jax.Array
    rep: jax.Array
    dyn_ent: jax.Array
    rep_ent: jax.Array


def kl_losses(posterior: jax.Array, prior: jax.Array, config: Rssm) -> KlLosses:
    """Balanced KL with free nats over the whole state (paper, equation 3), from logits (..., S, C)."""
    post, pri = (log_probabilities(x, config.unimix) for x in (posterior, prior))
    dyn, rep = categorical_kl(sg(post), pri), categorical_kl(post, sg(pri))
    if config.free_nats:
        dyn, rep = jnp.maximum(dyn, config.free_nats), jnp.maximum(rep, config.free_nats)
    entropies = (-(jnp.exp(x) * x).sum((-2, -1)).mean() for x in (pri, post))
    return KlLosses(dyn, rep, *entropies)


def _style(config: Rssm) -> Style:
    return Style(config.act, config.norm, config.winit)
