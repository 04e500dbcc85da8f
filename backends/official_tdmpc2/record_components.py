"""The components of the official TD-MPC2: what each computes from recorded inputs.

Shapes: T = horizon, B = batch_size, L = latent_dim, A = action_dim, Q = num_q, K = num_bins,
N = num_samples, P = num_pi_trajs, E = num_elites, I = iterations, D = mlp_dim. Everything here is computed
by methods of the official objects; random numbers that they drew are inputs (:mod:`.capture`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from backends.official_tdmpc2 import capture
from backends.official_tdmpc2.capture import Kept, keep_results, replace_attribute
from pytest_worldflux_parity.wire.recording import GoldenWriter

TASKS = ("cartpole-balance", "walker-walk", "cheetah-run-backwards", "pendulum-spin")
ENVIRONMENT_STEPS = 12
EPISODE_LENGTHS = (1, 50, 100, 112, 250, 500, 1000, 2000)
ACTION_DIMS = (1, 19, 20, 38)
REPLAY_CAPACITY = 26
REPLAY_EPISODES = (7, 3, 5, 6, 10, 4)  # observations of each; three are fewer than a sub-trajectory's
SUB_TRAJECTORY = 4
UPDATES = 2
# Wider tolerances than a stage's, and why. A checkpoint's weights are not ours to choose.
TINY = "Adam divides a tiny gradient, and the rounding in it, by its own size"
CANCEL = "the loss of the policy is a difference of terms that can be larger than itself"
SMALL = "a small value is what is left of bins of up to ten that cancel"
SHARP = (
    "a score is the exponential of a value of up to 23, of which processors round the last places otherwise"
)
WIDER: dict[bool, dict[str, tuple[float, str]]] = {
    False: {"planner": (5e-5, SHARP), "update": (5e-5, TINY)},
    True: {
        **dict.fromkeys(("reward", "q", "target_q"), (1e-4, SMALL)),
        "policy_loss": (1e-4, CANCEL),
        "update": (1e-3, TINY),
    },
}


class Official:
    """The official modules and an agent, whose weights can be put back to what they were.

    Args:
        modules: ``tdmpc2``, ``math``, ``buffer``, ``envs``: the official modules.
        configure: makes an official configuration, the keys given changed.
        weights: official parameter name -> tensor; ``scale.value`` among them.
    """

    def __init__(
        self, modules: Mapping[str, Any], configure: Callable[..., Any], weights: Mapping[str, Tensor]
    ) -> None:
        self.modules, self.configure, self.weights = modules, configure, weights
        self.agent = self.fresh_agent()
        self.cfg, self.model = self.agent.cfg, self.agent.model
        self.math = modules["math"]

    def new_agent(self, **changes: Any) -> Any:
        """An agent as the official program begins."""
        return self.modules["tdmpc2"].TDMPC2(self.configure(**changes))

    def fresh_agent(self, **changes: Any) -> Any:
        """An agent with the weights, new optimisers, and no plan to start from."""
        agent = self.new_agent(**changes)
        if not changes:
            put_weights(agent, self.weights)
        return agent

    def normal(self, *shape: int) -> Tensor:
        """Numbers that are ours to choose: standard normals."""
        return torch.randn(*shape)

    def latents(self, *lead: int) -> Tensor:
        """Points (..., L) where latents lie: softmax within groups."""
        groups = self.normal(*lead, self.cfg.latent_dim // self.cfg.simnorm_dim, self.cfg.simnorm_dim)
        return (1.5 * groups).softmax(-1).flatten(-2)

    def actions(self, *lead: int) -> Tensor:
        """Actions (..., A) in [-1, 1]."""
        return torch.rand(*lead, self.cfg.action_dim) * 2 - 1

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Observations (T + 1, B, O), actions (T, B, A), rewards (T, B, 1)."""
        c = self.cfg
        obs = self.normal(c.horizon + 1, c.batch_size, *c.obs_shape[c.obs])
        return obs, self.actions(c.horizon, c.batch_size), 3 * self.normal(c.horizon, c.batch_size, 1)


