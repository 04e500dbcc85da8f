"""Our recipe and the official configuration: the same names, checked on the way in and out.

On the way in, a recipe becomes overrides of the official ``config.yaml``; keys that it leaves out
keep the official defaults, but for ``compile``, which is off unless asked for. On the way out, the
*effective* recipe is read from the configuration that the official code ended up with, and a value
that is not the one asked for ends the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.recipe import FROM_ONE, FROM_ZERO, check_keys, check_values, coerce

EXPERIMENT = "parity"  # exp_name, a part of the one path of eval.csv
ACTION_REPEAT = 2  # envs/dmcontrol.py steps the simulator twice per action

_COUNTS = (
    "steps", "eval_freq", "eval_episodes", "batch_size", "buffer_size", "iterations", "num_samples",
    "num_elites", "num_pi_trajs", "horizon", "num_bins", "num_enc_layers", "enc_dim", "num_channels",
    "mlp_dim", "latent_dim", "num_q", "simnorm_dim",
)  # fmt: skip
_REALS = (
    "reward_coef", "value_coef", "consistency_coef", "rho", "lr", "enc_lr_scale", "grad_clip_norm", "tau",
    "discount_denom", "discount_min", "discount_max", "min_std", "max_std", "temperature", "log_std_min",
    "log_std_max", "entropy_coef", "vmin", "vmax", "dropout",
)  # fmt: skip
KINDS: dict[str, Callable[[Any], Any]] = {
    "obs": str,
    **dict.fromkeys(_COUNTS, int),
    **dict.fromkeys(_REALS, float),
    **dict.fromkeys(("mpc", "compile"), bool),
}
# How the Q-functions begin is no key of the official configuration: the commit says it, the agent shows it.
Q_INIT = ("truncated_normal", "torch_default")
# The official model_size of each profile; `custom` leaves it unset.
PROFILES: dict[str, Any] = {
    "size_1m": 1,
    "proof_5m": 5,
    "size_19m": 19,
    "size_48m": 48,
    "size_317m": 317,
    "custom": None,
}


def complete_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with ``model_profile`` (default ``proof_5m``) and ``compile`` (false) filled in.

    Raises:
        RecipeError: an unknown key (the nearest is named), or a value of the wrong type or range.
    """
    result = {"model_profile": "proof_5m", "compile": False, **recipe}
    check_keys(result, ["model_profile", "q_init", *KINDS])
    typed = {key: coerce(key, value, KINDS.get(key, str)()) for key, value in result.items()}
    choices = {"model_profile": tuple(PROFILES), "obs": ("state", "rgb"), "q_init": Q_INIT}
    check_values(typed, choices, {**dict.fromkeys(_COUNTS, FROM_ONE), "num_pi_trajs": FROM_ZERO})
    return typed


def make_overrides(task: str, seed: int, recipe: Mapping[str, Any]) -> list[str]:
    """The command line of the official train.py, run in the folder that its logs shall go to.

    Raises:
        Refused: ``task`` is not a name of a single DMControl task.
    """
    if not re.fullmatch(r"[a-z]+(-[a-z]+)+", task):
        raise Refused(f"task {task!r} is not a DMControl task such as cartpole-balance")
    given = {key: value for key, value in recipe.items() if key in KINDS}
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
    settings = {**given, **fixed}.items()
    return [f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in settings]


def read_q_init(agent: Any) -> str:
    """How the Q-functions of a new official agent began: PyTorch's default gives them biases."""
    return Q_INIT[bool(agent.model._Qs.params["0", "bias"].any())]


def effective_recipe(cfg: Any, agent: Any, profile: str) -> dict[str, Any]:
    """The recipe that the official configuration and a new agent hold, in plain JSON types."""
    return {
        **{key: kind(getattr(cfg, key)) for key, kind in KINDS.items()},
        "q_init": read_q_init(agent),
        "model_profile": profile,
        "discount": float(agent.discount),
        "seed_steps": int(cfg.seed_steps),
        "episode_length": int(cfg.episode_length),
        "obs_shape": [int(n) for n in cfg.obs_shape[cfg.obs]],
        "action_dim": int(cfg.action_dim),
        "action_repeat": ACTION_REPEAT,
    }


def confirm_recipe(asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Make sure that the run does what was asked for.

    Raises:
        Refused: a key of ``asked`` came out with another value, as an architecture key does beside
            a model profile that sets it, or as ``q_init`` does at a commit that begins otherwise.
    """
    for key, value in asked.items():
        wanted = KINDS.get(key, str)(value)
        if key == "iterations":  # tdmpc2.py plans two iterations more where the action is large
            wanted += 2 * int(found["action_dim"] >= 20)
        if found[key] != wanted:
            profile = (
                f" (model_profile {found['model_profile']}); to mend: leave it out, or use the profile custom"
            )
            version = "; to mend: leave it out, or ask for the version that begins so"
            raise Refused(
                f"recipe.{key}: {value!r} was asked for and the official program uses {found[key]!r}"
                f"{version if key == 'q_init' else profile}"
            )
