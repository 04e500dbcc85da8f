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

from backends.official_dreamerv3 import Refused
from backends.official_dreamerv3 import recipe as recipes
from pytest_worldflux_parity import wire

# Counters and constants among the training metrics.
NO_STATISTICS = ("opt/updates", "opt/param_count")
# embodied/jax/agent.py records a trace of updates 100 to 120, which takes seconds and trains nothing.
PROFILER = "jaxcfg.profiler"


class Observer:
    """What is read off one run.

    Attributes:
        windows: means of the metrics that ``agent.train`` returns.
        effective: the recipe that the official program used.
        episodes: (step in frames, score) of each finished training episode.
        steps: calls of the policy times environments: agent steps done.
        updates: training steps done.
        moments: ``time.perf_counter`` at the first step, after the first update, and at the end.
        early_steps: agent steps before the end of the first update.
    """

    def __init__(self, task: str, asked: Mapping[str, Any], windows: wire.Windows, out_dir: Path) -> None:
        self.windows = windows
        self.effective: dict[str, Any] = {}
        self.episodes: list[tuple[int, float]] = []
        self.steps = 0
        self.early_steps = 0
        self.updates = 0
        self.moments: dict[str, float] = {}
        self._task = task
        self._asked = asked
        self._out_dir = out_dir
        self._named: Mapping[str, Any] = {}
        self._agent: Any = None
        self._progress: wire.Progress | None = None

    def watch(self, program: ModuleType, named: Mapping[str, Any]) -> None:
        """Wrap the functions by which ``dreamerv3.main`` makes agent and logger.

        Args:
            named: the official configs.yaml.
        """
        self._named = named
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
        self.moments["end"] = time.perf_counter()
        import numpy as np  # imported by the official program already

        np.savez(logdir / "parameters.npz", **self._agent.save()["params"])
        self._beat(force=True)

    def _make_agent(self, official: Callable[..., Any], config: Any) -> Any:
        self.effective = recipes.effective(config, self._named, self._asked)
        recipes.confirm(self._asked, self.effective)
        frames = self.effective["run.steps"] * self.effective["action_repeat"]
        self._progress = wire.Progress(str(self._out_dir), frames)
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
        self.moments.setdefault("first_step", time.perf_counter())
        result = official(agent, carry, obs, **keys)
        self.steps += len(obs["is_first"])
        self._beat()
        return result

    def _train(self, official: Callable[..., Any], agent: Any, *args: Any, **keys: Any) -> Any:
        result = official(agent, *args, **keys)
        self.updates += 1
        if self.updates == 1:
            self._pending()  # waits until the first update is computed
            self.moments["first_update"] = time.perf_counter()
            self.early_steps = self.steps
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
        if self.windows.wants(update):
            numbers = {k: float(v) for k, v in metrics.items() if k not in NO_STATISTICS}
            self.windows.add(update, numbers)

    def _beat(self, force: bool = False) -> None:
        if self._progress is not None:
            step = self.steps * self.effective["action_repeat"]
            self._progress.beat(step, force=force, updates=self.updates)


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace attribute ``name`` of ``owner`` by ``around(original, ...)``."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)


def run_main(
    program: Path,
    seed: int,
    task: str,
    asked: Mapping[str, Any],
    fixed: Mapping[str, Any],
    observer: Observer,
) -> None:
    """Run ``dreamerv3/main.py`` below ``program``; its files go to the log folder in ``fixed``.

    Raises:
        Refused: the recipe or the task is not one of the official program's, or it did not train.
    """
    sys.path.insert(0, str(program))
    main = importlib.import_module("dreamerv3.main")
    named = main.yaml.YAML(typ="safe").load((program / "dreamerv3/configs.yaml").read_text())
    recipes.check_values(task, asked, main.elements.Config(named["defaults"]).flat)
    if task.startswith("dmc_"):
        check_dmc(task)
    observer.watch(main, named)
    logdir = os.path.abspath("log")
    try:
        main.main(recipes.flags(task, seed, asked, logdir, fixed))
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
        raise Refused(f"task {task!r} is unknown to dm_control{recipes.nearest(task, tasks)}")