def list_parameters(agent: Any) -> dict[str, Tensor]:
    """Official name -> tensor of all that a run changes: learned, target Q-functions, running scale.

    ``_detach_Qs_params`` are the memory of ``_Qs.params`` under another name.

    Raises:
        RuntimeError: they are not.
    """
    named = {
        name: value
        for name, value in agent.model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor) and not name.startswith("log_std") and "__" not in name
    }
    for name in [n for n in named if n.startswith("_detach_Qs_params.")]:
        twin = name.replace("_detach_Qs_params.", "_Qs.params.")
        if named.pop(name).data_ptr() != named[twin].data_ptr():
            raise RuntimeError(f"{name} is not the memory of {twin}")
    return {**named, "scale.value": agent.scale.value}


def put_weights(agent: Any, weights: Mapping[str, Tensor]) -> None:
    """Copy ``weights``, which must be all of :func:`list_parameters`, into ``agent``."""
    own = list_parameters(agent)
    assert own.keys() == weights.keys(), own.keys() ^ weights.keys()
    for name, tensor in own.items():
        tensor.data.copy_(weights[name])


def draw_weights(agent: Any) -> dict[str, Tensor]:
    """Non-zero numbers for every parameter, for outputs that are neither constant nor saturated."""
    return {name: _draw_like(name, p) for name, p in list_parameters(agent).items()}


def _draw_like(name: str, p: Tensor) -> Tensor:
    noise = torch.randn(p.shape)
    if name == "scale.value":
        return torch.full(p.shape, 1.7)
    if name.endswith("ln.weight"):
        return 1 + 0.2 * noise
    if name.endswith("bias"):
        return 0.2 * noise
    head = name.startswith(("_reward.2", "_Qs.params.2", "_target_Qs_params.2"))
    return noise * (2.0 if head else 1.0) / p.shape[-1] ** 0.5


def record_all(official: Official, seed: int, trained: bool) -> GoldenWriter:
    """Every component, each from its own seed; ``trained``: whether the weights are a checkpoint's."""
    golden = GoldenWriter(WIDER[trained], trained)
    recorders = (
        environment, replay, encoder, dynamics, reward, q_functions, q_dropout, policy, two_hot, planner,
        heuristics, losses_and_updates, running_scale, target_ema,
    )  # fmt: skip
    for number, record in enumerate(recorders):
        torch.manual_seed(1000 * seed + number)
        official.model.eval()
        put_weights(official.agent, official.weights)
        record(official, golden)
    return golden


def environment(official: Official, golden: GoldenWriter) -> None:
    """Observations after a reset and some steps, and the rewards of the steps (envs/dmcontrol.py)."""
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for seed, task in enumerate(TASKS, start=11):
        env = official.modules["envs"].make_env(official.configure(task=task, seed=seed))
        actions = torch.rand(ENVIRONMENT_STEPS, *env.action_space.shape) * 2 - 1
        seen = [(env.reset(), None), *(env.step(action)[:2] for action in actions)]
        inputs |= {f"{task}.seed": seed, f"{task}.action": actions}
        outputs[f"{task}.observation"] = torch.stack([obs for obs, _ in seen])
        outputs[f"{task}.reward"] = torch.stack([r for _, r in seen[1:]])
    golden.add("environment", "environment", inputs, outputs)


def replay(official: Official, golden: GoldenWriter) -> None:
    """Sub-trajectories from stored episodes, before and after the ring is full (common/buffer.py).

    Inputs: the episodes, and for each slice the number of its episode among those that hold one, oldest
    first, and the share of the way through its possible starts.
    """
    cfg = official.configure(buffer_size=REPLAY_CAPACITY, steps=10**6, horizon=SUB_TRAJECTORY - 1)
    buffer = official.modules["buffer"].Buffer(cfg)
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    inputs |= {"capacity": REPLAY_CAPACITY, "length": SUB_TRAJECTORY}
    for number, size in enumerate(REPLAY_EPISODES):
        episode = _draw_episode(official, size)
        inputs |= {f"episode{number}.{k}": v[1:] if k != "obs" else v for k, v in episode.items()}
        buffer.add(_to_stored(official, episode))
        if number in (2, len(REPLAY_EPISODES) - 1):
            which, share, taken = _sample(buffer)
            inputs |= {f"after{number}.episode": which, f"after{number}.share": share}
            outputs |= {f"after{number}.{k}": v for k, v in taken.items()}
    golden.add("replay", "environment", inputs, outputs)


