"""Our side of every component of the match, computed by the code that trains and acts.

What the official program computes batch-major, (B, T, ...), ours computes time-major; arrays are turned
here, and nothing else happens to them. A component of a setting is a function of model, state and inputs;
those of one group are compiled as one program, because compiling is what a match takes its time for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from pytest_worldflux_parity import wire

from .. import heads, losses, model, networks, normalise, optimiser, rssm
from ..agent import Agent, Carry
from ..distributions import (
    categorical_entropy,
    categorical_kl,
    log_probabilities,
    sample_one_hot,
    straight_through,
    two_hot,
    two_hot_bins,
    two_hot_loss,
    two_hot_mean,
)
from ..environments import make_env
from ..layers import Params
from ..model import Batch, Model, Noise, TrainState
from ..recipe import Recipe, parse_recipe
from ..replay import Replay
from ..rssm import Latent
from ..spaces import BOOKKEEPING, Space, Spaces
from .parameters import list_shapes, to_learned_name, to_our_name, train_state

Array = Any
Outputs = dict[str, Array]
Inputs = Mapping[str, Array]
Part = Callable[[Model, TrainState, Inputs, Inputs], Outputs]
Single = Callable[..., Outputs]

SETTINGS = ("vector", "image")
PARTS: dict[str, Part] = {}
SINGLE: dict[str, Single] = {}
UPDATE = ("metrics", "gradients", "train_step")
METRICS = ("opt/loss", "opt/grad_norm", "opt/grad_rms", "opt/update_rms", "opt/param_rms")


class Setting:
    """The agent of one setting of a golden folder, with the official weights.

    Args:
        changes: keys of the recipe that shall be different.
    """

    def __init__(self, golden: wire.Golden, name: str, **changes: Any) -> None:
        self.golden, self.name = golden, name
        self.config = golden.config[name]
        self.obs_space, self.act_space = (make_spaces(self.config[k]) for k in ("obs_space", "act_space"))
        self.recipe = make_recipe(self.config, changes)
        self.model = Model(self.recipe, self.obs_space, self.act_space)
        self.shared = dict(golden.arrays.below(f"inputs/shared/{name}/"))
        prefix = f"{name}_"
        self.components = [c.removeprefix(prefix) for c in golden.components if c.startswith(prefix)]

    @property
    def complete(self) -> bool:
        """Whether the folder holds the state of the optimiser."""
        return any(name.startswith(f"{self.name}/opt/") for name in self.golden.manifest["parameters"])

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The official parameters by name."""
        prefix = f"{self.name}/"
        names = (name for name in self.golden.manifest["parameters"] if name.startswith(prefix))
        return {name.removeprefix(prefix): self.golden.arrays[f"weights/{name}"] for name in names}

    @cached_property
    def state(self) -> TrainState:
        """Our state with the official weights."""
        return train_state(self.model, self.weights, require_arrays(self.shared)["updates"])

    @cached_property
    def own(self) -> dict[str, dict[str, np.ndarray]]:
        """The inputs that a component has for itself, by component."""
        given = self.golden.arrays
        return {c: dict(given.below(f"inputs/{self.name}_{c}/")) for c in self.components}

    def check_weights(self) -> None:
        """Make sure that the weights are of the sizes that the recipe says.

        Raises:
            MatchError: one is missing, none of ours, or of another shape.
        """
        ours = self.shapes()
        for name, weight in self.weights.items():
            own = to_our_name(name)
            if own not in ours or ours[own] != weight.shape:
                wanted = f"{own} of shape {ours[own]}" if own in ours else f"no {own}"
                raise wire.MatchError(
                    f"weights/{self.name}/{name} is of shape {weight.shape}; we have {wanted}"
                )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of our parameters by name."""
        return list_shapes(self.model, with_optimiser=self.complete)

    def outputs(self, component: str) -> list[str]:
        """Names of the outputs of a component, as the official program has them."""
        return self.golden.components[f"{self.name}_{component}"]

    def compile(self, group: str, components: Iterable[str]) -> Program:
        """The compiled function of state, shared inputs and own inputs for components of one group."""
        m, names = self.model, tuple(components)
        if group == "update":
            return jax.jit(lambda state, shared, own: update(m, state, require_arrays(shared)))
        if group == "optimiser":
            return optimiser_program(m)

        def compute(state: TrainState, shared: Inputs, own: Mapping[str, Inputs]) -> dict[str, Outputs]:
            return {
                name: PARTS[name](m, state, require_arrays(shared), require_arrays(own[name]))
                for name in names
            }

        return jax.jit(compute)

    def named(self, computed: Mapping[str, Outputs]) -> dict[str, Outputs]:
        """What a program of one group computed, by component and official name of the output."""
        found: dict[str, Outputs] = {}
        for component in self.components:
            if component.startswith("loss_") and "losses" in computed:
                found[component] = {"loss": computed["losses"][component.removeprefix("loss_")]}
            elif component in computed:
                names = {name: name_output(component, name) for name in self.outputs(component)}
                ours = computed[component]
                found[component] = {name: ours[own] for name, own in names.items() if own in ours}
        return found


def check_golden(golden: wire.Golden) -> None:
    """Make sure that we can compute what the golden folder has, before memory is spent on its sizes.

    Raises:
        MatchError: there is no setting, or a weight is not of the size that the config says.
        RecipeError: a key or value of a recipe that ours does not have.
    """
    settings = [name for name in SETTINGS if name in golden.config]
    if not settings:
        raise wire.MatchError(
            f"{golden.folder / 'manifest.json'}: config.{' and config.'.join(SETTINGS)} are missing"
        )
    for name in settings:
        Setting(golden, name).check_weights()


Program = Callable[[TrainState, Inputs, Mapping[str, Inputs]], dict[str, Outputs]]
NAMED_BY_PARAMETER = (
    "network_gradients",
    "gradients",
    "optimiser_step",
    "slow_value_update",
    "train_step",
)


def name_output(component: str, name: str) -> str:
    """Our name of an output: outputs of some components are called after parameters."""
    if component not in NAMED_BY_PARAMETER or name.startswith(("replay/", "opt/")):
        return name
    if component.endswith("gradients"):
        return to_learned_name(name)
    if component == "optimiser_step":
        step, _, parameter = name.partition("/")
        return f"{step}/{to_learned_name(parameter)}"
    return to_our_name(name)


def find_group(component: str) -> str:
    """The group of components that a component of a setting is compiled with.

    Raises:
        MatchError: we have no such component.
    """
    if component.startswith("loss_") or component in UPDATE:
        return "update"
    if component == "optimiser_step":
        return "optimiser"
    if component in PARTS:
        return "parts"
    known = (*SINGLE, *(f"<setting>_{name}" for name in (*PARTS, *UPDATE, "optimiser_step", "loss_<key>")))
    raise wire.MatchError(f"the golden folder has a component {component!r}; ours: {', '.join(known)}")


def make_spaces(described: Mapping[str, Any]) -> Spaces:
    """Spaces as the manifest tells them."""
    return {
        key: Space(tuple(told["shape"]), np.dtype(told["dtype"]), classes=told.get("classes"))
        for key, told in described.items()
    }


def make_recipe(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """The recipe of a part of the manifest's config, with other values for the keys in ``changes``.

    Raises:
        RecipeError: a key or value that ours does not have.
    """
    given = dict(config["recipe"])
    return parse_recipe({**{k: v for k, v in given.items() if k != "task"}, **changes}, given["task"])


def require_arrays(arrays: Mapping[str, Array]) -> wire.Arrays:
    """Inputs that tell in a line which one is missing; a compiled function is given a plain dict."""
    return wire.Arrays("inputs: ", arrays)


def register_part(function: Part) -> Part:
    """Register a component of the forward pass."""
    PARTS[function.__name__.rstrip("_")] = function
    return function


def register_single(function: Single) -> Single:
    """Register a component of no setting."""
    SINGLE[function.__name__.rstrip("_")] = function
    return function


def swap_axes(x: Array) -> Array:
    """(B, T, ...) as (T, B, ...) and back."""
    return jnp.swapaxes(x, 0, 1)


def to_floats(x: Array) -> Array:
    """In float32."""
    return jnp.asarray(x, jnp.float32)


def make_latent(inputs: Inputs) -> Latent:
    """Deter and stoch of golden inputs, the latter flat."""
    stoch = inputs["stoch"]
    return Latent(inputs["deter"], stoch.reshape(*stoch.shape[:-2], -1))


def split_stoch(m: Model, stoch: Array) -> Array:
    """A flat stochastic state (..., S * C) as (..., S, C)."""
    return stoch.reshape(*stoch.shape[:-1], m.rssm.stoch, m.rssm.classes)


def encode_action(m: Model, action: Array) -> Array:
    """The vector of the only action."""
    return heads.action_vector({"action": action}, m.act_space, m.dtype)


# ---------------------------------------------------------------- forward, part by part


@register_part
def replay_context(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    agent = Agent(m.recipe, m.obs_space, m.act_space)
    data = {k.removeprefix("data/"): v for k, v in shared.items() if k.startswith("data/")}
    carry = {k.removeprefix("carry/"): v for k, v in shared.items() if k.startswith("carry/")}
    start, batch = agent.arrange(Carry(make_latent(carry), {"action": carry["action"]}), data)
    outputs = {
        "deter": start.deter,
        "stoch": split_stoch(m, start.stoch),
        "prevact": swap_axes(batch.previous["action"]),
    }
    observed = batch.obs | {key: getattr(batch, key) for key in BOOKKEEPING}
    return {
        k: to_floats(v)
        for k, v in (outputs | {f"obs/{k}": swap_axes(v) for k, v in observed.items()}).items()
    }


@register_part
def encoder(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    obs = {key: shared[f"obs/{key}"] for key in m.inputs}
    return {"tokens": networks.encode(state.params, obs, m.inputs, m.config.enc.simple, m.dtype)}


@register_part
def core(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return {"deter": rssm.core(state.params, make_latent(own), encode_action(m, own["action"]), m.rssm)}


@register_part
def prior(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return {"logit": rssm.prior_logits(state.params, own["deter"], m.rssm)}


@register_part
def posterior(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return {"logit": rssm.posterior_logits(state.params, own["deter"], own["tokens"], m.rssm)}


@register_part
def distribution(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    unimix, noise = m.rssm.unimix, own["noise"]

    def sampled(logits: Array) -> Array:
        log_probs = log_probabilities(logits, unimix)
        return straight_through(sample_one_hot(log_probs, noise), log_probs)

    post, prior = (log_probabilities(own[k], unimix) for k in ("post", "prior"))
    return {
        "log_prob": post,
        "sample": sampled(own["post"]),
        "entropy": categorical_entropy(post).sum(-1),
        "divergence": categorical_kl(post, prior),
        "gradient": jax.grad(lambda logits: (sampled(logits) * own["weight"]).sum())(own["post"]),
    }


@register_part
def observe(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    start = make_latent({k: shared[f"start/{k}"] for k in ("deter", "stoch")})
    sequence = (
        own["tokens"],
        encode_action(m, shared["prevact"]),
        shared["obs/is_first"],
        shared["noise/posterior"],
    )
    seen = rssm.observe(state.params, start, *(swap_axes(x) for x in sequence), m.rssm)
    stoch = split_stoch(m, seen.latent.stoch)
    return {
        "deter": swap_axes(seen.latent.deter),
        "stoch": swap_axes(stoch),
        "logit": swap_axes(seen.logits),
    }


@register_part
def imagine(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    rows = len(own["deter"])
    noise = {k: swap_axes(shared[f"noise/{k}"][:rows]) for k in ("action", "prior")}
    steps = len(noise["prior"])
    given = Noise(noise["prior"][:, :0], noise["prior"], {"action": noise["action"][:steps]})
    seen = model.imagine(state.params, make_latent(own), given, m)
    deter, stoch = jnp.split(seen.features[1:], [m.rssm.deter], -1)
    action = to_floats(seen.actions["action"])
    return {
        "deter": swap_axes(deter),
        "stoch": swap_axes(split_stoch(m, stoch)),
        "action": swap_axes(action),
    }


@register_part
def decoder(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return networks.decode(state.params, *make_latent(own), m.inputs, m.config.dec.simple)


@register_part
def reward(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    features = make_latent(own).features()
    logits = heads.head(state.params, "reward", features, m.config.rewhead)
    return {"logits": logits, "prediction": model.predict_reward(state.params, features, m)}


@register_part
def continue_(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    features = make_latent(own).features()
    logit = heads.head(state.params, "continue", features, m.config.conhead)[..., 0]
    return {"logit": logit, "probability": model.predict_continue(state.params, features, m)}


@register_part
def value(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    logits = heads.head(state.params, "value", make_latent(own).features(), m.config.value)
    return {"logits": logits, "prediction": two_hot_mean(logits, m.value_bins)}


@register_part
def slow_value(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    logits = heads.head(state.slow_value, "value", make_latent(own).features(), m.config.value)
    return {"logits": logits, "prediction": two_hot_mean(logits, m.value_bins)}


@register_part
def policy(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    out = heads.policy(state.params, make_latent(own).features(), m.act_space, m.config)["action"]
    sample = out.sample(own["noise"])
    names = ("mean", "stddev") if hasattr(out, "mean") else ("logits",)
    return {
        **{name: getattr(out, name) for name in names},
        "sample": to_floats(sample),
        "log_prob": out.log_prob(sample),
        "entropy": out.entropy(),
    }


@register_part
def act(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    obs = {key: shared[f"obs/{key}"][:, 2] for key in m.inputs} | {"is_first": own["reset"]}
    carry = Carry(
        make_latent({k: shared[f"carry/{k}"] for k in ("deter", "stoch")}), {"action": shared["carry/action"]}
    )
    agent = Agent(m.recipe, m.obs_space, m.act_space)
    carry = agent.act(state.params, carry, obs, own["noise/posterior"], {"action": own["noise/action"]})
    action = to_floats(carry.actions["action"])
    return {"deter": carry.latent.deter, "stoch": split_stoch(m, carry.latent.stoch), "action": action}


# ---------------------------------------------------------------- losses from given outputs of networks


@register_part
def imagination_loss(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    dist = {k.removeprefix("policy/"): swap_axes(v)[:-1] for k, v in own.items() if k.startswith("policy/")}
    dims = len(m.act_space["action"].shape)
    kind = heads.Categorical if "logits" in dist else heads.Normal
    out = losses.actor_critic_losses(
        swap_axes(own["reward"]),
        swap_axes(own["continue"]),
        {"action": swap_axes(own["action"])[:-1]},
        {"action": kind(**dist, dims=dims)},
        swap_axes(own["value"]),
        swap_axes(own["slow_value"]),
        state.normalisers,
        m.value_bins,
        m.config,
    )
    return {k: swap_axes(getattr(out, k)) for k in ("policy", "value")} | {"return": swap_axes(out.returns)}


@register_part
def replay_loss(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    names = ("last", "terminal", "reward", "bootstrap", "value", "slow_value")
    given = (swap_axes(to_floats(own[name])) for name in names)
    out = losses.replay_critic_loss(*given, state.normalisers, m.value_bins, m.config)
    return {"repval": swap_axes(out.loss), "return": swap_axes(out.returns)}


@register_part
def divergences(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    out = rssm.kl_losses(own["post"], own["prior"], m.rssm)
    return {"dyn": out.dyn, "rep": out.rep}


@register_part
def divergence_gradients(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    def total(logits: tuple[Array, Array]) -> Array:
        out = rssm.kl_losses(*logits, m.rssm)
        return (out.dyn + 0.1 * out.rep).sum()

    gradient = jax.grad(total)((own["post"], own["prior"]))
    return {"post": gradient[0], "prior": gradient[1]}


@register_part
def reconstruction(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    obs = {key: shared[f"obs/{key}"] for key in m.inputs}
    return model.reconstruction_losses(state.params, make_latent(own), obs, m)


@register_part
def network_gradients(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    """Of a number for each of encoder, decoder and policy, by our names of the parameters."""
    obs = {key: shared[f"obs/{key}"] for key in m.inputs}

    def total(params: Params) -> Array:
        tokens = networks.encode(params, obs, m.inputs, m.config.enc.simple, m.dtype)
        recons = model.reconstruction_losses(params, make_latent(own), obs, m)
        out = heads.policy(params, make_latent(own).features(), m.act_space, m.config)["action"]
        acting = out.log_prob(shared["prevact"]) * own["weight/policy"] + 0.1 * out.entropy()
        encoding = (tokens * own["weight/tokens"]).sum()
        return encoding + sum(x.mean() for x in recons.values()) + acting.mean()

    return jax.grad(total)(state.params)


# ---------------------------------------------------------------- one update


def reorder_rows(x: Array, rows: int) -> Array:
    """(N, ...) in the official order, in which steps of a row are neighbours, in ours, (T * B, ...)."""
    return swap_axes(x.reshape(rows, -1, *x.shape[1:])).reshape(x.shape)


def make_noise(m: Model, shared: Inputs) -> Noise:
    """The recorded noise of one update."""
    gumbel = swap_axes(shared["noise/posterior"])
    rows, length = gumbel.shape[1], m.config.imag_length
    prior, action = (swap_axes(reorder_rows(shared[f"noise/{k}"], rows)) for k in ("prior", "action"))
    return Noise(gumbel, prior, {"action": action[:length]})


def make_batch(m: Model, shared: Inputs) -> Batch:
    """The recorded batch without its context."""
    obs = {key: swap_axes(shared[f"obs/{key}"]) for key in (*m.inputs, *BOOKKEEPING)}
    flags = {key: obs.pop(key) for key in BOOKKEEPING}
    return Batch(obs, {"action": swap_axes(shared["prevact"])}, **flags)


@contextmanager
def seeing_gradients(seen: list[Any]) -> Iterator[None]:
    """Meanwhile, ``seen`` takes what functions made by ``jax.value_and_grad`` return."""
    make = jax.value_and_grad

    def value_and_grad(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        function = make(*args, **kwargs)

        def call(*given: Any) -> Any:
            seen.append(function(*given))
            return seen[-1]

        return call

    with mock.patch.object(jax, "value_and_grad", value_and_grad):
        yield


def update(m: Model, state: TrainState, shared: Inputs) -> dict[str, Outputs]:
    """The components of one update; names within ``gradients`` and ``train_step`` are ours."""
    start = make_latent({k: shared[f"start/{k}"] for k in ("deter", "stoch")})
    batch, seen = make_batch(m, shared), []
    with seeing_gradients(seen):
        after, last, metrics = model.update(state, start, batch, make_noise(m, shared), m)
    (((total, aux), gradients),) = seen
    return {
        "losses": {**to_batch_major(aux.losses, batch), "total": total},
        "metrics": {k: v for k, v in metrics.items() if not k.startswith(("loss/", "opt/"))},
        "gradients": gradients,
        "train_step": describe_state(m, after, last, metrics),
    }


def to_batch_major(losses: Mapping[str, Array], batch: Batch) -> Outputs:
    """Losses (B, T); those of imagination are means over its steps, one for each start."""
    shape = batch.reward.shape
    return {
        key: swap_axes(value.mean(0).reshape(shape) if key in ("policy", "value") else value)
        for key, value in losses.items()
    }


def describe_state(m: Model, after: TrainState, last: Latent, metrics: Outputs) -> Outputs:
    """What an update changes, under names of :func:`~.parameters.list_shapes`, latents, metrics."""
    outputs = {f"params/{k}": v for k, v in after.params.items()}
    outputs |= {f"slow_value/{k}": v for k, v in after.slow_value.items()}
    for key, statistics in after.normalisers.items():
        outputs |= {f"normalisers/{key}/{k}": v for k, v in statistics.items()}
    outputs |= {
        "replay/dyn/deter": swap_axes(last.deter),
        "replay/dyn/stoch": swap_axes(split_stoch(m, last.stoch)),
    }
    return outputs | {k: metrics[k] for k in METRICS}


# ---------------------------------------------------------------- parameters


def optimiser_program(m: Model) -> Program:
    """Two steps given the same gradients, by a function of one step that is compiled once."""
    step = jax.jit(lambda grads, state, params: optimiser.optimiser_step(grads, state, params, m.config.opt))

    def compute(state: TrainState, shared: Inputs, own: Mapping[str, Inputs]) -> dict[str, Outputs]:
        given = {to_learned_name(name): value for name, value in own["optimiser_step"].items()}
        grads = {name: given[name] for name in state.params}
        first = step(grads, state.optimiser, state.params)
        steps = {"warmup": first, "after": step(grads, first.state, first.params)}
        outputs = {f"{name}/{k}": v for name, s in steps.items() for k, v in s.params.items()}
        return {"optimiser_step": outputs}

    return compute


@register_part
def slow_value_update(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    value = model.value_parameters(state.params)
    slow = model.slow_value_update(value, state.slow_value, state.slow_updates, m.config)
    return {f"slow_value/{k}": v for k, v in slow.items()}


# ---------------------------------------------------------------- of no setting


def make_default_model(golden: wire.Golden, **changes: Any) -> Model:
    """The model of the folder's first setting, whose recipe counts for what belongs to none."""
    return Setting(golden, next(s for s in SETTINGS if s in golden.config), **changes).model


