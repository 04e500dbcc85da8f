"""Which of our parameters each official one is.

Official names are those of its checkpoints after the setting they were recorded in; ours say where in a
:class:`~.model.TrainState` an array stands. Both programs store kernels the same way round.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_worldflux_parity import wire

from .. import model, normalise
from ..layers import Params
from ..model import Model, TrainState
from ..optimiser import ROW, OptimiserState

# Official name of a learned parameter -> ours; the first pattern that fits counts.
LEARNED: tuple[tuple[str, str], ...] = (
    (r"enc/mlp(\d+)(?:norm)?/(\w+)", r"encoder/vector\1/\2"),
    (r"enc/cnn(\d+)(?:norm)?/(\w+)", r"encoder/conv\1/\2"),
    (r"dyn/dynin0(?:norm)?/(\w+)", r"dynamics/from_deter/\1"),
    (r"dyn/dynin1(?:norm)?/(\w+)", r"dynamics/from_stoch/\1"),
    (r"dyn/dynin2(?:norm)?/(\w+)", r"dynamics/from_action/\1"),
    (r"dyn/dynhid(\d+)(?:norm)?/(\w+)", r"dynamics/hidden\1/\2"),
    (r"dyn/dyngru/(\w+)", r"dynamics/gru/\1"),
    (r"dyn/prior(\d+)(?:norm)?/(\w+)", r"dynamics/prior\1/\2"),
    (r"dyn/priorlogit/(\w+)", r"dynamics/prior_logits/\1"),
    (r"dyn/obs(\d+)(?:norm)?/(\w+)", r"dynamics/posterior\1/\2"),
    (r"dyn/obslogit/(\w+)", r"dynamics/posterior_logits/\1"),
    (r"dec/mlp/(?:linear|norm)(\d+)/(\w+)", r"decoder/vector\1/\2"),
    (r"dec/vec/(\w+)/pred/(\w+)", r"decoder/out/\1/\2"),
    (r"dec/sp0/(\w+)", r"decoder/space_deter/\1"),
    (r"dec/sp1(?:norm)?/(\w+)", r"decoder/space_stoch/\1"),
    (r"dec/sp2/(\w+)", r"decoder/space_map/\1"),
    (r"dec/spnorm/(\w+)", r"decoder/space/\1"),
    (r"dec/conv(\d+)(?:norm)?/(\w+)", r"decoder/conv\1/\2"),
    (r"dec/imgout/(\w+)", r"decoder/image/\1"),
    (r"rew/mlp/(?:linear|norm)(\d+)/(\w+)", r"reward/layer\1/\2"),
    (r"rew/head/logits/(\w+)", r"reward/logits/\1"),
    (r"con/mlp/(?:linear|norm)(\d+)/(\w+)", r"continue/layer\1/\2"),
    (r"con/head/logit/(\w+)", r"continue/logits/\1"),
    (r"pol/mlp/(?:linear|norm)(\d+)/(\w+)", r"policy/layer\1/\2"),
    (r"pol/head/(\w+)/(mean|stddev|logits)/(\w+)", r"policy/\1/\2/\3"),
    (r"val/mlp/(?:linear|norm)(\d+)/(\w+)", r"value/layer\1/\2"),
    (r"val/head/logits/(\w+)", r"value/logits/\1"),
)
NORMALISERS = {"retnorm": "return", "valnorm": "value", "advnorm": "advantage"}
STATISTICS = {"lo": "low", "hi": "high", "mean": "mean", "sqrs": "square", "corr": "correction"}
MOMENTS = {"opt/state/1/1/": "optimiser/square/", "opt/state/2/1/": "optimiser/momentum/"}


def to_learned_name(official: str) -> str:
    """Our name of a learned parameter.

    Raises:
        MatchError: we have nothing like it.
    """
    for pattern, ours in LEARNED:
        if re.fullmatch(pattern, official):
            return re.sub(pattern, ours, official)
    raise wire.MatchError(f"the official parameter {official!r} is none that our networks have")


def to_our_name(official: str) -> str:
    """Where in our state an official parameter stands, for example ``params/encoder/vector0/kernel``.

    Raises:
        MatchError: we have nothing like it.
    """
    for prefix, ours in MOMENTS.items():
        if official.startswith(prefix):
            return ours + to_learned_name(official.removeprefix(prefix))
    if official.startswith("slowval/"):
        return "slow_value/" + to_learned_name("val/" + official.removeprefix("slowval/"))
    if found := re.fullmatch(r"(retnorm|valnorm|advnorm)/(\w+)/value", official):
        return f"normalisers/{NORMALISERS[found[1]]}/{STATISTICS[found[2]]}"
    return "params/" + to_learned_name(official)


def describe(
    golden: wire.Golden, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> dict[str, dict[str, Any]]:
    """Which of our parameters each official one is, and the ``shapes`` of ours by setting and name."""
    mapping = {}
    for name in golden.manifest["parameters"]:
        setting, _, official = name.partition("/")
        mapping[name] = f"{setting}/{to_our_name(official)}"
    ours = {f"{setting}/{name}": list(s) for setting, named in shapes.items() for name, s in named.items()}
    return {"mapping": mapping, "parameters": ours}


def list_shapes(m: Model, *, with_optimiser: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of all that our state holds, but for the numbers of updates."""
    learned = {name: p.shape for name, p in model.parameters(m).items()}
    shapes = {f"params/{name}": shape for name, shape in learned.items()}
    shapes |= {f"slow_value/{name}": learned[name] for name in model.value_parameters(learned)}
    if with_optimiser:
        shapes |= {f"{to}{name}": shape for to in MOMENTS.values() for name, shape in learned.items()}
    config = m.config
    for key, norm in (("return", config.retnorm), ("value", config.valnorm), ("advantage", config.advnorm)):
        shapes |= {f"normalisers/{key}/{name}": () for name in normalise.initial_names(norm)}
    return shapes


def train_state(m: Model, weights: Mapping[str, np.ndarray], updates: np.ndarray) -> TrainState:
    """Our state after ``updates`` updates, with the official weights; moments not given are zero."""
    held = {to_our_name(name): value for name, value in weights.items()}

    def below(prefix: str) -> Params:
        return {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}

    params = below("params/")
    zeros = {name: np.zeros_like(value) for name, value in params.items()}
    # Packed in the order in which a compiled program sees the parameters, which is that of their names.
    moments = (pack_quickly(dict(sorted((below(prefix) or zeros).items()))) for prefix in MOMENTS.values())
    normalisers = {key: below(f"normalisers/{key}/") for key in NORMALISERS.values()}
    optimiser = OptimiserState(np.int32(updates), *moments)
    return TrainState(params, below("slow_value/"), optimiser, normalisers, np.int32(updates))


def pack_quickly(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """What :func:`~.optimiser.pack` makes, without anything to compile."""
    rows = [np.append(x, np.zeros(-x.size % ROW, x.dtype)).reshape(-1, ROW) for x in arrays.values()]
    return np.concatenate(rows)
