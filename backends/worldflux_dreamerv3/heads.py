"""Heads on the latent features (..., F): reward, continue, policy, value (official embodied/jax/heads.py)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .distributions import Categorical, Normal
from .layers import Parameters, Params, Style, linear, linear_parameters, mlp, mlp_parameters
from .recipe import AgentRecipe, ContinueHead, PolicyHead, RewardHead, ValueHead
from .spaces import Spaces

Policy = dict[str, Normal | Categorical]
Head = RewardHead | ContinueHead | PolicyHead | ValueHead


def head_parameters(name: str, inputs: int, outputs: int, config: Head) -> Parameters:
    """Parameters of :func:`head`: an MLP and an output layer ``name/logits``."""
    style = _style(config)
    parameters = mlp_parameters(f"{name}/layer", inputs, config.units, config.layers, style)
    last = config.units if config.layers else inputs
    return parameters | linear_parameters(f"{name}/logits", last, outputs, style, config.outscale)


def head(params: Params, name: str, features: jax.Array, config: Head) -> jax.Array:
    """Outputs (..., outputs) of the head ``name``: logits of two-hot bins or of the continue flag."""
    x = mlp(params, f"{name}/layer", features, config.layers, _style(config))
    return linear(params, f"{name}/logits", x)


def policy_parameters(act_space: Spaces, inputs: int, config: AgentRecipe) -> Parameters:
    """Parameters of :func:`policy`: one MLP, and per action one or two output layers."""
    style, head = _style(config.policy), config.policy
    parameters = mlp_parameters("policy/layer", inputs, head.units, head.layers, style)
    last = head.units if head.layers else inputs
    for key, space in sorted(act_space.items()):
        size = math.prod(space.shape)
        if space.classes is not None:
            outputs = {"logits": size * space.classes}
        else:
            outputs = {"mean": size, "stddev": size}
        for name, count in outputs.items():
            parameters |= linear_parameters(f"policy/{key}/{name}", last, count, style, head.outscale)
    return parameters


def policy(params: Params, features: jax.Array, act_space: Spaces, config: AgentRecipe) -> Policy:
    """Distribution of each action, given features (..., F)."""
    x = mlp(params, "policy/layer", features, config.policy.layers, _style(config.policy))
    outputs: Policy = {}
    for key, space in sorted(act_space.items()):
        shape = (*x.shape[:-1], *space.shape)
        if space.classes is not None:
            logits = linear(params, f"policy/{key}/logits", x).reshape(*shape, space.classes)
            outputs[key] = Categorical(logits.astype(jnp.float32), len(space.shape))
        else:
            mean = linear(params, f"policy/{key}/mean", x).reshape(shape)
            raw = linear(params, f"policy/{key}/stddev", x).reshape(shape)
            outputs[key] = _normal(mean, raw, len(space.shape), config)
    return outputs


def _normal(mean: jax.Array, raw: jax.Array, dims: int, config: AgentRecipe) -> Normal:
    low, high = config.policy.minstd, config.policy.maxstd
    if config.policy_dist_cont == "normal_logstd":
        mean, stddev = mean, jnp.exp(raw)
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


def _style(config: Head) -> Style:
    return Style(config.act, config.norm, config.winit)
