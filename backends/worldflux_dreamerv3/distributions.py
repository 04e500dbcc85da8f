"""Distributions over arrays, in float32, whose randomness is an argument (official embodied/jax/outs.py).

Categoricals mixed with the uniform one (paper, section 3), the symexp two-hot distribution of rewards and
values (paper, equations 10 and 11), normals for continuous actions, and the binary one of the continue flag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .layers import sg

LARGEST_SYMLOG = 20.0  # the outermost bins lie at symexp(-20) and symexp(20)


# ---------------------------------------------------------------- categoricals


def log_probabilities(logits: jax.Array, unimix: float = 0.0) -> jax.Array:
    """Log-probabilities (..., classes) of logits, a fraction ``unimix`` of which is uniform."""
    logits = logits.astype(jnp.float32)
    if not unimix:
        return jax.nn.log_softmax(logits)
    probs = jax.nn.softmax(logits)
    return jnp.log((1 - unimix) * probs + unimix / logits.shape[-1])


def sample_one_hot(log_probs: jax.Array, gumbel: jax.Array) -> jax.Array:
    """One-hot sample (..., classes) by the Gumbel-max rule, without gradient."""
    index = jnp.argmax(log_probs + gumbel, -1)
    return jax.nn.one_hot(index, log_probs.shape[-1], dtype=jnp.float32)


def straight_through(sample: jax.Array, log_probs: jax.Array) -> jax.Array:
    """``sample`` with the gradient of the probabilities (paper, section 3)."""
    probs = jnp.exp(log_probs)
    return sg(sample) + (probs - sg(probs))


def categorical_kl(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) over the last axis, summed over the one before it: (..., groups, classes) to (...)."""
    return (jnp.exp(log_p) * (log_p - log_q)).sum((-2, -1))


def categorical_entropy(log_p: jax.Array) -> jax.Array:
    """Entropy over the last axis."""
    return -(jnp.exp(log_p) * log_p).sum(-1)


# ---------------------------------------------------------------- policies


@dataclass(frozen=True)
class Normal:
    """Independent normals over the last ``dims`` axes; ``noise`` is standard normal."""

    mean: jax.Array
    stddev: jax.Array
    dims: int

    def sample(self, noise: jax.Array) -> jax.Array:
        return self.mean + self.stddev * noise

    def log_prob(self, event: jax.Array) -> jax.Array:
        z = (event - self.mean) / self.stddev
        return self._sum(-0.5 * jnp.square(z) - jnp.log(self.stddev) - 0.5 * math.log(2 * math.pi))

    def entropy(self) -> jax.Array:
        return self._sum(0.5 * jnp.log(2 * math.pi * jnp.square(self.stddev)) + 0.5)

    def _sum(self, x: jax.Array) -> jax.Array:
        return x.sum(tuple(range(-self.dims, 0)))


@dataclass(frozen=True)
class Categorical:
    """Independent categoricals over the last ``dims`` axes before the classes; ``noise`` is Gumbel."""

    logits: jax.Array
    dims: int

    def sample(self, noise: jax.Array) -> jax.Array:
        return jnp.argmax(self.logits + noise, -1).astype(jnp.int32)

    def log_prob(self, event: jax.Array) -> jax.Array:
        chosen = jax.nn.one_hot(event, self.logits.shape[-1])
        return self._sum((jax.nn.log_softmax(self.logits) * chosen).sum(-1))

    def entropy(self) -> jax.Array:
        return self._sum(categorical_entropy(jax.nn.log_softmax(self.logits)))

    def _sum(self, x: jax.Array) -> jax.Array:
        return x.sum(tuple(range(-self.dims, 0)))


# ---------------------------------------------------------------- rewards, values, continue flags


def two_hot_bins(count: int) -> np.ndarray:
    """Positions of an odd number of bins, symmetric about zero and evenly spaced in symlog (float32)."""
    half = np.linspace(-LARGEST_SYMLOG, 0, count // 2 + 1, dtype=np.float32)
    half = -np.expm1(-half)
    return np.concatenate([half, -half[:-1][::-1]])


def two_hot_mean(logits: jax.Array, bins: np.ndarray) -> jax.Array:
    """Expected value of logits (..., bins).

    Opposite bins are paired before the sum, so that equal probabilities give exactly zero.
    """
    probs = jax.nn.softmax(logits.astype(jnp.float32))
    middle = len(bins) // 2
    above, below = probs[..., middle + 1 :], probs[..., :middle][..., ::-1]
    return (above * bins[middle + 1 :] + below * bins[:middle][::-1]).sum(-1)


def two_hot(target: jax.Array, bins: np.ndarray) -> jax.Array:
    """Weights (..., bins) of the two bins around ``target``, linear in its distance to them."""
    x = jnp.clip(target, bins[0], bins[-1])[..., None]
    gaps = np.diff(bins)
    rising = (x - bins[:-1]) / gaps
    one = jnp.ones_like(x)
    # A hat over every bin: from its left neighbour up to it, and down again to its right one.
    up = jnp.concatenate([one, rising], -1)
    down = jnp.concatenate([(bins[1:] - x) / gaps, one], -1)
    return jnp.maximum(0, jnp.minimum(up, down))


def two_hot_loss(logits: jax.Array, weights: jax.Array) -> jax.Array:
    """Cross-entropy of logits (..., bins) with target weights of the same shape."""
    return -(weights * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def binary_loss(logit: jax.Array, target: jax.Array) -> jax.Array:
    """Negative log-likelihood of a probability ``target`` under a Bernoulli of this logit."""
    logit = logit.astype(jnp.float32)
    return -(target * jax.nn.log_sigmoid(logit) + (1 - target) * jax.nn.log_sigmoid(-logit))