@register_single
def two_hot_(golden: wire.Golden, own: Inputs, *, shift: int = 0, **changes: Any) -> Outputs:
    """``shift`` moves every bin up by so many."""
    if (count := golden.config["two_hot"]["bins"]) != own["logits"].shape[-1]:
        raise wire.MatchError(f"config.two_hot.bins is {count}, the logits are for {own['logits'].shape[-1]}")
    bins = np.roll(two_hot_bins(count), -shift)

    @jax.jit
    def compute(logits: Array, target: Array) -> Outputs:
        loss = two_hot_loss(logits, two_hot(target, bins))
        return {"loss": loss, "prediction": two_hot_mean(logits, bins)}

    return {"bins": bins, "inner_bins": bins[107:148], **compute(own["logits"], own["target"])}


@register_single
def lambda_return(golden: wire.Golden, own: Inputs, **changes: Any) -> Outputs:
    config = make_default_model(golden, **changes).config
    options = 1 - 1 / config.horizon, config.imag_loss.lam
    given = [swap_axes(own[name]) for name in ("last", "terminal", "reward", "bootstrap")]
    return {"return": swap_axes(jax.jit(lambda *args: losses.lambda_return(*args, *options))(*given))}


@register_single
def return_normalisation(golden: wire.Golden, own: Inputs, **changes: Any) -> Outputs:
    config = make_default_model(golden, **changes).config.retnorm

    @jax.jit
    def compute(bounds: Array, returns: Array) -> Outputs:
        state = dict(zip(("low", "high"), bounds, strict=True))
        after = normalise.update(config, state, returns)
        pairs = {"before": normalise.statistics(config, state), "after": normalise.statistics(config, after)}
        return {k: jnp.stack(v) for k, v in (pairs | {"bounds": (after["low"], after["high"])}).items()}

    cases = {"wide": own["return"], "narrow": own["return"] / 40}
    return {
        f"{case}/{name}": value
        for case, returns in cases.items()
        for name, value in compute(own[f"{case}/bounds"], returns).items()
    }


