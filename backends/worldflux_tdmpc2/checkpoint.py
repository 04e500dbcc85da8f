"""Checkpoints of the agent: networks, target, optimisers, running scale, step, random state.

The replay is not in it, so a run cannot be continued from a checkpoint; the agent can be evaluated
(``--evaluate``), or examined.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_worldflux_parity import wire

from .agent import Agent

FORMAT = "worldflux_tdmpc2.checkpoint.v1"


class CheckpointError(wire.Refused):
    """A file that is not a checkpoint of this agent; the text is one line."""


def save(path: Path, agent: Agent, task_id: str, step: int) -> None:
    """Write ``path``, whole or not at all."""
    state = {
        "format": FORMAT,
        "task_id": task_id,
        "recipe": dataclasses.asdict(agent.recipe),
        "step": step,
        "tensors": named_tensors(agent),
        "random": _random_state(agent.device),
    }
    partial = path.with_name(f".{path.name}.partial")
    torch.save(state, partial)
    os.replace(partial, path)


def read(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint.

    Raises:
        CheckpointError: no such file, or not a checkpoint.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:  # torch.load has no error of its own for what is not its format
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a checkpoint: {reason[:200]}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT}")
    return state


def restore(agent: Agent, state: dict[str, Any], where: str) -> int:
    """Put a checkpoint's numbers into ``agent``, all or none; the step that it was saved at.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape or type.
    """
    own, saved = named_tensors(agent), state["tensors"]
    for name in own.keys() | saved.keys():
        if name not in saved:
            raise CheckpointError(f"{where}: tensor {name} is missing")
        if name not in own:
            raise CheckpointError(f"{where}: tensor {name} is unknown to this agent")
        if own[name].shape != saved[name].shape or own[name].dtype != saved[name].dtype:
            raise CheckpointError(
                f"{where}: tensor {name} is {_describe(saved[name])}, "
                f"and this agent's is {_describe(own[name])}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
    torch.set_rng_state(state["random"]["cpu"].cpu())
    if agent.device.type == "cuda" and "cuda" in state["random"]:
        torch.cuda.set_rng_state(state["random"]["cuda"].cpu(), agent.device)
    return int(state["step"])


def named_tensors(agent: Agent) -> dict[str, Tensor]:
    """Every tensor that a run changes, by a stable name."""
    tensors = {
        f"{network}.{name}": p.detach() for network, n in agent.learnable().items() for name, p in n.named()
    }
    tensors |= {f"target_q.{name}": p for name, p in agent.target_q.named()}
    tensors["scale"] = agent.scale.value
    for owner, optimiser in (("model", agent.model_optimiser), ("policy", agent.policy_optimiser)):
        for moment, values in (("first", optimiser.first), ("second", optimiser.second)):
            tensors |= {f"{owner}_optimiser.{moment}.{i}": p for i, p in enumerate(values)}
        tensors[f"{owner}_optimiser.count"] = optimiser.count
    return tensors


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"
