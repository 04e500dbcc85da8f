"""What a match must see: each component computed once more with one thing wrong in it.

The wrong thing is real: a weight off by a thousandth, a matrix transposed, a gradient that is stopped or
not stopped, another constant; the code that computes is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_worldflux_parity import wire

from ..agent import UpdateNoise
from ..environments import Environment, make_env
from ..networks import Network
from ..optimiser import Adam
from ..replay import Batch, Replay
from .components import Subject, compute, list_tensors

Change = Callable[[Subject], None]
PERTURBATIONS: list[Perturbation] = []


@dataclass(frozen=True)
class Perturbation:
    """One thing wrong with one component; ``what`` says it in a sentence.

    Attributes:
        kind: weight, transpose, stop_gradient or constant.
        change: makes it wrong; the recipe's keys in ``recipe`` are wrong from the start.
        square: a matrix that must be one for this to be possible; empty: none.
    """

    name: str
    component: str
    kind: str
    what: str
    change: Change
    recipe: tuple[tuple[str, Any], ...] = ()
    square: str = ""

    def compute(self, golden: wire.Golden) -> dict[str, np.ndarray]:
        """The outputs of the component, wrong."""
        base = Subject(golden)
        changes = {key: value(base.recipe) for key, value in self.recipe}
        subject = Subject(golden, **changes) if changes else base
        self.change(subject)
        return compute(subject, self.component)

    def describe(self) -> dict[str, str]:
        """As in ``match.json``."""
        return {key: getattr(self, key) for key in ("name", "component", "kind", "what")}


def list_perturbations(golden: wire.Golden, components: Iterable[str]) -> list[Perturbation]:
    """The perturbations of these components that networks of the golden sizes allow."""
    present, own = set(components), list_tensors(Subject(golden).agent)
    square = {name for name, t in own.items() if t.ndim > 1 and t.shape[-1] == t.shape[-2]}
    return [p for p in PERTURBATIONS if p.component in present and (not p.square or p.square in square)]


def perturb(
    component: str, kind: str, what: str, **recipe: Callable[[Any], Any]
) -> Callable[[Change], Change]:
    """Register a change under the component's and the function's name."""

    def register(change: Change) -> Change:
        name = f"{component}:{change.__name__}"
        PERTURBATIONS.append(Perturbation(name, component, kind, what, change, tuple(recipe.items())))
        return change

    return register


def _nothing(subject: Subject) -> None:
    """The recipe alone is wrong."""


def perturb_recipe(component: str, name: str, what: str, **recipe: Callable[[Any], Any]) -> None:
    """Register another constant in the recipe; each value is made from the recipe as it should be."""
    full = f"{component}:{name}"
    PERTURBATIONS.append(Perturbation(full, component, "constant", what, _nothing, tuple(recipe.items())))


def perturb_weight(component: str, tensor: str) -> None:
    """Register one row of a weight off by a thousandth; a norm would undo the same change of all rows."""

    def change(subject: Subject) -> None:
        list_tensors(subject.agent)[tensor].select(-2, 0).mul_(1.001)

    what = f"A row of {tensor} is larger by a thousandth."
    PERTURBATIONS.append(Perturbation(f"{component}:{tensor}", component, "weight", what, change))


def perturb_layer(component: str, layer: str, *tensors: str) -> None:
    """Register whole tensors of a layer off by a thousandth, where one row would be lost in the rest."""

    def change(subject: Subject) -> None:
        own = list_tensors(subject.agent)
        for tensor in tensors:
            own[f"{layer}.{tensor}"].mul_(1.001)

    what = f"{' and '.join(tensors)} of {layer} are larger by a thousandth."
    PERTURBATIONS.append(Perturbation(f"{component}:{layer}", component, "weight", what, change))


def perturb_transpose(component: str, tensor: str) -> None:
    """Register a square matrix transposed."""

    def change(subject: Subject) -> None:
        weight = list_tensors(subject.agent)[tensor]
        weight.copy_(weight.transpose(-1, -2).clone())

    what = f"{tensor} is transposed."
    name = f"{component}:{tensor}.T"
    PERTURBATIONS.append(Perturbation(name, component, "transpose", what, change, square=tensor))


# Environment.


@perturb("environment", "constant", "An action is applied for one control step, not for two.")
def action_repeat(subject: Subject) -> None:
    def once(task: str, seed: int) -> Environment:
        env = make_env(task, seed)
        env.action_repeat = 1
        return env

    subject.make_env = once


@perturb("replay", "constant", "The reward is that of the step before.")
def reward_before(subject: Subject) -> None:
    class Shifted(Replay):
        def gather(self, starts: Tensor) -> Batch:
            before = (starts + self._offsets[:-1]) % self.capacity
            return super().gather(starts)._replace(reward=self._reward[before])

    subject.make_replay = Shifted


@perturb("replay", "constant", "A sub-trajectory may begin one step too late and run into the next episode.")
def across_episodes(subject: Subject) -> None:
    class Longer(Replay):
        def draw_starts(self, batch_size: int) -> Tensor:
            self._spans = self._spans + 1
            return super().draw_starts(batch_size)

    subject.make_replay = Longer


# Encoder, latent, heads.

perturb_weight("encoder", "encoder.0.weight")
perturb_transpose("encoder", "encoder.1.weight")
perturb_recipe(
    "encoder", "simnorm_dim", "Simplices are of half the size.", simnorm_dim=lambda r: r.simnorm_dim // 2
)
perturb_weight("dynamics", "dynamics.0.weight")
perturb_transpose("dynamics", "dynamics.1.weight")
perturb_layer("reward", "reward.2", "weight", "bias")
perturb_transpose("reward", "reward.1.weight")
perturb_layer("q", "q.2", "weight", "bias")
perturb_transpose("q", "q.1.weight")
perturb_layer("target_q", "target_q.2", "weight", "bias")
perturb_recipe("q_dropout", "dropout", "There is no dropout.", dropout=lambda r: 0.0)
perturb_layer("policy", "policy.2", "weight", "bias")
perturb_recipe("policy", "log_std_min", "The least log std is higher by a thousandth.",
               log_std_min=lambda r: r.log_std_min * 0.999)  # fmt: skip
perturb_recipe("two_hot", "vmax", "The highest bin is higher by a thousandth.", vmax=lambda r: r.vmax * 1.001)
perturb_weight("planner", "dynamics.0.weight")
perturb_recipe("planner", "temperature", "Values are divided by the temperature.",
               temperature=lambda r: 1 / r.temperature)  # fmt: skip
perturb_recipe("planner", "discount_denom", "The discount is of a shorter horizon.",
               discount_denom=lambda r: 2 * r.discount_denom)  # fmt: skip
perturb_recipe("planner", "max_std", "A plan begins with less spread.", max_std=lambda r: 0.99 * r.max_std)
perturb_recipe("discount", "discount_denom", "The heuristic divides by a tenth more.",
               discount_denom=lambda r: 1.1 * r.discount_denom)  # fmt: skip
perturb_recipe("planning_iterations", "one_more", "A plan has one iteration more.",
               iterations=lambda r: r.iterations + 1)  # fmt: skip


@perturb("two_hot", "constant", "Bins stand for logarithms of base 2, not natural ones.")
def base_of_logarithm(subject: Subject) -> None:
    subject.agent.two_hot.bins = subject.agent.two_hot.bins / np.log2(np.e)


@perturb("two_hot", "constant", "Targets are one bin too high.")
def bins_shifted(subject: Subject) -> None:
    coder = subject.agent.two_hot
    locate = coder.locate

    def shifted(x: Tensor) -> tuple[Tensor, Tensor]:
        index, share = locate(x)
        return (index + 1).clamp(max=coder.num_bins - 1), share

    coder.locate = shifted  # type: ignore[method-assign]


@perturb("target_q", "constant", "The Q-functions themselves stand in for their targets.")
def not_the_targets(subject: Subject) -> None:
    subject.agent.target_q = subject.agent.frozen_q


# Losses.

perturb_layer("td_target", "target_q.2", "weight", "bias")
perturb_recipe("td_target", "discount_max", "The discount is a thousandth lower.",
               discount_max=lambda r: 0.989, discount_min=lambda r: 0.5)  # fmt: skip
perturb_recipe("consistency_loss", "rho", "All time steps weigh the same.", rho=lambda r: 1.0)
perturb_recipe("reward_loss", "rho", "All time steps weigh the same.", rho=lambda r: 1.0)
perturb_recipe("value_loss", "rho", "All time steps weigh the same.", rho=lambda r: 1.0)
perturb_layer("consistency_loss", "dynamics.2", "gain", "offset")
perturb_layer("reward_loss", "reward.2", "weight", "bias")
perturb_layer("value_loss", "q.2", "weight", "bias")
perturb_recipe("total_loss", "value_coef", "The value loss weighs ten times as much.",
               value_coef=lambda r: 10 * r.value_coef)  # fmt: skip
perturb_recipe("total_loss", "consistency_coef", "The consistency loss weighs a thousandth more.",
               consistency_coef=lambda r: 1.001 * r.consistency_coef)  # fmt: skip
perturb_layer("policy_loss", "policy.2", "weight", "bias")
perturb_recipe("policy_loss", "entropy_coef", "The policy is rewarded for a tenth more entropy.",
               entropy_coef=lambda r: 1.1 * r.entropy_coef)  # fmt: skip


@perturb("td_target", "constant", "The target is the mean of two Q-functions, not their minimum.")
def mean_for_minimum(subject: Subject) -> None:
    agent = subject.agent

    def averaged(next_z: Tensor, reward: Tensor, noise: UpdateNoise) -> Tensor:
        action = agent.act_quickly(next_z, noise.target_action)
        values = agent.values(agent.target_q.members(noise.target_members), next_z, action)
        return reward + agent.discount * values.mean(0)

    agent.td_target = averaged  # type: ignore[method-assign]


@perturb("policy_loss", "constant", "The policy is rewarded for low entropy.")
def entropy_sign(subject: Subject) -> None:
    loss = subject.agent.policy_loss
    subject.agent.policy_loss = lambda value, entropy: loss(value, -entropy)  # type: ignore[method-assign]


@perturb("policy_loss", "constant", "The running scale does not move before values are divided by it.")
def scale_not_updated(subject: Subject) -> None:
    subject.agent.update_scale = lambda value: None  # type: ignore[method-assign]


# Gradients.

perturb_layer("model_gradient", "q.2", "weight", "bias")
perturb_transpose("model_gradient", "dynamics.1.weight")
perturb_layer("policy_gradient", "policy.2", "weight", "bias")


@perturb("model_gradient", "stop_gradient", "The consistency loss pulls the encoded targets too.")
def targets_not_detached(subject: Subject) -> None:
    agent = subject.agent
    targets = agent.targets

    def attached(batch: Batch, noise: UpdateNoise) -> tuple[Tensor, Tensor]:
        return agent.encoder(batch.obs[1:]), targets(batch, noise)[1]

    agent.targets = attached  # type: ignore[method-assign]


@perturb("model_gradient", "stop_gradient", "No gradient flows back through the latents of the rollout.")
def rollout_detached(subject: Subject) -> None:
    class Detached(Network):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x.detach())

    subject.agent.dynamics = Detached(subject.agent.dynamics.layers)


@perturb("policy_gradient", "stop_gradient", "The values do not reach the policy: their action is detached.")
def action_detached(subject: Subject) -> None:
    agent = subject.agent
    policy_value = agent.policy_value

    def detached(zs: Tensor, action: Tensor, noise: UpdateNoise) -> Tensor:
        return policy_value(zs, action.detach(), noise)

    agent.policy_value = detached  # type: ignore[method-assign]


# Updates.

perturb_recipe(
    "optimiser", "enc_lr_scale", "The encoder learns at the full rate.", enc_lr_scale=lambda r: 1.0
)
perturb_recipe("optimiser", "grad_clip_norm", "Gradients are not clipped.", grad_clip_norm=lambda r: 1e9)
perturb_recipe("optimiser", "lr", "Steps are larger by a twentieth.", lr=lambda r: 1.05 * r.lr)
perturb_recipe("running_scale", "tau", "The scale moves a thousandth faster.", tau=lambda r: 1.001 * r.tau)
perturb_recipe("target_ema", "tau", "The target moves a tenth faster.", tau=lambda r: 1.1 * r.tau)
perturb_transpose("update", "dynamics.1.weight")
perturb_recipe("update", "tau", "Target and scale are what was seen last.", tau=lambda r: 1.0)
perturb_recipe("update", "value_coef", "The value loss weighs ten times as much.",
               value_coef=lambda r: 10 * r.value_coef)  # fmt: skip


@perturb("optimiser", "constant", "Adam adds 1e-3 to the root of the second moment.")
def adam_eps(subject: Subject) -> None:
    subject.agent.model_optimiser.eps = 1e-3


@perturb("optimiser", "constant", "The norm of the gradients leaves the first tensor out.")
def norm_of_the_rest(subject: Subject) -> None:
    step = subject.agent.step

    def short(optimiser: Adam) -> Tensor:
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in optimiser.parameters[1:]]))
        step(optimiser)
        return norm

    subject.agent.step = short  # type: ignore[method-assign]


@perturb("update", "stop_gradient", "The policy learns at encoded latents, and its loss reaches the encoder.")
def policy_reaches_encoder(subject: Subject) -> None:
    agent = subject.agent
    update_policy, targets = agent.update_policy, agent.targets
    seen: list[Tensor] = []

    def remember(batch: Batch, noise: UpdateNoise) -> tuple[Tensor, Tensor]:
        seen.append(batch.obs)
        return targets(batch, noise)

    def leaking(zs: Tensor, noise: UpdateNoise) -> dict[str, Tensor]:
        return update_policy(agent.encoder(seen[-1]), noise)

    agent.targets, agent.update_policy = remember, leaking  # type: ignore[method-assign]
