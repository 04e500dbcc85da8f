"""The training run: act in all environments, remember, and update as often as the train ratio says.

Order and numbers are those of the official ``embodied/run/train.py``, ``core/driver.py`` and
``jax/agent.py``, as far as they decide what is learned:

- Environments step in blocks of at least ten steps, so a run ends at the first such multiple at or after
  ``run.steps``; every environment's step counts.
- Updates begin when the replay holds batch_size * batch_length *sequences*. The first check then gives one
  update, later ones what the ratio has accumulated.
- A batch is drawn as soon as the one before is taken, ahead of the steps and latents that follow; the first
  one when the replay holds its first sequence.
- Latents of an update reach the replay when the next update is under way.
- Actions come from parameters that lag: an acting step uses those handed over before it, and hands over
  those from before the first update since the step before it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pytest_worldflux_parity import wire

from .agent import ACTING, Agent
from .environments import Environment
from .recipe import Recipe
from .replay import Arrays, Replay
from .seeds import action_key, replay_seed, update_key

BLOCK = 10  # steps
# Counts among the metrics, which have no mean worth comparing.
NO_STATISTICS = ("opt/updates", "opt/param_count")


class Diverged(wire.Refused):
    """The loss is no longer a finite number."""


class UpdateRatio:
    """How many updates a step is worth, fractions carried over (official ``elements.when.Ratio``)."""

    def __init__(self, updates_per_step: float) -> None:
        self.updates_per_step = updates_per_step
        self.paid: float | None = None  # the step up to which updates were done

    def __call__(self, step: int) -> int:
        """Updates that are due at ``step``; one at the first call, whenever that is."""
        if self.paid is None:
            self.paid = step
            return 1
        due = int((step - self.paid) * self.updates_per_step)
        self.paid += due / self.updates_per_step
        return due


class Finished(NamedTuple):
    """An update whose results are read later: its number, its batch's ``stepid``, latents and metrics."""

    update: int
    stepid: NDArray[np.uint8]
    latents: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass
class Outcome:
    """What a run found: scores of training episodes as (agent step, score), and how long what took."""

    episodes: list[tuple[int, float]] = field(default_factory=list)
    updates: int = 0
    train_sec: float = 0.0
    # Where this process began, if it goes on from a checkpoint: at this step, after so many updates.
    resumed_from_step: int | None = None
    resumed_from_update: int = 0
    # Steps, updates and time.perf_counter() at the end of the first update of this process.
    first: tuple[int, int, float] | None = None


