"""Our side of every component of the match, computed by the code that trains and plans.

Each takes a :class:`Subject`, an agent with the golden weights that draws the golden noise, and returns
the component's outputs by the names and in the layout of the official program. Shapes as in ``agent.py``
and ``planner.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_worldflux_parity import wire

from ..agent import Agent
from ..checkpoint import named_tensors
from ..environments import Environment, make_env
from ..noise import Noise
from ..planner import Planner
from ..recipe import Recipe, parse_recipe
from ..replay import Batch, Replay

Arrays = Mapping[str, np.ndarray]
Outputs = dict[str, Tensor]
Inputs = wire.Arrays

CPU = torch.device("cpu")
NETWORKS = {
    "encoder": "_encoder.state",
    "dynamics": "_dynamics",
    "reward": "_reward",
    "policy": "_pi",
    "q": "_Qs.params",
    "target_q": "_target_Qs_params",
}
TENSORS = {"weight": "weight", "bias": "bias", "gain": "ln.weight", "offset": "ln.bias"}
ENSEMBLES = ("q.", "target_q.")


class Given(Noise):
    """Noise that was drawn before: each kind in order, each draw of the shape that is asked for."""

    def __init__(self, **queues: list[Tensor]) -> None:
        super().__init__(CPU)
        self._queues = {kind: list(tensors) for kind, tensors in queues.items()}

    def normal(self, *shape: int) -> Tensor:
        """The next normals."""
        return self._next("normal", shape)

    def permutation(self, n: int) -> Tensor:
        """The next permutation, as far as it was recorded."""
        return self._next("permutation")

    def exponential(self, n: int) -> Tensor:
        """The next exponentials."""
        return self._next("exponential", (n,))

    def dropout(self, shape: tuple[int, ...], p: float) -> Tensor | None:
        """The next of what dropout let through, scaled."""
        return self._next("passed", shape).float() / (1 - p) if p else None

    def below(self, limit: int, size: int) -> Tensor:
        """The next whole numbers."""
        return self._next("below", (size,))

    def uniform(self, size: int) -> Tensor:
        """The next uniform numbers."""
        return self._next("uniform", (size,))

    def _next(self, kind: str, shape: tuple[int, ...] | None = None) -> Tensor:
        queue = self._queues.get(kind)
        if not queue:
            raise wire.MatchError(f"our code draws {kind} numbers once more than the official program did")
        given = queue.pop(0)
        if shape is not None and given.shape != shape:
            raise wire.MatchError(
                f"our code draws {kind} numbers of shape {shape}, the official program {tuple(given.shape)}"
            )
        return given


class Subject:
    """What a component is computed with; perturbations change it.

    Attributes:
        recipe: the golden recipe, or a changed one.
        agent: has the golden weights; of a changed recipe, sizes must be the same.
        make_env, make_replay: build what the components ``environment`` and ``replay`` use.
        begin: done to the agent whose updates are compared in lockstep, before the first.
    """

    def __init__(self, golden: wire.Golden, **changes: Any) -> None:
        self.golden = golden
        self.recipe = dataclasses.replace(golden_recipe(golden), **changes)
        self.agent = self.build_agent()
        load_weights(self.agent, golden)
        self.make_env: Callable[[str, int], Environment] = make_env
        self.make_replay: Callable[..., Replay] = Replay
        self.begin: Callable[[Agent], None] = lambda agent: None

    def build_agent(self, **other: int) -> Agent:
        """A new agent; ``other``: another action_dim or episode_length than the golden one's."""
        return build_agent(self.golden, self.recipe, CPU, **other)

    def inputs(self, component: str) -> Inputs:
        """The inputs of a component, as tensors."""
        given = self.golden.arrays
        arrays = {**given.below("inputs/shared/"), **given.below(f"inputs/{component}/")}
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        return Inputs(f"inputs/{component}/", tensors)


COMPONENTS: dict[str, Callable[[Subject], Outputs]] = {}


def component(function: Callable[[Subject], Outputs]) -> Callable[[Subject], Outputs]:
    """Register under the function's name."""
    COMPONENTS[function.__name__] = function
    return function


def check_components(names: Iterable[str]) -> None:
    """Make sure that we have every component.

    Raises:
        MatchError: there is one that we have not.
    """
    for name in names:
        if name not in COMPONENTS:
            known = ", ".join(COMPONENTS)
            raise wire.MatchError(f"the golden folder has a component {name!r}; ours: {known}")


