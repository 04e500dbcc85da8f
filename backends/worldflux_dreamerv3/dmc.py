"""DeepMind Control as the official ``embodied/envs/dmc.py`` and ``from_dm.py`` show it to the agent.

Observations are the suite's own arrays under their own names, in float32, or one 64x64 image; an episode is
the first time step and up to 1,000 more, as the suite's time limit says. The official program renders every
step even where no image is wanted; here states need no renderer. Its environments have no seed, and ours
have one.

Two things hold MuJoCo 3.3.7 to what MuJoCo 3.1.2, which the official environment pins, computes: convex
geoms collide by libccd, and its iterations are limited to 50.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recipe import Dmc
from .spaces import Space

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
DEFAULT_RENDERER = "egl"
CCD_ITERATIONS = 50


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
        self._draw = self._renderer() if settings.image else None
        spec = self.dm_env.action_spec()
        self.low, self.high = spec.minimum, spec.maximum
        self._begun = self._random_state()
        self._actions: list[NDArray[Any]] = []

    @property
    def obs_space(self) -> dict[str, Space]:
        """States or an image or both, and what every environment has."""
        scalar = Space((), np.dtype(np.float32), -np.inf, np.inf, None)
        flag = Space((), np.dtype(bool), 0, 1, 2)
        spaces = {"reward": scalar, "is_first": flag, "is_last": flag, "is_terminal": flag}
        if self._settings.proprio:
            for key, spec in self.dm_env.observation_spec().items():
                if np.prod(spec.shape) > 0:
                    spaces[key] = Space(tuple(spec.shape), np.dtype(np.float32), -np.inf, np.inf, None)
        if self._settings.image:
            spaces["image"] = Space((*self._settings.size, 3), np.dtype(np.uint8), 0, 255, None)
        return spaces

    @property
    def act_space(self) -> dict[str, Space]:
        """The actuators' controls, scaled to [-1, 1]."""
        return {"action": Space(self.low.shape, np.dtype(np.float32), -1.0, 1.0, None)}

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

    def _renderer(self) -> Any:
        from dm_control.mujoco import Camera

        height, width = self._settings.size
        try:
            camera = Camera(self.physics, height, width, self._camera)
            camera.render()
        except Exception as error:  # each OpenGL library has its own errors
            raise RuntimeError(_no_renderer(error)) from error
        # A copy, because the camera draws all its frames into one buffer.
        return lambda: camera.render().copy()


def _load(domain: str, task: str, seed: int, with_renderer: bool) -> Any:
    with _renderer_for(with_renderer):
        from dm_control import suite
    if domain == "quadruped":
        suite.quadruped.Physics._get_sensor_names = _sensor_names
    env = suite.load(domain, task, task_kwargs={"random": seed})
    _collide_as_before(env.physics.model.ptr)
    return env


def _collide_as_before(model: Any) -> None:
    import mujoco

    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
    model.opt.ccd_iterations = CCD_ITERATIONS


def _sensor_names(physics: Any, *sensor_types: int) -> list[str]:
    """``quadruped.Physics._get_sensor_names`` without ``numpy.in1d``, which numpy 2.4 lacks."""
    cache = physics._sensor_types_to_names
    if sensor_types not in cache:
        ids = np.flatnonzero(np.isin(physics.model.sensor_type, sensor_types))
        cache[sensor_types] = [physics.model.id2name(i, "sensor") for i in ids]
    return cache[sensor_types]


@contextmanager
def _renderer_for(wanted: bool) -> Iterator[None]:
    """Has dm_control, which picks its renderer on import, pick none where none is wanted."""
    asked_for = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = (asked_for or DEFAULT_RENDERER) if wanted else "disable"
    try:
        if wanted:
            _import_renderer()
        yield
    finally:
        del os.environ["MUJOCO_GL"]
        if asked_for is not None:
            os.environ["MUJOCO_GL"] = asked_for


def _import_renderer() -> None:
    loaded = sys.modules.get("dm_control._render")
    try:
        if loaded is None:
            importlib.import_module("dm_control._render")
        elif loaded.BACKEND == "off":  # an environment without a renderer came first in this process
            importlib.reload(loaded)
    except Exception as error:  # each OpenGL library has its own errors
        raise RuntimeError(_no_renderer(error)) from error


def _no_renderer(error: Exception) -> str:
    renderer = os.environ.get("MUJOCO_GL", DEFAULT_RENDERER)
    return (
        f"images need OpenGL, and MUJOCO_GL={renderer} failed ({type(error).__name__}: {error}): "
        "install libegl1 or set MUJOCO_GL to egl, osmesa or glfw"
    )
