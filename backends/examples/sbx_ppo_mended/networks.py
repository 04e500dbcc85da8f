"""Networks for PPO of SBX that begin as those of Stable-Baselines3: orthogonal weights, biases of zero."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import tensorflow_probability.substrates.jax as tfp


def dense(units: int, gain: float) -> nn.Dense:
    """A layer with orthogonal weights; the gains are those of Stable-Baselines3's ``ActorCriticPolicy``."""
    return nn.Dense(units, kernel_init=nn.initializers.orthogonal(gain))


class Critic(nn.Module):
    """States, (batch, features), to their values, (batch, 1)."""

    net_arch: Sequence[int]
    activation_fn: Callable[[jax.Array], jax.Array] = nn.tanh
    features_extractor: Any = None
    features_dim: int = 512

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for units in self.net_arch:
            x = self.activation_fn(dense(units, 2**0.5)(x))
        return dense(1, 1.0)(x)


class Actor(nn.Module):
    """States, (batch, features), to a distribution of one of ``action_dim`` actions."""

    action_dim: int
    net_arch: Sequence[int]
    log_std_init: float = 0.0
    activation_fn: Callable[[jax.Array], jax.Array] = nn.tanh
    num_discrete_choices: int | None = None
    ortho_init: bool = False
    features_extractor: Any = None
    features_dim: int = 512

    def get_std(self) -> jax.Array:
        return jax.numpy.zeros(())

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        for units in self.net_arch:
            x = self.activation_fn(dense(units, 2**0.5)(x))
        return tfp.distributions.Categorical(logits=dense(self.action_dim, 0.01)(x))
