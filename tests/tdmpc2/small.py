"""A TD-MPC2 small enough for a test, and an environment to match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from backends.worldflux_tdmpc2.agent import Agent
from backends.worldflux_tdmpc2.recipe import Recipe, parse_recipe
from backends.worldflux_tdmpc2.replay import Replay
from pytest_worldflux_parity import wire

OBS_SHAPE, ACTION_DIM, EPISODE_LENGTH = (3,), 2, 12
RECIPE: dict[str, Any] = {
    "model_profile": "custom",
    "enc_dim": 8,
    "mlp_dim": 12,
    "latent_dim": 16,
    "num_enc_layers": 2,
    "num_q": 3,
    "batch_size": 6,
    "num_samples": 10,
    "num_elites": 4,
    "num_pi_trajs": 2,
    "iterations": 2,
}


def recipe(**changes: Any) -> Recipe:
    """The small recipe, changed."""
    return parse_recipe({**RECIPE, **changes})


def agent(seed: int = 0, **changes: Any) -> Agent:
    """An untrained small agent."""
    torch.manual_seed(seed)
    return Agent(recipe(**changes), OBS_SHAPE, ACTION_DIM, EPISODE_LENGTH, torch.device("cpu"))


def replay(seed: int = 0, episodes: int = 3, length: int = 4) -> Replay:
    """A replay that holds a few random episodes."""
    rng = np.random.default_rng(seed)
    result = Replay(100, OBS_SHAPE, torch.float32, ACTION_DIM, length, torch.device("cpu"))
    for _ in range(episodes):
        obs = rng.normal(size=(EPISODE_LENGTH + 1, *OBS_SHAPE))
        action = rng.uniform(-1, 1, (EPISODE_LENGTH, ACTION_DIM))
        result.add(
            obs.astype(np.float32), action.astype(np.float32), rng.normal(0, 9, EPISODE_LENGTH).astype("f")
        )
    return result


def log(tmp_path: Path, windows: dict[str, Any] | None = None) -> wire.Log:
    """The log of a run that writes into ``tmp_path``."""
    words = dict.fromkeys(("request_id", "run_id", "suite_id", "system", "adapter", "task_id"), "x")
    return wire.Log(
        wire.RunRequest(
            **words, family="tdmpc2", seed=0, device="cpu", recipe={}, deadline_sec=0.0,
            out_dir=str(tmp_path), eval_protocol={"windows": windows or {}},
        )
    )  # fmt: skip


class PointEnvironment:
    """A point on a line that is rewarded for staying near zero."""

    obs_shape, action_dim, episode_length = OBS_SHAPE, ACTION_DIM, EPISODE_LENGTH

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._at, self._steps = 0.0, 0

    def reset(self) -> np.ndarray:
        """Begin an episode."""
        self._at, self._steps = float(self._rng.normal()), 0
        return self._obs()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float]:
        """Move by the first action."""
        assert self._steps < self.episode_length, "a step after the end of the episode"
        assert action.shape == (self.action_dim,), action.shape
        assert np.abs(action).max() <= 1, action
        self._steps += 1
        self._at += 0.3 * float(action[0])
        return self._obs(), -abs(self._at)

    def random_action(self) -> np.ndarray:
        """A uniform action."""
        return self._rng.uniform(-1, 1, self.action_dim).astype(np.float32)

    def _obs(self) -> np.ndarray:
        return np.array([self._at, self._at**2, 1.0], dtype=np.float32)