def compute(subject: Subject, name: str) -> dict[str, np.ndarray]:
    """The outputs of one component as arrays of their own."""
    outputs = COMPONENTS[name](subject)
    return {key: value.detach().clone().contiguous().numpy() for key, value in outputs.items()}


def build_agent(golden: wire.Golden, recipe: Recipe, device: torch.device, **other: int) -> Agent:
    """An agent of the golden sizes."""
    sizes = {key: golden.config[key] for key in ("action_dim", "episode_length")} | other
    return Agent(recipe, tuple(golden.config["obs_shape"]), device=device, **sizes)


def golden_recipe(golden: wire.Golden) -> Recipe:
    """The recipe of the golden config.

    Raises:
        RecipeError: a key or value that ours does not have.
    """
    return parse_recipe(golden.config["recipe"])


# Names and layouts.


def official_name(name: str) -> str:
    """The official program's name of one of our tensors."""
    if name == "scale":
        return "scale.value"
    network, layer, tensor = name.split(".")
    return f"{NETWORKS[network]}.{layer}.{TENSORS[tensor]}"


def to_ours(name: str, tensor: Tensor) -> Tensor:
    """An official tensor in our layout: ours has matrices of the ensembles transposed, vectors as rows."""
    if not name.startswith(ENSEMBLES):
        return tensor
    return tensor.transpose(1, 2) if tensor.ndim == 3 else tensor.unsqueeze(1)


def to_official(name: str, tensor: Tensor) -> Tensor:
    """One of our tensors in the official layout."""
    if not name.startswith(ENSEMBLES):
        return tensor
    return tensor.transpose(1, 2) if name.endswith(".weight") else tensor.squeeze(1)


def list_tensors(agent: Agent) -> dict[str, Tensor]:
    """Our name -> tensor of all that a run changes, but for the optimisers' moments."""
    return {name: t for name, t in named_tensors(agent).items() if "optimiser" not in name}


def list_gradients(agent: Agent, side: str) -> list[str]:
    """Our names of the tensors of one side (``model`` or ``policy``), in its optimiser's order."""
    networks = ("policy",) if side == "policy" else ("encoder", "dynamics", "reward", "q")
    return [f"{n}.{name}" for n in networks for name, _ in agent.learnable()[n].named()]


def load_weights(agent: Agent, golden: wire.Golden) -> None:
    """Put the golden weights into ``agent``.

    Raises:
        MatchError: one is missing, or of another shape.
    """
    for tensor, given in pair_weights(agent, golden):
        tensor.copy_(given)


def check_weights(golden: wire.Golden) -> None:
    """Make sure that the weights are of the sizes that the config says, before memory is spent on these.

    Raises:
        RecipeError: a key or value of the recipe that ours does not have.
        MatchError: one is missing, or of another shape.
    """
    recipe, meta = golden_recipe(golden), torch.device("meta")
    with meta:
        agent = build_agent(golden, recipe, meta)
    for _ in pair_weights(agent, golden):
        pass


def pair_weights(agent: Agent, golden: wire.Golden) -> Iterator[tuple[Tensor, Tensor]]:
    """Each of our tensors with the golden weight that belongs there, in our layout.

    Raises:
        MatchError: one is missing, or of another shape.
    """
    for name, tensor in list_tensors(agent).items():
        key = f"weights/{official_name(name)}"
        given = to_ours(name, torch.from_numpy(golden.arrays[key]))
        if given.shape != tensor.shape:
            raise wire.MatchError(
                f"{key} is {tuple(given.shape)} in our layout, and {name} {tuple(tensor.shape)}"
            )
        yield tensor, given


def describe(golden: wire.Golden) -> dict[str, Any]:
    """``mapping`` and ``parameters`` of ``match.json``."""
    own = list_tensors(Subject(golden).agent)
    return {
        "mapping": {official_name(name): name for name in own},
        "parameters": {name: list(tensor.shape) for name, tensor in own.items()},
    }


def to_official_names(tensors: Mapping[str, Tensor], prefix: str = "") -> Outputs:
    """Our tensors by official name and in official layout."""
    return {f"{prefix}{official_name(name)}": to_official(name, t) for name, t in tensors.items()}


# Environment.