def _draw_episode(official: Official, size: int) -> dict[str, Tensor]:
    cfg = official.cfg
    obs = official.normal(size, *cfg.obs_shape[cfg.obs])
    return {"obs": obs, "action": official.actions(size), "reward": official.normal(size)}


def _to_stored(official: Official, episode: Mapping[str, Tensor]) -> Any:
    # As the trainer's to_td: the row of an observation holds what led to it, so the first holds nothing.
    td = official.modules["buffer"].TensorDict(
        {**episode, "terminated": torch.zeros_like(episode["reward"])}, batch_size=(len(episode["obs"]),)
    )
    td["action"][0] = td["reward"][0] = td["terminated"][0] = float("nan")
    return td


def _sample(buffer: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    seen = Kept()

    def look(original: Callable[..., Any], td: Any) -> Any:
        seen.add("episode", td["episode"][0])
        return original(td)

    with replace_attribute(buffer, "_prepare_batch", look), capture.keep_draws() as drawn:
        obs, action, reward, *_ = buffer.sample()
    ids, counts = buffer._buffer._storage[:]["episode"].unique(return_counts=True)
    usable = ids[counts >= obs.shape[0]]
    which = torch.searchsorted(usable, seen["episode"][0].long())
    return which, drawn["rand"][0], {"obs": obs, "action": action, "reward": reward.squeeze(-1)}


def encoder(official: Official, golden: GoldenWriter) -> None:
    """Latents of observations (common/layers.py enc)."""
    obs, _, _ = official.batch()
    golden.add("encoder", "encoder", {"obs": obs}, {"z": official.model.encode(obs, None)})


def dynamics(official: Official, golden: GoldenWriter) -> None:
    """The next latents."""
    z, a = official.latents(16), official.actions(16)
    golden.add("dynamics", "latent", {"z": z, "action": a}, {"next_z": official.model.next(z, a, None)})


def reward(official: Official, golden: GoldenWriter) -> None:
    """Logits of the reward and what they stand for."""
    z, a = official.latents(16), official.actions(16)
    logits = official.model.reward(z, a, None)
    outputs = {"logits": logits, "value": official.math.two_hot_inv(logits, official.cfg)}
    golden.add("reward", "heads", {"z": z, "action": a}, outputs)


def q_functions(official: Official, golden: GoldenWriter) -> None:
    """Logits and values of every Q-function and every target Q-function, without dropout."""
    for name, target in (("q", False), ("target_q", True)):
        z, a = official.latents(12), official.actions(12)
        logits = official.model.Q(z, a, None, return_type="all", target=target)
        outputs = {"logits": logits, "value": official.math.two_hot_inv(logits, official.cfg)}
        golden.add(name, "heads", {"z": z, "action": a}, outputs)


def q_dropout(official: Official, golden: GoldenWriter) -> None:
    """Logits of every Q-function with what dropout let through."""
    z, a = official.latents(12), official.actions(12)
    kept = Kept()
    official.model.train()
    with capture.keep_dropout_masks(kept, "mask", official.model._Qs):
        logits = official.model.Q(z, a, None, return_type="all")
    inputs = {"z": z, "action": a, "passed": kept["mask"][0]}
    golden.add("q_dropout", "heads", inputs, {"logits": logits})


def policy(official: Official, golden: GoldenWriter) -> None:
    """The policy prior and the terms of its entropies (common/world_model.py pi)."""
    z, kept = official.latents(16), Kept()
    with keep_results(kept, official.math, "gaussian_logprob"), capture.keep_draws() as drawn:
        action, info = official.model.pi(z, None)
    outputs = {name: info[name] for name in ("mean", "log_std", "entropy", "scaled_entropy")}
    outputs |= {"action": action, "log_prob": -info["entropy"], "gaussian": kept["gaussian_logprob"][0]}
    golden.add("policy", "heads", {"z": z, "noise": drawn["randn_like"][0]}, outputs)


def two_hot(official: Official, golden: GoldenWriter) -> None:
    """Scalars to bins and back, at the ends of the range and beyond, and the cross-entropy."""
    cfg, math = official.cfg, official.math
    centres = math.symexp(torch.linspace(cfg.vmin, cfg.vmax, cfg.num_bins)[1:-1:5])
    ends = [math.symexp(torch.tensor(v)).item() * s for v in (cfg.vmin, cfg.vmax) for s in (1.0, 0.9, 2.0)]
    x = torch.cat([torch.tensor([0.0, 1e-3, -1e-3, 0.5, -1.0, 3.7, *ends]), centres, 5 * torch.randn(8)])
    logits = 2 * torch.randn(len(x), cfg.num_bins)
    certain = torch.full((2, cfg.num_bins), -40.0)
    certain[0, 0] = certain[1, -1] = 40.0
    outputs = {
        "distribution": math.two_hot(x.unsqueeze(1), cfg),
        "decoded": math.two_hot_inv(logits, cfg),
        "decoded_ends": math.two_hot_inv(certain, cfg),
        "cross_entropy": math.soft_ce(logits, x.unsqueeze(1), cfg),
    }
    golden.add("two_hot", "heads", {"x": x, "logits": logits, "certain": certain}, outputs)


def planner(official: Official, golden: GoldenWriter) -> None:
    """Three plans in a row, the later ones from where the one before left off (tdmpc2.py _plan).

    The first two explore, the third does not. Of every iteration: the actions (T, N, A) tried, their
    values (N,), and the means and standard deviations (T, A) and weights (E,) that follow.
    """
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    actions = []
    for number in range(3):
        obs = 1.5 * official.normal(*official.cfg.obs_shape[official.cfg.obs])
        with _watch_plan(official) as seen, capture.keep_draws() as drawn:
            action = official.agent.act(obs, t0=number == 0, eval_mode=number == 2)
        inputs |= {f"plan{number}.{k}": v for k, v in _plan_noise(official.cfg, drawn).items()}
        inputs[f"plan{number}.obs"] = obs
        actions.append(action)
        for name in ("actions", "values", "mean", "std", "score"):
            outputs[f"plan{number}.{name}"] = torch.stack(seen[name])
    golden.add("planner", "heads", inputs, {"action": torch.stack(actions), **outputs})


@contextlib.contextmanager
def _watch_plan(official: Official) -> Iterator[Kept]:
    kept = Kept()

    def estimate(original: Callable[..., Any], z: Any, actions: Any, task: Any) -> Any:
        refitted(capture.find_locals())
        kept.add("actions", actions)
        value = original(z, actions, task)
        kept.add("values", value.squeeze(-1))
        return value

    def choose(original: Callable[..., Any], p: Any) -> Any:
        refitted(capture.find_locals())
        return original(p)

    def refitted(found: Mapping[str, Any]) -> None:
        if "score" in found:  # an iteration has ended
            for name in ("mean", "std", "score"):
                kept.add(name, found[name].squeeze(-1) if name == "score" else found[name])

    with (
        replace_attribute(official.agent, "_estimate_value", estimate),
        replace_attribute(official.math, "gumbel_softmax_sample", choose),
    ):
        yield kept


def _plan_noise(cfg: Any, drawn: Kept) -> dict[str, Tensor]:
    """Normals of the prior (T, P, A), the samples (I, T, N - P, A), the final action (I, N, A) and the
    exploration (A,), the members (I, 2), the exponentials of the choice (E,)."""
    prior, final = drawn["randn_like"][: cfg.horizon], drawn["randn_like"][cfg.horizon :]
    samples, action = drawn["randn"][: cfg.iterations], drawn["randn"][cfg.iterations :]
    assert (len(prior), len(final), len(drawn["randperm"])) == (cfg.horizon, cfg.iterations, cfg.iterations)
    return {
        "prior": torch.stack(prior),
        "samples": torch.stack(samples),
        "final": torch.stack(final),
        "members": torch.stack(drawn["randperm"])[:, :2],
        "choice": drawn["exponential_"][0],
        # Drawn only where the plan explores; given in any case, and then not used.
        "action": action[0] if action else torch.zeros(cfg.action_dim),
    }


def heuristics(official: Official, golden: GoldenWriter) -> None:
    """The discount of an episode's length, and the iterations of an action's size (tdmpc2.py)."""
    discounts = [official.agent._get_discount(length) for length in EPISODE_LENGTHS]
    inputs = {"episode_length": torch.tensor(EPISODE_LENGTHS)}
    golden.add("discount", "heads", inputs, {"discount": torch.tensor(discounts)})
    iterations = [official.fresh_agent(action_dim=n).cfg.iterations for n in ACTION_DIMS]
    inputs = {"action_dim": torch.tensor(ACTION_DIMS)}
    golden.add("planning_iterations", "heads", inputs, {"iterations": torch.tensor(iterations)})


def losses_and_updates(official: Official, golden: GoldenWriter) -> None:
    """Whole updates in a row, of whose first the parts are components of their own (tdmpc2.py _update).

    The loss and the gradients of the policy come from a call of their own, with the weights as recorded:
    within an update, the Q-functions have moved before.
    """
    agent = official.fresh_agent()
    found = [run_watched_update(agent, official.batch()) for _ in range(UPDATES)]
    first = found[0]
    inputs, kept, info = first.inputs, first.kept, first.info
    td_target(official, golden)
    golden.put("inputs/shared", inputs)
    for name in ("consistency_loss", "reward_loss", "value_loss", "total_loss"):
        golden.add(name, "loss", {}, {name: info[name]})
    alone = _run_watched_policy_update(official, kept["zs"][0])
    terms = {name: alone.kept[name][0] for name in ("value", "scaled_entropy")}
    averages = {name: alone.info[name].mean() for name in ("pi_loss", "pi_entropy", "pi_scale")}
    golden.add("policy_loss", "loss", alone.inputs, {**terms, **averages})
    golden.add("model_gradient", "gradient", {}, first.gradients["model"])
    golden.add("policy_gradient", "gradient", {}, alone.gradients["policy"])
    _record_optimiser(found, golden)
    _record_whole(found, golden)


def td_target(official: Official, golden: GoldenWriter) -> None:
    """TD-targets, and with the same noise those of rewards of zero, in which small values are not lost."""
    cfg = official.cfg
    next_z, reward = official.latents(cfg.horizon, cfg.batch_size), official.batch()[2]
    outputs: dict[str, Tensor] = {}
    for name, given in (("td_target", reward), ("future", torch.zeros_like(reward))):
        torch.manual_seed(1)
        with capture.keep_draws() as drawn:
            target = official.agent._td_target(next_z, given, torch.zeros_like(given), None)
        outputs[name] = target.squeeze(-1)
    inputs = {
        "next_z": next_z,
        "reward": reward.squeeze(-1),
        "target_action": drawn["randn_like"][0],
        "target_members": drawn["randperm"][0][:2],
    }
    golden.add("td_target", "loss", inputs, outputs)


class Update:
    """What one update drew, computed and left.

    Attributes:
        gradients, clipped: by side (``model``, ``policy``), by official name.
        kept: zs, value, scaled_entropy, and what dropout let through.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.info: Any = None
        self.kept = Kept()
        self.drawn = Kept()
        self.gradients: dict[str, dict[str, Tensor]] = {}
        self.clipped: dict[str, dict[str, Tensor]] = {}
        self.after: dict[str, Tensor] = {}


@contextlib.contextmanager
def _watch_update(agent: Any, update: Update) -> Iterator[None]:
    kept = update.kept

    def clip(original: Callable[..., Any], parameters: Any, limit: float) -> Any:
        parameters = list(parameters)
        own = _list_gradients(agent)
        side = "policy" if all(name.startswith("_pi.") for name in own) else "model"
        update.gradients[side] = own
        norm = original(parameters, limit)
        update.clipped[side] = _list_gradients(agent)
        return norm

    def update_pi(original: Callable[..., Any], zs: Any, task: Any) -> Any:
        kept.add("zs", zs)
        return original(zs, task)

    def scale(original: Callable[..., Any], qs: Any) -> Any:
        kept.add("value", qs.squeeze(-1))
        return original(qs)

    def pi(original: Callable[..., Any], z: Any, task: Any) -> Any:
        sample, info = original(z, task)
        kept.add("scaled_entropy", info["scaled_entropy"].squeeze(-1))
        return sample, info

    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(replace_attribute(torch.nn.utils, "clip_grad_norm_", clip))
        enter(replace_attribute(agent, "update_pi", update_pi))
        enter(replace_attribute(agent.scale, "forward", scale))
        enter(replace_attribute(agent.model, "pi", pi))
        enter(capture.keep_dropout_masks(kept, "model_passed", agent.model._Qs))
        enter(capture.keep_dropout_masks(kept, "policy_passed", agent.model._detach_Qs))
        update.drawn = enter(capture.keep_draws())
        yield


def run_watched_update(agent: Any, batch: tuple[Tensor, Tensor, Tensor]) -> Update:
    """One update of an agent from (obs, action, reward): what it drew, computed and left."""
    update = Update()
    obs, action, reward = batch
    with _watch_update(agent, update):
        update.info = agent._update(obs, action, reward, torch.zeros_like(reward))
    kept = update.kept
    update.inputs = {"obs": obs, "action": action, "reward": reward.squeeze(-1)}
    update.inputs |= _update_noise(update.drawn, kept)
    update.after = {name: p.detach().clone() for name, p in list_parameters(agent).items()}
    return update


def _run_watched_policy_update(official: Official, zs: Tensor) -> Update:
    update, agent = Update(), official.fresh_agent()
    agent.model.train()
    with _watch_update(agent, update):
        update.info = agent.update_pi(zs, None)
    drawn, kept = update.drawn, update.kept
    update.inputs = {
        "zs": zs,
        "policy_action": drawn["randn_like"][0],
        "policy_members": drawn["randperm"][0][:2],
        "policy_passed": kept["policy_passed"][0],
    }
    return update


def _update_noise(drawn: Kept, kept: Kept) -> dict[str, Tensor]:
    target_action, policy_action = drawn["randn_like"]
    target_members, policy_members = (order[:2] for order in drawn["randperm"])
    return {
        "target_action": target_action,
        "target_members": target_members,
        "model_passed": kept["model_passed"][0],
        "policy_action": policy_action,
        "policy_members": policy_members,
        "policy_passed": kept["policy_passed"][0],
    }


def _list_gradients(agent: Any) -> dict[str, Tensor]:
    own = list_parameters(agent)
    return {name: p.grad.clone() for name, p in own.items() if p.grad is not None}


def _record_optimiser(found: list[Update], golden: GoldenWriter) -> None:
    """Two steps given their gradients; clipped gradients, norms and parameters after each."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for number, update in enumerate(found):
        gradients = {**update.gradients["model"], **update.gradients["policy"]}
        clipped = {**update.clipped["model"], **update.clipped["policy"]}
        inputs |= {f"step{number}.{name}": g for name, g in gradients.items()}
        outputs |= {f"step{number}.{n}": update.info[n] for n in ("grad_norm", "pi_grad_norm")}
        outputs |= {f"step{number}.after.{name}": update.after[name] for name in gradients}
        if number == 0:
            outputs |= {f"step{number}.clipped.{name}": g for name, g in clipped.items()}
    golden.add("optimiser", "update", inputs, outputs)


def _record_whole(found: list[Update], golden: GoldenWriter) -> None:
    """The statistics of each update, and all that they changed after the last."""
    outputs: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    for number, update in enumerate(found):
        if number > 0:
            inputs |= {f"update{number}.{k}": v for k, v in update.inputs.items()}
        statistics = {k: v for k, v in update.info.items() if k != "termination_loss"}
        outputs |= {f"update{number}.{k}": v for k, v in statistics.items()}
    outputs |= {f"after.{name}": p for name, p in found[-1].after.items()}
    golden.add("update", "update", inputs, outputs)


def running_scale(official: Official, golden: GoldenWriter) -> None:
    """The scale after each of some batches of values (common/scale.py)."""
    scale, batch = official.agent.scale, official.cfg.batch_size
    values = torch.randn(5, batch, 1) * torch.tensor([4.0, 0.01, 9.0, 1.0, 30.0]).view(5, 1, 1)
    seen = []
    for value in values:
        scale.update(value)
        seen.append(scale.value.clone())
    golden.add("running_scale", "update", {"value": values.squeeze(-1)}, {"scale": torch.cat(seen)})


def target_ema(official: Official, golden: GoldenWriter) -> None:
    """The target Q-functions after they moved towards the Q-functions."""
    official.model.soft_update_target_Q()
    names = [n for n in official.weights if n.startswith("_target_Qs_params.")]
    own = list_parameters(official.agent)
    golden.add("target_ema", "update", {}, {name: own[name] for name in names})
