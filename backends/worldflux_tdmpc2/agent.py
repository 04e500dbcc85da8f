"""TD-MPC2: the world model and its update (Hansen, Su & Wang 2024, arXiv:2310.16828).

Shapes: T = horizon, B = batch_size, L = latent_dim, A = action_dim, Q = num_q. Every random number of
an update is drawn before it (:class:`UpdateNoise`), so that the losses are functions of their arguments
and the same code runs with and without ``torch.compile``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import recipe as recipes
from .activations import TwoHot
from .networks import Ensemble, build_dynamics, build_encoder, build_ensemble, build_policy, build_reward
from .noise import Noise
from .optimiser import Adam, clip, take_gradients
from .recipe import Recipe
from .replay import Batch


class UpdateNoise(NamedTuple):
    """What one update draws: standard normals, members of the ensemble, dropout scales."""

    target_action: Tensor  # (T, B, A)
    target_members: Tensor  # (2,)
    model_dropout: Tensor | None  # (Q, T * B, mlp_dim)
    policy_action: Tensor  # (T + 1, B, A)
    policy_members: Tensor  # (2,)
    policy_dropout: Tensor | None  # (2, (T + 1) * B, mlp_dim)


class Action(NamedTuple):
    """A sample of the policy prior: action, mean and log std (..., A), the rest (..., 1).

    ``gaussian`` is the log density of the sample before it is squashed; ``entropy`` is minus the one after.
    """

    sample: Tensor
    mean: Tensor
    log_std: Tensor
    gaussian: Tensor
    entropy: Tensor
    scaled_entropy: Tensor


class RunningScale:
    """EMA of the range between the 5th and 95th percentile, at least 1 (paper, section 3.2)."""

    def __init__(self, tau: float, batch: int, device: torch.device) -> None:
        self.tau = tau
        self.value = torch.ones(1, device=device)
        position = torch.tensor([0.05, 0.95], device=device) * (batch - 1)
        self._below = position.floor().long()
        self._above = (self._below + 1).clamp(max=batch - 1)
        self._weight = position - self._below

    @torch.no_grad()
    def update(self, q: Tensor) -> None:
        """Take in values of shape (B, 1)."""
        ordered = q.flatten().sort().values
        low, high = torch.lerp(ordered[self._below], ordered[self._above], self._weight)
        self.value.lerp_((high - low).clamp(min=1.0), self.tau)


class Agent:
    """World model, policy prior, Q-functions, and one gradient step on all of them."""

    def __init__(
        self,
        recipe: Recipe,
        obs_shape: tuple[int, ...],
        action_dim: int,
        episode_length: int,
        device: torch.device,
    ) -> None:
        self.recipe, self.action_dim, self.device = recipe, action_dim, device
        self.noise = Noise(device)
        self.discount = recipes.discount(recipe, episode_length)
        self._build_networks(obs_shape)
        self.two_hot = TwoHot(recipe.num_bins, recipe.vmin, recipe.vmax, device)
        self.scale = RunningScale(recipe.tau, recipe.batch_size, device)
        self.time_weight = recipe.rho ** torch.arange(recipe.horizon + 1, device=device)
        self._build_optimisers()
        if recipe.compile:
            self.td_target = torch.compile(self.td_target)  # type: ignore[method-assign]
            self.model_loss = torch.compile(self.model_loss)  # type: ignore[method-assign]
            self.policy_loss = torch.compile(self.policy_loss)  # type: ignore[method-assign]

    def _build_networks(self, obs_shape: tuple[int, ...]) -> None:
        recipe, action_dim = self.recipe, self.action_dim
        self.encoder = build_encoder(recipe, obs_shape)
        self.dynamics = build_dynamics(recipe, action_dim)
        self.reward = build_reward(recipe, action_dim)
        self.policy = build_policy(recipe, action_dim)
        self.q = build_ensemble(recipe, action_dim)
        for network in self.learnable().values():
            for p in network.parameters():
                p.data = p.data.to(self.device)
                p.requires_grad_()
        self.q = Ensemble(self.q.tensors)
        self.frozen_q = self.q.detached()
        self.target_q = self.q.copy()

    def _build_optimisers(self) -> None:
        recipe = self.recipe
        rest = self.dynamics.parameters() + self.reward.parameters() + self.q.parameters()
        groups = [(self.encoder.parameters(), recipe.lr * recipe.enc_lr_scale), (rest, recipe.lr)]
        self.model_optimiser = Adam(groups, eps=1e-8)
        self.policy_optimiser = Adam([(self.policy.parameters(), recipe.lr)], eps=1e-5)

    def learnable(self) -> dict[str, Any]:
        """The networks that learn, by name."""
        return {
            "encoder": self.encoder,
            "dynamics": self.dynamics,
            "reward": self.reward,
            "policy": self.policy,
            "q": self.q,
        }

    def count_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for network in self.learnable().values() for p in network.parameters())

    def act(self, z: Tensor, noise: Tensor) -> Action:
        """Sample the policy prior at ``z`` (..., L) with standard normals ``noise`` (..., A).

        The squashed Gaussian and the entropy scaled by action dimensions of official
        common/world_model.py ``pi``.
        """
        mean, raw = self.policy(z).chunk(2, dim=-1)
        log_std = self._log_std(raw)
        gaussian = (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1, keepdim=True)
        sample = torch.tanh(mean + noise * log_std.exp())
        log_prob = gaussian - torch.log(F.relu(1 - sample.square()) + 1e-6).sum(-1, keepdim=True)
        entropy_scale = self.action_dim * gaussian / (log_prob + 1e-8)
        return Action(sample, torch.tanh(mean), log_std, gaussian, -log_prob, -log_prob * entropy_scale)

    def act_quickly(self, z: Tensor, noise: Tensor) -> Tensor:
        """The sample of :meth:`act` alone."""
        mean, raw = self.policy(z).chunk(2, dim=-1)
        return torch.tanh(torch.addcmul(mean, noise, self._log_std(raw).exp()))

    def _log_std(self, raw: Tensor) -> Tensor:
        low, high = self.recipe.log_std_min, self.recipe.log_std_max
        return low + 0.5 * (high - low) * (torch.tanh(raw) + 1)

    def draw_noise(self) -> UpdateNoise:
        """Fresh random numbers for one update."""
        r = self.recipe
        rows = r.horizon * r.batch_size
        return UpdateNoise(
            target_action=self.noise.normal(r.horizon, r.batch_size, self.action_dim),
            target_members=self.two_members(),
            model_dropout=self.draw_dropout(r.num_q, rows),
            policy_action=self.noise.normal(r.horizon + 1, r.batch_size, self.action_dim),
            policy_members=self.two_members(),
            policy_dropout=self.draw_dropout(2, rows + r.batch_size),
        )

    def two_members(self) -> Tensor:
        """Two different members of the ensemble, uniformly (2,)."""
        return self.noise.permutation(self.recipe.num_q)[:2]

    def draw_dropout(self, members: int, rows: int) -> Tensor | None:
        """Scales (members, rows, mlp_dim): 0 with probability ``dropout``, else 1 / (1 - dropout)."""
        return self.noise.dropout((members, rows, self.recipe.mlp_dim), self.recipe.dropout)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step on world model and policy, and one of the target.

        Returns:
            Training statistics as scalars on the device, by the names of the official ``update``.
        """
        noise = self.draw_noise()
        next_z, td_target = self.targets(batch, noise)

        # World model
        loss, zs, statistics = self.model_loss(batch, next_z, td_target, noise.model_dropout)
        loss.backward()
        statistics["grad_norm"] = self.step(self.model_optimiser)

        # Policy prior, with the Q-functions as they are now
        statistics |= self.update_policy(zs.detach(), noise)

        # Target
        self.update_target()
        return statistics

    def targets(self, batch: Batch, noise: UpdateNoise) -> tuple[Tensor, Tensor]:
        """Latents (T, B, L) of the next observations, and TD-targets (T, B) from them."""
        with torch.no_grad():
            next_z = self.encoder(batch.obs[1:])
            return next_z, self.td_target(next_z, batch.reward, noise)

    def td_target(self, next_z: Tensor, reward: Tensor, noise: UpdateNoise) -> Tensor:
        """Reward plus discounted minimum of two target Q-functions (paper, equation 4): (T, B)."""
        action = self.act_quickly(next_z, noise.target_action)
        values = self.values(self.target_q.members(noise.target_members), next_z, action)
        return reward + self.discount * values.amin(0)

    def values(self, q: Ensemble, z: Tensor, action: Tensor, dropout: Tensor | None = None) -> Tensor:
        """Scalar values (Q, ...) of latents (..., L) and actions (..., A)."""
        rows = torch.cat([z, action], dim=-1).flatten(0, -2)
        return self.two_hot.decode(q(rows, dropout)).view(len(q), *z.shape[:-1])

    def model_loss(
        self, batch: Batch, next_z: Tensor, td_target: Tensor, dropout: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the world model (paper, equation 3), latents (T + 1, B, L), and its parts.

        Official tdmpc2.py ``_update``: means over batch and time, the latter weighted by rho^t.
        """
        r = self.recipe
        weight = self.time_weight[:-1] / (r.horizon * r.batch_size)

        # Latent rollout
        zs = [self.encoder(batch.obs[0])]
        inputs = []
        for action in batch.action:
            inputs.append(torch.cat([zs[-1], action], dim=-1))
            zs.append(self.dynamics(inputs[-1]))

        # Predictions
        rows = torch.cat(inputs)
        q_logits = self.q(rows, dropout).view(r.num_q, r.horizon, r.batch_size, r.num_bins)
        reward_logits = self.reward(rows).view(1, r.horizon, r.batch_size, r.num_bins)

        # Losses
        error = (torch.stack(zs[1:]) - next_z).square().sum((1, 2))
        consistency_loss = (error * weight).sum() / r.latent_dim
        steps = weight.unsqueeze(1).expand(-1, r.batch_size)
        reward_loss = self.two_hot.cross_entropy(reward_logits, batch.reward, steps)
        value_loss = self.two_hot.cross_entropy(q_logits, td_target, steps) / r.num_q
        total_loss = (
            r.consistency_coef * consistency_loss + r.reward_coef * reward_loss + r.value_coef * value_loss
        )
        statistics = {
            "consistency_loss": consistency_loss.detach(),
            "reward_loss": reward_loss.detach(),
            "value_loss": value_loss.detach(),
            "total_loss": total_loss.detach(),
        }
        return total_loss, torch.stack(zs), statistics

    def step(self, optimiser: Adam) -> Tensor:
        """Clip and apply the gradients that a backward pass left; their norm before clipping."""
        gradients = take_gradients(optimiser.parameters)
        norm = clip(gradients, self.recipe.grad_clip_norm)
        optimiser.step(gradients)
        return norm

    def update_policy(self, zs: Tensor, noise: UpdateNoise) -> dict[str, Tensor]:
        """One step of the policy prior at latents (T + 1, B, L); its statistics."""
        action = self.act(zs, noise.policy_action)
        value = self.policy_value(zs, action.sample, noise)
        self.update_scale(value)
        loss = self.policy_loss(value, action.scaled_entropy.squeeze(-1))
        loss.backward()
        norm = self.step(self.policy_optimiser)
        return {
            "pi_loss": loss.detach(),
            "pi_grad_norm": norm,
            "pi_entropy": action.entropy.detach().mean(),
            "pi_scaled_entropy": action.scaled_entropy.detach().mean(),
            "pi_scale": self.scale.value.squeeze(0).clone(),
        }

    def policy_value(self, zs: Tensor, action: Tensor, noise: UpdateNoise) -> Tensor:
        """Average of two Q-functions (T + 1, B), differentiable in the action only."""
        members = self.frozen_q.members(noise.policy_members)
        return self.values(members, zs, action, noise.policy_dropout).mean(0)

    def update_scale(self, value: Tensor) -> None:
        """Let the running scale see the values (T + 1, B) of the first latents."""
        self.scale.update(value[0])

    def policy_loss(self, value: Tensor, scaled_entropy: Tensor) -> Tensor:
        """Scaled values and entropy (both (T + 1, B)), maximised, weighted by rho^t (equation 5)."""
        objective = self.recipe.entropy_coef * scaled_entropy + value / self.scale.value
        return -(objective.mean(1) * self.time_weight).mean()

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target Q-functions by ``tau`` towards the Q-functions."""
        torch._foreach_lerp_(self.target_q.tensors, self.frozen_q.tensors, self.recipe.tau)
