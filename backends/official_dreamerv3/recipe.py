"""Our recipe and the official configuration: the same names, checked on the way in and out.

On the way in, a recipe becomes flags of the official ``main.py``; keys that it leaves out keep the
official defaults. On the way out, the *effective* recipe is read from the configuration object that
the official code really used, and a value that is not the one asked for ends the run.

A recipe is flat: ``config`` and ``size`` (official named configurations), shorthands (one word for
every network that has the key, as the official ``.*\\.units``), and dotted official keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.recipe import check_keys, check_values, coerce, suggest

CONFIGS = ("dmc_proprio", "dmc_vision", "atari100k")
SIZES = ("size1m", "size12m", "size25m", "size50m", "size100m", "size200m", "size400m")
SHORTHANDS = ("deter", "hidden", "stoch", "classes", "blocks", "units", "layers", "depth", "bins")
# The default configuration, which is size200m, by the name that proof suites give it.
CANONICAL = "official_xl"
PLAIN = (
    "batch_size", "batch_length", "replay_context", "replay.size", "replay.online", "run.steps", "run.envs",
    "run.train_ratio", "jax.compute_dtype",
)  # fmt: skip
# Reports are switched off and are no part of what is compared.
REPORTS = ("agent.report", "agent.report_gradnorms")
# What the first observation of a game shows is no key of the official configuration: its code says it.
RESET_FRAME = "env.atari100k.reset_frame"
RESET_FRAMES = ("current", "stale")
_COPY = re.compile(r"np\.copyto\((?P<to>[^,]+), *(?P<source>[^)]+)\)")
# Floats in the official file only because it writes them 1e10 and 5e6.
WHOLE = ("run.steps", "replay.size")
GAMES = (
    "alien", "amidar", "assault", "asterix", "bank_heist", "battle_zone", "boxing", "breakout",
    "chopper_command", "crazy_climber", "demon_attack", "freeway", "frostbite", "gopher", "hero",
    "jamesbond", "kangaroo", "krull", "kung_fu_master", "ms_pacman", "pong", "private_eye", "qbert",
    "road_runner", "seaquest", "up_n_down",
)  # fmt: skip


def to_official_task(task: str) -> str:
    """The official name: ``atari_pong`` and ``atari100k_pong`` are the same task here.

    Raises:
        Refused: the name is not of a DMControl task's form, or no game of Atari100k.
    """
    suite, _, name = task.partition("_")
    if suite in ("atari", "atari100k"):
        if name not in GAMES:
            raise Refused(f"task {task!r} is no game of Atari100k; {suggest(name, GAMES)}".rstrip("; "))
        return f"atari100k_{name}"
    if not re.fullmatch(r"dmc_[a-z0-9]+(_[a-z0-9]+)+", task):
        raise Refused(f"task {task!r} is neither dmc_<domain>_<task> nor atari100k_<game>")
    return task


def complete_recipe(task: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with ``config`` filled in by the task: atari100k for games, dmc_proprio else.

    Raises:
        Refused: an unknown named configuration or size.
    """
    atari = task.startswith("atari100k_")
    result = {"config": "atari100k" if atari else "dmc_proprio", **recipe}
    check_values(result, {"config": CONFIGS, "size": SIZES}, {})
    if (result["config"] == "atari100k") != atari:
        raise Refused(f"recipe.config: {result['config']!r} does not fit the task {task!r}")
    return result


def list_dotted_keys(task: str, defaults: Mapping[str, Any]) -> list[str]:
    """The official keys that a recipe may name and that the effective recipe states.

    Args:
        defaults: the official default configuration, flat.
    """
    suites = ("agent.", f"env.{task.split('_')[0]}.")
    return [k for k in defaults if k in PLAIN or (k.startswith(suites) and k not in REPORTS)]


