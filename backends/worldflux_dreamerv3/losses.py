"""Losses of actor and critic on arrays (paper, equations 6 to 11; official dreamerv3/agent.py).

All arrays are time-major: (T, N). The last step of a sequence only bootstraps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import normalise
from .distributions import Categorical, two_hot, two_hot_loss, two_hot_mean
from .heads import Policy
from .layers import sg
from .normalise import Normaliser
from .recipe import AgentRecipe

Normalisers = dict[str, Normaliser]
Metrics = dict[str, jax.Array]


class ActorCritic(NamedTuple):
    """Losses of policy and value (T - 1, N), returns (T - 1, N), normalisers that saw them, statistics."""

    policy: jax.Array
    value: jax.Array
    returns: jax.Array
    normalisers: Normalisers
    metrics: Metrics


def lambda_return(
    last: jax.Array, terminal: jax.Array, reward: jax.Array, boot: jax.Array, discount: float, lam: float
) -> jax.Array:
    """Returns (T - 1, N) of rewards and bootstrap values (T, N) (paper, equation 7).

    ``terminal`` is the probability that the episode ends at a step; where ``last`` is 1 the sequence is cut.
    """
    live = (1 - terminal[1:]) * discount
    mix = (1 - last[1:]) * lam
    interim = reward[1:] + (1 - mix) * live * boot[1:]

    def step(later: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        now, weight = inputs
        now = now + weight * later
        return now, now

    return jax.lax.scan(step, boot[-1], (interim, live * mix), reverse=True)[1]


def actor_critic_losses(
    reward: jax.Array,
    cont: jax.Array,
    actions: dict[str, jax.Array],
    policy: Policy,
    value_logits: jax.Array,
    slow_logits: jax.Array,
    normalisers: Normalisers,
    bins: np.ndarray,
    config: AgentRecipe,
) -> ActorCritic:
    """Losses on imagined trajectories of T states: ``reward`` and ``cont`` (T, N), logits (T, N, bins).

    ``actions`` and ``policy`` are those of the first T - 1 states. The gradient flows into ``policy`` and
    ``value_logits`` only.
    """
    options = config.imag_loss
    discount = 1.0 if config.contdisc else 1 - 1 / config.horizon

    # Returns and advantages
    offset, scale = normalise.statistics(config.valnorm, normalisers["value"])
    slow = two_hot_mean(slow_logits, bins)
    value = sg(two_hot_mean(value_logits, bins)) * scale + offset
    slow_value = slow * scale + offset
    target = slow_value if options.slowtar else value
    weight = jnp.cumprod(discount * cont, 0) / discount
    returns = sg(lambda_return(jnp.zeros_like(cont), 1 - cont, reward, target, discount, options.lam))
    scales = dict(normalisers)
    scales["return"] = normalise.update(config.retnorm, scales["return"], returns)
    return_offset, return_scale = normalise.statistics(config.retnorm, scales["return"])
    advantage = (returns - target[:-1]) / return_scale
    scales["advantage"] = normalise.update(config.advnorm, scales["advantage"], advantage)
    advantage_offset, advantage_scale = normalise.statistics(config.advnorm, scales["advantage"])
    scales["value"] = normalise.update(config.valnorm, scales["value"], returns)
    offset, scale = normalise.statistics(config.valnorm, scales["value"])

    # Policy
    log_prob = sum(policy[key].log_prob(sg(actions[key])) for key in policy)
    entropies = {key: policy[key].entropy() for key in policy}
    objective = log_prob * sg((advantage - advantage_offset) / advantage_scale)
    objective += options.actent * sum(entropies.values())
    policy_loss = -sg(weight[:-1]) * objective

    # Value
    target_value = (returns - offset) / scale
    value_loss = critic_loss(value_logits[:-1], target_value, slow[:-1], options.slowreg, bins)

    scaled = (returns - return_offset) / return_scale
    metrics = {
        "adv": advantage.mean(),
        "adv_std": advantage.std(),
        "adv_mag": jnp.abs(advantage).mean(),
        "rew": reward.mean(),
        "con": cont.mean(),
        "ret": scaled.mean(),
        "val": value.mean(),
        "tar": target_value.mean(),
        "weight": weight.mean(),
        "slowval": slow_value.mean(),
        "ret_min": scaled.min(),
        "ret_max": scaled.max(),
        "ret_rate": (jnp.abs(scaled) >= 1.0).mean(),
    } | _entropy_metrics(policy, entropies)
    return ActorCritic(policy_loss, sg(weight[:-1]) * value_loss, returns, scales, metrics)


def critic_loss(
    logits: jax.Array, target: jax.Array, slow: jax.Array, slowreg: float, bins: np.ndarray
) -> jax.Array:
    """Cross-entropy with the returns, and ``slowreg`` times that with the slow values (paper, equation 8)."""
    weights = two_hot(sg(target), bins) + slowreg * two_hot(sg(slow), bins)
    return two_hot_loss(logits, weights)


class ReplayCritic(NamedTuple):
    """Loss (T - 1, N) of the value on replayed steps, its returns, and the normalisers that saw them."""

    loss: jax.Array
    returns: jax.Array
    normalisers: Normalisers


def replay_critic_loss(
    last: jax.Array,
    terminal: jax.Array,
    reward: jax.Array,
    boot: jax.Array,
    value_logits: jax.Array,
    slow_logits: jax.Array,
    normalisers: Normalisers,
    bins: np.ndarray,
    config: AgentRecipe,
) -> ReplayCritic:
    """Value loss on replayed steps (T, N), bootstrapped from imagined returns ``boot`` that start there."""
    options = config.repl_loss
    returns = sg(lambda_return(last, terminal, reward, boot, 1 - 1 / config.horizon, options.lam))
    scales = dict(normalisers)
    scales["value"] = normalise.update(config.valnorm, scales["value"], returns)
    offset, scale = normalise.statistics(config.valnorm, scales["value"])
    slow = two_hot_mean(slow_logits, bins)
    loss = critic_loss(value_logits[:-1], (returns - offset) / scale, slow[:-1], options.slowreg, bins)
    return ReplayCritic((1 - last[:-1]) * loss, returns, scales)


def _entropy_metrics(policy: Policy, entropies: dict[str, jax.Array]) -> Metrics:
    metrics = {}
    for key, entropy in entropies.items():
        metrics[f"ent/{key}"] = entropy.mean()
        # The official program records how random a policy is for a single discrete action only.
        if isinstance(policy[key], Categorical) and not policy[key].dims:
            metrics[f"rand/{key}"] = entropy.mean() / np.log(policy[key].logits.shape[-1])
    return metrics
