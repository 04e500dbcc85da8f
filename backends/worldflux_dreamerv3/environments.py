"""The tasks by their official names, and the environments behind them.

``dmc_<domain>_<task>`` for DeepMind Control, ``atari100k_<game>`` for games; ``atari_<game>`` names the same
task as ``atari100k_<game>``. Whether DeepMind Control shows states or images, the recipe decides.
"""

from __future__ import annotations

import difflib

from . import atari, dmc
from .recipe import Env

TASKS: tuple[str, ...] = (
    *(f"dmc_{task}" for task in dmc.TASKS),
    *(f"atari100k_{game}" for game in atari.GAMES),
)


# One task; an observation is a dict with reward and the flags is_first, is_last, is_terminal in it. After an
# observation with ``is_last``, `reset` comes next.
Environment = dmc.DMC | atari.Atari


def suite_and_name(task_id: str) -> tuple[str, str]:
    """The suite, "dmc" or "atari100k", and the task within it.

    Raises:
        ValueError: no such task; the nearest is named.
    """
    canonical = task_id.replace("atari_", "atari100k_", 1) if task_id.startswith("atari_") else task_id
    if canonical not in TASKS:
        nearest = difflib.get_close_matches(canonical, TASKS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown task {task_id!r}: the nearest of the {len(TASKS)} tasks is {nearest!r}")
    suite, _, name = canonical.partition("_")
    return suite, name


def make_env(task_id: str, settings: Env, seed: int) -> Environment:
    """Make an environment.

    Args:
        task_id: one of `TASKS`.
        settings: of all suites, of which the task's own count.
        seed: of everything random in it.

    Raises:
        ValueError: unknown task, or settings that leave nothing to observe.
        RuntimeError: no OpenGL library for images of DeepMind Control.
    """
    suite, name = suite_and_name(task_id)
    if suite == "dmc":
        return dmc.DMC(name, settings.dmc, seed)
    return atari.Atari(name, settings.atari100k, seed)
