"""Mistakes in how agents begin and in what only consecutive updates show, for :mod:`.perturbations`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..agent import Agent, UpdateNoise
from ..networks import Ensemble
from ..recipe import Q_INIT
from ..replay import Batch
from .components import Subject, list_tensors
from .perturbations import PERTURBATIONS, Perturbation, perturb, perturb_recipe

LOCKSTEPS = ("lockstep_initial", "lockstep_trained")
Mistake = Callable[[Agent], None]


# How agents begin.

perturb_recipe("initialisation", "q_init", "The Q-functions begin as those of another official version.",
               q_init=lambda r: next(v for v in Q_INIT if v != r.q_init))  # fmt: skip


def begins(what: str) -> Callable[[Mistake], Mistake]:
    """Register what is done to every new agent, whose targets then begin as copies again."""

    def register(mistake: Mistake) -> Mistake:
        def change(subject: Subject) -> None:
            build = subject.build_agent

            def build_wrong(**other: int) -> Agent:
                agent = build(**other)
                with torch.no_grad():
                    mistake(agent)
                return agent

            subject.build_agent = build_wrong  # type: ignore[method-assign]

        name = f"initialisation:{mistake.__name__}"
        PERTURBATIONS.append(Perturbation(name, "initialisation", "initialisation", what, change))
        return mistake

    return register


def _weights(agent: Agent, *ends: str) -> dict[str, Tensor]:
    """The tensors that learn whose name ends so."""
    own = list_tensors(agent)
    return {n: t for n, t in own.items() if not n.startswith("target_q.") and n.endswith(ends)}


def _copy_targets(agent: Agent) -> None:
    for target, own in zip(agent.target_q.tensors, agent.q.tensors, strict=True):
        target.copy_(own)


def _fan_in(name: str, weight: Tensor) -> int:
    return weight.shape[-2 if name.startswith("q.") else -1]


@begins("Every layer begins as PyTorch's do.")
def library_default(agent: Agent) -> None:
    for name, weight in _weights(agent, ".weight").items():
        weight.uniform_(-1, 1).div_(_fan_in(name, weight) ** 0.5)
    biases_not_zero(agent)
    _copy_targets(agent)


@begins("Normals are cut off at two deviations, and their deviation is not set right.")
def truncated_at_two_deviations(agent: Agent) -> None:
    for weight in _weights(agent, ".weight").values():
        if weight.any():
            torch.nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
    _copy_targets(agent)


@begins("The deviation of a weight is that of its fan.")
def deviation_of_the_fan(agent: Agent) -> None:
    for name, weight in _weights(agent, ".weight").items():
        weight.mul_(50 / _fan_in(name, weight) ** 0.5)
    _copy_targets(agent)


@begins("One weight is a fifth larger.")
def one_scale(agent: Agent) -> None:
    list_tensors(agent)["dynamics.1.weight"].mul_(1.2)


@begins("Biases and offsets are not zero.")
def biases_not_zero(agent: Agent) -> None:
    for bias in _weights(agent, ".bias", ".offset").values():
        bias.uniform_(-0.1, 0.1)
    _copy_targets(agent)


@begins("The last weights of reward and Q-functions are not zeroed.")
def outputs_not_zeroed(agent: Agent) -> None:
    own = list_tensors(agent)
    for name in ("reward.2.weight", "q.2.weight"):
        own[name].normal_(std=0.02)
    _copy_targets(agent)


@begins("Norms begin with a gain of 0.9.")
def gains_below_one(agent: Agent) -> None:
    for gain in _weights(agent, ".gain").values():
        gain.fill_(0.9)
    _copy_targets(agent)


@begins("All Q-functions begin as the first.")
def members_alike(agent: Agent) -> None:
    for tensor in agent.q.tensors:
        tensor.copy_(tensor[:1].expand_as(tensor).clone())
    _copy_targets(agent)


@begins("The target Q-functions begin with numbers of their own.")
def targets_of_their_own(agent: Agent) -> None:
    for tensor in agent.target_q.tensors:
        if tensor.ndim == 3 and tensor.any():
            tensor.normal_(std=0.02)


@begins("The running scale begins at a half.")
def scale_of_a_half(agent: Agent) -> None:
    agent.scale.value.fill_(0.5)


@perturb("initialisation", "initialisation", "Every agent begins with the same seed.")
def one_seed(subject: Subject) -> None:
    build = subject.build_agent

    def build_seeded(**other: int) -> Agent:
        torch.manual_seed(7)
        return build(**other)

    subject.build_agent = build_seeded  # type: ignore[method-assign]


# What consecutive updates show.

for _start in LOCKSTEPS:
    perturb_recipe(_start, "lr", "Steps are larger by a hundredth.", lr=lambda r: 1.01 * r.lr)
    perturb_recipe(_start, "enc_lr_scale", "The encoder's steps are larger by a hundredth.",
                   enc_lr_scale=lambda r: 1.01 * r.enc_lr_scale)  # fmt: skip
    perturb_recipe(_start, "log_std_max", "The largest log std is a tenth higher.",
                   log_std_max=lambda r: 1.1 * r.log_std_max)  # fmt: skip


def in_lockstep(what: str, *starts: str) -> Callable[[Mistake], Mistake]:
    """Register what is done to the agent before its first update, from these starts (default: both)."""

    def register(mistake: Mistake) -> Mistake:
        def change(subject: Subject) -> None:
            subject.begin = mistake

        for start in starts or LOCKSTEPS:
            name = f"{start}:{mistake.__name__}"
            PERTURBATIONS.append(Perturbation(name, start, "lockstep", what, change))
        return mistake

    return register


@in_lockstep("Every weight begins larger by a thousandth.")
def weights_larger(agent: Agent) -> None:
    for tensor in list_tensors(agent).values():
        tensor.data.mul_(1.001)


@in_lockstep("The last weights of reward and Q-functions begin otherwise.")
def last_weights(agent: Agent) -> None:
    torch.manual_seed(0)
    for name in ("reward.2.weight", "q.2.weight"):
        weight = list_tensors(agent)[name]
        weight.data += 0.01 * torch.randn_like(weight)


@in_lockstep("The discount is 0.991.", "lockstep_trained")
def discount(agent: Agent) -> None:
    agent.discount = 0.991


@in_lockstep("Adam counts its steps from one.")
def adam_counts_from_one(agent: Agent) -> None:
    for optimiser in (agent.model_optimiser, agent.policy_optimiser):
        optimiser.count += 1


@in_lockstep("Adam's moments are not corrected for their bias.")
def moments_not_corrected(agent: Agent) -> None:
    for optimiser in (agent.model_optimiser, agent.policy_optimiser):
        optimiser.count.fill_(1e6)


@in_lockstep("Adam's second moment forgets ten times as fast.")
def second_moment_rate(agent: Agent) -> None:
    for optimiser in (agent.model_optimiser, agent.policy_optimiser):
        optimiser.betas = (0.9, 0.99)


@in_lockstep("The target moves by 0.011.")
def target_rate(agent: Agent) -> None:
    def update_target() -> None:
        torch._foreach_lerp_(agent.target_q.tensors, agent.frozen_q.tensors, 1.1 * agent.recipe.tau)

    agent.update_target = torch.no_grad()(update_target)  # type: ignore[method-assign]


@in_lockstep("The target moves towards the Q-functions of an update before.")
def target_late(agent: Agent) -> None:
    before = agent.frozen_q.copy()

    def update_target() -> None:
        torch._foreach_lerp_(agent.target_q.tensors, before.tensors, agent.recipe.tau)
        torch._foreach_copy_(before.tensors, agent.frozen_q.tensors)

    agent.update_target = torch.no_grad()(update_target)  # type: ignore[method-assign]


@in_lockstep("The target moves twice as far at every second update.")
def target_every_second(agent: Agent) -> None:
    count = 0

    def update_target() -> None:
        nonlocal count
        count += 1
        if count % 2 == 0:
            torch._foreach_lerp_(agent.target_q.tensors, agent.frozen_q.tensors, 2 * agent.recipe.tau)

    agent.update_target = torch.no_grad()(update_target)  # type: ignore[method-assign]


@in_lockstep("The policy learns from the Q-functions as they were before this update.")
def policy_of_the_old_q(agent: Agent) -> None:
    targets, old = agent.targets, agent.frozen_q.copy()

    def remember(batch: Batch, noise: UpdateNoise) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            torch._foreach_copy_(old.tensors, agent.frozen_q.tensors)
        return targets(batch, noise)

    def value_of_the_old(zs: Tensor, action: Tensor, noise: UpdateNoise) -> Tensor:
        members: Ensemble = old.members(noise.policy_members)
        return agent.values(members, zs, action, noise.policy_dropout).mean(0)

    agent.targets, agent.policy_value = remember, value_of_the_old  # type: ignore[method-assign]


@in_lockstep("The running scale moves a tenth faster.", "lockstep_trained")
def scale_rate(agent: Agent) -> None:
    agent.scale.tau *= 1.1


@in_lockstep("The running scale moves after values were divided by it.", "lockstep_trained")
def scale_after_use(agent: Agent) -> None:
    update_scale, policy_loss = agent.update_scale, agent.policy_loss
    seen: list[Tensor] = []

    def loss_then_scale(value: Tensor, scaled_entropy: Tensor) -> Tensor:
        # A copy: what is divided by is kept for the backward pass.
        found = policy_loss(value, scaled_entropy)
        agent.scale.value = agent.scale.value.clone()
        update_scale(seen.pop())
        return found

    agent.update_scale = seen.append  # type: ignore[method-assign]
    agent.policy_loss = loss_then_scale  # type: ignore[method-assign]
