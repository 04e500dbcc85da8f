"""How the official TD-MPC2 begins, and what its consecutive updates do, for :mod:`.record`.

Shapes as in :mod:`.record_components`. The updates begin twice: from an official initialisation, where
bias corrections act, and from a trained state, where the running scale and the targets do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backends.official_tdmpc2.capture import replace_attribute
from backends.official_tdmpc2.record_components import (
    Official,
    list_parameters,
    put_weights,
    run_watched_update,
)
from pytest_worldflux_parity.wire.initialisation import split_members, summarise_initialisations
from pytest_worldflux_parity.wire.lockstep import (
    UPDATES,
    Trace,
    concatenate_groups,
    group_by_prefix,
    measure_tolerances,
)
from pytest_worldflux_parity.wire.match import array_problem
from pytest_worldflux_parity.wire.recording import GoldenWriter

DRAWS = 64
TRAINED_UPDATES = 500
REWARD = 6.0
# An output that may differ by more shows nothing, as the entropy of a policy that is almost certain.
WIDEST = 1e-3
NETWORKS = ("_encoder.", "_dynamics.", "_reward.", "_Qs.", "_pi.", "_target_Qs_params.", "scale.")
MOMENTS = ("exp_avg", "exp_avg_sq")
ENSEMBLES = ("_Qs.", "_target_Qs_params.")
STATISTICS = (
    "consistency_loss", "reward_loss", "value_loss", "total_loss", "grad_norm", "pi_scale", "pi_loss",
    "pi_entropy", "pi_scaled_entropy", "pi_grad_norm",
)  # fmt: skip
REASON = (
    "ten times the worst of official replays with weights one unit in the last place off, in float64, with "
    "two threads and without oneDNN, at least 1e-6"
)
# All that an update changes is kept after seven updates, so the networks are smaller still.
SIZES = {"enc_dim": 8, "mlp_dim": 8, "latent_dim": 8, "simnorm_dim": 4, "num_bins": 21, "num_q": 3}


def initialisation(official: Official, golden: GoldenWriter) -> None:
    """Statistics of every parameter over new official agents."""
    drawn = [_list_initial(official) for _ in range(DRAWS)]
    golden.add("initialisation", "initialisation", {}, summarise_initialisations(drawn), rule="distribution")


def _list_initial(official: Official) -> dict[str, np.ndarray]:
    named = {name: p.detach().numpy() for name, p in list_parameters(official.new_agent()).items()}
    return split_members(named, ENSEMBLES)


@dataclass(frozen=True)
class State:
    """All that an update reads and changes: tensors by official name.

    Attributes:
        first, second: Adam's moments. count: steps that its optimisers have taken.
    """

    weights: Mapping[str, Tensor]
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    count: int

    def inputs(self) -> dict[str, Any]:
        """As a golden holds them; moments that are zero are left out."""
        named = {f"start.{name}": tensor for name, tensor in self.weights.items()}
        if self.count:
            named |= {f"first.{name}": tensor for name, tensor in self.first.items()}
            named |= {f"second.{name}": tensor for name, tensor in self.second.items()}
        return {**named, "count": np.int64(self.count)}


def lockstep(official: Official, golden: GoldenWriter) -> None:
    """Consecutive updates from two starts, each with what it drew."""
    for number, (name, start) in enumerate((("initial", _begin), ("trained", _train))):
        torch.manual_seed(77 + number)
        state = start(official)
        batches = [_draw_batch(official) for _ in range(UPDATES)]
        seeds = list(range(1000 * (number + 1), 1000 * (number + 1) + UPDATES))
        inputs, found = _run(official, state, batches, seeds)
        # What never varies would show nothing; what our code computes of it, it leaves out as well.
        shown = {k: v for k, v in found.items() if not array_problem(v.astype(np.float32), varied=True)}
        tolerances = measure_tolerances(shown, list(_disturb(official, state, batches, seeds)))
        kept = {key: value for key, value in shown.items() if tolerances[key] <= WIDEST}
        golden.add(
            f"lockstep_{name}", "lockstep", {**state.inputs(), **inputs}, kept,
            tolerances={key: tolerances[key] for key in kept}, reason=REASON,
        )  # fmt: skip


def _begin(official: Official) -> State:
    return _state_of(official.new_agent())


def _train(official: Official) -> State:
    """After some updates on batches of the same kind."""
    agent = official.new_agent()
    for _ in range(TRAINED_UPDATES):
        obs, action, reward = _draw_batch(official)
        agent._update(obs, action, reward, torch.zeros_like(reward))
    return _state_of(agent)


def _draw_batch(official: Official) -> tuple[Tensor, Tensor, Tensor]:
    """As :meth:`Official.batch`, with rewards that can be learned: values then differ and the scale moves."""
    obs, action, _ = official.batch()
    return obs, action, REWARD * obs[:-1, ..., :1]


def _state_of(agent: Any) -> State:
    own = {name: p.detach().clone() for name, p in list_parameters(agent).items()}
    moments = [{k: torch.tensor(v) for k, v in _list_moments(agent, kind).items()} for kind in MOMENTS]
    (count,) = {int(state["step"]) for o in _optimisers(agent) for state in o.state.values()} or {0}
    return State(own, *moments, count)


def _optimisers(agent: Any) -> tuple[Any, Any]:
    return agent.optim, agent.pi_optim


def _list_moments(agent: Any, kind: str) -> dict[str, np.ndarray]:
    states = [optimiser.state for optimiser in _optimisers(agent)]
    own = list_parameters(agent)
    return {n: state[p][kind].numpy().copy() for n, p in own.items() for state in states if p in state}


def _put_state(agent: Any, state: State, dtype: torch.dtype) -> None:
    put_weights(agent, {name: tensor.to(dtype) for name, tensor in state.weights.items()})
    if not state.count:
        return
    own = list_parameters(agent)
    for optimiser in _optimisers(agent):
        held = {id(p) for group in optimiser.param_groups for p in group["params"]}
        for name, moment in state.first.items():
            if id(own[name]) in held:
                optimiser.state[own[name]] = {
                    "step": torch.tensor(float(state.count)),
                    "exp_avg": moment.to(dtype, copy=True),
                    "exp_avg_sq": state.second[name].to(dtype, copy=True),
                }


Batches = Sequence[tuple[Tensor, Tensor, Tensor]]


def _run(
    official: Official, state: State, batches: Batches, seeds: Sequence[int]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The updates, in PyTorch's default type: what each was given and drew, and the trace."""
    dtype = torch.get_default_dtype()
    agent, given = official.new_agent(), []
    agent.model.to(dtype)
    agent.scale.to(dtype)
    _put_state(agent, state, dtype)
    trace = Trace(("parameters", "first", "second"))
    for batch, seed in zip(batches, seeds, strict=True):
        torch.manual_seed(seed)
        update = run_watched_update(agent, tuple(part.to(dtype) for part in batch))
        given.append(update.inputs)
        parameters = {name: p.numpy() for name, p in update.after.items()}
        first, second = (_list_moments(agent, kind) for kind in MOMENTS)
        trace.add(
            {name: float(update.info[name]) for name in STATISTICS},
            {
                **group_by_prefix(parameters, NETWORKS),
                "first": concatenate_groups(group_by_prefix(first, NETWORKS)),
                "second": concatenate_groups(group_by_prefix(second, NETWORKS)),
                "parameters": parameters,
            },
        )
    inputs = {f"updates.{name}": torch.stack([one[name] for one in given]) for name in given[0]}
    return inputs, trace.outputs()


