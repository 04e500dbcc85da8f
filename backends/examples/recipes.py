"""The recipes of the examples: the keys that both libraries have, with the defaults that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire.recipe import (
    ABOVE_ZERO,
    FRACTION,
    FROM_ONE,
    FROM_TWO,
    FROM_ZERO,
    check_values,
    refuse_evaluations,
)

PPO: Mapping[str, Any] = {
    "total_timesteps": 8192,
    "learning_rate": 3e-4,
    "n_steps": 2048,
    "batch_size": 64,
    "n_epochs": 10,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "normalize_advantage": True,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}
SAC: Mapping[str, Any] = {
    "total_timesteps": 2000,
    "learning_rate": 3e-4,
    "learning_starts": 100,
    "batch_size": 256,
    "tau": 0.005,
    "gamma": 0.99,
    "gradient_steps": 1,
}
_RANGES = {
    **dict.fromkeys(
        ("total_timesteps", "n_steps", "n_epochs", "learning_starts", "gradient_steps"), FROM_ONE
    ),
    **dict.fromkeys(("learning_rate", "clip_range", "max_grad_norm"), ABOVE_ZERO),
    **dict.fromkeys(("gamma", "gae_lambda", "tau"), FRACTION),
    **dict.fromkeys(("ent_coef", "vf_coef"), FROM_ZERO),
    "batch_size": FROM_TWO,
}


def complete_recipe(request: wire.RunRequest, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The request's recipe with the defaults of what it leaves out.

    Raises:
        Refused: it has a key or a value that the programs do not know, or asks for a GPU or for evaluations.
    """
    if request.device != "cpu":
        raise wire.Refused(
            f"request.device is {request.device!r}; the examples compute on the CPU: --device cpu"
        )
    refuse_evaluations(request)
    recipe = wire.read_recipe(request, defaults)
    check_values(recipe, {}, _RANGES)
    return recipe
