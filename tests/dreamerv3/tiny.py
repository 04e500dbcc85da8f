"""A DreamerV3 small enough for tests, and random batches for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from backends.worldflux_dreamerv3.agent import Agent
from backends.worldflux_dreamerv3.recipe import Recipe, parse_recipe
from backends.worldflux_dreamerv3.spaces import Space, Spaces

FLOAT = np.dtype(np.float32)
FLAGS: Spaces = {
    "reward": Space((), FLOAT),
    **{key: Space((), np.dtype(bool)) for key in ("is_first", "is_last", "is_terminal")},
}
OBSERVATIONS: Spaces = {"position": Space((3,), FLOAT), "height": Space((), FLOAT), **FLAGS}
ACTIONS: Spaces = {"action": Space((2,), FLOAT, -1, 1)}
IMAGES: Spaces = {"image": Space((16, 16, 3), np.dtype(np.uint8), 0, 255), **FLAGS}
CHOICES: Spaces = {"action": Space((), np.dtype(np.int32), 0, 4, classes=4)}

SMALL: dict[str, Any] = {
    "batch_size": 2, "batch_length": 4, "deter": 16, "hidden": 8, "stoch": 3, "classes": 4, "blocks": 4,
    "units": 8, "layers": 1, "depth": 4, "bins": 15, "agent.imag_length": 3, "agent.opt.warmup": 0,
    "agent.opt.lr": 3e-3, "jax.compute_dtype": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def quickly_compiled() -> Iterator[None]:
    """Compiling takes most of the time of these tests; how fast the result runs does not matter."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def recipe(task: str = "dmc_cartpole_balance", **changes: Any) -> Recipe:
    """The small recipe; a double underscore in a keyword stands for a dot."""
    return parse_recipe({**SMALL, **{key.replace("__", "."): v for key, v in changes.items()}}, task)


def image_recipe(**changes: Any) -> Recipe:
    """The small recipe of a game of 16 by 16 pixels."""
    shape = {"agent__enc__simple__mults": [1, 2], "agent__dec__simple__mults": [1, 2]}
    return recipe("atari_pong", **{**shape, "agent__dec__simple__bspace": 4, **changes})


def agent(**changes: Any) -> Agent:
    """An agent of vectors and continuous actions."""
    return Agent(recipe(**changes), OBSERVATIONS, ACTIONS)


def game_agent(**changes: Any) -> Agent:
    """An agent of images and discrete actions."""
    return Agent(image_recipe(**changes), IMAGES, CHOICES)


def batch(agent: Agent, seed: int = 0) -> dict[str, np.ndarray]:
    """Random replayed steps (B, T + context, ...)."""
    model, rng = agent.model, np.random.default_rng(seed)
    r = model.recipe
    lead = (r.batch_size, r.batch_length + r.replay_context)
    data = {key: _values(space, lead, rng) for key, space in {**model.obs_space, **model.act_space}.items()}
    dyn = model.rssm
    stoch = np.eye(dyn.classes, dtype=np.float32)[rng.integers(0, dyn.classes, (*lead, dyn.stoch))]
    return data | {
        "dyn/deter": rng.uniform(-1, 1, (*lead, dyn.deter)).astype(np.float32),
        "dyn/stoch": stoch,
        "consec": np.zeros(lead, np.int32),
        "stepid": rng.integers(0, 256, (*lead, 20)).astype(np.uint8),
        "seed": rng.integers(0, 2**32, 2, np.uint32),
    }


def observation(agent: Agent, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random observations (rows, ...)."""
    rng = np.random.default_rng(seed)
    return {key: _values(space, (rows,), rng) for key, space in agent.model.obs_space.items()}


def _values(space: Space, lead: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    shape = (*lead, *space.shape)
    if space.dtype == bool:
        return rng.random(shape) < 0.2
    if space.classes is not None or space.image:
        return rng.integers(0, space.classes or 256, shape).astype(space.dtype)
    return rng.uniform(-1, 1, shape).astype(np.float32)