def _disturb(
    official: Official, state: State, batches: Batches, seeds: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """The same updates with their rounding disturbed in each way that another program's may be."""
    for number in range(3):
        torch.manual_seed(number)
        moved = {name: _move_by_an_ulp(tensor) for name, tensor in state.weights.items()}
        yield _run(official, State(moved, state.first, state.second, state.count), batches, seeds)[1]
    with _in_float64():
        yield _run(official, state, batches, seeds)[1]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with torch.backends.mkldnn.flags(enabled=False):
        yield _run(official, state, batches, seeds)[1]
    torch.set_num_threads(threads)


def _move_by_an_ulp(tensor: Tensor) -> Tensor:
    """Each number that is not zero, one unit in the last place up or down."""
    up = torch.rand(tensor.shape) < 0.5
    to = torch.where(up, torch.full_like(tensor, torch.inf), torch.full_like(tensor, -torch.inf))
    return torch.where(tensor == 0, tensor, torch.nextafter(tensor, to))


@contextlib.contextmanager
def _in_float64() -> Iterator[None]:
    """Within, everything is computed in float64, with the random numbers of float32."""

    def draw_like(original: Callable[..., Any], like: Tensor, **kwargs: Any) -> Tensor:
        return original(like.float(), **kwargs).to(like.dtype)

    torch.set_default_dtype(torch.float64)
    try:
        with replace_attribute(torch, "randn_like", draw_like):
            yield
    finally:
        torch.set_default_dtype(torch.float32)