class Run:
    """One training run.

    Args:
        agent: to train.
        recipe: its recipe.
        envs: ``run.envs`` environments.
        seed: of everything random but the environments, which have theirs.
        log: gets heartbeats, training metrics and scores.
        on_step: called with this run after every step of the environments, e.g. to save a checkpoint.
    """

    def __init__(
        self,
        agent: Agent,
        recipe: Recipe,
        envs: Sequence[Environment],
        seed: int,
        log: wire.Log,
        on_step: Callable[[Run], None] = lambda run: None,
    ) -> None:
        self.agent, self.recipe, self.envs, self.seed = agent, recipe, envs, seed
        self.log, self.on_step = log, on_step
        self.replay = make_replay(recipe, seed)
        self.state = agent.init_state(seed)
        self.train_carry = agent.initial_carry(recipe.batch_size)
        self.policy_carry = agent.initial_carry(len(envs))
        self.acting = _copied(_select_acting(self.state.params))
        self.handed_over: Any = None
        self.actions: Arrays = {}
        self.resets = np.ones(len(envs), bool)
        self.scores = np.zeros(len(envs))
        self.batch: Arrays | None = None
        self.finished: Finished | None = None
        self.ratio = UpdateRatio(recipe.run.train_ratio / (recipe.batch_size * recipe.batch_length))
        self.outcome = Outcome()
        self.step = 0
        self.acted = 0
        self._has_acted = False  # in this process

    def train(self) -> Outcome:
        """Do all of it.

        Raises:
            Diverged: the loss is NaN or infinite.
        """
        began = time.perf_counter() - self.outcome.train_sec
        steps = count_steps(self.recipe)
        while self.step < steps:
            self._advance()
            self._beat()
            self.outcome.train_sec = time.perf_counter() - began
            self.on_step(self)
        self._settle()
        jax.block_until_ready(self.state)
        self._beat(force=True)
        self.outcome.train_sec = time.perf_counter() - began
        return self.outcome

    def timing(self) -> dict[str, float]:
        """Rates of this process; ``train_sec`` is over all processes of a resumed run."""
        steps = self.step - (self.outcome.resumed_from_step or 0)
        updates = self.outcome.updates - self.outcome.resumed_from_update
        return wire.compute_rates(steps, updates, self.outcome.train_sec, self.outcome.first)

    def _advance(self) -> None:
        """One step of every environment, and the updates that come due."""
        obs = self._observe()
        latents = self._act(obs)
        self.replay.write({**obs, **self.actions, **latents})
        for i in range(len(self.envs)):
            self.step += 1
            self.replay.admit()
            self._score(i, obs)
            self._learn()

    def _observe(self) -> Arrays:
        seen = [
            env.reset() if self.resets[i] else env.step({k: v[i] for k, v in self.actions.items()})
            for i, env in enumerate(self.envs)
        ]
        space = self.agent.model.obs_space
        obs = {key: np.stack([np.asarray(one[key], space[key].dtype) for one in seen]) for key in space}
        self.resets = obs["is_last"].copy()
        return obs

    def _act(self, obs: Arrays) -> Arrays:
        """Choose the next actions, zero where an episode has ended; the latents that they came from."""
        key = action_key(self.seed, self.acted)
        with self._alive(compiling=not self._has_acted):
            carry, actions, latents = self.agent.policy(self.acting, self.policy_carry, obs, key)
        self._has_acted = True
        self.policy_carry, self.acted = carry, self.acted + 1
        self.actions = {name: _zero_where_ended(value, obs["is_last"]) for name, value in actions.items()}
        if self.handed_over is not None:
            self.acting, self.handed_over = self.handed_over, None
        return latents if self.recipe.replay_context else {}

    def _score(self, i: int, obs: Arrays) -> None:
        start = 0.0 if obs["is_first"][i] else self.scores[i]
        self.scores[i] = start + obs["reward"][i]
        if obs["is_last"][i]:
            score = float(self.scores[i])
            self.outcome.episodes.append((self.step, score))
            self.log.write(self.step * self.recipe.action_repeat, {"episode/score": score})

    def _learn(self) -> None:
        recipe = self.recipe
        if self.batch is None and len(self.replay):
            self.batch = self.replay.sample(recipe.batch_size)
        if len(self.replay) >= recipe.batch_size * recipe.batch_length:
            for _ in range(self.ratio(self.step)):
                self._update()

    def _update(self) -> None:
        batch = self.batch
        assert batch is not None, "a batch was drawn with the first sequence"
        if self.handed_over is None:
            # The update takes the parameters over, and the actor still needs them.
            self.handed_over = _copied(_select_acting(self.state.params))
        seed = update_key(self.seed, self.outcome.updates)
        first = self.outcome.first is None
        with self._alive(compiling=first):
            self.state, self.train_carry, latents, metrics = self.agent.train(
                self.state, self.train_carry, {**batch, "seed": seed}
            )
            if first:
                jax.block_until_ready(metrics)
        self.outcome.updates += 1
        if first:
            begun = self.step - (self.outcome.resumed_from_step or 0)
            self.outcome.first = (begun, 1, time.perf_counter())
        # While the device computes: the next batch, then what the update before found.
        self.batch = self.replay.sample(self.recipe.batch_size)
        self._settle()
        stepid = batch["stepid"][:, self.recipe.replay_context :]
        self.finished = Finished(self.outcome.updates, stepid, latents, metrics)
        self._beat()

    def _settle(self) -> None:
        """Read what the latest finished update left."""
        if self.finished is None:
            return
        update, stepid, latents, metrics = self.finished
        self.finished = None
        loss = float(metrics["opt/loss"])
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at update {update}")
        if self.recipe.replay_context:
            kept = {key: np.asarray(value) for key, value in latents.items() if key != "stepid"}
            self.replay.update(stepid, kept)
        if self.log.wants(update):
            self.log.update(update, self.step * self.recipe.action_repeat, _read_statistics(metrics))

    def _beat(self, force: bool = False) -> None:
        frames = min(self.step, int(self.recipe.run.steps)) * self.recipe.action_repeat
        self.log.beat(frames, force=force, updates=self.outcome.updates)

    @contextmanager
    def _alive(self, compiling: bool) -> Iterator[None]:
        """Heartbeats from another thread meanwhile, where this one is about to compile."""
        if not compiling:
            yield
            return
        done = threading.Event()

        def beat() -> None:
            while not done.wait(1.0):
                self._beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def count_steps(recipe: Recipe) -> int:
    """Agent steps of all environments together that a run takes."""
    block = math.ceil(BLOCK / recipe.run.envs) * recipe.run.envs
    return math.ceil(recipe.run.steps / block) * block


def make_replay(recipe: Recipe, seed: int) -> Replay:
    """An empty replay for ``recipe``."""
    return Replay(
        length=recipe.batch_length + recipe.replay_context,
        context=recipe.replay_context,
        capacity=int(recipe.replay.size),
        envs=recipe.run.envs,
        online=recipe.replay.online,
        seed=replay_seed(seed),
        most_rows=count_steps(recipe),
    )


def make_curve(outcome: Outcome, action_repeat: int) -> tuple[wire.CurvePoint, ...]:
    """Scores of finished training episodes by environment frame."""
    return wire.curve_of_episodes((step * action_repeat, score) for step, score in outcome.episodes)


def _read_statistics(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in jax.device_get(metrics).items() if k not in NO_STATISTICS}


def _zero_where_ended(action: NDArray[Any], is_last: NDArray[np.bool_]) -> NDArray[Any]:
    mask = ~is_last.reshape(-1, *[1] * (action.ndim - 1))
    return np.asarray(action) * mask.astype(action.dtype)


def _select_acting(params: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: value for name, value in params.items() if name.startswith(ACTING)}


_copied = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