@register_single
def environment_dmc(
    golden: wire.Golden, own: Inputs, *, reach: float = 1.0, more: int = 0, **changes: Any
) -> Outputs:
    """``reach`` scales the bounds of the actuators; episodes are ``more`` control steps longer."""
    config = golden.config["environment_dmc"]
    recipe = make_recipe(config, changes)
    env = make_env(recipe.task, recipe.env, config["seed"])
    env.low, env.high = env.low * reach, env.high * reach
    env.dm_env._step_limit = config["limit"] + more
    seen = [env.reset()]
    with env.physics.reset_context():
        env.physics.data.qpos[:], env.physics.data.qvel[:] = (config["start"][k] for k in ("qpos", "qvel"))
    take_actions(env, seen, own["action"])
    keys = ("position", "velocity", "reward", "is_first", "is_last")
    return {key: np.float32([s[key] for s in seen]) for key in keys}


def take_actions(env: Any, seen: list[Any], actions: Array) -> None:
    """Add what each action leads to; the one after an end begins the next episode."""
    for action in actions:
        seen.append(env.reset() if seen[-1]["is_last"] else env.step({"action": action}))


@register_single
def environment_atari(
    golden: wire.Golden, own: Inputs, *, other_reset: bool = False, **changes: Any
) -> Outputs:
    """With ``other_reset``, the frame of the first observation is that of another official version."""
    config = golden.config["environment_atari"]
    recipe = make_recipe(config, changes)
    if other_reset:
        other = "stale" if recipe.env.atari100k.reset_frame == "current" else "current"
        recipe = make_recipe(config, {**changes, "env.atari100k.reset_frame": other})
    env = make_env(recipe.task, recipe.env, config["seed"])
    seen = [env.reset()]
    take_actions(env, seen, own["action"])
    images = np.stack([s["image"] for s in seen[::6]]).astype(np.float32)
    blocks = images.reshape(len(images), 8, 8, 8, 8, 3).mean((2, 4))
    keys = ("reward", "is_first", "is_last", "is_terminal")
    return {"blocks": blocks, **{key: np.float32([s[key] for s in seen]) for key in keys}}


