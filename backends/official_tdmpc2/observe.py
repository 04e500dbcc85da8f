"""Run the official train.py in this process and read numbers off it.

Methods of the official classes are wrapped from outside, as soon as their modules are imported. A
wrapper calls the method with the very arguments it got and returns the very object it returned; it
reads tensors, draws no random number, and writes to none. Nothing is imported ahead of train.py,
which sets environment variables before it imports torch.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.checkout import wrap

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
        plans: per plan of an evaluation after the first update, the mean value of the sampled
            trajectories in the first and in the last MPPI iteration.
        effective: the recipe that the official program ended up with.
    """

    def __init__(self, asked: dict[str, Any], log: wire.Log) -> None:
        self.plans: list[tuple[float, float]] = []
        self.effective: dict[str, Any] = {}
        self.updates = 0
        self.train_sec = 0.0
        self._asked = asked
        self._log = log
        self._trainer: Any = None
        self._values: list[float] | None = None

    def plan_means(self) -> dict[str, float]:
        """The means over plans: ``plan_value.eval``, ``plan_value_gain.eval``."""
        if not self.plans:
            return {}
        gains, count = sum(last - first for first, last in self.plans), len(self.plans)
        value = sum(last for _, last in self.plans) / count
        return {"plan_value.eval": value, "plan_value_gain.eval": gains / count}

    def watch_agent(self, module: ModuleType) -> None:
        """Called with the official module ``tdmpc2`` once it is imported."""
        import torch  # imported by that module already

        if self._log.request.device == "cuda" and not torch.cuda.is_available():
            raise Refused("device cuda was asked for and torch finds none; to mend: --device cpu")
        torch.set_num_threads(self._log.request.threads)
        wrap(module.TDMPC2, "update", self._update)
        wrap(module.TDMPC2, "act", self._pass_on)

    def watch_trainer(self, module: ModuleType) -> None:
        """Called with the official module ``trainer.online_trainer`` once it is imported."""
        wrap(module.OnlineTrainer, "train", self._train)
        wrap(module.OnlineTrainer, "to_td", self._pass_on)

    def _train(self, official: Callable[..., Any], trainer: Any) -> Any:
        self._trainer = trainer
        if not _is_dm_control(trainer.env):
            raise Refused(f"task {trainer.cfg.task!r} is not a task of dm_control")
        profile = self._asked["model_profile"]
        self.effective = recipes.effective_recipe(trainer.cfg, trainer.agent, profile)
        recipes.confirm_recipe(self._asked, self.effective)
        self._log.begin(self.effective["steps"] * recipes.ACTION_REPEAT)
        # Inside a compiled planner a wrapper would become part of the graph and change it.
        if not trainer.cfg.compile:
            wrap(type(trainer.agent), "_plan", self._plan)
            wrap(type(trainer.agent), "_estimate_value", self._estimate_value)
        started = time.perf_counter()
        result = official(trainer)
        self.train_sec = time.perf_counter() - started
        self._beat(force=True)
        return result

    def _pass_on(self, official: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._beat()
        return official(*args, **kwargs)

    def _update(self, official: Callable[..., Any], agent: Any, *args: Any, **kwargs: Any) -> Any:
        info = official(agent, *args, **kwargs)
        self.updates += 1
        if self._log.windows.wants(self.updates):
            self._log.windows.add(self.updates, {name: float(info[name]) for name in STATISTICS})
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
        if self.effective:
            # The official loop counts one step past the last.
            step = min(self._trainer._step, self.effective["steps"])
            self._log.beat(step * recipes.ACTION_REPEAT, force=force, updates=self.updates)


def _is_dm_control(env: Any) -> bool:
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
