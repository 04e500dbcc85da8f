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
from .parameters import learned_name, our_name, our_shapes, train_state

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
        self.obs_space, self.act_space = (spaces_of(self.config[k]) for k in ("obs_space", "act_space"))
        self.recipe = recipe_of(self.config, changes)
        self.model = Model(self.recipe, self.obs_space, self.act_space)
        self.shared = golden.below(f"inputs/shared/{name}/")
        self.components = [
            row["name"].removeprefix(f"{name}_")
            for row in golden.manifest["components"]
            if row["name"].startswith(f"{name}_")
        ]

    @property
    def complete(self) -> bool:
        """Whether the folder holds the state of the optimiser."""
        return any(name.startswith(f"{self.name}/opt/") for name in self.golden.manifest["parameters"])

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The official parameters by name."""
        prefix = f"{self.name}/"
        names = (name for name in self.golden.manifest["parameters"] if name.startswith(prefix))
        return {name.removeprefix(prefix): self.golden.get(f"weights/{name}") for name in names}

    @cached_property
    def state(self) -> TrainState:
        """Our state with the official weights."""
        return train_state(self.model, self.weights, Needed(self.shared)["updates"])

    @cached_property
    def own(self) -> dict[str, dict[str, np.ndarray]]:
        """The inputs that a component has for itself, by component."""
        return {c: self.golden.below(f"inputs/{self.name}_{c}/") for c in self.components}

    def check_weights(self) -> None:
        """Make sure that the weights are of the sizes that the recipe says.

        Raises:
            MatchError: one is missing, none of ours, or of another shape.
        """
        ours = self.shapes()
        for name, weight in self.weights.items():
            own = our_name(name)
            if own not in ours or ours[own] != weight.shape:
                wanted = f"{own} of shape {ours[own]}" if own in ours else f"no {own}"
                raise wire.MatchError(
                    f"weights/{self.name}/{name} is of shape {weight.shape}; we have {wanted}"
                )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of our parameters by name."""
        return our_shapes(self.model, with_optimiser=self.complete)

    def outputs(self, component: str) -> list[str]:
        """Names of the outputs of a component, as the official program has them."""
        return next(
            row["outputs"]
            for row in self.golden.manifest["components"]
            if row["name"] == f"{self.name}_{component}"
        )

    def compile(self, group: str, components: Iterable[str]) -> Program:
        """The compiled function of state, shared inputs and own inputs for components of one group."""
        m, names = self.model, tuple(components)
        if group == "update":
            return jax.jit(lambda state, shared, own: update(m, state, Needed(shared)))
        if group == "optimiser":
            return optimiser_program(m)

        def compute(state: TrainState, shared: Inputs, own: Mapping[str, Inputs]) -> dict[str, Outputs]:
            return {name: PARTS[name](m, state, Needed(shared), Needed(own[name])) for name in names}

        return jax.jit(compute)

    def named(self, computed: Mapping[str, Outputs]) -> dict[str, Outputs]:
        """What a program of one group computed, by component and official name of the output."""
        found: dict[str, Outputs] = {}
        for component in self.components:
            if component.startswith("loss_") and "losses" in computed:
                found[component] = {"loss": computed["losses"][component.removeprefix("loss_")]}
            elif component in computed:
                names = {name: own_output(component, name) for name in self.outputs(component)}
                ours = computed[component]
                found[component] = {name: ours[own] for name, own in names.items() if own in ours}
        return found


SPACES = {"*": {"dtype": str, "shape": [int]}}
# What the manifest's config says of a setting, and of the components that belong to none.
SETTING_FORM = {"recipe": {"task": str}, "obs_space": SPACES, "act_space": SPACES}
SINGLE_FORMS = {
    "environment_dmc": {
        "recipe": {"task": str},
        "start": {"qpos": [float], "qvel": [float]},
        "limit": int,
        "seed": int,
    },
    "environment_atari": {"recipe": {"task": str}, "seed": int},
    "replay": {"length": int, "context": int},
    "two_hot": {"bins": int},
}


