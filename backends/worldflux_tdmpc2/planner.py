"""Model-predictive path integral control in latent space (paper, section 3.3 and algorithm 1).

Shapes: T = horizon, N = num_samples, P = num_pi_trajs, E = num_elites, A = action_dim, I = iterations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .agent import Agent
from .recipe import planning_iterations


class PlanNoise(NamedTuple):
    """What one plan draws."""

    prior: Tensor  # (T, P, A) standard normal, actions of the policy trajectories
    samples: Tensor  # (I, T, N - P, A) standard normal
    final: Tensor  # (I, N, A) standard normal, the policy's action after the last step
    members: Tensor  # (I, 2) members of the ensemble
    choice: Tensor  # (E,) standard exponential
    action: Tensor  # (A,) standard normal


class Plan(NamedTuple):
    """The action (A,) to take, the means (T, A) to start from next time, and values (I,) by iteration."""

    action: Tensor
    mean: Tensor
    values: Tensor


class Planner:
    """Plans action by action, each from where the one before left off."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.recipe = agent, agent.recipe
        self.iterations = planning_iterations(agent.recipe, agent.action_dim)
        self._mean = torch.zeros(agent.recipe.horizon, agent.action_dim, device=agent.device)
        if agent.recipe.compile:
            self.plan = torch.compile(self.plan)  # type: ignore[method-assign]

    @torch.inference_mode()
    def act(self, obs: Tensor, first: bool, evaluate: bool) -> tuple[Tensor, Tensor]:
        """The action (A,) for an observation, and the mean estimated value (I,) of each iteration.

        Args:
            obs: one observation, without batch dimension.
            first: whether it opens an episode; the plan then starts from zero means.
            evaluate: leave out the exploration noise.
        """
        mean = torch.zeros_like(self._mean)
        if not first:
            mean[:-1] = self._mean[1:]
        plan = self.plan(self.agent.encoder(obs.unsqueeze(0)), mean, self.draw_noise(), evaluate)
        self._mean = plan.mean
        return plan.action, plan.values

    def draw_noise(self) -> PlanNoise:
        """Fresh random numbers for one plan."""
        r, a, i = self.recipe, self.agent.action_dim, self.iterations
        free = r.num_samples - r.num_pi_trajs
        sizes = (r.horizon * r.num_pi_trajs * a, i * r.horizon * free * a, i * r.num_samples * a, a)
        prior, samples, final, action = self.agent.noise.normal(sum(sizes)).split(sizes)
        return PlanNoise(
            prior=prior.view(r.horizon, r.num_pi_trajs, a),
            samples=samples.view(i, r.horizon, free, a),
            final=final.view(i, r.num_samples, a),
            members=torch.stack([self.agent.two_members() for _ in range(i)]),
            choice=self.agent.noise.exponential(r.num_elites),
            action=action,
        )

    def plan(self, z: Tensor, mean: Tensor, noise: PlanNoise, evaluate: bool) -> Plan:
        """One plan from the latent ``z`` (1, L), with means (T, A) to start from."""
        r = self.recipe
        std = torch.full_like(mean, r.max_std)
        inputs = z.new_empty(r.horizon, r.num_samples, r.latent_dim + self.agent.action_dim)
        inputs[0, :, : r.latent_dim] = z
        prior = self.policy_actions(z, noise.prior)
        averages = []
        for i in range(self.iterations):
            # Sample
            sampled = torch.addcmul(mean.unsqueeze(1), std.unsqueeze(1), noise.samples[i]).clamp_(-1, 1)
            actions = torch.cat([prior, sampled], dim=1)

            # Evaluate
            value = self.estimate_value(inputs, actions, noise.final[i], noise.members[i])
            averages.append(value.mean())
            elite_value, elite = value.nan_to_num(0.0).topk(r.num_elites)
            elite_actions = actions.index_select(1, elite)

            # Refit
            score, mean, std = self.refit(elite_value, elite_actions)

        # An elite is chosen by its score (Gumbel-max)
        chosen = (score.log() - noise.choice.log()).argmax()
        action = elite_actions[0].index_select(0, chosen.view(1)).squeeze(0)
        if not evaluate:
            action = torch.addcmul(action, std[0], noise.action)
        return Plan(action.clamp(-1, 1), mean, torch.stack(averages))

    def policy_actions(self, z: Tensor, noise: Tensor) -> Tensor:
        """Actions (T, P, A) of trajectories that follow the policy prior from ``z`` (1, L)."""
        if not self.recipe.num_pi_trajs:
            return noise
        z = z.expand(self.recipe.num_pi_trajs, -1)
        actions = [self.agent.act_quickly(z, noise[0])]
        for step in noise[1:]:
            z = self.agent.dynamics(torch.cat([z, actions[-1]], dim=-1))
            actions.append(self.agent.act_quickly(z, step))
        return torch.stack(actions)

    def refit(self, elite_value: Tensor, elite_actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (E,) of the elites, and weighted means and standard deviations (T, A) of their actions.

        Takes values (E,) and actions (T, E, A) (paper, section 3.3).
        """
        # Exponential in the value times ``temperature``, as the official code has it.
        score = torch.softmax(self.recipe.temperature * elite_value, dim=0)
        mean = score @ elite_actions
        std = (score @ (elite_actions - mean.unsqueeze(1)).square()).sqrt()
        return score, mean, std.clamp_(self.recipe.min_std, self.recipe.max_std)

    def estimate_value(self, inputs: Tensor, actions: Tensor, noise: Tensor, members: Tensor) -> Tensor:
        """Discounted predicted rewards and the final value of trajectories: (N,).

        ``inputs`` (T, N, L + A) is written over, but for the first latents, which it must hold.
        """
        agent, latent = self.agent, self.recipe.latent_dim
        inputs[:, :, latent:] = actions
        for t in range(1, len(inputs)):
            inputs[t, :, :latent] = agent.dynamics(inputs[t - 1])
        z = agent.dynamics(inputs[-1])
        rewards = agent.two_hot.decode(agent.reward(inputs.flatten(0, 1))).view(len(inputs), -1)
        action = agent.act_quickly(z, noise)
        final = agent.values(agent.frozen_q.members(members), z, action).mean(0)
        for reward in reversed(rewards.unbind(0)):
            final = reward + agent.discount * final
        return final
