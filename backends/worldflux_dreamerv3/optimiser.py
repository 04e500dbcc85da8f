"""Adaptive gradient clipping, RMS scaling, then momentum (LaProp), and a warm-up of the learning rate.

Sources: paper, section 3 and table 4; LaProp is Ziyin et al. 2020; official embodied/jax/opt.py.

Inside an update all parameters are one matrix, each in rows of its own that are filled up with zeros: a
handful of operations instead of a handful for each of a hundred parameters, which take a compiler most of
its time.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .recipe import Opt

Tree = dict[str, jax.Array]
ROW = 256  # numbers in a row of the matrix
SMALLEST_NORM = 1e-3  # the clipping threshold is relative to at least this parameter norm


class OptimiserState(NamedTuple):
    """Updates so far, and the running second and first moments, packed (see :func:`pack`)."""

    count: jax.Array
    square: jax.Array
    momentum: jax.Array


class Step(NamedTuple):
    """New parameters and state of the optimiser, and statistics under the official names."""

    params: Tree
    state: OptimiserState
    metrics: Tree


def initial_state(params: dict[str, np.ndarray]) -> OptimiserState:
    """No updates, moments of zero."""
    shape = (sum(_count_rows(value) for value in params.values()), ROW)
    return OptimiserState(np.zeros((), np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.float32))


def optimiser_step(grads: Tree, state: OptimiserState, params: Tree, config: Opt) -> Step:
    """Apply the gradients once."""
    owner = _find_owners(params)
    packed, gradient = pack(params), pack(grads)
    updates, state = _compute_direction(gradient, state, packed, owner, config)
    if config.wd:
        decayed = np.array([name.endswith("/kernel") for name in params], np.float32)[owner, None]
        updates += config.wd * decayed * packed
    updates *= -learning_rate(config)(state.count - 1)
    packed += updates
    size = float(sum(x.size for x in params.values()))
    squares = [jnp.square(x).sum() for x in (gradient, updates, packed)]
    metrics = {
        "opt/updates": state.count,
        "opt/grad_norm": jnp.sqrt(squares[0]),
        "opt/grad_rms": jnp.sqrt(squares[0] / size),
        "opt/update_rms": jnp.sqrt(squares[1] / size),
        "opt/param_rms": jnp.sqrt(squares[2] / size),
        "opt/param_count": jnp.float32(size),
    }
    # The barrier keeps the compiler from computing the update again for every parameter.
    return Step(unpack(jax.lax.optimization_barrier(packed), params), state, metrics)


def _compute_direction(
    gradient: jax.Array, state: OptimiserState, params: jax.Array, owner: np.ndarray, config: Opt
) -> tuple[jax.Array, OptimiserState]:
    """Clip, divide by the root of the second moment, average: all of packed arrays."""
    count = state.count + 1
    clipped = clip_adaptively(gradient, params, owner, config.agc)
    square = config.beta2 * state.square + (1 - config.beta2) * jnp.square(clipped)
    scaled = clipped / (jnp.sqrt(square / _compute_weight(config.beta2, count)) + config.eps)
    momentum = config.beta1 * state.momentum + (1 - config.beta1) * scaled
    return momentum / _compute_weight(config.beta1, count), OptimiserState(count, square, momentum)


def _compute_weight(decay: float, count: jax.Array) -> jax.Array:
    """How much of an average that began at zero is data (Kingma & Ba 2015, section 3)."""
    return 1 - decay**count


def clip_adaptively(gradient: jax.Array, params: jax.Array, owner: np.ndarray, clip: float) -> jax.Array:
    """Scale each gradient to at most ``clip`` times the norm of its whole parameter; 0 leaves all as is.

    Both are packed; ``owner`` is the number of the parameter that each row belongs to.
    """
    if not clip:
        return gradient
    limit = clip * jnp.maximum(SMALLEST_NORM, _compute_norms(params, owner))
    scale = 1 / jnp.maximum(1.0, _compute_norms(gradient, owner) / limit)
    return gradient * scale[owner][:, None]


def _compute_norms(packed: jax.Array, owner: np.ndarray) -> jax.Array:
    """Norm of every parameter."""
    return jnp.sqrt(
        jax.ops.segment_sum(jnp.square(packed).sum(1), owner, int(owner[-1]) + 1, indices_are_sorted=True)
    )


def learning_rate(config: Opt) -> optax.Schedule:
    """Rate by update, counted from 0: a linear warm-up from zero, then the schedule."""
    steps = config.anneal - config.warmup
    if config.schedule == "linear":
        schedule = optax.linear_schedule(config.lr, 0.1 * config.lr, steps)
    elif config.schedule == "cosine":
        # The last argument is a fraction of the first rate; the official program gives it a rate.
        schedule = optax.cosine_decay_schedule(config.lr, steps, 0.1 * config.lr)
    else:
        schedule = optax.constant_schedule(config.lr)
    if not config.warmup:
        return schedule
    warmup = optax.linear_schedule(0.0, config.lr, config.warmup)
    return optax.join_schedules([warmup, schedule], [config.warmup])


# ---------------------------------------------------------------- all parameters as one matrix


def pack(tree: Tree) -> jax.Array:
    """All arrays of ``tree`` as rows (R, ROW), each from a new row on, in the order of ``tree``."""
    parts = []
    for value in tree.values():
        parts.append(value.reshape(-1))
        if missing := -value.size % ROW:
            parts.append(jnp.zeros(missing, value.dtype))
    return jnp.concatenate(parts).reshape(-1, ROW)


def unpack(packed: jax.Array, like: Tree) -> Tree:
    """The inverse of :func:`pack`, with the names and shapes of ``like``."""
    tree, flat, start = {}, packed.reshape(-1), 0
    for name, value in like.items():
        tree[name] = flat[start : start + value.size].reshape(value.shape)
        start += _count_rows(value) * ROW
    return tree


def _count_rows(value: jax.Array | np.ndarray) -> int:
    return -(-value.size // ROW)


def _find_owners(tree: Tree) -> np.ndarray:
    """Number (R,) of the parameter that each packed row belongs to."""
    return np.repeat(np.arange(len(tree), dtype=np.int32), [_count_rows(value) for value in tree.values()])
