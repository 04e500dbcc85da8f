"""Run the official train.py in this process and read numbers off it.

Methods of the official classes are wrapped from outside, as soon as their modules are imported. A
wrapper calls the method with the very arguments it got and returns the very object it returned; it
reads tensors, draws no random number, and writes to none. Nothing is imported ahead of train.py,
which sets environment variables before it imports torch.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.official_tdmpc2 import Refused
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire

STATISTICS = [
    "consistency_loss",
    "reward_loss",
    "value_loss",
    "total_loss",
    "grad_norm",
    "pi_loss",
    "pi_grad_norm",
    "pi_entropy",
    "pi_scaled_entropy",
    "pi_scale",
]


class Observer:
    """What is read off one run.

    Attributes:
        windows: means of the statistics that ``TDMPC2.update`` returns.
        plans: per plan of an evaluation after the first update, the mean value of the sampled
            trajectories in the first and in the last MPPI iteration.
        effective: the recipe that the official program ended up with.
    """

    def __init__(
        self, asked: dict[str, Any], windows: wire.Windows, out_dir: Path, device: str, threads: int
    ) -> None:
        self.windows = windows
        self.plans: list[tuple[float, float]] = []
        self.effective: dict[str, Any] = {}
        self.updates = 0
        self.train_sec = 0.0
        self._asked = asked
        self._out_dir = out_dir
        self._device = device
        self._threads = threads
        self._trainer: Any = None
        self._progress: wire.Progress | None = None
        self._values: list[float] | None = None

    def scalars(self) -> dict[str, float]:
        """The named means: ``<statistic>.<window>``, ``plan_value.eval``, ``plan_value_gain.eval``."""
        result = dict(self.windows.means())
        if self.plans:
            result["plan_value.eval"] = sum(last for _, last in self.plans) / len(self.plans)
            gains = sum(last - first for first, last in self.plans)
            result["plan_value_gain.eval"] = gains / len(self.plans)
        return result

    def watch_agent(self, module: ModuleType) -> None:
        """Called with the official module ``tdmpc2`` once it is imported."""
        import torch  # imported by that module already

        if self._device == "cuda" and not torch.cuda.is_available():
            raise Refused("device cuda was asked for and torch finds none; to mend: --device cpu")
        torch.set_num_threads(self._threads)
        wrap(module.TDMPC2, "update", self._update)
        wrap(module.TDMPC2, "act", self._act)

    def watch_trainer(self, module: ModuleType) -> None:
        """Called with the official module ``trainer.online_trainer`` once it is imported."""
        wrap(module.OnlineTrainer, "train", self._train)
        wrap(module.OnlineTrainer, "to_td", self._to_td)

    def _train(self, official: Callable[..., Any], trainer: Any) -> Any:
        self._trainer = trainer
        if not _steps_dm_control(trainer.env):
            raise Refused(f"task {trainer.cfg.task!r} is not a task of dm_control")
        profile = self._asked["model_profile"]
        self.effective = recipes.effective(trainer.cfg, trainer.agent.discount, profile)
        recipes.confirm(self._asked, self.effective)
        frames = self.effective["steps"] * recipes.ACTION_REPEAT
        self._progress = wire.Progress(str(self._out_dir), frames)
        # Inside a compiled planner a wrapper would become part of the graph and change it.
        if not trainer.cfg.compile:
            wrap(type(trainer.agent), "_plan", self._plan)
            wrap(type(trainer.agent), "_estimate_value", self._estimate_value)
        started = time.perf_counter()
        result = official(trainer)
        self.train_sec = time.perf_counter() - started
        self._beat(force=True)
        return result

    def _to_td(self, official: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        self._beat()
        return official(trainer, *args, **kwargs)

    def _act(self, official: Callable[..., Any], agent: Any, *args: Any, **kwargs: Any) -> Any:
        self._beat()
        return official(agent, *args, **kwargs)

    def _update(self, official: Callable[..., Any], agent: Any, *args: Any, **kwargs: Any) -> Any:
        info = official(agent, *args, **kwargs)
        self.updates += 1
        if self.windows.wants(self.updates):
            self.windows.add(self.updates, {name: float(info[name]) for name in STATISTICS})
        self._beat()
        return info

    def _plan(self, official: Callable[..., Any], agent: Any, *args: Any, **kwargs: Any) -> Any:
        watched = bool(kwargs.get("eval_mode")) and self.updates > 0
        self._values = [] if watched else None
        action = official(agent, *args, **kwargs)
        if self._values:
            self.plans.append((self._values[0], self._values[-1]))
        self._values = None
        return action

    def _estimate_value(self, official: Callable[..., Any], agent: Any, *args: Any, **kwargs: Any) -> Any:
        value = official(agent, *args, **kwargs)
        if self._values is not None:
            self._values.append(float(value.mean()))
        return value

    def _beat(self, force: bool = False) -> None:
        if self._progress is not None:
            # The official loop counts one step past the last.
            step = min(self._trainer._step, self.effective["steps"])
            self._progress.beat(step * recipes.ACTION_REPEAT, force=force, updates=self.updates)


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """Replace method ``name`` of ``owner`` by ``around(original, self, ...)``."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)


def _steps_dm_control(env: Any) -> bool:
    while env is not None:
        if type(env).__module__ == "envs.dmcontrol":
            return True
        env = getattr(env, "env", None)
    return False


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function with a module once it has been imported, and else leaves imports alone."""

    def __init__(self, actions: dict[str, Callable[[ModuleType], None]]) -> None:
        self._actions = dict(actions)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The ordinary spec of an awaited module, with the function run after its code."""
        action = self._actions.pop(name, None)
        if action is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            action(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def run_train(program: Path, arguments: list[str], observer: Observer | None) -> None:
    """Run ``program/train.py`` as the main program with ``arguments``, observed if there is an observer.

    Raises:
        Refused: it ended with a status other than 0.
    """
    finders = []
    if observer is not None:
        watched = {"tdmpc2": observer.watch_agent, "trainer.online_trainer": observer.watch_trainer}
        finders.append(AfterImport(watched))
    sys.meta_path[:0] = finders
    sys.path.insert(0, str(program))
    sys.argv = [str(program / "train.py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise Refused(f"the official train.py ended with status {end.code}") from None