@component
def environment(subject: Subject) -> Outputs:
    """Observations and rewards of some steps after a reset, for each recorded task."""
    inputs, outputs = subject.inputs("environment"), {}
    for task in sorted(name.removesuffix(".seed") for name in inputs if name.endswith(".seed")):
        env = subject.make_env(task, int(inputs[f"{task}.seed"]))
        first = env.reset()
        seen = [env.step(action) for action in inputs[f"{task}.action"].numpy()]
        outputs[f"{task}.observation"] = torch.from_numpy(np.stack([first, *(obs for obs, _ in seen)]))
        outputs[f"{task}.reward"] = torch.tensor([reward for _, reward in seen])
    return outputs


@component
def replay(subject: Subject) -> Outputs:
    """Sub-trajectories of stored episodes, before and after the oldest are overwritten."""
    inputs, outputs = subject.inputs("replay"), {}
    first = inputs["episode0.action"]
    memory = subject.make_replay(
        int(inputs["capacity"]), tuple(inputs["episode0.obs"].shape[1:]), torch.float32, first.shape[1],
        int(inputs["length"]), CPU,
    )  # fmt: skip
    for number in range(sum(name.endswith(".obs") for name in inputs)):
        episode = inputs.below(f"episode{number}.")
        memory.add(*(episode[name].numpy() for name in ("obs", "action", "reward")))
        drawn = inputs.below(f"after{number}.")
        if drawn:
            memory.noise = Given(below=[drawn["episode"]], uniform=[drawn["share"]])
            batch = memory.sample(len(drawn["share"]))
            outputs |= {f"after{number}.{name}": value for name, value in batch._asdict().items()}
    return outputs


# Encoder, latent, heads.


@component
def encoder(subject: Subject) -> Outputs:
    """Latents of observations."""
    return {"z": subject.agent.encoder(subject.inputs("encoder")["obs"])}


def _concatenate_rows(inputs: Inputs) -> Tensor:
    return torch.cat([inputs["z"], inputs["action"]], dim=-1)


@component
def dynamics(subject: Subject) -> Outputs:
    """The next latents."""
    return {"next_z": subject.agent.dynamics(_concatenate_rows(subject.inputs("dynamics")))}


@component
def reward(subject: Subject) -> Outputs:
    """Logits of the reward and what they stand for."""
    logits = subject.agent.reward(_concatenate_rows(subject.inputs("reward")))
    return {"logits": logits, "value": subject.agent.two_hot.decode(logits).unsqueeze(-1)}


@component
def q(subject: Subject) -> Outputs:
    """Logits and values of every Q-function."""
    agent, inputs = subject.agent, subject.inputs("q")
    values = agent.values(agent.q, inputs["z"], inputs["action"])
    return {"logits": agent.q(_concatenate_rows(inputs)), "value": values.unsqueeze(-1)}


@component
def target_q(subject: Subject) -> Outputs:
    """Logits and values of every target Q-function."""
    agent, inputs = subject.agent, subject.inputs("target_q")
    values = agent.values(agent.target_q, inputs["z"], inputs["action"])
    return {"logits": agent.target_q(_concatenate_rows(inputs)), "value": values.unsqueeze(-1)}


@component
def q_dropout(subject: Subject) -> Outputs:
    """Logits of every Q-function with dropout."""
    agent, inputs = subject.agent, subject.inputs("q_dropout")
    agent.noise = Given(passed=[inputs["passed"]])
    rows = _concatenate_rows(inputs)
    return {"logits": agent.q(rows, agent.draw_dropout(len(agent.q), len(rows)))}


@component
def policy(subject: Subject) -> Outputs:
    """The policy prior, and the terms of its entropies."""
    inputs = subject.inputs("policy")
    action = subject.agent.act(inputs["z"], inputs["noise"])
    renamed = {"action" if name == "sample" else name: value for name, value in action._asdict().items()}
    return renamed | {"log_prob": -action.entropy}


@component
def two_hot(subject: Subject) -> Outputs:
    """Scalars to bins and back, and the cross-entropy of each row."""
    coder, inputs = subject.agent.two_hot, subject.inputs("two_hot")
    x, logits = inputs["x"], inputs["logits"]
    index, share = coder.locate(x)
    one = torch.ones(1)
    rows = [coder.cross_entropy(row.view(1, 1, -1), x[i : i + 1], one) for i, row in enumerate(logits)]
    return {
        "distribution": torch.zeros(len(x), coder.num_bins).scatter_add_(1, index, share),
        "decoded": coder.decode(logits).unsqueeze(-1),
        "decoded_ends": coder.decode(inputs["certain"]).unsqueeze(-1),
        "cross_entropy": torch.stack(rows).unsqueeze(-1),
    }


