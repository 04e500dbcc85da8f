"""Heads on the latent features (..., F): reward, continue, policy, value (official embodied/jax/heads.py)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .distributions import Categorical, Normal
from .layers import Params, linear, mlp
from .recipe import AgentRecipe, ContinueHead, TwoHotHead
from .spaces import Spaces

Policy = dict[str, Normal | Categorical]


def head(params: Params, name: str, features: jax.Array, config: TwoHotHead | ContinueHead) -> jax.Array:
    """Outputs (..., outputs) of the head ``name``: logits of two-hot bins or of the continue flag."""
    x = mlp(params, f"{name}/layer", features, config.layers, config.units, config)
    return linear(params, f"{name}/logits", x, config.bins, config, config.outscale)


def policy(params: Params, features: jax.Array, act_space: Spaces, config: AgentRecipe) -> Policy:
    """Distribution of each action, given features (..., F)."""
    options = config.policy
    x = mlp(params, "policy/layer", features, options.layers, options.units, options)

    def output(name: str, size: int) -> jax.Array:
        return linear(params, f"policy/{name}", x, size, options, options.outscale)

    outputs: Policy = {}
    for key, space in sorted(act_space.items()):
        size, shape, dims = math.prod(space.shape), (*x.shape[:-1], *space.shape), len(space.shape)
        if space.classes is not None:
            logits = output(f"{key}/logits", size * space.classes).reshape(*shape, space.classes)
            outputs[key] = Categorical(logits.astype(jnp.float32), dims)
        else:
            mean, raw = (output(f"{key}/{name}", size).reshape(shape) for name in ("mean", "stddev"))
            outputs[key] = bound_normal(mean, raw, dims, config)
    return outputs


def bound_normal(mean: jax.Array, raw: jax.Array, dims: int, config: AgentRecipe) -> Normal:
    """The normal of two outputs, its mean and deviation within bounds unless the recipe says otherwise."""
    low, high = config.policy.minstd, config.policy.maxstd
    if config.policy_dist_cont == "normal_logstd":
        stddev = jnp.exp(raw)
    else:
        mean, stddev = jnp.tanh(mean), (high - low) * jax.nn.sigmoid(raw + 2.0) + low
    return Normal(mean.astype(jnp.float32), stddev.astype(jnp.float32), dims)


def action_vector(actions: dict[str, jax.Array], act_space: Spaces, dtype) -> jax.Array:
    """Actions side by side (..., A), discrete ones as one-hot vectors, in the order of their names."""
    parts = []
    for key, space in sorted(act_space.items()):
        x = actions[key]
        lead = x.shape[: x.ndim - len(space.shape)]
        x = x if space.classes is None else jax.nn.one_hot(x, space.classes)
        parts.append(x.astype(dtype).reshape(*lead, -1))
    return jnp.concatenate(parts, -1)


def action_size(act_space: Spaces) -> int:
    """Length of :func:`action_vector`."""
    return sum(math.prod(space.shape) * (space.classes or 1) for space in act_space.values())
