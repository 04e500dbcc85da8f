"""The 39 DMControl tasks of the TD-MPC2 benchmark: `make_env` and the `Environment` that it returns.

Behaviour as in the official ``tdmpc2/envs`` (``dmcontrol.py`` and the wrappers): actions in [-1, 1],
each applied for two control steps whose rewards are summed; an episode is 500 agent steps, whatever the
suite's own time limit says; observations are the suite's, flattened in its order, or three stacked frames.
28 tasks are dm_control's own, 11 are in `custom_tasks`.

An OpenGL library is imported only for pixels.
"""

from __future__ import annotations

import difflib
import importlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from pytest_worldflux_parity.wire.simulation import (
    collide_as_before,
    open_camera,
    quadruped_sensor_names,
    renderer_for,
)

TASKS: tuple[str, ...] = (
    "acrobot-swingup",
    "cartpole-balance",
    "cartpole-balance-sparse",
    "cartpole-swingup",
    "cartpole-swingup-sparse",
    "cheetah-jump",
    "cheetah-run",
    "cheetah-run-back",
    "cheetah-run-backwards",
    "cheetah-run-front",
    "cup-catch",
    "cup-spin",
    "dog-run",
    "dog-stand",
    "dog-trot",
    "dog-walk",
    "finger-spin",
    "finger-turn-easy",
    "finger-turn-hard",
    "fish-swim",
    "hopper-hop",
    "hopper-hop-backwards",
    "hopper-stand",
    "humanoid-run",
    "humanoid-stand",
    "humanoid-walk",
    "pendulum-spin",
    "pendulum-swingup",
    "quadruped-run",
    "quadruped-walk",
    "reacher-easy",
    "reacher-hard",
    "reacher-three-easy",
    "reacher-three-hard",
    "walker-run",
    "walker-run-backwards",
    "walker-stand",
    "walker-walk",
    "walker-walk-backwards",
)
ACTION_REPEAT = 2
EPISODE_LENGTH = 500
FRAME_SIZE = 64  # pixels
STACKED_FRAMES = 3
DOMAINS = {"cup": "ball_in_cup"}  # task's word -> dm_control's, where they differ

Observations = Literal["state", "rgb"]


def make_env(task_id: str, seed: int, obs: str = "state") -> Environment:
    """Makes one of `TASKS`.

    Args:
        task_id: for example "cartpole-balance".
        seed: of the initial states, as in ``suite.load(task_kwargs={"random": seed})``, and of
            `Environment.random_action`.
        obs: "state" or "rgb".

    Raises:
        ValueError: unknown task (the nearest name is given) or unknown kind of observation.
        RuntimeError: no OpenGL library for "rgb".
    """
    if task_id not in TASKS:
        nearest = difflib.get_close_matches(task_id, TASKS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown task {task_id!r}: the nearest of the {len(TASKS)} tasks is {nearest!r}")
    if obs not in ("state", "rgb"):
        raise ValueError(f"unknown observations {obs!r}: 'state' or 'rgb'")
    with renderer_for(obs == "rgb"):
        simulation = _load_simulation(task_id, seed)
        observe = _Frames(simulation, _choose_camera(task_id)) if obs == "rgb" else _State(simulation)
    return Environment(task_id, seed, simulation, observe)


class Environment:
    """One task. `reset` first, then up to `episode_length` times `step`.

    Attributes:
        obs_shape: (n,) for states, (9, 64, 64) for pixels.
        action_dim: number of actuators.
        episode_length: agent steps of an episode, 500.
        action_repeat: control steps of an agent step, 2.
        physics: the ``dm_control.mujoco.Physics`` underneath.
    """

    episode_length = EPISODE_LENGTH
    action_repeat = ACTION_REPEAT

    def __init__(self, task_id: str, seed: int, simulation: _Simulation, observe: _State | _Frames) -> None:
        self.task_id = task_id
        self.physics = simulation.physics
        self._simulation = simulation
        self._observe = observe
        self._random = np.random.default_rng(seed)
        self._low, high = simulation.control_bounds()
        self._scale = (high - self._low) / 2.0
        self._steps_left = 0
        self.action_dim = len(self._low)
        self.obs_shape: tuple[int, ...] = observe.shape

    def reset(self) -> np.ndarray:
        """Starts an episode; returns its first observation: float32 (n,) or uint8 (9, 64, 64)."""
        self._simulation.reset()
        self._steps_left = self.episode_length
        return self._observe.first()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float]:
        """Applies an action (action_dim,) in [-1, 1]; returns the observation and the summed reward.

        Raises:
            ValueError: the action has another shape.
            RuntimeError: the episode is over, or `reset` was never called.
            dm_control.rl.control.PhysicsError: the simulation diverged, or the action is not finite.
        """
        shape = np.shape(action)
        if shape != (self.action_dim,):
            raise ValueError(f"{self.task_id}: action of shape {shape}, expected ({self.action_dim},)")
        if self._steps_left == 0:
            raise RuntimeError(f"{self.task_id}: no episode is running, call reset()")
        self._steps_left -= 1
        reward = self._simulation.advance(self._to_control(action), self.action_repeat)
        return self._observe.next(), reward

    def random_action(self) -> np.ndarray:
        """Returns a uniform action, float32 (action_dim,) in [-1, 1]."""
        return self._random.uniform(-1.0, 1.0, self.action_dim).astype(np.float32)

    def _to_control(self, action: np.ndarray) -> np.ndarray:
        # In this order of operations, which is dm_control's: the results then agree to the last bit.
        return self._low + self._scale * (np.asarray(action, dtype=np.float64) + 1.0)


