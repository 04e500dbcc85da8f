"""Run the official main.py in this process and read numbers off it.

Functions of the official program are wrapped from outside. A wrapper calls the original with the
very arguments it got and returns the very object it returned; it reads numbers, draws none, and
writes to none. The one thing set is an option that no official flag reaches (``PROFILER``).
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.official_dreamerv3 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.checkout import wrap
from pytest_worldflux_parity.wire.recipe import suggest

# Counters and constants among the training metrics.
NO_STATISTICS = ("opt/updates", "opt/param_count")
# embodied/jax/agent.py records a trace of updates 100 to 120, which takes seconds and trains nothing.
PROFILER = "jaxcfg.profiler"


class Observer:
    """What is read off one run.

    Attributes:
        effective: the recipe that the official program used.
        episodes: (step in frames, score) of each finished training episode.
        steps: calls of the policy times environments: agent steps done.
        updates: training steps done.
        timing: rates of the finished run.
    """

    def __init__(self, asked: Mapping[str, Any], log: wire.Log) -> None:
        self.effective: dict[str, Any] = {}
        self.episodes: list[tuple[int, float]] = []
        self.steps = 0
        self.updates = 0
        self.timing: dict[str, float] = {}
        self.asked = dict(asked)
        self._log = log
        self._named: Mapping[str, Any] = {}
        self._reset_frame = ""
        self._agent: Any = None
        self._began: float | None = None
        self._first = (0, 1, 0.0)  # steps, updates and time at the end of the first update

    def watch(self, program: ModuleType, named: Mapping[str, Any], reset_frame: str) -> None:
        """Wrap the functions by which ``dreamerv3.main`` makes agent and logger.

        Args:
            named: the official configs.yaml.
            reset_frame: what its environment of games does at a reset.
        """
        self._named, self._reset_frame = named, reset_frame
        wrap(program, "make_agent", self._make_agent)
        wrap(program, "make_logger", self._make_logger)

    def finish(self, logdir: Path) -> None:
        """Read what is still pending when the program is done, and keep the final parameters.

        Raises:
            Refused: the program ended without training.
        """
        if not self.updates:
            raise Refused("the official program ended without an update; to mend: raise run.steps")
        self._observe(self.updates, self._pending())
        train_sec = time.perf_counter() - (self._began or 0.0)
        self.timing = wire.compute_rates(self.steps, self.updates, train_sec, self._first)
        import numpy as np  # imported by the official program already

        np.savez(logdir / "parameters.npz", **self._agent.save()["params"])
        self._beat(force=True)

    def _make_agent(self, official: Callable[..., Any], config: Any) -> Any:
        self.effective = recipes.effective_recipe(config, self._named, self.asked, self._reset_frame)
        recipes.confirm_recipe(self.asked, self.effective)
        self._log.begin(self.effective["run.steps"] * self.effective["action_repeat"])
        self._agent = agent = official(config)
        agent.jaxcfg.profiler = False
        wrap(type(agent), "policy", self._policy)
        wrap(type(agent), "train", self._train)
        return agent

    def _make_logger(self, official: Callable[..., Any], config: Any) -> Any:
        logger = official(config)
        wrap(logger, "add", functools.partial(self._add, logger))
        return logger

    def _add(self, logger: Any, official: Callable[..., Any], mapping: Any, prefix: Any = None) -> Any:
        if prefix == "episode":
            self.episodes.append((int(logger.step) * logger.multiplier, float(mapping["score"])))
        return official(mapping, prefix)

    def _policy(self, official: Callable[..., Any], agent: Any, carry: Any, obs: Any, **keys: Any) -> Any:
        self._began = self._began or time.perf_counter()
        result = official(agent, carry, obs, **keys)
        self.steps += len(obs["is_first"])
        self._beat()
        return result

    def _train(self, official: Callable[..., Any], agent: Any, *args: Any, **keys: Any) -> Any:
        result = official(agent, *args, **keys)
        self.updates += 1
        if self.updates == 1:
            self._pending()  # waits until the first update is computed
            self._first = (self.steps, 1, time.perf_counter())
        else:
            self._observe(self.updates - 1, result[2])
        self._beat()
        return result

    def _pending(self) -> dict[str, Any]:
        """The metrics of the latest update: ``train`` returns those of the update before."""
        metrics: dict[str, Any] = self._agent._take_outs(self._agent.pending_mets)
        return metrics

    def _observe(self, update: int, metrics: Mapping[str, Any]) -> None:
        if int(metrics["opt/updates"]) != update:
            raise Refused(f"metrics of update {metrics['opt/updates']} came where those of {update} were due")
        if self._log.windows.wants(update):
            numbers = {k: float(v) for k, v in metrics.items() if k not in NO_STATISTICS}
            self._log.windows.add(update, numbers)

    def _beat(self, force: bool = False) -> None:
        step = self.steps * self.effective["action_repeat"]
        self._log.beat(step, force=force, updates=self.updates)


def run_main(program: Path, seed: int, task: str, fixed: Mapping[str, Any], observer: Observer) -> None:
    """Run ``dreamerv3/main.py`` below ``program``; its files go to the folder ``log`` of the working folder.

    Raises:
        Refused: the recipe or the task is not one of the official program's, or it did not train.
    """
    sys.path.insert(0, str(program))
    main = importlib.import_module("dreamerv3.main")
    named = main.yaml.YAML(typ="safe").load((program / "dreamerv3/configs.yaml").read_text())
    asked = recipes.coerce_recipe(task, observer.asked, main.elements.Config(named["defaults"]).flat)
    observer.asked = asked
    if task.startswith("dmc_"):
        check_dmc(task)
    observer.watch(main, named, recipes.read_reset_frame(program))
    logdir = os.path.abspath("log")
    try:
        main.main(recipes.make_flags(task, seed, asked, logdir, fixed))
    except SystemExit as end:
        if end.code not in (None, 0):
            raise Refused(f"the official main.py ended with status {end.code}") from None
    observer.finish(Path(logdir))


def check_dmc(task: str) -> None:
    """Make sure that DMControl has the task (embodied/envs/dmc.py: ``cup`` is ``ball_in_cup``).

    Raises:
        Refused: it has not.
    """
    suite = importlib.import_module("dm_control.suite")
    tasks = ["dmc_" + f"{d}_{t}".replace("ball_in_cup", "cup") for d, t in suite.ALL_TASKS]
    if task not in tasks:
        raise Refused(f"task {task!r} is unknown to dm_control; {suggest(task, tasks)}")