class WatchedPlanner(Planner):
    """Keeps what each iteration of a plan tries and finds."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.seen: dict[str, list[Tensor]] = {}

    def act(self, obs: Tensor, first: bool, evaluate: bool) -> tuple[Tensor, Tensor]:
        """As :meth:`Planner.act`."""
        self.seen = {name: [] for name in ("actions", "values", "score", "mean", "std")}
        return super().act(obs, first, evaluate)

    def estimate_value(self, inputs: Tensor, actions: Tensor, noise: Tensor, members: Tensor) -> Tensor:
        """As :meth:`Planner.estimate_value`."""
        value = super().estimate_value(inputs, actions, noise, members)
        self.seen["actions"].append(actions.clone())
        self.seen["values"].append(value.clone())
        return value

    def refit(self, elite_value: Tensor, elite_actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`Planner.refit`."""
        found = super().refit(elite_value, elite_actions)
        for name, value in zip(("score", "mean", "std"), found, strict=True):
            self.seen[name].append(value.clone())
        return found


@component
def planner(subject: Subject) -> Outputs:
    """Plans in a row, the later ones from where the one before left off; the last without exploration."""
    inputs, outputs = subject.inputs("planner"), {}
    plans, taken = WatchedPlanner(subject.agent), []
    count = sum(name.endswith(".obs") and name.startswith("plan") for name in inputs)
    for number in range(count):
        given = inputs.below(f"plan{number}.")
        subject.agent.noise = _plan_noise(given)
        action, _ = plans.act(given["obs"], first=number == 0, evaluate=number == count - 1)
        taken.append(action)
        outputs |= {f"plan{number}.{name}": torch.stack(values) for name, values in plans.seen.items()}
    return {"action": torch.stack(taken), **outputs}


def _plan_noise(given: Inputs) -> Given:
    parts = [given[name].flatten() for name in ("prior", "samples", "final", "action")]
    members = list(given["members"])
    return Given(normal=[torch.cat(parts)], permutation=members, exponential=[given["choice"]])


@component
def discount(subject: Subject) -> Outputs:
    """The discount of each length of an episode."""
    lengths = subject.inputs("discount")["episode_length"].tolist()
    return {"discount": torch.tensor([subject.build_agent(episode_length=n).discount for n in lengths])}


@component
def planning_iterations(subject: Subject) -> Outputs:
    """The iterations of a plan for each number of actuators."""
    sizes = subject.inputs("planning_iterations")["action_dim"].tolist()
    return {
        "iterations": torch.tensor([Planner(subject.build_agent(action_dim=n)).iterations for n in sizes])
    }


# Losses.


def make_batch(inputs: Inputs) -> Batch:
    return Batch(*(inputs[name] for name in Batch._fields))


def update_noise(inputs: Inputs) -> Given:
    """The noise of an update: the official program draws dropout for members that it then leaves out."""
    members = inputs["policy_members"]
    return Given(
        normal=[inputs["target_action"], inputs["policy_action"]],
        permutation=[inputs["target_members"], members],
        passed=[inputs["model_passed"], inputs["policy_passed"][members]],
    )


@component
def td_target(subject: Subject) -> Outputs:
    """TD-targets of latents and rewards, and of rewards of zero."""
    inputs, agent = subject.inputs("td_target"), subject.agent
    agent.noise = update_noise(inputs)
    noise, reward = agent.draw_noise(), inputs["reward"]
    rewards = {"td_target": reward, "future": torch.zeros_like(reward)}
    with torch.no_grad():
        return {name: agent.td_target(inputs["next_z"], given, noise) for name, given in rewards.items()}


def _model_losses(subject: Subject, component: str) -> dict[str, Tensor]:
    inputs, agent = subject.inputs(component), subject.agent
    agent.noise = update_noise(inputs)
    batch, noise = make_batch(inputs), agent.draw_noise()
    return agent.model_loss(batch, *agent.targets(batch, noise), noise.model_dropout)[2]


def _register_loss(name: str) -> None:
    COMPONENTS[name] = lambda subject: {name: _model_losses(subject, name)[name]}


for _name in ("consistency_loss", "reward_loss", "value_loss", "total_loss"):
    _register_loss(_name)