@dataclass(frozen=True)
class _Simulation:
    """Physics and task of dm_control, without its `Environment`: that one builds a time step, an
    observation and a check of the time limit for each of the repeats, which nobody looks at."""

    physics: Any
    task: Any
    sub_steps: int  # physics steps of a control step
    reward: Callable[[Any], float]
    place: Callable[[Any, Any], None] | None

    def control_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        spec = self.task.action_spec(self.physics)
        return spec.minimum, spec.maximum

    def reset(self) -> None:
        with self.physics.reset_context():
            if self.place is None:
                self.task.initialize_episode(self.physics)
            else:
                self.place(self.task.random, self.physics)

    def advance(self, control: np.ndarray, repeats: int) -> float:
        self.physics.set_control(control)
        total = 0.0
        for _ in range(repeats):
            self.physics.step(self.sub_steps)
            total += float(self.reward(self.physics))
        return total

    def observation(self) -> np.ndarray:
        parts = self.task.get_observation(self.physics).values()
        return np.concatenate([np.ravel(part) for part in parts], dtype=np.float32)


class _State:
    """Observes the state: float32 (n,)."""

    def __init__(self, simulation: _Simulation) -> None:
        self.first = self.next = simulation.observation
        self.shape = simulation.observation().shape


class _Frames:
    """Observes the last three frames, oldest first: uint8 (9, 64, 64)."""

    shape = (3 * STACKED_FRAMES, FRAME_SIZE, FRAME_SIZE)

    def __init__(self, simulation: _Simulation, camera_id: int) -> None:
        self._frames: deque[np.ndarray] = deque(maxlen=STACKED_FRAMES)
        self._draw = open_camera(simulation.physics, FRAME_SIZE, FRAME_SIZE, camera_id)

    def first(self) -> np.ndarray:
        self._frames.extend([self._draw().transpose(2, 0, 1)] * STACKED_FRAMES)
        return np.concatenate(self._frames)

    def next(self) -> np.ndarray:
        self._frames.append(self._draw().transpose(2, 0, 1))
        return np.concatenate(self._frames)


def _choose_camera(task_id: str) -> int:
    # The fixed cameras 0 and 1 of the quadruped do not show the whole robot.
    return 2 if task_id.startswith("quadruped-") else 0


def _load_simulation(task_id: str, seed: int) -> _Simulation:
    from .custom_tasks import VARIANTS, Variant
    from .models import restore_dog

    prefix, _, name = task_id.partition("-")
    domain = importlib.import_module(f"dm_control.suite.{DOMAINS.get(prefix, prefix)}")
    if prefix == "quadruped":
        domain.Physics._get_sensor_names = quadruped_sensor_names
    variant = VARIANTS.get(task_id, Variant(base=name.replace("-", "_")))
    suite_env = domain.SUITE[variant.base](random=seed)
    physics, task = suite_env.physics, suite_env.task
    if variant.edit_model is not None:
        _reload_edited(physics, domain, variant.edit_model)
    collide_as_before(physics.model.ptr)
    if prefix == "dog":
        restore_dog(physics.model.ptr)
    return _Simulation(
        physics=physics,
        task=task,
        sub_steps=round(suite_env.control_timestep() / physics.timestep()),
        reward=variant.reward or task.get_reward,
        place=variant.place,
    )


def _reload_edited(physics: Any, domain: ModuleType, edit: Callable[[ElementTree.Element], None]) -> None:
    xml, assets = domain.get_model_and_assets()
    tree = ElementTree.fromstring(xml)
    edit(tree)
    physics.reload_from_xml_string(ElementTree.tostring(tree), assets)
