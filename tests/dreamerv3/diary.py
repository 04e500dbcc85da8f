"""An agent that only keeps a diary, an environment that counts, and a run of the training loop with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from backends.worldflux_dreamerv3 import training
from backends.worldflux_dreamerv3.recipe import Recipe, parse_recipe
from backends.worldflux_dreamerv3.spaces import Space
from pytest_worldflux_parity import wire

LENGTH, BATCH = 4, 2
FLAG, SCALAR = Space((), np.dtype(bool), 0, 1, 2), Space((), np.dtype(np.float32))
OBS = {"at": Space((1,), np.dtype(np.float32)), "reward": SCALAR}
OBS |= dict.fromkeys(("is_first", "is_last", "is_terminal"), FLAG)


def recipe(**changes: Any) -> Recipe:
    """A small recipe; two updates a step unless said otherwise."""
    given = {"batch_size": BATCH, "batch_length": LENGTH, "run.envs": 1, "run.steps": 40}
    given |= {"run.train_ratio": 2.0 * BATCH * LENGTH, "env.dmc.repeat": 2}
    return parse_recipe({**given, **changes}, "dmc_cartpole_balance")


class Counting:
    """An environment whose observation counts its entries; episodes of seven, each entry but the first
    rewarded with 1."""

    backend, repeat = "none", 2

    def __init__(self, offset: int) -> None:
        self.at, self.left = float(offset), 0
        self.actions: list[float] = []

    def reset(self) -> dict[str, Any]:
        """Begin an episode."""
        self.left = 7
        return self._entry(0.0)

    def step(self, action: dict[str, np.ndarray]) -> dict[str, Any]:
        """Count on."""
        assert self.left > 0, "a step after the end of the episode"
        self.actions.append(float(action["action"][0]))
        return self._entry(1.0)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Where it stands."""
        return {"at": np.array(self.at), "left": np.array(self.left)}

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Go on there."""
        self.at, self.left = float(snapshot["at"]), int(snapshot["left"])

    def _entry(self, reward: float) -> dict[str, Any]:
        self.at, self.left = self.at + 1, self.left - 1
        flags = {"is_first": self.left == 6, "is_last": self.left == 0, "is_terminal": False}
        return {"at": np.array([self.at]), "reward": reward, **flags}


class State(NamedTuple):
    """Parameters that count updates."""

    params: dict[str, Any]


class Diary:
    """An agent that writes down what it was given; its latents are the number of the update."""

    def __init__(self, losses: list[float] | None = None) -> None:
        self.model = SimpleNamespace(obs_space=OBS)
        self.acted: list[tuple[int, float]] = []  # updates so far, the parameter acted with
        self.batches: list[dict[str, np.ndarray]] = []
        self.losses = losses or []
        self.keys: list[tuple[int, ...]] = []

    def init_state(self, seed: int) -> State:
        """Before any update."""
        return State({"policy/w": np.float32(0), "value/w": np.float32(0)})

    def initial_carry(self, rows: int) -> Any:
        """Nothing is carried."""
        return np.int32(rows)

    def policy(self, params: Any, carry: Any, obs: dict[str, np.ndarray], key: np.ndarray) -> Any:
        """Always 0.5, from the latent -1."""
        assert params.keys() == {"policy/w"}
        self.acted.append((len(self.batches), float(params["policy/w"])))
        self.keys.append(tuple(key.tolist()))
        n = len(obs["is_first"])
        latents = {"dyn/deter": np.full((n, 1), -1, np.float32)}
        return carry, {"action": np.full((n, 1), 0.5, np.float32)}, latents

    def train(self, state: State, carry: Any, batch: dict[str, np.ndarray]) -> Any:
        """One update."""
        self.batches.append(batch)
        self.keys.append(tuple(batch["seed"].tolist()))
        update = len(self.batches)
        latents = {"dyn/deter": np.full((BATCH, LENGTH, 1), update, np.float32), "stepid": batch["stepid"]}
        loss = self.losses[update - 1] if self.losses else 1.0
        params = {name: value + 1 for name, value in state.params.items()}
        return State(params), carry, latents, {"opt/loss": np.float32(loss), "n": np.float32(update)}


def run(
    tmp_path: Path,
    asked: Recipe,
    agent: Diary,
    windows: dict[str, list[int]] | None = None,
    on_step: Callable[[training.Run], None] = lambda run: None,
    seed: int = 1,
) -> training.Run:
    """A run of the loop, not begun."""
    envs = [Counting(1000 * i) for i in range(asked.run.envs)]
    words = dict.fromkeys(("request_id", "run_id", "suite_id", "system", "adapter", "task_id"), "x")
    request = wire.RunRequest(
        **words, family="dreamerv3", seed=seed, device="cpu", recipe={}, deadline_sec=0.0,
        out_dir=str(tmp_path), eval_protocol={"windows": windows or {}},
    )  # fmt: skip
    return training.Run(agent, asked, envs, seed, wire.Log(request), on_step)  # type: ignore[arg-type]
