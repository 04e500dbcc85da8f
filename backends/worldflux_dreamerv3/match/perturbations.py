"""What a match must see: each component computed once more with one thing wrong in it.

The wrong thing is real: a weight off by a thousandth, a matrix transposed, a gradient that is not stopped,
another constant; the code that computes is the same. What a changed weight does is computed by the program
that is compiled already; what is fixed when a program is compiled costs a small one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np

from pytest_worldflux_parity import wire

from .. import recipe as recipes
from .. import rssm
from ..model import TrainState
from .components import SINGLE, Outputs, Setting, check_golden, find_group, optimiser_program
from .parameters import train_state

Edit = Callable[[np.ndarray, Setting], np.ndarray]


class Session:
    """The settings of a golden folder and their compiled programs.

    Raises:
        MatchError, RecipeError: as :func:`~.components.check_golden`.
    """

    def __init__(self, golden: wire.Golden) -> None:
        check_golden(golden)
        self.golden = golden
        self.settings = {name: Setting(golden, name) for name in ("vector", "image") if name in golden.config}
        self._programs: dict[tuple[str, str], Any] = {}

    def run(self, setting: Setting, group: str, **changed: Any) -> dict[str, Outputs]:
        """Outputs of a group by component, from the golden state and inputs but for what is ``changed``."""
        key = setting.name, group
        if key not in self._programs:
            names = [c for c in setting.components if find_group(c) == group]
            self._programs[key] = setting.compile(group, names)
        given = {"state": setting.state, "shared": setting.shared, "own": setting.own} | changed
        return setting.named(self._programs[key](given["state"], given["shared"], given["own"]))

    def faithful(self) -> dict[str, Outputs]:
        """Every component of the folder, by its name there."""
        outputs: dict[str, Outputs] = {}
        for name in self.golden.components:
            if name in SINGLE:
                outputs[name] = SINGLE[name](self.golden, self.golden.arrays.below(f"inputs/{name}/"))
            elif not name.startswith(tuple(f"{setting}_" for setting in self.settings)):
                find_group(name)
        for setting in self.settings.values():
            for group in {find_group(c): None for c in setting.components}:
                computed = self.run(setting, group)
                outputs |= {f"{setting.name}_{c}": o for c, o in computed.items()}
        return outputs


Compute = Callable[[Session, str], Outputs]


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong with a component, of any setting; ``what`` says it in a sentence.

    Attributes:
        kind: weight, transpose, stop_gradient or constant.
        compute: the component's outputs in a setting ("" where it belongs to none), wrong.
        fits: whether a setting's networks can have it.
    """

    component: str
    label: str
    kind: str
    what: str
    compute: Compute
    fits: Callable[[Setting], bool] = lambda setting: True


@dataclass(frozen=True)
class Perturbation:
    """A fault planted into the component of one setting."""

    fault: Fault
    setting: str

    @property
    def component(self) -> str:
        """Its name in the golden folder."""
        return f"{self.setting}_{self.fault.component}" if self.setting else self.fault.component

    @property
    def name(self) -> str:
        """Its name in ``match.json``."""
        return f"{self.component}.{self.fault.label}"

    def describe(self) -> dict[str, str]:
        """As in ``match.json``."""
        told = {"name": self.name, "component": self.component}
        return told | {"kind": self.fault.kind, "what": self.fault.what}


def list_perturbations(session: Session) -> list[Perturbation]:
    """The perturbations of the components that the golden folder has."""
    found = [
        Perturbation(fault, setting.name)
        for setting in session.settings.values()
        for fault in (*FAULTS, *reconstruction_faults(setting))
        if fault.component in setting.components and fault.fits(setting)
    ]
    present = session.golden.components
    return found + [Perturbation(fault, "") for fault in SINGLE_FAULTS if fault.component in present]


# ---------------------------------------------------------------- ways to be wrong