class Given(np.random.Generator):
    """In place of the replay's generator: gives the starts it is told to."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))
        self.starts = np.zeros(0, np.int64)

    def integers(self, *args: Any, **kwargs: Any) -> Any:
        """The starts that were told."""
        return self.starts


@register_single
def replay(
    golden: wire.Golden, own: Inputs, *, written_back: bool = True, mixed_up: bool = False, **changes: Any
) -> Outputs:
    """With ``written_back`` false, latents are not updated; ``mixed_up``: one environment for the other."""
    config, steps = golden.config["replay"], {k[6:]: v for k, v in own.items() if k.startswith("steps/")}
    count, envs = steps["reward"].shape
    memory = Replay(config["length"] + config["context"], config["context"], 1000, envs, online=True, seed=0)
    memory.random = given = Given()
    for i in range(count):
        memory.write({k: v[i] for k, v in steps.items()})
        for _ in range(envs):
            memory.admit()
    if mixed_up:
        memory.fresh.extend([envs - 1 + row - 2 * (row % envs) for row in map(int, memory.fresh)])
        for _ in range(len(memory.fresh) // 2):
            memory.fresh.popleft()
    drawn = {"online": memory.sample(len(memory.fresh))}
    for name, starts in (("batch", own["start"]), ("after", own["later"])):
        env = envs - 1 - starts[:, 0] if mixed_up else starts[:, 0]
        given.starts = starts[:, 1] * envs + env
        drawn[name] = memory.sample(len(starts))
        if name == "batch" and written_back:
            latents = {k.removeprefix("latents/"): v for k, v in own.items() if k.startswith("latents/")}
            memory.update(drawn[name]["stepid"][:, config["context"] :], latents)
    return {f"{name}/{key}": np.float32(batch[key]) for name, batch in drawn.items() for key in steps}