def check_golden(golden: wire.Golden) -> None:
    """Make sure that we can compute what the golden folder has, before memory is spent on its sizes.

    Raises:
        MatchError: the config is not what we need, or a weight is not of the size that it says.
        RecipeError: a key or value of a recipe that ours does not have.
    """
    settings = [name for name in SETTINGS if name in golden.config]
    if not settings:
        raise wire.MatchError(
            f"{golden.folder / 'manifest.json'}: config.{' and config.'.join(SETTINGS)} are missing"
        )
    golden.check_config(
        dict.fromkeys(settings, SETTING_FORM)
        | {name: form for name, form in SINGLE_FORMS.items() if name in golden.components}
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


def own_output(component: str, name: str) -> str:
    """Our name of an output: outputs of some components are called after parameters."""
    if component not in NAMED_BY_PARAMETER or name.startswith(("replay/", "opt/")):
        return name
    if component.endswith("gradients"):
        return learned_name(name)
    if component == "optimiser_step":
        step, _, parameter = name.partition("/")
        return f"{step}/{learned_name(parameter)}"
    return our_name(name)


def group_of(component: str) -> str:
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


def spaces_of(described: Mapping[str, Any]) -> Spaces:
    """Spaces as the manifest tells them.

    Raises:
        MatchError: one is of no type that arrays have.
    """
    try:
        return {
            key: Space(tuple(told["shape"]), np.dtype(told["dtype"]), classes=told.get("classes"))
            for key, told in described.items()
        }
    except TypeError as error:
        raise wire.MatchError(f"the golden folder's config: a space is of no known dtype: {error}") from None


def recipe_of(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """The recipe of a part of the manifest's config, with other values for the keys in ``changes``.

    Raises:
        RecipeError: a key or value that ours does not have.
    """
    given = dict(config["recipe"])
    return parse_recipe({**{k: v for k, v in given.items() if k != "task"}, **changes}, given["task"])


class Needed(dict[str, Array]):
    """Arrays of the golden folder; one that is missing is told in a line."""

    def __missing__(self, key: str) -> Array:
        raise wire.MatchError(f"an input {key} is missing in the golden folder's arrays.npz; record it again")


def part(function: Part) -> Part:
    """Register a component of the forward pass."""
    PARTS[function.__name__.rstrip("_")] = function
    return function


def single(function: Single) -> Single:
    """Register a component of no setting."""
    SINGLE[function.__name__.rstrip("_")] = function
    return function


def turned(x: Array) -> Array:
    """(B, T, ...) as (T, B, ...) and back."""
    return jnp.swapaxes(x, 0, 1)


def floats(x: Array) -> Array:
    """In float32."""
    return jnp.asarray(x, jnp.float32)


def latent(inputs: Inputs) -> Latent:
    """Deter and stoch of golden inputs, the latter flat."""
    stoch = inputs["stoch"]
    return Latent(inputs["deter"], stoch.reshape(*stoch.shape[:-2], -1))


def split(m: Model, stoch: Array) -> Array:
    """A flat stochastic state (..., S * C) as (..., S, C)."""
    return stoch.reshape(*stoch.shape[:-1], m.rssm.stoch, m.rssm.classes)


def vector(m: Model, action: Array) -> Array:
    """The vector of the only action."""
    return heads.action_vector({"action": action}, m.act_space, m.dtype)


# ---------------------------------------------------------------- forward, part by part


@part
def replay_context(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    agent = Agent(m.recipe, m.obs_space, m.act_space)
    data = {k.removeprefix("data/"): v for k, v in shared.items() if k.startswith("data/")}
    carry = {k.removeprefix("carry/"): v for k, v in shared.items() if k.startswith("carry/")}
    start, batch = agent.arrange(Carry(latent(carry), {"action": carry["action"]}), data)
    outputs = {
        "deter": start.deter,
        "stoch": split(m, start.stoch),
        "prevact": turned(batch.previous["action"]),
    }
    observed = batch.obs | {key: getattr(batch, key) for key in BOOKKEEPING}
    return {k: floats(v) for k, v in (outputs | {f"obs/{k}": turned(v) for k, v in observed.items()}).items()}


@part
def encoder(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    obs = {key: shared[f"obs/{key}"] for key in m.inputs}
    return {"tokens": networks.encode(state.params, obs, m.inputs, m.config.enc.simple, m.dtype)}


@part
def core(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return {"deter": rssm.core(state.params, latent(own), vector(m, own["action"]), m.rssm)}


@part
def prior(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return {"logit": rssm.prior_logits(state.params, own["deter"], m.rssm)}


@part
def posterior(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return {"logit": rssm.posterior_logits(state.params, own["deter"], own["tokens"], m.rssm)}


@part
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


@part
def observe(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    start = latent({k: shared[f"start/{k}"] for k in ("deter", "stoch")})
    sequence = (
        own["tokens"],
        vector(m, shared["prevact"]),
        shared["obs/is_first"],
        shared["noise/posterior"],
    )
    seen = rssm.observe(state.params, start, *(turned(x) for x in sequence), m.rssm)
    stoch = split(m, seen.latent.stoch)
    return {"deter": turned(seen.latent.deter), "stoch": turned(stoch), "logit": turned(seen.logits)}


@part
def imagine(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    rows = len(own["deter"])
    noise = {k: turned(shared[f"noise/{k}"][:rows]) for k in ("action", "prior")}
    steps = len(noise["prior"])
    given = Noise(noise["prior"][:, :0], noise["prior"], {"action": noise["action"][:steps]})
    seen = model.imagine(state.params, latent(own), given, m)
    deter, stoch = jnp.split(seen.features[1:], [m.rssm.deter], -1)
    action = floats(seen.actions["action"])
    return {"deter": turned(deter), "stoch": turned(split(m, stoch)), "action": turned(action)}


@part
def decoder(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    return networks.decode(state.params, *latent(own), m.inputs, m.config.dec.simple)


@part
def reward(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    features = latent(own).features()
    logits = heads.head(state.params, "reward", features, m.config.rewhead)
    return {"logits": logits, "prediction": model.predict_reward(state.params, features, m)}


@part
def continue_(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    features = latent(own).features()
    logit = heads.head(state.params, "continue", features, m.config.conhead)[..., 0]
    return {"logit": logit, "probability": model.predict_continue(state.params, features, m)}


@part
def value(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    logits = heads.head(state.params, "value", latent(own).features(), m.config.value)
    return {"logits": logits, "prediction": two_hot_mean(logits, m.value_bins)}


@part
def slow_value(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    logits = heads.head(state.slow_value, "value", latent(own).features(), m.config.value)
    return {"logits": logits, "prediction": two_hot_mean(logits, m.value_bins)}


@part
def policy(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    out = heads.policy(state.params, latent(own).features(), m.act_space, m.config)["action"]
    sample = out.sample(own["noise"])
    names = ("mean", "stddev") if hasattr(out, "mean") else ("logits",)
    return {
        **{name: getattr(out, name) for name in names},
        "sample": floats(sample),
        "log_prob": out.log_prob(sample),
        "entropy": out.entropy(),
    }


@part
def act(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    obs = {key: shared[f"obs/{key}"][:, 2] for key in m.inputs} | {"is_first": own["reset"]}
    carry = Carry(
        latent({k: shared[f"carry/{k}"] for k in ("deter", "stoch")}), {"action": shared["carry/action"]}
    )
    agent = Agent(m.recipe, m.obs_space, m.act_space)
    carry = agent.act(state.params, carry, obs, own["noise/posterior"], {"action": own["noise/action"]})
    action = floats(carry.actions["action"])
    return {"deter": carry.latent.deter, "stoch": split(m, carry.latent.stoch), "action": action}


# ---------------------------------------------------------------- losses from given outputs of networks


@part
def imagination_loss(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    dist = {k.removeprefix("policy/"): turned(v)[:-1] for k, v in own.items() if k.startswith("policy/")}
    dims = len(m.act_space["action"].shape)
    kind = heads.Categorical if "logits" in dist else heads.Normal
    out = losses.actor_critic_losses(
        turned(own["reward"]),
        turned(own["continue"]),
        {"action": turned(own["action"])[:-1]},
        {"action": kind(**dist, dims=dims)},
        turned(own["value"]),
        turned(own["slow_value"]),
        state.normalisers,
        m.value_bins,
        m.config,
    )
    return {k: turned(getattr(out, k)) for k in ("policy", "value")} | {"return": turned(out.returns)}


@part
def replay_loss(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    names = ("last", "terminal", "reward", "bootstrap", "value", "slow_value")
    given = (turned(floats(own[name])) for name in names)
    out = losses.replay_critic_loss(*given, state.normalisers, m.value_bins, m.config)
    return {"repval": turned(out.loss), "return": turned(out.returns)}


@part
def divergences(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    out = rssm.kl_losses(own["post"], own["prior"], m.rssm)
    return {"dyn": out.dyn, "rep": out.rep}


@part
def divergence_gradients(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    def total(logits: tuple[Array, Array]) -> Array:
        out = rssm.kl_losses(*logits, m.rssm)
        return (out.dyn + 0.1 * out.rep).sum()

    gradient = jax.grad(total)((own["post"], own["prior"]))
    return {"post": gradient[0], "prior": gradient[1]}


@part
def reconstruction(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    obs = {key: shared[f"obs/{key}"] for key in m.inputs}
    return model.reconstruction_losses(state.params, latent(own), obs, m)


@part
def network_gradients(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    """Of a number for each of encoder, decoder and policy, by our names of the parameters."""
    obs = {key: shared[f"obs/{key}"] for key in m.inputs}

    def total(params: Params) -> Array:
        tokens = networks.encode(params, obs, m.inputs, m.config.enc.simple, m.dtype)
        recons = model.reconstruction_losses(params, latent(own), obs, m)
        out = heads.policy(params, latent(own).features(), m.act_space, m.config)["action"]
        acting = out.log_prob(shared["prevact"]) * own["weight/policy"] + 0.1 * out.entropy()
        encoding = (tokens * own["weight/tokens"]).sum()
        return encoding + sum(x.mean() for x in recons.values()) + acting.mean()

    return jax.grad(total)(state.params)


# ---------------------------------------------------------------- one update


def official_rows(x: Array, rows: int) -> Array:
    """(N, ...) in the official order, in which steps of a row are neighbours, in ours, (T * B, ...)."""
    return turned(x.reshape(rows, -1, *x.shape[1:])).reshape(x.shape)


def given_noise(m: Model, shared: Inputs) -> Noise:
    """The recorded noise of one update."""
    gumbel = turned(shared["noise/posterior"])
    rows, length = gumbel.shape[1], m.config.imag_length
    prior, action = (turned(official_rows(shared[f"noise/{k}"], rows)) for k in ("prior", "action"))
    return Noise(gumbel, prior, {"action": action[:length]})


def given_batch(m: Model, shared: Inputs) -> Batch:
    """The recorded batch without its context."""
    obs = {key: turned(shared[f"obs/{key}"]) for key in (*m.inputs, *BOOKKEEPING)}
    flags = {key: obs.pop(key) for key in BOOKKEEPING}
    return Batch(obs, {"action": turned(shared["prevact"])}, **flags)


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
    start = latent({k: shared[f"start/{k}"] for k in ("deter", "stoch")})
    batch, seen = given_batch(m, shared), []
    with seeing_gradients(seen):
        after, last, metrics = model.update(state, start, batch, given_noise(m, shared), m)
    (((total, aux), gradients),) = seen
    return {
        "losses": {**batch_major(aux.losses, batch), "total": total},
        "metrics": {k: v for k, v in metrics.items() if not k.startswith(("loss/", "opt/"))},
        "gradients": gradients,
        "train_step": state_after(m, after, last, metrics),
    }


def batch_major(losses: Mapping[str, Array], batch: Batch) -> Outputs:
    """Losses (B, T); those of imagination are means over its steps, one for each start."""
    shape = batch.reward.shape
    return {
        key: turned(value.mean(0).reshape(shape) if key in ("policy", "value") else value)
        for key, value in losses.items()
    }


def state_after(m: Model, after: TrainState, last: Latent, metrics: Outputs) -> Outputs:
    """What an update changes, under names of :func:`~.parameters.our_shapes`, latents, metrics."""
    outputs = {f"params/{k}": v for k, v in after.params.items()}
    outputs |= {f"slow_value/{k}": v for k, v in after.slow_value.items()}
    for key, statistics in after.normalisers.items():
        outputs |= {f"normalisers/{key}/{k}": v for k, v in statistics.items()}
    outputs |= {"replay/dyn/deter": turned(last.deter), "replay/dyn/stoch": turned(split(m, last.stoch))}
    return outputs | {k: metrics[k] for k in METRICS}


# ---------------------------------------------------------------- parameters


def optimiser_program(m: Model) -> Program:
    """Two steps given the same gradients, by a function of one step that is compiled once."""
    step = jax.jit(lambda grads, state, params: optimiser.optimiser_step(grads, state, params, m.config.opt))

    def compute(state: TrainState, shared: Inputs, own: Mapping[str, Inputs]) -> dict[str, Outputs]:
        given = {learned_name(name): value for name, value in own["optimiser_step"].items()}
        grads = {name: given[name] for name in state.params}
        first = step(grads, state.optimiser, state.params)
        steps = {"warmup": first, "after": step(grads, first.state, first.params)}
        outputs = {f"{name}/{k}": v for name, s in steps.items() for k, v in s.params.items()}
        return {"optimiser_step": outputs}

    return compute


@part
def slow_value_update(m: Model, state: TrainState, shared: Inputs, own: Inputs) -> Outputs:
    value = model.value_parameters(state.params)
    slow = model.slow_value_update(value, state.slow_value, state.slow_updates, m.config)
    return {f"slow_value/{k}": v for k, v in slow.items()}


# ---------------------------------------------------------------- of no setting


def default_model(golden: wire.Golden, **changes: Any) -> Model:
    """The model of the folder's first setting, whose recipe counts for what belongs to none."""
    return Setting(golden, next(s for s in SETTINGS if s in golden.config), **changes).model


@single
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


@single
def lambda_return(golden: wire.Golden, own: Inputs, **changes: Any) -> Outputs:
    config = default_model(golden, **changes).config
    options = 1 - 1 / config.horizon, config.imag_loss.lam
    given = [turned(own[name]) for name in ("last", "terminal", "reward", "bootstrap")]
    return {"return": turned(jax.jit(lambda *args: losses.lambda_return(*args, *options))(*given))}


@single
def return_normalisation(golden: wire.Golden, own: Inputs, **changes: Any) -> Outputs:
    config = default_model(golden, **changes).config.retnorm

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


@single
def environment_dmc(
    golden: wire.Golden, own: Inputs, *, reach: float = 1.0, more: int = 0, **changes: Any
) -> Outputs:
    """``reach`` scales the bounds of the actuators; episodes are ``more`` control steps longer."""
    config = golden.config["environment_dmc"]
    recipe = recipe_of(config, changes)
    env = make_env(recipe.task, recipe.env, config["seed"])
    env.low, env.high = env.low * reach, env.high * reach
    env.dm_env._step_limit = config["limit"] + more
    seen = [env.reset()]
    with env.physics.reset_context():
        env.physics.data.qpos[:], env.physics.data.qvel[:] = (config["start"][k] for k in ("qpos", "qvel"))
    play(env, seen, own["action"])
    keys = ("position", "velocity", "reward", "is_first", "is_last")
    return {key: np.float32([s[key] for s in seen]) for key in keys}


def play(env: Any, seen: list[Any], actions: Array) -> None:
    """Add what each action leads to; the one after an end begins the next episode."""
    for action in actions:
        seen.append(env.reset() if seen[-1]["is_last"] else env.step({"action": action}))


@single
def environment_atari(golden: wire.Golden, own: Inputs, **changes: Any) -> Outputs:
    config = golden.config["environment_atari"]
    recipe = recipe_of(config, changes)
    env = make_env(recipe.task, recipe.env, config["seed"])
    seen = [env.reset()]
    play(env, seen, own["action"])
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


@single
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
