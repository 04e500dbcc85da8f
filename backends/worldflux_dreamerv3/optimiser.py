"""Adaptive gradient clipping, RMS scaling, then momentum (LaProp), and a warm-up of the learning rate.

Sources: paper, section 3 and table 4; LaProp is Ziyin et al. 2020; official embodied/jax/opt.py.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from .recipe import Opt

Tree = dict[str, jax.Array]
SMALLEST_NORM = 1e-3  # the clipping threshold is relative to at least this parameter norm


class OptimiserState(NamedTuple):
    """Updates so far, and the running second and first moments of each parameter."""

    count: jax.Array
    square: Tree
    momentum: Tree


def optimiser_step(
    grads: Tree, state: OptimiserState, params: Tree, config: Opt
) -> tuple[Tree, OptimiserState]:
    """What to add to the parameters, and the new state."""
    rate = learning_rate(config)(state.count)
    count = state.count + 1
    clipped = clip_adaptively(grads, params, config.agc)
    square = optax.tree.update_moment_per_elem_norm(clipped, state.square, config.beta2, 2)
    scaled = jax.tree.map(
        lambda g, v: g / (jnp.sqrt(v) + config.eps),
        clipped,
        optax.tree.bias_correction(square, config.beta2, count),
    )
    momentum = optax.tree.update_moment(scaled, state.momentum, config.beta1, 1)
    direction = optax.tree.bias_correction(momentum, config.beta1, count)
    updates = {name: -rate * (d + _decay(name, params, config)) for name, d in direction.items()}
    return updates, OptimiserState(count, square, momentum)


def clip_adaptively(grads: Tree, params: Tree, clip: float) -> Tree:
    """Scale each gradient to at most ``clip`` times the norm of its whole parameter; 0 leaves all as is."""
    if not clip:
        return grads

    def scale(gradient: jax.Array, parameter: jax.Array) -> jax.Array:
        limit = clip * jnp.maximum(SMALLEST_NORM, _norm(parameter))
        return gradient * (1 / jnp.maximum(1.0, _norm(gradient) / limit))

    return jax.tree.map(scale, grads, params)


def learning_rate(config: Opt) -> optax.Schedule:
    """Rate by update, counted from 0: a linear warm-up from zero, then the schedule."""
    steps = config.anneal - config.warmup
    if config.schedule == "linear":
        schedule = optax.linear_schedule(config.lr, 0.1 * config.lr, steps)
    elif config.schedule == "cosine":
        # The last argument is a fraction of the first rate; the official program gives a rate.
        schedule = optax.cosine_decay_schedule(config.lr, steps, 0.1 * config.lr)
    else:
        schedule = optax.constant_schedule(config.lr)
    if not config.warmup:
        return schedule
    warmup = optax.linear_schedule(0.0, config.lr, config.warmup)
    return optax.join_schedules([warmup, schedule], [config.warmup])


def root_mean_square(tree: Tree) -> jax.Array:
    """Over all numbers in ``tree``."""
    leaves = jax.tree.leaves(tree)
    total = sum(jnp.square(x).sum() for x in leaves)
    return jnp.sqrt(total / float(sum(x.size for x in leaves)))


def _decay(name: str, params: Tree, config: Opt) -> jax.Array | float:
    return config.wd * params[name] if config.wd and name.endswith("/kernel") else 0.0


def _norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(x).sum())
