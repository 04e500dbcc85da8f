"""The hyperparameters of one run: one frozen dataclass, checked before anything is built.

Names, units and defaults are those of the official program's ``config.yaml``; ``steps`` and
``eval_freq`` count agent steps, of two frames each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_worldflux_parity.wire.recipe import (
    ABOVE_ZERO,
    BELOW_ONE,
    FRACTION,
    FROM_ONE,
    FROM_TWO,
    FROM_ZERO,
    RecipeError,
    check_keys,
    check_relations,
    check_values,
    coerce,
)

ACTION_REPEAT = 2
# How the Q-functions begin: as every other network (official versions from 2026-07), or as PyTorch's layers.
Q_INIT = ("truncated_normal", "torch_default")

# Architectures by profile (official common/__init__.py). Size 5 leaves num_q at the default of 5.
_ARCHITECTURES: dict[str, tuple[int, int, int, int, int]] = {
    "size_1m": (256, 384, 128, 2, 2),
    "proof_5m": (256, 512, 512, 2, 5),
    "size_19m": (1024, 1024, 768, 3, 5),
    "size_48m": (1792, 1792, 768, 4, 5),
    "size_317m": (4096, 4096, 1376, 5, 8),
}
ARCHITECTURE_KEYS = ("enc_dim", "mlp_dim", "latent_dim", "num_enc_layers", "num_q")
PROFILES: dict[str, dict[str, int]] = {
    name: dict(zip(ARCHITECTURE_KEYS, sizes, strict=True)) for name, sizes in _ARCHITECTURES.items()
}


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one run (official ``config.yaml``; sizes by ``model_profile``)."""

    model_profile: str = "proof_5m"
    obs: str = "state"
    # training
    steps: int = 10_000_000
    eval_freq: int = 50_000
    eval_episodes: int = 10
    batch_size: int = 256
    reward_coef: float = 0.1
    value_coef: float = 0.1
    consistency_coef: float = 20.0
    rho: float = 0.5
    lr: float = 3e-4
    enc_lr_scale: float = 0.3
    grad_clip_norm: float = 20.0
    tau: float = 0.01
    discount_denom: float = 5.0
    discount_min: float = 0.95
    discount_max: float = 0.995
    buffer_size: int = 1_000_000
    # planning
    mpc: bool = True
    iterations: int = 6
    num_samples: int = 512
    num_elites: int = 64
    num_pi_trajs: int = 24
    horizon: int = 3
    min_std: float = 0.05
    max_std: float = 2.0
    temperature: float = 0.5
    # policy prior
    log_std_min: float = -10.0
    log_std_max: float = 2.0
    entropy_coef: float = 1e-4
    # discrete regression
    num_bins: int = 101
    vmin: float = -10.0
    vmax: float = 10.0
    # architecture
    num_enc_layers: int = 2
    enc_dim: int = 256
    num_channels: int = 32
    mlp_dim: int = 512
    latent_dim: int = 512
    num_q: int = 5
    q_init: str = "truncated_normal"
    dropout: float = 0.01
    simnorm_dim: int = 8
    # execution
    compile: bool = False

    def __post_init__(self) -> None:
        choices = {"obs": ("state", "rgb"), "q_init": Q_INIT}
        check_values(vars(self), choices, _RANGES)
        check_relations(_relations(self))


def parse_recipe(given: Mapping[str, Any]) -> Recipe:
    """The recipe that ``given`` describes, its profile resolved.

    Raises:
        RecipeError: an unknown key (the nearest is named), a wrong type, a value out of range, keys
            that do not fit each other, or an architecture key that contradicts a sized profile.
    """
    check_keys(given, [f.name for f in dataclasses.fields(Recipe)])
    typed = {key: coerce(key, value, getattr(Recipe, key)) for key, value in given.items()}
    return Recipe(**(typed | _find_architecture(typed)))