def coerce_recipe(task: str, recipe: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with each value in the type of the official default.

    Raises:
        RecipeError: an unknown key (the nearest is named), or a value of another type.
    """
    dotted = list_dotted_keys(task, defaults)
    known = ["config", "size", *SHORTHANDS, *dotted]
    suite = task.split("_")[0]
    shown = ["config", "size", *SHORTHANDS, *PLAIN, f"agent.* and env.{suite}.* of the official configs.yaml"]
    if suite == "atari100k":
        known.append(RESET_FRAME)
    check_keys(recipe, known, ", ".join(shown))
    kinds = {key: int(defaults[key]) if key in WHOLE else defaults[key] for key in dotted}
    kinds[RESET_FRAME] = ""
    check_values(recipe, {RESET_FRAME: RESET_FRAMES}, {})
    kinds = {"config": "", "size": "", **dict.fromkeys(SHORTHANDS, 1), **kinds}
    return {key: coerce(key, value, kinds[key]) for key, value in recipe.items()}


def make_flags(
    task: str, seed: int, recipe: Mapping[str, Any], logdir: str, fixed: Mapping[str, Any]
) -> list[str]:
    """The command line of the official main.py. Later flags win: shorthands, dotted keys, ``fixed``."""
    line = ["--configs", recipe["config"], *([recipe["size"]] if "size" in recipe else [])]
    given = {k: v for k, v in recipe.items() if k not in ("config", "size", RESET_FRAME)}
    ordered = {rf".*\.{k}": given.pop(k) for k in SHORTHANDS if k in given}
    settings = {"logdir": logdir, "seed": seed, "task": task, **ordered, **given, **fixed}
    for key, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        line += [f"--{key}", *map(str, values)]
    return line


def read_reset_frame(program: Path) -> str:
    """What the environment of games does with its frames at a reset (embodied/envs/atari.py).

    Raises:
        Refused: it does neither of the two things that are known.
    """
    path = program / "embodied/envs/atari.py"
    copies = [m for m in _COPY.finditer(path.read_text(encoding="utf-8")) if "buffers" in m[0]]
    if len(copies) != 1 or "self.buffers[0]" not in copies[0].groups():
        raise Refused(f"{path.name}: what a reset does with the frames before is not known of this version")
    return RESET_FRAMES[copies[0]["to"] == "self.buffers[0]"]


def effective_recipe(
    config: Any, named: Mapping[str, Any], asked: Mapping[str, Any], reset_frame: str
) -> dict[str, Any]:
    """The recipe that the official configuration holds, in plain JSON types.

    Args:
        config: the official ``elements.Config`` of the run.
        named: the official configs.yaml as it is: defaults, sizes and tasks.
        reset_frame: as of :func:`read_reset_frame`; of games alone.
    """
    flat = config.flat
    found = list_plain_values(config)
    suite = config.task.split("_")[0]
    return {
        "task": config.task,
        "config": asked["config"],
        "model_profile": find_profile(config, named),
        "action_repeat": int(flat.get(f"env.{suite}.repeat", 1)),
        **found,
        **({RESET_FRAME: reset_frame} if suite == "atari100k" else {}),
        # In the words of the suite too; that they took effect is for `confirm_recipe` to say.
        **{key: asked[key] for key in ("size", *SHORTHANDS) if key in asked},
    }


def list_plain_values(config: Any) -> dict[str, Any]:
    """The values of the keys that a recipe may name, in plain JSON types."""
    values = {key: config.flat[key] for key in list_dotted_keys(config.task, config.flat)}
    values |= {key: int(value) for key, value in values.items() if key in WHOLE}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def find_profile(config: Any, named: Mapping[str, Any]) -> str:
    """The size whose networks the configuration has, or ``custom``."""
    defaults = type(config)(named["defaults"])
    mine = list_network_sizes(config.flat)
    if mine == list_network_sizes(defaults.flat):
        return CANONICAL
    for size in SIZES:
        if mine == list_network_sizes(defaults.update(named[size]).flat):
            return size
    return "custom"


def list_network_sizes(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in flat.items() if k.startswith("agent.") and k.rsplit(".", 1)[-1] in SHORTHANDS}


def confirm_recipe(asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Make sure that the run does what was asked for.

    Raises:
        Refused: a key of ``asked`` came out with another value.
    """
    for key, value in asked.items():
        if key == "size":
            continue
        # A dotted key takes the place of its shorthand.
        named = [k for k in found if k.endswith(f".{key}") and k not in asked]
        for leaf in named if key in SHORTHANDS else [key]:
            if found[leaf] != (list(value) if isinstance(value, tuple) else value):
                raise Refused(
                    f"recipe.{key}: {value!r} was asked for and the official program uses {found[leaf]!r}"
                )
