"""Twenty-one mistakes that a re-implementation of TD-MPC2 could make, each planted by replacing one piece.

They belong to the tests: no recipe and no request can reach them. ``plant(name)`` changes the modules of
``backends.worldflux_tdmpc2`` in this process; ``mistaken_backend.py`` plants one and runs the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from backends.worldflux_tdmpc2 import activations, agent, networks, optimiser, planner, replay
from backends.worldflux_tdmpc2.agent import Agent, UpdateNoise
from backends.worldflux_tdmpc2.replay import Batch

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


def _after_building(change: Callable[[Agent], None]) -> None:
    build = Agent.__init__

    def build_and_change(self: Agent, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        change(self)

    Agent.__init__ = build_and_change


@mistake
def wrong_discount() -> None:
    """0.9 whatever the episode's length."""
    _after_building(lambda a: setattr(a, "discount", 0.9))


@mistake
def older_q_init() -> None:
    """The Q-functions begin as PyTorch's layers do, as in official versions before 2026-07."""
    build = agent.build_ensemble
    agent.build_ensemble = lambda recipe, action_dim: build(
        dataclasses.replace(recipe, q_init="torch_default"), action_dim
    )


@mistake
def no_target_ema() -> None:
    """The target Q-functions stay as they were initialised."""
    Agent.update_target = lambda self: None


@mistake
def target_copied() -> None:
    """The target Q-functions are copied after every update (tau = 1)."""

    def copy(self: Agent) -> None:
        torch._foreach_copy_(self.target_q.tensors, self.frozen_q.tensors)

    Agent.update_target = copy


@mistake
def reward_shifted_one_step() -> None:
    """The reward that led to an observation is taken for the one that follows it."""
    gather = replay.Replay.gather

    def shifted(self: replay.Replay, starts: Tensor) -> Batch:
        before = (starts + self._offsets[:-1]) % self.capacity
        return gather(self, starts)._replace(reward=self._reward[before])

    replay.Replay.gather = shifted


@mistake
def sampling_across_episodes() -> None:
    """Sub-trajectories begin anywhere in the ring, whatever episode follows."""

    def anywhere(self: replay.Replay, batch_size: int) -> Tensor:
        return torch.randint(max(1, self._held - self.length + 1), (batch_size,))

    replay.Replay.draw_starts = anywhere


@mistake
def simnorm_group_wrong() -> None:
    """Simplices of half the size."""
    faithful = networks.simnorm
    networks.simnorm = lambda x, group: faithful(x, group // 2)


@mistake
def q_average_in_target() -> None:
    """The average of two target Q-functions in place of their minimum."""

    def averaged(self: Agent, next_z: Tensor, reward: Tensor, noise: UpdateNoise) -> Tensor:
        action = self.act_quickly(next_z, noise.target_action)
        values = self.values(self.target_q.members(noise.target_members), next_z, action)
        return reward + self.discount * values.mean(0)

    Agent.td_target = averaged


@mistake
def inverted_temperature() -> None:
    """Values are divided by the temperature, as the name suggests, where the official code multiplies."""

    build = planner.Planner.__init__

    def inverted(self: planner.Planner, agent: Agent) -> None:
        build(self, agent)
        self.recipe = dataclasses.replace(self.recipe, temperature=1 / self.recipe.temperature)

    planner.Planner.__init__ = inverted


@mistake
def entropy_sign() -> None:
    """The policy is rewarded for low entropy."""
    loss = Agent.policy_loss
    Agent.policy_loss = lambda self, value, entropy: loss(self, value, -entropy)


@mistake
def missing_stop_gradient() -> None:
    """The consistency loss pulls the encoded targets towards the prediction too."""

    def targets(self: Agent, batch: Batch, noise: UpdateNoise) -> tuple[Tensor, Tensor]:
        next_z = self.encoder(batch.obs[1:])
        with torch.no_grad():
            return next_z, self.td_target(next_z, batch.reward, noise)

    Agent.targets = targets


@mistake
def encoder_lr_not_scaled() -> None:
    """The encoder learns at the full rate."""

    def change(a: Agent) -> None:
        groups = a.model_optimiser.groups
        a.model_optimiser.groups = [(tensors, a.recipe.lr) for tensors, _ in groups]

    _after_building(change)


@mistake
def rho_ignored() -> None:
    """All time steps weigh the same."""
    _after_building(lambda a: setattr(a, "time_weight", torch.ones_like(a.time_weight)))


@mistake
def two_hot_bins_shifted() -> None:
    """Targets are one bin too high."""
    locate = activations.TwoHot.locate

    def shifted(self: activations.TwoHot, x: Tensor) -> tuple[Tensor, Tensor]:
        index, share = locate(self, x)
        return (index + 1).clamp(max=self.num_bins - 1), share

    activations.TwoHot.locate = shifted


@mistake
def no_symlog() -> None:
    """Bins are even in the scalars themselves."""
    activations.symlog = lambda x: x
    activations.symexp = lambda x: x


@mistake
def running_scale_missing() -> None:
    """Values are not scaled in the policy's loss."""
    Agent.update_scale = lambda self, value: None


@mistake
def no_dropout() -> None:
    """The Q-functions have no dropout."""
    Agent.draw_dropout = lambda self, members, rows: None


@mistake
def no_gradient_clipping() -> None:
    """Gradients are applied as they are."""
    clip = optimiser.clip
    agent.clip = lambda gradients, limit: clip(gradients, float("inf"))


@mistake
def policy_updates_encoder() -> None:
    """The policy's loss reaches the encoder, and is applied with the next step of the world model."""
    update_policy, targets = Agent.update_policy, Agent.targets

    def remember(self: Agent, batch: Batch, noise: UpdateNoise) -> tuple[Tensor, Tensor]:
        self.obs = batch.obs
        return targets(self, batch, noise)

    def through_encoder(self: Agent, zs: Tensor, noise: UpdateNoise) -> dict[str, Tensor]:
        # Where the policy alone is updated, there are no observations, and the latents are as given.
        obs = getattr(self, "obs", None)
        return update_policy(self, zs if obs is None else self.encoder(obs), noise)

    Agent.targets, Agent.update_policy = remember, through_encoder


@mistake
def adam_eps_wrong() -> None:
    """Adam adds 1e-3 to the root of the second moment of the world model's gradients."""
    _after_building(lambda a: setattr(a.model_optimiser, "eps", 1e-3))


@mistake
def value_coef_wrong() -> None:
    """The value loss weighs ten times as much, and the recipe does not say so."""
    model_loss = Agent.model_loss

    def weighted(self: Agent, *args: Any) -> Any:
        recipe = self.recipe
        self.recipe = dataclasses.replace(recipe, value_coef=10 * recipe.value_coef)
        try:
            return model_loss(self, *args)
        finally:
            self.recipe = recipe

    Agent.model_loss = weighted
