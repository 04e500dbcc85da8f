"""Our recipe and the official configuration: the same names, checked on the way in and out.

On the way in, a recipe becomes overrides of the official ``config.yaml``; keys that it leaves out
keep the official defaults, but for ``compile``, which is off unless asked for. On the way out, the
*effective* recipe is read from the configuration that the official code ended up with, and a value
that is not the one asked for ends the run.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from backends.official_tdmpc2 import Refused

EXPERIMENT = "parity"  # exp_name, a part of the one path of eval.csv
ACTION_REPEAT = 2  # envs/dmcontrol.py steps the simulator twice per action

_COUNTS = [
    "steps",
    "eval_freq",
    "eval_episodes",
    "batch_size",
    "buffer_size",
    "iterations",
    "num_samples",
    "num_elites",
    "num_pi_trajs",
    "horizon",
    "num_bins",
    "num_enc_layers",
    "enc_dim",
    "num_channels",
    "mlp_dim",
    "latent_dim",
    "num_q",
    "simnorm_dim",
]
_REALS = [
    "reward_coef",
    "value_coef",
    "consistency_coef",
    "rho",
    "lr",
    "enc_lr_scale",
    "grad_clip_norm",
    "tau",
    "discount_denom",
    "discount_min",
    "discount_max",
    "min_std",
    "max_std",
    "temperature",
    "log_std_min",
    "log_std_max",
    "entropy_coef",
    "vmin",
    "vmax",
    "dropout",
]
_SWITCHES = ("mpc", "compile")

KINDS: dict[str, Callable[[Any], Any]] = {
    "obs": str,
    **dict.fromkeys(_COUNTS, int),
    **dict.fromkeys(_REALS, float),
    **dict.fromkeys(_SWITCHES, bool),
}
# The official model_size of each profile; `custom` leaves it unset.
PROFILES: dict[str, Any] = {
    "size_1m": 1,
    "proof_5m": 5,
    "size_19m": 19,
    "size_48m": 48,
    "size_317m": 317,
    "custom": None,
}


def checked(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with ``model_profile`` (default ``proof_5m``) and ``compile`` (false) filled in.

    Raises:
        Refused: an unknown key or profile (the nearest is named), or a value of the wrong type.
    """
    result = {"model_profile": "proof_5m", "compile": False, **recipe}
    known = ["model_profile", *KINDS]
    for key in result:
        if key not in known:
            raise Refused(f"recipe.{key}: unknown key{nearest(key, known)}; valid: {', '.join(known)}")
    profile = result["model_profile"]
    if profile not in PROFILES:
        hint = nearest(str(profile), list(PROFILES))
        raise Refused(f"recipe.model_profile: {profile!r} is unknown{hint}; valid: {', '.join(PROFILES)}")
    for key, value in result.items():
        if key != "model_profile":
            _check_value(key, value)
    return result


def nearest(word: str, valid: list[str]) -> str:
    """``, did you mean 'x'?`` where one of ``valid`` is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, valid, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _check_value(key: str, value: Any) -> None:
    kind = KINDS[key]
    if kind is bool:
        good, wanted = isinstance(value, bool), "true or false"
    elif kind is str:
        good, wanted = value in ("state", "rgb"), "state or rgb"
    elif kind is int:
        lowest = 0 if key == "num_pi_trajs" else 1
        good = isinstance(value, int) and not isinstance(value, bool) and value >= lowest
        wanted = f"a whole number from {lowest} on"
    else:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        good, wanted = number and math.isfinite(value), "a finite number"
    if not good:
        raise Refused(f"recipe.{key}: {value!r} is not {wanted}")


def overrides(task: str, seed: int, recipe: Mapping[str, Any]) -> list[str]:
    """The command line of the official train.py, run in the folder that its logs shall go to.

    Raises:
        Refused: ``task`` is not a name of a single DMControl task.
    """
    if not re.fullmatch(r"[a-z]+(-[a-z]+)+", task):
        raise Refused(f"task {task!r} is not a DMControl task such as cartpole-balance")
    given = {key: value for key, value in recipe.items() if key != "model_profile"}
    size = PROFILES[recipe["model_profile"]]
    if size is not None:
        given["model_size"] = size
    fixed = {
        "task": task,
        "seed": seed,
        "exp_name": EXPERIMENT,
        "enable_wandb": False,
        "save_video": False,
        "save_agent": True,
        "save_csv": True,
        "wandb_project": "none",
        "wandb_entity": "none",
        "data_dir": "none",
        "checkpoint": "none",
        "hydra.run.dir": "hydra",
    }
    return [f"{key}={_spelled(value)}" for key, value in {**given, **fixed}.items()]


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def effective(cfg: Any, discount: float, profile: str) -> dict[str, Any]:
    """The recipe that the official configuration holds once the agent exists, in plain JSON types."""
    return {
        **{key: kind(getattr(cfg, key)) for key, kind in KINDS.items()},
        "model_profile": profile,
        "discount": float(discount),
        "seed_steps": int(cfg.seed_steps),
        "episode_length": int(cfg.episode_length),
        "obs_shape": [int(n) for n in cfg.obs_shape[cfg.obs]],
        "action_dim": int(cfg.action_dim),
        "action_repeat": ACTION_REPEAT,
    }


def confirm(asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Make sure that the run does what was asked for.

    Raises:
        Refused: a key of ``asked`` came out with another value, as an architecture key does beside
            a model profile that sets it.
    """
    for key, value in asked.items():
        wanted = value if key == "model_profile" else KINDS[key](value)
        if key == "iterations":  # tdmpc2.py plans two iterations more where the action is large
            wanted += 2 * int(found["action_dim"] >= 20)
        if found[key] != wanted:
            raise Refused(
                f"recipe.{key}: {value!r} was asked for and the official program uses {found[key]!r} "
                f"(model_profile {found['model_profile']}); to mend: leave it out, or use the profile custom"
            )
