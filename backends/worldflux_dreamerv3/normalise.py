"""Running scales of returns, values and advantages (paper, section 3; official embodied/jax/utils.py)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .layers import sg
from .recipe import PlainNorm, ReturnNorm

Normaliser = dict[str, jax.Array]
Config = ReturnNorm | PlainNorm

_STATISTICS = {"none": (), "meanstd": ("mean", "square"), "perc": ("low", "high")}


def initial_names(config: Config) -> tuple[str, ...]:
    """Names of the scalars, zero at first, that :func:`update` averages."""
    names = _STATISTICS[config.impl]
    return (*names, "correction") if names and config.debias else names


def update(config: Config, state: Normaliser, x: jax.Array) -> Normaliser:
    """Exponential moving averages of the statistics of all of ``x``."""
    x = sg(x.astype(jnp.float32))
    if config.impl == "none":
        return state
    if config.impl == "meanstd":
        seen = {"mean": x.mean(), "square": jnp.square(x).mean()}
    else:
        low, high = percentiles(x, config.perclo, config.perchi)
        seen = {"low": low, "high": high}
    if config.debias:
        seen["correction"] = jnp.ones(())
    return {name: (1 - config.rate) * state[name] + config.rate * seen[name] for name in state}


def statistics(config: Config, state: Normaliser) -> tuple[jax.Array | float, jax.Array | float]:
    """Offset and scale, the latter at least ``limit``."""
    if config.impl == "none":
        return 0.0, 1.0
    factor = 1.0
    if config.debias:
        factor = 1.0 / jnp.maximum(config.rate, state["correction"])
    if config.impl == "meanstd":
        mean = state["mean"] * factor
        deviation = jnp.sqrt(jax.nn.relu(state["square"] * factor - jnp.square(mean)))
        return mean, jnp.maximum(config.limit, deviation)
    low, high = state["low"] * factor, state["high"] * factor
    return low, jnp.maximum(config.limit, high - low)


def percentiles(x: jax.Array, *percents: float) -> tuple[jax.Array, ...]:
    """Percentiles of all of ``x``, interpolated linearly between neighbours, with one sort."""
    ordered = jnp.sort(x.reshape(-1))
    last = len(ordered) - 1
    results = []
    for percent in percents:
        position = percent / 100 * last
        below = min(int(position), last)
        weight = position - below
        above = min(below + 1, last)
        results.append((1 - weight) * ordered[below] + weight * ordered[above])
    return tuple(results)
