"""DeepMind Control as the official ``embodied/envs/dmc.py`` and ``from_dm.py`` show it to the agent.

Observations are the suite's own arrays under their own names, in float32, or one 64x64 image; an episode is
the first time step and up to 1,000 more, as the suite's time limit says. The official program renders every
step even where no image is wanted; here states need no renderer. Its environments have no seed, and ours
have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_worldflux_parity.wire.simulation import (
    collide_as_before,
    open_camera,
    quadruped_sensor_names,
    renderer_for,
)

from .recipe import Dmc
from .spaces import BOOKKEEPING, Space

TASKS: tuple[str, ...] = (
    "acrobot_swingup",
    "cartpole_balance",
    "cartpole_balance_sparse",
    "cartpole_swingup",
    "cartpole_swingup_sparse",
    "cheetah_run",
    "cup_catch",
    "finger_spin",
    "finger_turn_easy",
    "finger_turn_hard",
    "hopper_hop",
    "hopper_stand",
    "pendulum_swingup",
    "quadruped_run",
    "quadruped_walk",
    "reacher_easy",
    "reacher_hard",
    "walker_run",
    "walker_stand",
    "walker_walk",
)
DEFAULT_CAMERAS = {"quadruped": 2}


class DMC:
    """One task of the suite.

    Args:
        task: one of `TASKS`.
        settings: the official ``env.dmc``; camera -1 is the domain's own.
        seed: of the initial states.

    Attributes:
        dm_env, physics: the environment of dm_control itself, and its physics.
        low, high: bounds of the actuators' controls, (A,).

    Raises:
        RuntimeError: an image is wanted, and no OpenGL library draws it.
        ValueError: neither states nor an image are wanted.
    """

    backend = "dm_control"

    def __init__(self, task: str, settings: Dmc, seed: int) -> None:
        if not (settings.proprio or settings.image):
            raise ValueError("env.dmc.proprio and env.dmc.image are both false; one of them must be true")
        self.repeat = settings.repeat
        self._settings = settings
        domain, _, name = task.partition("_")
        self.dm_env = _load({"cup": "ball_in_cup"}.get(domain, domain), name, seed, settings.image)
        self.physics = self.dm_env.physics
        own_camera = DEFAULT_CAMERAS.get(domain, 0)
        self._camera = own_camera if settings.camera == -1 else settings.camera
        self._draw = open_camera(self.physics, *settings.size, self._camera) if settings.image else None
        spec = self.dm_env.action_spec()
        self.low, self.high = spec.minimum, spec.maximum
        self._begun = self._random_state()
        self._actions: list[NDArray[Any]] = []

    @property
    def obs_space(self) -> dict[str, Space]:
        """States or an image or both, and what every environment has."""
        spaces = dict(BOOKKEEPING)
        if self._settings.proprio:
            for key, spec in self.dm_env.observation_spec().items():
                if np.prod(spec.shape) > 0:
                    spaces[key] = Space(tuple(spec.shape), np.dtype(np.float32))
        if self._settings.image:
            spaces["image"] = Space((*self._settings.size, 3), np.dtype(np.uint8), 0, 255)
        return spaces

    @property
    def act_space(self) -> dict[str, Space]:
        """The actuators' controls, scaled to [-1, 1]."""
        return {"action": Space(self.low.shape, np.dtype(np.float32), -1.0, 1.0)}

    def reset(self) -> dict[str, Any]:
        """Begin an episode."""
        self._begun, self._actions = self._random_state(), []
        return self._observe(self.dm_env.reset(), 0.0)

    def step(self, action: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Apply ``action["action"]``, clipped to [-1, 1], for ``repeat`` control steps.

        Raises:
            dm_control.rl.control.PhysicsError: the simulation diverged.
        """
        self._actions.append(np.array(action["action"], np.float32))
        return self._advance(self._actions[-1])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """What decides the running episode and every later one: the random state that the episode began
        with, and its actions. The physics are deterministic, so playing them again leads to the same state.
        """
        keys, position, has_gauss, gauss = self._begun
        return {
            "random_keys": keys,
            "random_rest": np.array([position, has_gauss, gauss], np.float64),
            "actions": np.array(self._actions, np.float32).reshape(-1, *self.low.shape),
        }

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Go on where ``snapshot`` was taken."""
        position, has_gauss, gauss = snapshot["random_rest"]
        state = ("MT19937", snapshot["random_keys"], int(position), int(has_gauss), float(gauss))
        self.dm_env.task.random.set_state(state)
        self.reset()
        for action in snapshot["actions"]:
            self.step({"action": action})

    def _random_state(self) -> tuple[NDArray[Any], int, int, float]:
        _, keys, position, has_gauss, gauss = self.dm_env.task.random.get_state()
        return np.asarray(keys), int(position), int(has_gauss), float(gauss)

    def _advance(self, action: NDArray[np.float32]) -> dict[str, Any]:
        # In the order and precision of the official wrappers, so that controls agree to the last bit.
        unit = (np.clip(action, -1, 1) + 1) / 2
        control = unit * (self.high - self.low) + self.low
        reward = 0.0
        for _ in range(self.repeat):
            time_step = self.dm_env.step(control)
            reward += np.float32(time_step.reward)
            if time_step.last():
                break
        return self._observe(time_step, reward)

    def _observe(self, time_step: Any, reward: float) -> dict[str, Any]:
        obs = {
            "reward": np.float32(reward),
            "is_first": time_step.first(),
            "is_last": time_step.last(),
            "is_terminal": not time_step.first() and time_step.discount == 0,
        }
        if self._settings.proprio:
            states = time_step.observation.items()
            obs |= {k: np.asarray(v, np.float32) for k, v in states if np.size(v) > 0}
        if self._draw:
            obs["image"] = self._draw()
        return obs


def _load(domain: str, task: str, seed: int, with_renderer: bool) -> Any:
    with renderer_for(with_renderer):
        from dm_control import suite
    if domain == "quadruped":
        suite.quadruped.Physics._get_sensor_names = quadruped_sensor_names
    env = suite.load(domain, task, task_kwargs={"random": seed})
    collide_as_before(env.physics.model.ptr)
    return env
