"""Our recipe and the official configuration: the same names, checked on the way in and out.

On the way in, a recipe becomes flags of the official ``main.py``; keys that it leaves out keep the
official defaults. On the way out, the *effective* recipe is read from the configuration object that
the official code really used, and a value that is not the one asked for ends the run.

A recipe is flat: ``config`` and ``size`` (official named configurations), shorthands (one word for
every network that has the key, as the official ``.*\\.units``), and dotted official keys.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

from backends.official_dreamerv3 import Refused

CONFIGS = ("dmc_proprio", "dmc_vision", "atari100k")
SIZES = ("size1m", "size12m", "size25m", "size50m", "size100m", "size200m", "size400m")
SHORTHANDS = ("deter", "hidden", "stoch", "classes", "blocks", "units", "layers", "depth", "bins")
# The default configuration, which is size200m, by the name that proof suites give it.
CANONICAL = "official_xl"
PLAIN = (
    "batch_size",
    "batch_length",
    "replay_context",
    "replay.size",
    "replay.online",
    "run.steps",
    "run.envs",
    "run.train_ratio",
    "jax.compute_dtype",
)
# Reports are switched off and are no part of what is compared.
REPORTS = ("agent.report", "agent.report_gradnorms")
# Floats in the official file only because it writes them 1e10 and 5e6.
WHOLE = ("run.steps", "replay.size")
GAMES = (
    "alien", "amidar", "assault", "asterix", "bank_heist", "battle_zone", "boxing", "breakout",
    "chopper_command", "crazy_climber", "demon_attack", "freeway", "frostbite", "gopher", "hero",
    "jamesbond", "kangaroo", "krull", "kung_fu_master", "ms_pacman", "pong", "private_eye", "qbert",
    "road_runner", "seaquest", "up_n_down",
)  # fmt: skip


def official_task(task: str) -> str:
    """The official name: ``atari_pong`` and ``atari100k_pong`` are the same task here.

    Raises:
        Refused: the name is not of a DMControl task's form, or no game of Atari100k.
    """
    suite, _, name = task.partition("_")
    if suite in ("atari", "atari100k"):
        if name not in GAMES:
            raise Refused(f"task {task!r} is no game of Atari100k{nearest(name, GAMES)}")
        return f"atari100k_{name}"
    if not re.fullmatch(r"dmc_[a-z0-9]+(_[a-z0-9]+)+", task):
        raise Refused(f"task {task!r} is neither dmc_<domain>_<task> nor atari100k_<game>")
    return task


def checked(task: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with ``config`` filled in by the task: atari100k for games, dmc_proprio else.

    Raises:
        Refused: an unknown named configuration or size.
    """
    atari = task.startswith("atari100k_")
    result = {"config": "atari100k" if atari else "dmc_proprio", **recipe}
    for key, valid in (("config", CONFIGS), ("size", SIZES)):
        if key in result and result[key] not in valid:
            hint = nearest(str(result[key]), valid)
            raise Refused(f"recipe.{key}: {result[key]!r} is unknown{hint}; valid: {', '.join(valid)}")
    if (result["config"] == "atari100k") != atari:
        raise Refused(f"recipe.config: {result['config']!r} does not fit the task {task!r}")
    return result


def nearest(word: str, valid: Any) -> str:
    """``, did you mean 'x'?`` where one of ``valid`` is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def dotted_keys(task: str, defaults: Mapping[str, Any]) -> list[str]:
    """The official keys that a recipe may name and that the effective recipe states.

    Args:
        defaults: the official default configuration, flat.
    """
    suites = ("agent.", f"env.{task.split('_')[0]}.")
    return [k for k in defaults if k in PLAIN or (k.startswith(suites) and k not in REPORTS)]


def check_values(task: str, recipe: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Compare a recipe with the official defaults.

    Raises:
        Refused: an unknown key (the nearest is named), or a value of another type than the default's.
    """
    dotted = dotted_keys(task, defaults)
    known = ["config", "size", *SHORTHANDS, *dotted]
    for key, value in recipe.items():
        if key not in known:
            hint = nearest(key, known)
            raise Refused(
                f"recipe.{key}: unknown key{hint}; valid: config, size, {', '.join(SHORTHANDS)}, "
                f"{', '.join(PLAIN)}, agent.* and env.{task.split('_')[0]}.* of the official configs.yaml"
            )
        if key in SHORTHANDS:
            _check_value(key, value, 1)
        elif key in dotted:
            _check_value(key, value, int(defaults[key]) if key in WHOLE else defaults[key])


def _check_value(key: str, value: Any, default: Any) -> None:
    kinds = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
    items, like = (value, default[0]) if isinstance(default, tuple) else ([value], default)
    if isinstance(items, list) and items and all(_is(item, type(like)) for item in items):
        return
    wanted = kinds[type(like)]
    raise Refused(f"recipe.{key}: {value!r} is not {f'a list of {wanted}' if items is value else wanted}")


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, kind)


def flags(
    task: str, seed: int, recipe: Mapping[str, Any], logdir: str, fixed: Mapping[str, Any]
) -> list[str]:
    """The command line of the official main.py. Later flags win: shorthands, dotted keys, ``fixed``."""
    line = ["--configs", recipe["config"], *([recipe["size"]] if "size" in recipe else [])]
    given = {k: v for k, v in recipe.items() if k not in ("config", "size")}
    ordered = {rf".*\.{k}": given.pop(k) for k in SHORTHANDS if k in given}
    settings = {"logdir": logdir, "seed": seed, "task": task, **ordered, **given, **fixed}
    for key, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        line += [f"--{key}", *map(str, values)]
    return line


def effective(config: Any, named: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe that the official configuration holds, in plain JSON types.

    Args:
        config: the official ``elements.Config`` of the run.
        named: the official configs.yaml as it is: defaults, sizes and tasks.
    """
    flat = config.flat
    found = {key: _plain(key, flat[key]) for key in dotted_keys(config.task, flat)}
    suite = config.task.split("_")[0]
    return {
        "task": config.task,
        "config": asked["config"],
        "model_profile": profile(config, named),
        "action_repeat": int(flat.get(f"env.{suite}.repeat", 1)),
        **found,
        # In the words of the suite too; that they took effect is for `confirm` to say.
        **{key: asked[key] for key in ("size", *SHORTHANDS) if key in asked},
    }


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return int(value) if key in WHOLE else value


def profile(config: Any, named: Mapping[str, Any]) -> str:
    """The size whose networks the configuration has, or ``custom``."""
    defaults = type(config)(named["defaults"])
    mine = _network(config.flat)
    if mine == _network(defaults.flat):
        return CANONICAL
    for size in SIZES:
        if mine == _network(defaults.update(named[size]).flat):
            return size
    return "custom"


def _network(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in flat.items() if k.startswith("agent.") and k.rsplit(".", 1)[-1] in SHORTHANDS}


def confirm(asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
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
            if found[leaf] != value:
                raise Refused(
                    f"recipe.{key}: {value!r} was asked for and the official program uses {found[leaf]!r}"
                )
