"""The training run: random actions, pretraining, then one update per step, with evaluations between.

Order and numbers are those of the official trainer/online_trainer.py: an evaluation falls on the first
end of an episode at or after every multiple of ``eval_freq``, step 0 included; step ``seed_steps`` makes
up for the updates of all steps before it; the loop takes one step beyond ``steps``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pytest_worldflux_parity import wire

from .agent import Agent
from .planner import Planner
from .recipe import ACTION_REPEAT, Recipe, seed_steps
from .replay import Replay

if TYPE_CHECKING:
    from .environments import Environment


class Diverged(wire.Refused):
    """A loss is no longer a finite number."""


@dataclass
class Outcome:
    """What a run found: the planner's statistics, and how long what took."""

    plans: int = 0
    plan_value: float = 0.0
    plan_value_gain: float = 0.0
    updates: int = 0
    train_sec: float = 0.0


@dataclass
class Episode:
    """The steps of the running episode: n + 1 observations, n actions and rewards."""

    obs: list[np.ndarray]
    action: list[np.ndarray] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.reward)


class Actor:
    """Chooses actions: by planning, or by the policy prior alone where ``mpc`` is off."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.planner = Planner(agent) if agent.recipe.mpc else None

    def act(self, obs: np.ndarray, first: bool, evaluate: bool) -> tuple[np.ndarray, Tensor | None]:
        """The action (A,), and the planner's mean value by iteration if it planned."""
        tensor = torch.from_numpy(obs).to(self.agent.device)
        if self.planner:
            action, values = self.planner.act(tensor, first, evaluate)
            return action.cpu().numpy(), values
        return self._prior_action(tensor, evaluate), None

    @torch.inference_mode()
    def _prior_action(self, obs: Tensor, evaluate: bool) -> np.ndarray:
        noise = self.agent.noise.normal(1, self.agent.action_dim)
        action = self.agent.act(self.agent.encoder(obs.unsqueeze(0)), noise)
        return (action.mean if evaluate else action.sample)[0].cpu().numpy()


class Run:
    """One training run.

    Args:
        agent: to train; its recipe says how.
        env: to train and evaluate in.
        log: gets training statistics, the curve, and a heartbeat per step, update and evaluation step.
        on_step: called with the number of agent steps after each, e.g. to save a checkpoint.
    """

    def __init__(
        self,
        agent: Agent,
        env: Environment,
        log: wire.Log,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.agent, self.env, self.log = agent, env, log
        self.on_step = on_step
        self.recipe: Recipe = agent.recipe
        log.begin(self.recipe.steps * ACTION_REPEAT)
        self.seed_steps = seed_steps(env.episode_length)
        self.replay = make_replay(agent, env)
        self.actor = Actor(agent)
        self.outcome = Outcome()
        self.step = 0
        # Reading a number off a GPU waits for it; a CPU has it anyway.
        self._check_every = 1 if agent.device.type == "cpu" else 50

    def train(self) -> Outcome:
        """Do all of it.

        Raises:
            Diverged: a loss is NaN or infinite.
        """
        began = time.perf_counter()
        episode = None
        evaluation_due = False
        while self.step <= self.recipe.steps:
            evaluation_due = evaluation_due or self.step % self.recipe.eval_freq == 0
            if episode is None or len(episode) == self.env.episode_length:
                if evaluation_due:
                    self._evaluate()
                    evaluation_due = False
                if episode is not None:
                    self._keep(episode)
                episode = Episode([self.env.reset()])
            self._collect(episode)
            self._learn()
            self._beat()
            self.step += 1
            self.on_step(self.step)
        self._beat(force=True)
        self.outcome.train_sec = time.perf_counter() - began
        if plans := self.outcome.plans:
            self.log.scalars["plan_value.eval"] = self.outcome.plan_value / plans
            self.log.scalars["plan_value_gain.eval"] = self.outcome.plan_value_gain / plans
        return self.outcome

    def _keep(self, episode: Episode) -> None:
        rewards = np.asarray(episode.reward, dtype=np.float32)
        self.replay.add(np.stack(episode.obs), np.stack(episode.action), rewards)
        self.log.write(self.step * ACTION_REPEAT, {"train/episode_reward": sum(episode.reward)})

    def _collect(self, episode: Episode) -> None:
        if self.step > self.seed_steps:
            action, _ = self.actor.act(episode.obs[-1], first=len(episode) == 0, evaluate=False)
        else:
            action = self.env.random_action()
        obs, reward = self.env.step(action)
        episode.obs.append(obs)
        episode.action.append(action)
        episode.reward.append(reward)

    def _learn(self) -> None:
        if self.step < self.seed_steps:
            return
        for _ in range(self.seed_steps if self.step == self.seed_steps else 1):
            self._update()

    def _update(self) -> None:
        statistics = self.agent.update(self.replay.sample(self.recipe.batch_size))
        self.outcome.updates += 1
        update = self.outcome.updates
        if update % self._check_every == 0:
            for name in ("total_loss", "pi_loss"):
                if not math.isfinite(statistics[name]):
                    raise Diverged(f"{name} is {float(statistics[name])} at update {update}")
        if self.log.wants(update):
            numbers = {name: float(value) for name, value in statistics.items()}
            self.log.update(update, self.step * ACTION_REPEAT, numbers)
        self._beat()

    def _evaluate(self) -> None:
        returns = evaluate(self.actor, self.env, self.recipe.eval_episodes, self._watch)
        frames, mean = self.step * ACTION_REPEAT, float(np.mean(returns))
        self.log.score(frames, mean)
        self.log.write(frames, {"eval/episode_reward": mean})

    def _watch(self, values: Tensor | None) -> None:
        if values is not None and self.step > 0:
            self._count_plan(values.tolist())
        self._beat()

    def _count_plan(self, values: list[float]) -> None:
        self.outcome.plans += 1
        self.outcome.plan_value += values[-1]
        self.outcome.plan_value_gain += values[-1] - values[0]

    def _beat(self, force: bool = False) -> None:
        frames = min(self.step, self.recipe.steps) * ACTION_REPEAT
        self.log.beat(frames, force=force, updates=self.outcome.updates)


def evaluate(
    actor: Actor, env: Environment, episodes: int, watch: Callable[[Tensor | None], None] = lambda _: None
) -> list[float]:
    """Returns of whole episodes without exploration; ``watch`` sees the values of every plan."""
    returns = []
    for _ in range(episodes):
        obs, total = env.reset(), 0.0
        for t in range(env.episode_length):
            action, values = actor.act(obs, first=t == 0, evaluate=True)
            obs, reward = env.step(action)
            total += reward
            watch(values)
        returns.append(total)
    return returns


def make_replay(agent: Agent, env: Environment) -> Replay:
    """An empty replay, of the official capacity: no larger than the run can fill."""
    recipe = agent.recipe
    return Replay(
        capacity=min(recipe.buffer_size, recipe.steps),
        obs_shape=env.obs_shape,
        obs_dtype=torch.uint8 if recipe.obs == "rgb" else torch.float32,
        action_dim=agent.action_dim,
        length=recipe.horizon + 1,
        device=agent.device,
    )
