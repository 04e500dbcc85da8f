"""Twenty mistakes that a re-implementation of DreamerV3 could make, each planted by replacing one piece.

They belong to the tests: no recipe and no request can reach them. ``plant(name)`` changes the modules of
``backends.worldflux_dreamerv3`` in this process; ``mistaken_backend.py`` plants one and runs the program,
``mistaken_match.py`` plants one and runs the component match.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backends.worldflux_dreamerv3 import heads, losses, model, networks, normalise, optimiser, rssm
from backends.worldflux_dreamerv3.agent import Agent
from backends.worldflux_dreamerv3.recipe import AgentRecipe, Opt, Rssm

MISTAKES: dict[str, Callable[[], None]] = {}


def plant(name: str) -> None:
    """Make the mistake ``name``.

    Raises:
        KeyError: there is no such mistake.
    """
    MISTAKES[name]()


def mistake(function: Callable[[], None]) -> Callable[[], None]:
    """Register under the function's name."""
    MISTAKES[function.__name__] = function
    return function


def _with_recipe(place: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Have the function ``name`` of ``place`` take its recipe, the last argument, changed."""
    faithful = getattr(place, name)
    setattr(place, name, lambda *args: faithful(*args[:-1], change(args[-1])))


def _replaced(part: str, **changes: Any) -> Callable[[AgentRecipe], AgentRecipe]:
    """The agent's recipe with other values in one of its parts."""

    def change(config: AgentRecipe) -> AgentRecipe:
        return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **changes)})

    return change


@mistake
def wrong_lambda() -> None:
    """Lambda is 0.8 in both returns."""
    faithful = losses.lambda_return
    losses.lambda_return = lambda *args: faithful(*args[:-1], 0.8)


@mistake
def no_unimix() -> None:
    """Nothing uniform is mixed into the categoricals of the latent."""
    faithful = rssm.log_probabilities
    rssm.log_probabilities = lambda logits, unimix=0.0: faithful(logits)


@mistake
def free_nats_off() -> None:
    """Divergences are lowered to zero."""

    def change(config: Rssm) -> Rssm:
        return dataclasses.replace(config, free_nats=0.0)

    _with_recipe(rssm, "kl_losses", change)


@mistake
def missing_stop_gradient() -> None:
    """Both sides of the divergence follow both of its losses."""
    faithful, stop = rssm.kl_losses, rssm.sg

    def unbalanced(*args: Any) -> rssm.KlLosses:
        rssm.sg = lambda x: x
        try:
            return faithful(*args)
        finally:
            rssm.sg = stop

    rssm.kl_losses = unbalanced


@mistake
def two_hot_bins_shifted() -> None:
    """Targets are one bin too high."""
    faithful = model.two_hot
    model.two_hot = losses.two_hot = lambda target, bins: jnp.roll(faithful(target, bins), 1, -1)


@mistake
def return_normalisation_off() -> None:
    """Advantages are used as they are."""
    normalise.statistics = lambda config, state: (0.0, 1.0)


@mistake
def continue_discounts_twice() -> None:
    """The discount is applied to probabilities of going on that carry it already."""

    def change(config: AgentRecipe) -> AgentRecipe:
        return dataclasses.replace(config, contdisc=False)

    _with_recipe(losses, "actor_critic_losses", change)
    model.actor_critic_losses = losses.actor_critic_losses


@mistake
def no_agc() -> None:
    """Gradients are not clipped."""
    optimiser.clip_adaptively = lambda gradient, *_: gradient


@mistake
def no_warmup() -> None:
    """The learning rate is full from the first update on."""
    faithful = optimiser.learning_rate
    optimiser.learning_rate = lambda config: faithful(dataclasses.replace(config, warmup=0))


@mistake
def no_momentum() -> None:
    """The scaled gradients are applied as they are."""

    def change(config: Opt) -> Opt:
        return dataclasses.replace(config, beta1=0.0)

    _with_recipe(optimiser, "optimiser_step", change)
    model.optimiser_step = optimiser.optimiser_step


@mistake
def replay_context_dropped() -> None:
    """A batch starts from the latents of the batch before it, not from those that were stored."""
    faithful = Agent.arrange

    def arrange(self: Agent, carry: Any, data: Any) -> Any:
        return faithful(self, carry, {**data, "consec": data["consec"] + 1})

    Agent.arrange = arrange


@mistake
def entropy_sign() -> None:
    """The policy is rewarded for low entropy."""
    faithful = losses.actor_critic_losses

    def negated(*args: Any) -> losses.ActorCritic:
        config = args[-1]
        return faithful(*args[:-1], _replaced("imag_loss", actent=-config.imag_loss.actent)(config))

    losses.actor_critic_losses = model.actor_critic_losses = negated


@mistake
def slow_value_copied() -> None:
    """The slow value is a copy of the value after every update."""
    _with_recipe(model, "slow_value_update", _replaced("slowvalue", rate=1.0))


@mistake
def slow_value_bootstraps() -> None:
    """Returns are bootstrapped from the slow value, as in DreamerV3's predecessors."""
    faithful = losses.actor_critic_losses
    change = _replaced("imag_loss", slowtar=True)
    losses.actor_critic_losses = lambda *args: faithful(*args[:-1], change(args[-1]))
    model.actor_critic_losses = losses.actor_critic_losses


@mistake
def gru_update_bias() -> None:
    """The update gate has a bias of 1 in place of -1: the state forgets quickly."""
    faithful = rssm.apply_gates

    def shifted(deter: jax.Array, gates: jax.Array, blocks: int) -> jax.Array:
        parts = gates.reshape(len(gates), blocks, 3, -1)
        return faithful(deter, parts.at[:, :, 2].add(2).reshape(gates.shape), blocks)

    rssm.apply_gates = shifted


@mistake
def blocks_interleaved() -> None:
    """A block's part of the state is numbers that lie apart in place of neighbours."""
    faithful = rssm.block_linear

    def interleaved(params: Any, name: str, own: jax.Array, *args: Any) -> jax.Array:
        if name == "dynamics/hidden0":
            own = jnp.swapaxes(own.reshape(len(own), -1, own.shape[1]), 1, 2)
        return faithful(params, name, own, *args)

    rssm.block_linear = interleaved


@mistake
def mean_not_squashed() -> None:
    """The mean of the policy is not bounded."""
    faithful = heads.bound_normal

    def unbounded(mean: jax.Array, *args: Any) -> heads.Normal:
        return dataclasses.replace(faithful(mean, *args), mean=mean.astype(jnp.float32))

    heads.bound_normal = unbounded


@mistake
def resets_ignored() -> None:
    """The latent goes on across the ends of episodes."""
    faithful = rssm.observe_step

    def going_on(params: Any, latent: Any, tokens: Any, action: Any, reset: Any, *args: Any) -> Any:
        return faithful(params, latent, tokens, action, jnp.zeros_like(reset), *args)

    rssm.observe_step = going_on


@mistake
def no_symlog() -> None:
    """Vector observations are neither squashed for the encoder nor for the decoder."""
    networks.symlog = lambda x: x


@mistake
def norm_eps_wrong() -> None:
    """RMSNorm adds 1e-2 to the mean square."""
    from backends.worldflux_dreamerv3 import layers

    layers.NORM_EPS = np.float32(1e-2)
