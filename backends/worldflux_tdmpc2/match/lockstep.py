"""How our agents begin, and what our consecutive updates do from recorded starts and draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire.initialisation import split_members, summarise_initialisations
from pytest_worldflux_parity.wire.lockstep import UPDATES, Trace, concatenate_groups, group_by_prefix

from ..agent import Agent
from ..optimiser import Adam
from .components import (
    CPU,
    Inputs,
    Outputs,
    Subject,
    build_agent,
    component,
    list_gradients,
    list_tensors,
    make_batch,
    official_name,
    to_official,
    to_ours,
    update_noise,
)

DRAWS = 64
NETWORKS = ("_encoder.", "_dynamics.", "_reward.", "_Qs.", "_pi.", "_target_Qs_params.", "scale.")
MOMENTS = ("first", "second")
ENSEMBLES = ("_Qs.", "_target_Qs_params.")
STATISTICS = (
    "consistency_loss", "reward_loss", "value_loss", "total_loss", "grad_norm", "pi_scale", "pi_loss",
    "pi_entropy", "pi_scaled_entropy", "pi_grad_norm",
)  # fmt: skip
Arrays = Mapping[str, np.ndarray]


@component
def initialisation(subject: Subject) -> Outputs:
    """Statistics of every parameter over new agents; the seed is fixed, so that a match repeats."""
    torch.manual_seed(0)
    drawn = [
        split_members(_to_official_arrays(list_tensors(subject.build_agent())), ENSEMBLES)
        for _ in range(DRAWS)
    ]
    return {name: torch.from_numpy(rows) for name, rows in summarise_initialisations(drawn).items()}


@component
def lockstep_initial(subject: Subject) -> Outputs:
    """Updates in a row from an official initialisation."""
    return _run(subject, "lockstep_initial")


@component
def lockstep_trained(subject: Subject) -> Outputs:
    """Updates in a row from a trained state."""
    return _run(subject, "lockstep_trained")


def _run(subject: Subject, name: str) -> Outputs:
    inputs, golden = subject.inputs(name), subject.golden
    recipe = dataclasses.replace(subject.recipe, **golden.config["lockstep"])
    agent = build_agent(golden, recipe, CPU)
    _put_state(agent, inputs)
    subject.begin(agent)
    trace = Trace(("parameters", "first", "second"))
    stream = inputs.below("updates.")
    for number in range(UPDATES):
        given = Inputs(f"inputs/{name}/updates.", {key: values[number] for key, values in stream.items()})
        agent.noise = update_noise(given)
        found = agent.update(make_batch(given))
        parameters = _to_official_arrays(list_tensors(agent))
        first, second = (_to_official_arrays(dict(_list_moments(agent, kind))) for kind in MOMENTS)
        trace.add(
            {key: float(found[key]) for key in STATISTICS},
            {
                **group_by_prefix(parameters, NETWORKS),
                "first": concatenate_groups(group_by_prefix(first, NETWORKS)),
                "second": concatenate_groups(group_by_prefix(second, NETWORKS)),
                "parameters": parameters,
            },
        )
    outputs = trace.outputs()
    # What is constant in the golden would show nothing, and is not in it.
    return {key: torch.from_numpy(outputs[key]) for key in golden.components[name] if key in outputs}


def _put_state(agent: Agent, inputs: Inputs) -> None:
    """What an update reads and changes, as recorded.

    Raises:
        MatchError: an array is missing, or of another shape.
    """
    named = [*list_tensors(agent).items()]
    _copy_arrays(inputs.below("start."), named)
    count = int(inputs["count"])
    for optimiser in (agent.model_optimiser, agent.policy_optimiser):
        optimiser.count.fill_(count)
    if count:
        for kind in MOMENTS:
            _copy_arrays(inputs.below(f"{kind}."), _list_moments(agent, kind))


def _copy_arrays(given: Inputs, named: Iterator[tuple[str, Tensor]] | list[tuple[str, Tensor]]) -> None:
    for name, tensor in named:
        value = to_ours(name, given[official_name(name)])
        if value.shape != tensor.shape:
            shapes = f"{tuple(value.shape)} in our layout, and {name} {tuple(tensor.shape)}"
            raise wire.MatchError(f"{official_name(name)} is {shapes}")
        tensor.data.copy_(value)


def _list_moments(agent: Agent, kind: str) -> Iterator[tuple[str, Tensor]]:
    """Our name and Adam's moment of every parameter that learns."""
    for side in ("model", "policy"):
        optimiser: Adam = getattr(agent, f"{side}_optimiser")
        yield from zip(list_gradients(agent, side), getattr(optimiser, kind), strict=True)


def _to_official_arrays(named: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {official_name(name): to_official(name, t).detach().numpy().copy() for name, t in named.items()}