def effective_recipe(
    recipe: Recipe, obs_shape: tuple[int, ...], action_dim: int, episode_length: int
) -> dict[str, Any]:
    """Every key with the value that the run used, and the values derived from the task.

    Derived: ``discount``, ``seed_steps``, ``episode_length`` (agent steps), ``obs_shape``,
    ``action_dim``, ``action_repeat``, and ``iterations`` after the heuristic for many actions.
    """
    return dataclasses.asdict(recipe) | {
        "iterations": planning_iterations(recipe, action_dim),
        "discount": discount(recipe, episode_length),
        "seed_steps": seed_steps(episode_length),
        "episode_length": episode_length,
        "obs_shape": [int(n) for n in obs_shape],
        "action_dim": action_dim,
        "action_repeat": ACTION_REPEAT,
    }


def discount(recipe: Recipe, episode_length: int) -> float:
    """Discount from the episode's length in agent steps (paper, table 8; official tdmpc2.py)."""
    fraction = episode_length / recipe.discount_denom
    return min(max((fraction - 1) / fraction, recipe.discount_min), recipe.discount_max)


def seed_steps(episode_length: int) -> int:
    """Agent steps with random actions before the first update (official envs/__init__.py)."""
    return max(1000, 5 * episode_length)


def planning_iterations(recipe: Recipe, action_dim: int) -> int:
    """MPPI iterations: two more for large action spaces (official tdmpc2.py)."""
    return recipe.iterations + 2 * (action_dim >= 20)


def _find_architecture(given: Mapping[str, Any]) -> dict[str, int]:
    profile = given.get("model_profile", Recipe.model_profile)
    if profile == "custom":
        missing = [key for key in ARCHITECTURE_KEYS if key not in given]
        if missing:
            raise RecipeError(f"recipe.model_profile is 'custom', which also needs: {', '.join(missing)}")
        return {}
    if profile not in PROFILES:
        valid = ", ".join([*PROFILES, "custom"])
        raise RecipeError(f"recipe.model_profile is {profile!r}; valid: {valid}")
    for key, size in PROFILES[profile].items():
        if given.get(key, size) != size:
            raise RecipeError(
                f"recipe.{key} is {given[key]} but model_profile {profile!r} has {size}; "
                "to mend: leave it out, or give model_profile 'custom'"
            )
    return PROFILES[profile]


_RANGES = {
    **dict.fromkeys((
        "steps", "eval_freq", "eval_episodes", "batch_size", "buffer_size", "iterations", "num_samples",
        "num_elites", "horizon", "num_enc_layers", "enc_dim", "num_channels", "mlp_dim", "latent_dim",
        "simnorm_dim",
    ), FROM_ONE),
    **dict.fromkeys(("lr", "grad_clip_norm", "min_std", "max_std", "discount_denom"), ABOVE_ZERO),
    **dict.fromkeys((
        "reward_coef", "value_coef", "consistency_coef", "enc_lr_scale", "entropy_coef", "num_pi_trajs",
        "temperature",
    ), FROM_ZERO),
    **dict.fromkeys(("rho", "tau", "discount_min", "discount_max"), FRACTION),
    "dropout": BELOW_ONE,
    # Targets and values are taken over two members.
    **dict.fromkeys(("num_bins", "num_q"), FROM_TWO),
}  # fmt: skip


def _relations(r: Recipe) -> Iterator[tuple[bool, str]]:
    for low, high in (
        ("num_elites", "num_samples"),
        ("num_pi_trajs", "num_samples"),
        ("min_std", "max_std"),
        ("discount_min", "discount_max"),
    ):
        a, b = getattr(r, low), getattr(r, high)
        yield a <= b, f"{low} ({a}) must not exceed {high} ({b})"
    for low, high in (("vmin", "vmax"), ("log_std_min", "log_std_max")):
        a, b = getattr(r, low), getattr(r, high)
        yield a < b, f"{low} ({a}) must be below {high} ({b})"
    groups = f"latent_dim ({r.latent_dim}) must be a multiple of simnorm_dim ({r.simnorm_dim})"
    yield r.latent_dim % r.simnorm_dim == 0, groups
    # Four convolutions leave 4x4 pixels of num_channels, which are the latent state.
    fits = r.obs != "rgb" or r.latent_dim == 16 * r.num_channels
    yield fits, f"obs rgb needs latent_dim ({r.latent_dim}) to be 16 * num_channels ({r.num_channels})"