def _policy_update(subject: Subject, component: str) -> tuple[Outputs, Outputs]:
    """Values and losses, and gradients, of one update of the policy at given latents."""
    inputs, agent = subject.inputs(component), subject.agent
    agent.noise = update_noise(inputs)
    seen: Outputs = {}
    policy_loss = agent.policy_loss

    def keep(value: Tensor, scaled_entropy: Tensor) -> Tensor:
        seen.update(value=value, scaled_entropy=scaled_entropy)
        return policy_loss(value, scaled_entropy)

    agent.policy_loss = keep  # type: ignore[method-assign]
    gradients = _recorded_gradients(agent)
    found = agent.update_policy(inputs["zs"], agent.draw_noise())
    losses = {name: found[name] for name in ("pi_loss", "pi_entropy", "pi_scale")}
    return {**seen, **losses}, to_official_names(gradients)


def _recorded_gradients(agent: Agent) -> dict[str, Tensor]:
    """Fills, as ``agent`` steps, with the gradients before they are clipped, by our name."""
    gradients: dict[str, Tensor] = {}
    step = agent.step

    def keep(optimiser: Any) -> Tensor:
        side = "model" if optimiser is agent.model_optimiser else "policy"
        names = list_gradients(agent, side)
        gradients.update({n: p.grad.clone() for n, p in zip(names, optimiser.parameters, strict=True)})
        return step(optimiser)

    agent.step = keep  # type: ignore[method-assign]
    return gradients


@component
def policy_loss(subject: Subject) -> Outputs:
    """Values, scaled entropies and the loss of the policy, at given latents."""
    return _policy_update(subject, "policy_loss")[0]


# Gradients.


@component
def model_gradient(subject: Subject) -> Outputs:
    """Gradients of an update of the world model, before clipping."""
    inputs, agent = subject.inputs("model_gradient"), subject.agent
    agent.noise = update_noise(inputs)
    gradients = _recorded_gradients(agent)
    agent.update(make_batch(inputs))
    return to_official_names({name: gradients[name] for name in list_gradients(agent, "model")})


@component
def policy_gradient(subject: Subject) -> Outputs:
    """Gradients of an update of the policy, before clipping, at given latents."""
    return _policy_update(subject, "policy_loss")[1]


# Updates.


@component
def optimiser(subject: Subject) -> Outputs:
    """Steps given their gradients: what clipping leaves of those of the first, norms, and parameters."""
    inputs, agent, outputs = subject.inputs("optimiser"), subject.agent, {}
    steps = {name.split(".")[0] for name in inputs if name.startswith("step")}
    for step in sorted(steps):
        given = inputs.below(f"{step}.")
        clipped: dict[str, Tensor] = {}
        for side, norm in (("model", "grad_norm"), ("policy", "pi_grad_norm")):
            side_optimiser = getattr(agent, f"{side}_optimiser")
            for name, p in zip(list_gradients(agent, side), side_optimiser.parameters, strict=True):
                # As autograd leaves it: laid out in memory as the parameter is.
                p.grad = torch.empty_like(p).copy_(to_ours(name, given[official_name(name)]))
                clipped[name] = p.grad
            outputs[f"{step}.{norm}"] = agent.step(side_optimiser)
        own = list_tensors(agent)
        outputs |= to_official_names({name: own[name].clone() for name in clipped}, f"{step}.after.")
        if step == "step0":
            outputs |= to_official_names(clipped, f"{step}.clipped.")
    return outputs


@component
def update(subject: Subject) -> Outputs:
    """Whole updates in a row: the statistics of each, and all that they changed."""
    inputs, agent, outputs = subject.inputs("update"), subject.agent, {}
    for number, given in enumerate(_update_inputs(inputs)):
        agent.noise = update_noise(given)
        outputs |= {f"update{number}.{k}": v for k, v in agent.update(make_batch(given)).items()}
    return {**outputs, **to_official_names(list_tensors(agent), "after.")}


def _update_inputs(inputs: Inputs) -> Iterator[Inputs]:
    yield inputs
    number = 1
    while part := inputs.below(f"update{number}."):
        yield part
        number += 1


@component
def running_scale(subject: Subject) -> Outputs:
    """The running scale after each batch of values."""
    agent, seen = subject.agent, []
    for value in subject.inputs("running_scale")["value"]:
        agent.update_scale(value.unsqueeze(0))
        seen.append(agent.scale.value.clone())
    return {"scale": torch.cat(seen)}


@component
def target_ema(subject: Subject) -> Outputs:
    """The target Q-functions after they moved towards the Q-functions."""
    subject.agent.update_target()
    own = list_tensors(subject.agent)
    return to_official_names({name: tensor for name, tensor in own.items() if name.startswith("target_q.")})
