"""Recurrent state-space model (paper, section 3; official dreamerv3/rssm.py).

Shapes: N rows, T steps, D = deter, S = stoch, C = classes. Scans are time-major. The stochastic state is flat
between functions, (..., S * C), and (..., S, C) as logits. Nothing here draws random numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .distributions import categorical_kl, log_probabilities, sample_one_hot, straight_through
from .layers import Params, activate, block_linear, layer, linear, mlp, sg, with_dense_kernels
from .recipe import Rssm

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


def initial_latent(rows: int, config: Rssm, dtype) -> Latent:
    """The all-zero state before the first step of an episode."""
    return Latent(
        jnp.zeros((rows, config.deter), dtype), jnp.zeros((rows, config.stoch * config.classes), dtype)
    )


def core(params: Params, latent: Latent, action: jax.Array, config: Rssm) -> jax.Array:
    """Next deterministic state (N, D) after an action vector (N, A): a GRU with block-diagonal kernels."""
    action = action / sg(jnp.maximum(1, jnp.abs(action)))
    inputs = {"deter": latent.deter, "stoch": latent.stoch, "action": action}
    read = [layer(params, f"dynamics/from_{k}", x, config.hidden, config) for k, x in inputs.items()]
    shared: jax.Array | None = jnp.concatenate(read, -1)
    x = latent.deter.reshape(len(latent.deter), config.blocks, -1)
    for i in range(config.dynlayers):
        name = f"dynamics/hidden{i}"
        y = block_linear(params, name, x, shared, config.deter, config)
        x, shared = activate(params, name, y, config).reshape(x.shape), None
    gates = block_linear(params, "dynamics/gru", x, shared, 3 * config.deter, config)
    return apply_gates(latent.deter, gates, config.blocks)


def prepare_params(params: Params, config: Rssm) -> Params:
    """``params`` with what :func:`core` would otherwise make of them anew in every step."""
    names = [*(f"dynamics/hidden{i}" for i in range(config.dynlayers)), "dynamics/gru"]
    return with_dense_kernels(params, names, config.deter // config.blocks)


def apply_gates(deter: jax.Array, gates: jax.Array, blocks: int) -> jax.Array:
    """New state (N, D) of the gates (N, 3 * D), each block's side by side."""
    if jax.default_backend() == "cpu" and gates.shape[-1] >= blocks * LARGE_GATES:
        # Block by block nothing has to be put side by side only to be taken apart again.
        parts = zip(jnp.split(deter, blocks, -1), jnp.split(gates, blocks, -1), strict=True)
        return jnp.concatenate([apply_block_gates(*part) for part in parts], -1)
    own = deter.reshape(len(deter), blocks, -1)
    return apply_block_gates(own, gates.reshape(len(deter), blocks, -1)).reshape(deter.shape)


def apply_block_gates(deter: jax.Array, gates: jax.Array) -> jax.Array:
    """New state (..., D) of reset, candidate and update (..., 3 * D), one after the other."""
    reset, candidate, update = jnp.split(gates, 3, -1)
    update = jax.nn.sigmoid(update - 1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return update * candidate + (1 - update) * deter


def prior_logits(params: Params, deter: jax.Array, config: Rssm) -> jax.Array:
    """Logits (..., S, C) of the stochastic state from the deterministic one alone."""
    return latent_logits(params, "prior", deter, config.imglayers, config)


def posterior_logits(params: Params, deter: jax.Array, tokens: jax.Array, config: Rssm) -> jax.Array:
    """Logits (..., S, C) of the stochastic state from the deterministic one and tokens (..., E)."""
    x = tokens if config.absolute else jnp.concatenate([deter, tokens], -1)
    return latent_logits(params, "posterior", x, config.obslayers, config)


def latent_logits(params: Params, name: str, x: jax.Array, layers: int, config: Rssm) -> jax.Array:
    """Logits (..., S, C) that an MLP makes of ``x`` (..., F)."""
    x = mlp(params, f"dynamics/{name}", x, layers, config.hidden, config)
    stoch = config.stoch * config.classes
    x = linear(params, f"dynamics/{name}_logits", x, stoch, config, config.outscale)
    return x.reshape(*x.shape[:-1], config.stoch, config.classes)


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

    params = prepare_params(params, config)

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