def scale_weight(
    component: str, *names: str, tree: str = "params", whole: bool = False, label: str = "weight"
) -> Fault:
    """Weights off by a thousandth, of one output or the ``whole`` kernel; of ``names``, the first present.

    What one of many outputs is off by hardly shows in a mean over all of them.
    """

    def edit(x: np.ndarray, setting: Setting) -> np.ndarray:
        x[..., slice(None) if whole else x.shape[-1] // 2] *= 1.001
        return x

    which = "All weights" if whole else "The weights of one output"
    what = f"{which} of {names[0]} are larger by a thousandth."
    return change_weight(component, label, "weight", what, names, edit, tree)


def transpose_kernel(component: str, *names: str, label: str = "transpose") -> Fault:
    """A square kernel, or the square part of one, transposed."""

    def edit(x: np.ndarray, setting: Setting) -> np.ndarray:
        side = min(x.shape[-2:])
        x[..., :side, :side] = np.swapaxes(x[..., :side, :side].copy(), -1, -2)
        return x

    return change_weight(component, label, "transpose", f"{names[0]} is transposed.", names, edit)


def change_run(
    component: str,
    label: str,
    kind: str,
    what: str,
    change: Callable[[Setting], dict[str, Any]],
    fits: Callable[[Setting], bool] = lambda setting: True,
) -> Fault:
    """What ``change`` makes of a setting's state or inputs; the compiled program is the same."""

    def compute(session: Session, name: str) -> Outputs:
        setting = session.settings[name]
        return session.run(setting, find_group(component), **change(setting))[component]

    return Fault(component, label, kind, what, compute, fits)


def change_weight(
    component: str, label: str, kind: str, what: str, names: tuple[str, ...], edit: Edit, tree: str = "params"
) -> Fault:
    """A parameter of the state changed by ``edit``."""

    def present(setting: Setting) -> str:
        held = getattr(setting.state, tree)
        return next((name for name in names if name in held), "")

    def change(setting: Setting) -> dict[str, Any]:
        params = dict(getattr(setting.state, tree))
        params[present(setting)] = edit(np.array(params[present(setting)]), setting)
        return {"state": setting.state._replace(**{tree: params})}

    return change_run(component, label, kind, what, change, lambda setting: bool(present(setting)))


def change_state(component: str, label: str, what: str, change: Callable[[TrainState], TrainState]) -> Fault:
    """Another state."""
    return change_run(component, label, "constant", what, lambda setting: {"state": change(setting.state)})


def change_inputs(component: str, label: str, what: str, change: Callable[[Any, Any], None]) -> Fault:
    """Shared or own inputs changed in place."""

    def copied(setting: Setting) -> dict[str, Any]:
        shared, own = dict(setting.shared), {k: dict(v) for k, v in setting.own.items()}
        change(shared, own[component])
        return {"shared": shared, "own": own}

    return change_run(component, label, "constant", what, copied)


def only_in_small(fault: Fault) -> Fault:
    """Only where the golden's recipe is a small one: what shows it there may be out of reach in a run's."""
    return replace(fault, fits=lambda s: fault.fits(s) and "deter" in s.config["recipe"])


def change_recipe(component: str, label: str, what: str, **changes: Callable[[Any], Any]) -> Fault:
    """Keys of the recipe, their dots written as two underscores, with another value than they have."""

    def compute(session: Session, name: str) -> Outputs:
        old = recipes.effective_recipe(session.settings[name].recipe)
        dotted = {key.replace("__", "."): change for key, change in changes.items()}
        new = {key: change(old[key]) for key, change in dotted.items()}
        return compile_anew(Setting(session.golden, name, **new), component)

    return Fault(component, label, "constant", what, compute)


def patch_code(component: str, label: str, kind: str, what: str, place: Any, name: str, value: Any) -> Fault:
    """Something in our code exchanged while it is compiled."""

    def compute(session: Session, setting: str) -> Outputs:
        with mock.patch.object(place, name, value):
            return compile_anew(session.settings[setting], component)

    return Fault(component, label, kind, what, compute)


def compile_anew(setting: Setting, component: str) -> Outputs:
    """The component from a program of its own."""
    program = setting.compile(find_group(component), [component])
    return setting.named(program(setting.state, setting.shared, setting.own))[component]


def change_single(component: str, label: str, what: str, **changes: Any) -> Fault:
    """A component of no setting with other arguments or keys of the recipe."""

    def compute(session: Session, name: str) -> Outputs:
        own = session.golden.arrays.below(f"inputs/{component}/")
        return SINGLE[component](session.golden, own, **changes)

    return Fault(component, label, "constant", what, compute)


def leave_out_clipping(session: Session, name: str) -> Outputs:
    """Steps of the first five parameters, which do not depend on the others, without clipping."""
    setting = session.settings[name]
    own = setting.own["optimiser_step"]
    few = dict(list(own.items())[:5])
    weights = {
        k: v for k, v in setting.weights.items() if k.endswith(tuple(few)) and not k.startswith("slow")
    }
    unclipped = Setting(session.golden, name, **{"agent.opt.agc": 0.0})
    state = train_state(unclipped.model, weights, setting.shared["updates"])
    computed = optimiser_program(unclipped.model)(state, {}, {"optimiser_step": few})
    return session.run(setting, "optimiser")["optimiser_step"] | setting.named(computed)["optimiser_step"]


# ---------------------------------------------------------------- what is wrong


def open_update_gate(bias: np.ndarray, setting: Setting) -> np.ndarray:
    """The update gate without its bias of -1: within each block its outputs come last."""
    bias.reshape(setting.model.rssm.blocks, 3, -1)[:, 2] += 1
    return bias


def reverse_blocks(kernel: np.ndarray, setting: Setting) -> np.ndarray:
    """The blocks in the wrong order."""
    return kernel[::-1].copy()


def ignore_resets(shared: dict[str, Any], own: dict[str, Any]) -> None:
    """No row is ever reset."""
    if "reset" in own:
        own["reset"] = np.zeros_like(own["reset"])
    shared["obs/is_first"] = np.zeros_like(shared["obs/is_first"])


def drop_context(shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Every row goes on from the carry."""
    shared["data/consec"] = shared["data/consec"] + 1


def shift_batch(shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Every entry of the batch is taken for the one after it."""
    shared.update({k: np.roll(v, 1, axis=1) for k, v in shared.items() if k.startswith("data/")})


def mute_noise(shared: dict[str, Any], own: dict[str, Any]) -> None:
    """The most likely class, or the mean, is taken where one should be drawn."""
    for inputs in (shared, own):
        inputs.update({k: np.zeros_like(v) for k, v in inputs.items() if k.startswith("noise")})


def use_slow_value(state: TrainState) -> TrainState:
    """The value is the slow value."""
    return state._replace(params={**state.params, **state.slow_value})


def double_range(state: TrainState) -> TrainState:
    """The highest returns that were seen are twice as high."""
    seen = state.normalisers["return"]
    return state._replace(normalisers={**state.normalisers, "return": {**seen, "high": 2 * seen["high"]}})


def use_value(state: TrainState) -> TrainState:
    """The slow value is the value."""
    return state._replace(slow_value={name: state.params[name] for name in state.slow_value})


def advance_count(state: TrainState) -> TrainState:
    """The optimiser believes that it made one more step."""
    return state._replace(optimiser=state.optimiser._replace(count=state.optimiser.count + 1))


def to_zero(value: float) -> float:
    """Nothing of it."""
    return 0.0


def reconstruction_faults(setting: Setting) -> Iterator[Fault]:
    """A weight of the decoder for the loss of each observation."""
    for key in setting.model.inputs:
        yield scale_weight(f"loss_{key}", f"decoder/out/{key}/kernel", "decoder/image/kernel")


FIRST_ENCODER = ("encoder/vector0/kernel", "encoder/conv0/kernel")
NO_BIAS = "The update gate has no bias of -1."
NO_NOISE = "Nothing is drawn: the most likely is taken."
SPREAD = ("policy/action/stddev/kernel",)
POLICY = ("policy/action/mean/kernel", "policy/action/logits/kernel")

FAULTS: tuple[Fault, ...] = (
    change_inputs("replay_context", "dropped", "The stored latents are not used.", drop_context),
    change_inputs("replay_context", "late", "Every entry is taken for the one after it.", shift_batch),
    scale_weight("encoder", *FIRST_ENCODER),
    transpose_kernel("encoder", "encoder/vector1/kernel", "encoder/conv1/kernel"),
    scale_weight("core", "dynamics/hidden0/kernel"),
    change_weight(
        "core",
        "update_bias",
        "constant",
        NO_BIAS,
        ("dynamics/gru/bias",),
        open_update_gate,
    ),
    change_weight(
        "core",
        "blocks",
        "transpose",
        "The blocks of the GRU's kernel are in reverse order.",
        ("dynamics/gru/kernel",),
        reverse_blocks,
    ),
    scale_weight("prior", "dynamics/prior1/kernel"),
    transpose_kernel("prior", "dynamics/prior1/kernel"),
    scale_weight("posterior", "dynamics/posterior_logits/kernel"),
    change_recipe(
        "distribution", "no_unimix", "Nothing uniform is mixed in.", agent__dyn__rssm__unimix=lambda x: 0.0
    ),
    scale_weight("observe", "dynamics/posterior_logits/kernel"),
    change_inputs("observe", "no_reset", "Resets are ignored.", ignore_resets),
    scale_weight("imagine", "dynamics/gru/kernel"),
    change_inputs("imagine", "no_noise", NO_NOISE, mute_noise),
    scale_weight("decoder", "decoder/vector0/kernel", "decoder/conv0/kernel"),
    transpose_kernel("decoder", "decoder/vector1/kernel", "decoder/conv1/kernel"),
    scale_weight("reward", "reward/logits/kernel"),
    transpose_kernel("reward", "reward/layer0/kernel"),
    scale_weight("continue", "continue/logits/kernel"),
    scale_weight("policy", *POLICY),
    only_in_small(scale_weight("policy", *SPREAD, label="spread")),
    change_inputs("policy", "no_noise", NO_NOISE, mute_noise),
    scale_weight("value", "value/logits/kernel"),
    change_state("value", "mixed_up", "The value is the slow value.", use_slow_value),
    scale_weight("slow_value", "value/logits/kernel", tree="slow_value"),
    change_state("slow_value", "mixed_up", "The slow value is the value itself.", use_value),
    scale_weight("act", "dynamics/gru/kernel"),
    change_inputs("act", "no_reset", "Resets are ignored.", ignore_resets),
    change_inputs("act", "no_noise", NO_NOISE, mute_noise),
    only_in_small(
        change_recipe(
            "imagination_loss", "entropy", "Entropy is not rewarded.", agent__imag_loss__actent=to_zero
        )
    ),
    change_recipe(
        "imagination_loss", "no_retnorm", "Returns are not normalised.", agent__retnorm__impl=lambda x: "none"
    ),
    change_recipe(
        "imagination_loss", "contdisc", "The discount is applied twice.", agent__contdisc=lambda x: not x
    ),
    change_recipe(
        "replay_loss", "horizon", "The horizon is 10 % shorter.", agent__horizon=lambda x: int(0.9 * x)
    ),
    only_in_small(
        change_recipe("divergences", "no_free_nats", "Nothing is free.", agent__dyn__rssm__free_nats=to_zero)
    ),
    change_recipe(
        "divergences", "no_unimix", "Nothing uniform is mixed in.", agent__dyn__rssm__unimix=to_zero
    ),
    patch_code(
        "divergence_gradients",
        "no_stop",
        "stop_gradient",
        "Neither side of the divergence is held fixed.",
        rssm,
        "sg",
        lambda x: x,
    ),
    scale_weight("loss_dyn", "dynamics/prior_logits/kernel", whole=True),
    scale_weight("loss_rep", "dynamics/posterior_logits/kernel", whole=True),
    only_in_small(scale_weight("loss_rew", "dynamics/gru/kernel", whole=True)),
    transpose_kernel("loss_rew", "reward/layer0/kernel"),
    scale_weight("loss_con", "continue/logits/kernel"),
    scale_weight("loss_policy", "dynamics/gru/kernel", whole=True),
    scale_weight("loss_value", "dynamics/gru/kernel", whole=True),
    scale_weight("loss_repval", "reward/logits/kernel", whole=True),
    change_state("loss_value", "mixed_up", "The slow value is the value itself.", use_value),
    only_in_small(scale_weight("loss_total", "decoder/vector0/kernel", whole=True)),
    transpose_kernel("loss_total", "dynamics/gru/kernel"),
    scale_weight("metrics", "dynamics/gru/kernel", whole=True),
    transpose_kernel("metrics", "dynamics/posterior_logits/kernel"),
    change_state("metrics", "mixed_up", "The slow value is the value itself.", use_value),
    only_in_small(change_state("metrics", "range", "The range of returns is wider.", double_range)),
    scale_weight("reconstruction", "decoder/image/kernel", "decoder/vector0/kernel", whole=True),
    scale_weight("network_gradients", *FIRST_ENCODER, whole=True),
    transpose_kernel(
        "network_gradients", "decoder/space_map/kernel", "decoder/vector0/kernel", label="decoder"
    ),
    transpose_kernel("network_gradients", "policy/layer0/kernel", label="policy"),
    scale_weight("gradients", *FIRST_ENCODER, whole=True),
    scale_weight("gradients", "dynamics/gru/kernel", whole=True, label="core"),
    transpose_kernel("gradients", "dynamics/posterior_logits/kernel"),
    change_state("gradients", "mixed_up", "The slow value is the value itself.", use_value),
    Fault("optimiser_step", "no_agc", "constant", "Five gradients are not clipped.", leave_out_clipping),
    change_state("optimiser_step", "count", "The optimiser is one step ahead.", advance_count),
    change_recipe(
        "slow_value_update",
        "rate",
        "The slow value moves 1 % faster.",
        agent__slowvalue__rate=lambda x: 1.01 * x,
    ),
    change_state("slow_value_update", "mixed_up", "The slow value is the value itself.", use_value),
    scale_weight("train_step", "dynamics/gru/kernel"),
    change_state("train_step", "count", "The optimiser is one step ahead.", advance_count),
    change_weight("train_step", "update_bias", "constant", NO_BIAS, ("dynamics/gru/bias",), open_update_gate),
    change_state("train_step", "mixed_up", "The slow value is the value itself.", use_value),
    change_inputs("train_step", "no_noise", NO_NOISE, mute_noise),
)

SINGLE_FAULTS: tuple[Fault, ...] = (
    change_single("environment_dmc", "reach", "Actions reach 0.1 % further than the bounds.", reach=1.001),
    change_single("environment_dmc", "repeat", "Actions are not repeated.", **{"env.dmc.repeat": 1}),
    change_single("environment_dmc", "longer", "Episodes are two control steps longer.", more=2),
    change_single(
        "environment_atari", "repeat", "Actions are repeated three times.", **{"env.atari100k.repeat": 3}
    ),
    change_single(
        "environment_atari", "reset", "The first frame is that of another version.", other_reset=True
    ),
    change_single("replay", "not_written_back", "Latents are not written back.", written_back=False),
    change_single("replay", "mixed_up", "Sequences are those of the other environment.", mixed_up=True),
    change_single("two_hot", "shifted", "The bins are shifted by one.", shift=1),
    change_single("lambda_return", "lambda", "Lambda is 0.9.", **{"agent.imag_loss.lam": 0.9}),
    change_single(
        "return_normalisation", "limit", "The range has no lower limit.", **{"agent.retnorm.limit": 1e-8}
    ),
    change_single(
        "return_normalisation", "least", "The range is at least 5.", **{"agent.retnorm.limit": 5.0}
    ),
    change_single(
        "return_normalisation",
        "percentile",
        "The range begins at the minimum.",
        **{"agent.retnorm.perclo": 0.0},
    ),
)
