"""What `record.py` records of the official DreamerV3, in the order in which data flows through it.

Shapes: B = rows of a batch, T = its steps, N = B x T starts of imagination, H = steps of imagination,
A = dimensions of an action (none of discrete ones), S x C = stoch x classes of the latent. Each function
calls official code; which is said in its docstring. Bools are recorded as 0 and 1 in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_worldflux_parity.wire.recording import GoldenWriter

from . import recipe as recipes
from .setting import CONTEXT, ROWS, STEPS, Setting, take_optimiser_steps

DMC = {"config": "dmc_proprio", "task": "dmc_cartpole_balance", "env.dmc.repeat": 2}
DMC_START = {"qpos": [0.25, 0.4], "qvel": [-0.5, 0.75]}
# Episodes that end after so many control steps, within the repeats of an action.
DMC_LIMIT, DMC_SEED, DMC_STEPS = 9, 4, 15
# A life that is lost ends an episode, so that there are ends; of 18 actions, this game needs nine.
ATARI = {"config": "atari100k", "task": "atari100k_asterix", "env.atari100k.lives": "reset"}
ATARI_SEED, ATARI_ACTIONS, ATARI_STEPS, ATARI_HELD = 32, 9, 110, 5
FLAGS = ("is_first", "is_last", "is_terminal")
REPLAY = {"length": 5, "context": 1, "chunk": 8, "deter": 6, "stoch": [2, 3]}
REPLAY_ENVS, REPLAY_STEPS = 2, 14
# Environment and first step of sequences to draw, before and after latents were written back.
REPLAY_STARTS = ((0, 4), (1, 2), (0, 7), (1, 5))
REPLAY_LATER = ((0, 5), (1, 4), (0, 8), (1, 0))
LATENTS = ("dyn/deter", "dyn/stoch")
BINS = 255
# Twice the limit on the norm of a gradient for every second parameter, far below it for the others.
AGC_SHARES = (2.0, 0.1)


def describe_fixed(program: Path) -> dict[str, Any]:
    """What the manifest says of the components that belong to no setting.

    Args:
        program: folder of the official program.
    """
    atari = {**ATARI, recipes.RESET_FRAME: recipes.read_reset_frame(program)}
    return {
        "environment_dmc": {"recipe": DMC, "start": DMC_START, "limit": DMC_LIMIT, "seed": DMC_SEED},
        "environment_atari": {"recipe": atari, "seed": ATARI_SEED},
        "replay": REPLAY,
        "two_hot": {"bins": BINS},
    }


def record_all(
    golden: GoldenWriter, settings: dict[str, Setting], make_config: Callable[[dict[str, Any]], Any]
) -> None:
    """Record every component of every setting."""
    record_dmc(golden, make_config(DMC))
    record_atari(golden, make_config(ATARI))
    record_replay(golden)
    runs = {name: Run(setting) for name, setting in settings.items()}
    for name, run in runs.items():
        golden.put(f"weights/{name}", run.setting.weights)
        golden.put(f"inputs/shared/{name}", {"updates": run.setting.state["opt/step/value"], **run.inputs})
    first = next(iter(settings.values()))
    for record in (record_context, record_encoder, record_latent, record_heads, record_act):
        for name, run in runs.items():
            record(golden, run, name)
    record_two_hot(golden)
    record_lambda_return(golden, first)
    record_normalisation(golden, first)
    for record in (record_given_losses, record_losses, record_gradients, record_update):
        for name, run in runs.items():
            record(golden, run, name)


def to_floats(values: Any) -> Any:
    """Bools and integers as float32."""
    import numpy as np

    return np.asarray(values, np.float32)


# Environments and replay


def record_dmc(golden: GoldenWriter, config: Any) -> None:
    """A few steps of an official DMC task, the first from a given state; ``embodied/envs/dmc.py``, wrappers.

    Some actions are out of bounds, so that clipping shows, and episodes are short, so that they end and
    begin. The task never ends in a terminal step, which is why that flag is left out.
    """
    import numpy as np
    from dreamerv3 import main

    env = main.make_env(config, 0)
    inner = env
    while not hasattr(inner, "_dmenv"):
        inner = inner.env
    task, physics = inner._dmenv, inner._dmenv.physics
    task.task._random, task._step_limit = np.random.RandomState(DMC_SEED), DMC_LIMIT
    seen = [env.step({"reset": True, "action": np.zeros(1, np.float32)})]
    with physics.reset_context():
        physics.data.qpos[:], physics.data.qvel[:] = DMC_START["qpos"], DMC_START["qvel"]
    actions = np.float32(np.random.default_rng(1).uniform(-1.6, 1.6, (DMC_STEPS, 1)))
    take_actions(env, seen, actions)
    outputs = {k: to_floats([s[k] for s in seen]) for k in ("position", "velocity", "reward", *FLAGS[:2])}
    golden.add("environment_dmc", "environment", {"action": actions}, outputs)


def take_actions(env: Any, seen: list[Any], actions: Any) -> None:
    """Add what each action leads to; the one after an end begins the next episode."""
    for action in actions:
        seen.append(env.step({"reset": seen[-1]["is_last"], "action": action}))


def record_atari(golden: GoldenWriter, config: Any) -> None:
    """An official Atari game from its start, over an end; ``embodied/envs/atari.py``.

    Of each frame (64, 64, 3) the means of 8 x 8 blocks are kept (8, 8, 3); every sixth frame.
    """
    import numpy as np
    from dreamerv3 import main

    # The game is seeded, because an action sticks with probability 0.25 whatever `sticky` says.
    env = main.make_env(config, 0, seed=ATARI_SEED)
    random = np.random.default_rng(ATARI_SEED)
    actions = random.integers(ATARI_ACTIONS, size=ATARI_STEPS // ATARI_HELD).repeat(ATARI_HELD)
    actions = actions.astype(np.int32)
    seen = [env.step({"reset": True, "action": np.int32(0)})]
    take_actions(env, seen, actions)
    images = np.stack([s["image"] for s in seen[::6]]).astype(np.float32)
    blocks = images.reshape(len(images), 8, 8, 8, 8, 3).mean((2, 4))
    outputs = {"blocks": blocks, **{k: to_floats([s[k] for s in seen]) for k in ("reward", *FLAGS)}}
    golden.add("environment_atari", "environment", {"action": actions}, outputs)


class Starts:
    """In place of the official uniform selector: gives the items that it is told to."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.chosen: list[int] = []

    def choose(self, starts: Any) -> None:
        """Give the sequences that begin at these (environment, step), in order.

        Environments step together, and sequences are complete in the order of their first steps.
        """
        self.chosen = [step * REPLAY_ENVS + env for env, step in starts]

    def __call__(self) -> int:
        return self.items[self.chosen.pop(0)]

    def __setitem__(self, key: int, stepids: Any) -> None:
        self.items.append(key)

    def __len__(self) -> int:
        return len(self.items)

    def __bool__(self) -> bool:
        # The official replay asks `selector or Uniform()`, also of one without items yet.
        return True


def record_replay(golden: GoldenWriter) -> None:
    """Steps of two environments; the batches that come out, from the online queue and from given starts;
    and from later starts, after latents were written back. ``embodied/core/replay.py``, ``streams.Consec``.

    Inputs: ``steps/<key>`` (steps, environments, ...); ``start``, ``later`` (4, 2): environment and first
    step of a sequence; ``latents/<key>`` (4, length, ...) to write back. Of latents, batches hold the
    context's only, since no others are used.
    """
    import numpy as np
    from embodied.core import replay as official

    context, random = REPLAY["context"], np.random.default_rng(3)
    steps, selector = draw_replay_steps(random), Starts()
    replay = official.Replay(
        REPLAY["length"] + context, capacity=1000, chunksize=REPLAY["chunk"], online=True, selector=selector
    )
    for i in range(REPLAY_STEPS):
        for env in range(REPLAY_ENVS):
            replay.add({k: v[i, env] for k, v in steps.items()}, env)
    online = draw_batch(replay, len(replay.queue))
    selector.choose(REPLAY_STARTS)
    batch = draw_batch(replay, len(REPLAY_STARTS))
    shape = (len(REPLAY_STARTS), REPLAY["length"])
    written = {k: np.float32(random.normal(size=(*shape, *steps[k].shape[2:]))) for k in LATENTS}
    replay.update({"stepid": batch["stepid"][:, context:], **written})
    selector.choose(REPLAY_LATER)
    after = draw_batch(replay, len(REPLAY_LATER))
    inputs = {"start": np.asarray(REPLAY_STARTS), "later": np.asarray(REPLAY_LATER)}
    inputs |= {f"steps/{k}": v for k, v in steps.items()} | {f"latents/{k}": v for k, v in written.items()}
    outputs = {}
    for name, drawn in (("online", online), ("batch", batch), ("after", after)):
        for key in steps:
            outputs[f"{name}/{key}"] = to_floats(drawn[key][:, :context] if key in LATENTS else drawn[key])
    golden.add("replay", "environment", inputs, outputs)


def draw_replay_steps(random: Any) -> dict[str, Any]:
    """Steps of short episodes in two environments; those of the second are given up without an end."""
    import numpy as np

    shape = (REPLAY_STEPS, REPLAY_ENVS)
    index = np.arange(REPLAY_STEPS)
    ends = np.stack([index % 7 == 6, index > REPLAY_STEPS], 1)
    return {
        "observation": np.float32(random.normal(size=(*shape, 2))),
        "action": np.float32(random.uniform(-1, 1, (*shape, 1))),
        "reward": np.float32(random.normal(size=shape)),
        "is_first": np.stack([index % 7 == 0, index % 4 == 0], 1),
        "is_last": ends,
        "is_terminal": ends & (index == 6)[:, None],
        "dyn/deter": np.float32(random.normal(size=(*shape, REPLAY["deter"]))),
        "dyn/stoch": np.float32(random.normal(size=(*shape, *REPLAY["stoch"]))),
    }


def draw_batch(replay: Any, rows: int) -> dict[str, Any]:
    """A batch as the training program takes it from ``replay``."""
    import embodied

    stream = embodied.streams.Stateless(replay.sample, rows, "train")
    length, context = REPLAY["length"], REPLAY["context"]
    return next(iter(embodied.streams.Consec(stream, length=length, consec=1, prefix=context)))


# One batch and what the official training step makes of it


class Run:
    """A batch, and everything that one official training step computes from it.

    ``inputs`` names what components share: ``data/<key>`` (B, T + context, ...), ``carry/{deter, stoch,
    action}`` (B, ...), what replay context makes of these, ``obs/<key>`` and ``prevact`` (B, T, ...),
    ``start/{deter, stoch}`` (B, ...), and the noise in the order of its use: ``noise/posterior``
    (B, T, S, C), ``noise/action`` (N, H + 1, A), ``noise/prior`` (N, H, S, C).
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.model = setting, setting.model
        self.data = make_data(setting)
        self.carry = make_carry(setting)
        self.context = setting.call(lambda: self.model._apply_replay_context(self.carry, self.data))
        self.seen: dict[str, Any] = {}
        start, obs, prevact, _ = self.context
        with capture_losses(self.seen):
            _, self.losses, self.draws = setting.run(lambda: self.model.loss(start, obs, prevact, True))
        self._check_free_nats()
        if setting.complete:
            if not setting.given:
                take_optimiser_steps(setting, self._train()[1]["gradients"])
            self.state_after, self.applied = self._train()
        self.inputs = self._shared()

    def _check_free_nats(self) -> None:
        free = self.setting.config.agent.dyn.rssm.free_nats
        share = float((self.losses[1][2]["losses"]["dyn"] > free).mean())
        if not self.setting.given and not 0.1 < share < 0.9:
            sys.exit(f"{self.setting.name}: {share:.0%} of the divergences exceed the free nats, not some")

    def _train(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """State after a training step; its gradients, updates, metrics and what it gives to the replay."""
        optimiser, applied = self.model.opt.opt, {}

        def update(gradients: Any, state: Any, parameters: Any) -> Any:
            updates, new = optimiser.update(gradients, state, parameters)
            applied.update(gradients=gradients, updates=updates)
            return updates, new

        self.model.opt.opt = optimiser._replace(update=update)
        try:
            state, (carry, outs, metrics), _ = self.setting.run(
                lambda: self.model.train(self.carry, self.data), self.draws
            )
        finally:
            self.model.opt.opt = optimiser
        return state, {**applied, "carry": carry, "replay": outs["replay"], "metrics": metrics}

    def _shared(self) -> dict[str, Any]:
        import numpy as np

        start, obs, prevact, _ = self.context
        shared = {f"data/{k}": v for k, v in self.data.items() if k != "stepid"}
        shared |= {f"carry/{k}": v for k, v in {**self.carry[1], **self.carry[3]}.items()}
        shared |= {f"obs/{k}": v for k, v in obs.items()} | {"prevact": prevact["action"]}
        shared |= {f"start/{k}": v for k, v in start[1].items()}
        steps = obs["is_first"].shape[1]
        imagined = self.draws[steps:]
        shared["noise/posterior"] = np.stack(self.draws[:steps], 1)
        shared["noise/action"] = np.stack(imagined[0::2], 1)
        shared["noise/prior"] = np.stack(imagined[1::2], 1)
        return shared

    @property
    def feat(self) -> dict[str, Any]:
        """The posterior's features (B, T, ...)."""
        return self.losses[1][2]["repfeat"]

    def rows(self, count: int) -> dict[str, Any]:
        """Deter and stoch of the first steps of all rows: (count, ...)."""
        return {k: flatten_rows(self.feat[k], count) for k in ("deter", "stoch")}


def capture_losses(seen: dict[str, Any]) -> Any:
    """Within, what goes into and comes out of ``imag_loss`` and ``repl_loss`` is put into ``seen``."""
    from dreamerv3 import agent

    def wrapper(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen[name] = args, original(*args, **kwargs)
            return seen[name][1]

        return call

    names = ("imag_loss", "repl_loss")
    return mock.patch.multiple(agent, **{name: wrapper(name, getattr(agent, name)) for name in names})


def make_data(setting: Setting) -> dict[str, Any]:
    """A batch as the replay gives it, with episodes that end and begin inside, and a row (the second) whose
    start is not the first of its sequence (``consec`` 1), so that the carried latent counts."""
    import numpy as np

    random, shape = setting.random, (ROWS, STEPS + CONTEXT)
    data = {
        k: draw_observation(random, s, shape)
        for k, s in setting.obs_space.items()
        if k not in setting.scalar_keys
    }
    data |= {k: np.zeros(shape, bool) for k in ("is_first", "is_last", "is_terminal")}
    data["is_first"][:, 0] = True
    for row, end, terminal in ((0, 3, True), (2, 5, False)):
        data["is_last"][row, end], data["is_first"][row, end + 1] = True, True
        data["is_terminal"][row, end] = terminal
    data["reward"] = np.float32(random.normal(0.5, 1.5, shape))
    data |= {k: draw_observation(random, s, shape) for k, s in setting.act_space.items()}
    data |= draw_latents(setting, shape)
    data["consec"] = np.repeat(np.int32([[0], [1], [0]]), shape[1], 1)
    data["stepid"] = random.integers(256, size=(*shape, 20)).astype(np.uint8)
    return data


def draw_observation(random: Any, space: Any, shape: tuple[int, ...]) -> Any:
    """Random values of a space: coarse images, classes, or numbers that reach beyond 1."""
    import numpy as np

    if space.dtype == np.uint8:
        coarse = random.integers(256, size=(*shape, 16, 16, space.shape[-1])).astype(np.uint8)
        return coarse.repeat(space.shape[0] // 16, -3).repeat(space.shape[1] // 16, -2)
    if space.discrete:
        return random.integers(int(np.max(space.classes)), size=(*shape, *space.shape)).astype(space.dtype)
    return np.float32(random.normal(0, 1.5, (*shape, *space.shape)))


def draw_latents(setting: Setting, shape: tuple[int, ...]) -> dict[str, Any]:
    """Random latents: ``dyn/deter`` within 1, ``dyn/stoch`` one-hot."""
    import numpy as np

    rssm = setting.model.dyn
    picked = setting.random.integers(rssm.classes, size=(*shape, rssm.stoch))
    return {
        "dyn/deter": np.float32(np.tanh(setting.random.normal(size=(*shape, rssm.deter)))),
        "dyn/stoch": np.eye(rssm.classes, dtype=np.float32)[picked],
    }


def make_carry(setting: Setting) -> tuple[Any, ...]:
    """What the agent carries from the batch before: a latent and the last action."""
    carried = draw_latents(setting, (ROWS,))
    action = {k: draw_observation(setting.random, s, (ROWS,)) for k, s in setting.act_space.items()}
    return ({}, {k.removeprefix("dyn/"): v for k, v in carried.items()}, {}, action)


# Components of a setting


def record_context(golden: GoldenWriter, run: Run, name: str) -> None:
    """The start of a batch after its context; ``dreamerv3/agent.py _apply_replay_context``."""
    start, obs, prevact, _ = run.context
    outputs = {
        "deter": start[1]["deter"],
        "stoch": start[1]["stoch"],
        "prevact": to_floats(prevact["action"]),
    }
    if run.setting.complete:
        outputs |= {f"obs/{k}": to_floats(v) for k, v in obs.items()}
    golden.add(f"{name}_replay_context", "environment", {}, outputs)


def record_encoder(golden: GoldenWriter, run: Run, name: str) -> None:
    """Observations -> tokens (B, T, n); ``dreamerv3/rssm.py Encoder``."""
    obs = run.context[1]
    tokens = run.setting.call(lambda: run.model.enc({}, obs, obs["is_first"], True))[2]
    golden.add(f"{name}_encoder", "encoder", {}, {"tokens": tokens})


def record_latent(golden: GoldenWriter, run: Run, name: str) -> None:
    """The recurrent state-space model part by part; ``dreamerv3/rssm.py RSSM``."""
    if run.setting.complete:
        record_core(golden, run, name)
        record_distribution(golden, run, name)
    record_observe(golden, run, name)
    record_imagine(golden, run, name)


def record_core(golden: GoldenWriter, run: Run, name: str) -> None:
    """The block GRU, the prior's and the posterior's logits; ``RSSM._core, _prior, _observe``."""
    import embodied.jax.nets as nn
    import jax

    dyn, given = run.model.dyn, run.rows(6)
    action = flatten_rows(run.context[2]["action"], 6)
    embedded = run.setting.call(lambda: nn.DictConcat(dyn.act_space, 1)({"action": action}))
    deter = run.setting.call(lambda: dyn._core(given["deter"], given["stoch"], embedded))
    golden.add(f"{name}_core", "latent", {**given, "action": action}, {"deter": deter})
    prior = run.setting.call(lambda: dyn._prior(deter))
    golden.add(f"{name}_prior", "latent", {"deter": deter}, {"logit": prior})
    tokens = flatten_rows(run.losses[1][2]["tokens"], 6)
    never = jax.numpy.zeros(6, bool)
    step = run.setting.call(lambda: dyn._observe(given, tokens, {"action": action}, never, True))
    inputs = {"deter": deter, "tokens": tokens}
    golden.add(f"{name}_posterior", "latent", inputs, {"logit": step[1][1]["logit"]})


def flatten_rows(values: Any, count: int) -> Any:
    """The first rows of (B, T, ...) as (count, ...)."""
    return values.reshape((-1, *values.shape[2:]))[:count]


def record_distribution(golden: GoldenWriter, run: Run, name: str) -> None:
    """Unimix categoricals from given logits: log-probabilities, sample, entropy, divergence; and what the
    straight-through sample's gradient is; ``RSSM._dist``, ``embodied/jax/outs.py OneHot``."""
    import jax
    import numpy as np

    dyn, random = run.model.dyn, run.setting.random
    shape = (6, dyn.stoch, dyn.classes)
    post, prior = (np.float32(random.normal(0, 2, shape)) for _ in range(2))
    weight = np.float32(random.normal(size=shape))

    def sampled(logits: Any) -> Any:
        return dyn._dist(logits).sample(None)

    _, sample, noise = run.setting.run(lambda: sampled(post))
    gradient = run.setting.run(lambda: jax.grad(lambda x: (sampled(x) * weight).sum())(post), noise)[1]
    dists = dyn._dist(post), dyn._dist(prior)
    outputs = {
        "log_prob": dists[0].output.dist.logits,
        "sample": sample,
        "entropy": dists[0].entropy(),
        "divergence": dists[0].kl(dists[1]),
        "gradient": gradient,
    }
    inputs = {"post": post, "prior": prior, "noise": noise[0], "weight": weight}
    golden.add(f"{name}_distribution", "latent", inputs, outputs)


def record_observe(golden: GoldenWriter, run: Run, name: str) -> None:
    """Posterior over a sequence with resets inside; ``RSSM.observe``."""
    golden.add(f"{name}_observe", "latent", {"tokens": run.losses[1][2]["tokens"]}, dict(run.feat))


def record_imagine(golden: GoldenWriter, run: Run, name: str) -> None:
    """A rollout of the prior under the policy from the first 6 features; ``RSSM.imagine``."""
    model, start = run.model, run.rows(6)
    length = run.setting.config.agent.imag_length

    def policy(feat: Any) -> Any:
        return {k: v.sample(None) for k, v in model.pol(model.feat2tensor(feat), 1).items()}

    again = [d[:6] for d in run.draws[run.context[1]["is_first"].shape[1] :]]
    _, (_, feat, action), _ = run.setting.run(lambda: model.dyn.imagine(start, policy, length, True), again)
    outputs = {"deter": feat["deter"], "stoch": feat["stoch"], "action": to_floats(action["action"])}
    golden.add(f"{name}_imagine", "latent", start, outputs)


def record_heads(golden: GoldenWriter, run: Run, name: str) -> None:
    """Decoder and heads at the posterior's features; ``Decoder``, ``embodied/jax/heads.py``."""
    record_decoder(golden, run, name)
    if run.setting.complete:
        record_scalar_heads(golden, run, name)
    record_policy(golden, run, name)


def record_decoder(golden: GoldenWriter, run: Run, name: str) -> None:
    """Predictions of every observation, of images those of two rows; ``dreamerv3/rssm.py Decoder``."""
    feat = {k: v[None] for k, v in run.rows(2 if name == "image" else 12).items()}
    reset = feat["deter"][..., 0] > 9
    recons = run.setting.call(lambda: run.model.dec({}, feat, reset, True))[2]
    golden.add(f"{name}_decoder", "heads", feat, {k: v.pred() for k, v in recons.items()})


def record_scalar_heads(golden: GoldenWriter, run: Run, name: str) -> None:
    """Reward, continuation, value and slow value: logits and predictions; ``heads.py MLPHead``."""
    model, feat = run.model, run.rows(12)
    inp = model.feat2tensor(feat)
    for head, module in {"reward": model.rew, "value": model.val, "slow_value": model.slowval}.items():
        out = run.setting.call(lambda module=module: module(inp, 1))
        golden.add(f"{name}_{head}", "heads", feat, {"logits": out.logits, "prediction": out.pred()})
    out = run.setting.call(lambda: model.con(inp, 1))
    outputs = {"logit": out.logit, "probability": out.prob(1)}
    golden.add(f"{name}_continue", "heads", feat, outputs)


def record_policy(golden: GoldenWriter, run: Run, name: str) -> None:
    """The policy: its parameters, a sample, the sample's log-probability, entropy; ``heads.py``."""
    feat = run.rows(12)

    def act() -> Any:
        dist = run.model.pol(run.model.feat2tensor(feat), 1)["action"]
        sample = dist.sample(None)
        return dist, sample, dist.logp(sample), dist.entropy()

    _, (dist, sample, log_prob, entropy), noise = run.setting.run(act)
    outputs = {
        **list_policy_parameters(dist),
        "sample": to_floats(sample),
        "log_prob": log_prob,
        "entropy": entropy,
    }
    golden.add(f"{name}_policy", "heads", {**feat, "noise": noise[0]}, outputs)


def list_policy_parameters(dist: Any) -> dict[str, Any]:
    """Mean and deviation of a normal (inside its sum over dimensions), or logits of a categorical."""
    if hasattr(dist, "logits"):
        return {"logits": dist.logits}
    return {"mean": dist.output.mean, "stddev": dist.output.stddev}


def record_act(golden: GoldenWriter, run: Run, name: str) -> None:
    """A step of acting, with a reset in one row; ``dreamerv3/agent.py policy``."""
    import numpy as np

    reset = np.asarray([False, True, False])
    obs = {k: v[:, 2] for k, v in run.context[1].items()} | {"is_first": reset}
    _, (carry, action, _), noise = run.setting.run(lambda: run.model.policy(run.carry, obs))
    inputs = {"reset": reset, "noise/posterior": noise[0], "noise/action": noise[1]}
    outputs = {**carry[1], "action": to_floats(action["action"])}
    golden.add(f"{name}_act", "heads", inputs, outputs)


# Returns and losses


def record_two_hot(golden: GoldenWriter) -> None:
    """The symexp two-hot code: bins, the cross entropy of targets on, between and beyond bins, and the
    prediction; ``heads.py symexp_twohot``, ``outs.py TwoHot``."""
    import elements
    import jax
    import jax.numpy as jnp
    import ninjax as nj
    import numpy as np
    from embodied.jax import heads, outs

    def build() -> Any:
        head = heads.Head(elements.Space(np.float32), "symexp_twohot", bins=BINS, name="head")
        return head(jnp.zeros((1, 2), jnp.float32)).bins

    with jax.disable_jit():
        bins = np.asarray(nj.pure(build)({}, seed=0, create=True)[1])
    exact = [bins[0], bins[-1], bins[40], bins[127], bins[130]]
    target = np.float32([*exact, -1e9, 1e9, 1e-6, -1e-6, 0.5, -0.03, 3.3, -250.0, 1e4, 4e8])
    random = np.random.default_rng(5)
    centre = random.uniform(-6, 6, (len(target), 1))
    logits = np.float32(
        -((np.linspace(-20, 20, BINS) - centre) ** 2) / 3 + random.normal(size=(len(target), BINS))
    )
    out = outs.TwoHot(logits, jnp.asarray(bins))
    outputs = {"bins": bins, "inner_bins": bins[107:148], "loss": out.loss(target), "prediction": out.pred()}
    golden.add("two_hot", "heads", {"logits": logits, "target": target}, outputs)


def record_lambda_return(golden: GoldenWriter, setting: Setting) -> None:
    """Lambda returns of sequences with ends and terminal steps; ``dreamerv3/agent.py lambda_return``."""
    import numpy as np
    from dreamerv3 import agent

    random, shape = np.random.default_rng(6), (4, 9)
    inputs = {
        "last": np.float32(random.random(shape) < 0.2),
        "terminal": np.float32(random.uniform(0, 0.4, shape)),
        **{k: np.float32(random.normal(0, 2, shape)) for k in ("reward", "value", "bootstrap")},
    }
    discount, lam = 1 - 1 / setting.config.agent.horizon, setting.config.agent.imag_loss.lam
    returns = agent.lambda_return(*inputs.values(), discount, lam)
    golden.add("lambda_return", "loss", inputs, {"return": returns})


def record_normalisation(golden: GoldenWriter, setting: Setting) -> None:
    """Offset and scale of returns before and after an update, with a wide and with a narrow range (where
    the limit holds); ``embodied/jax/utils.py Normalize``."""
    import numpy as np

    norm, random = setting.model.retnorm, np.random.default_rng(7)
    inputs = {"return": np.float32(random.normal(1, 3, (6, 5)))}
    outputs = {}
    for case, (low, high) in {"wide": (-0.75, 2.5), "narrow": (0.1, 0.3)}.items():
        returns = inputs["return"] if case == "wide" else inputs["return"] / 40
        state = {"retnorm/lo/value": np.float32(low), "retnorm/hi/value": np.float32(high)}
        kept = setting.state
        setting.state = {**kept, **state}
        before = setting.call(norm.stats)
        after_state, after, _ = setting.run(lambda r=returns: norm(r, True))
        setting.state = kept
        bounds = [after_state[k] for k in state]
        inputs |= {f"{case}/bounds": np.float32([low, high])}
        outputs |= {
            f"{case}/before": to_floats(before),
            f"{case}/after": to_floats(after),
            f"{case}/bounds": to_floats(bounds),
        }
    golden.add("return_normalisation", "loss", inputs, outputs)


def record_given_losses(golden: GoldenWriter, run: Run, name: str) -> None:
    """Actor and critic losses and the divergences from given network outputs, and these divergences'
    gradients; ``agent.py imag_loss, repl_loss``, ``RSSM.loss``."""
    if not run.setting.complete:
        return
    (act, rew, con, policy, value, slow, *_), (losses, outs, _) = run.seen["imag_loss"]
    inputs = {f"policy/{k}": v for k, v in list_policy_parameters(policy["action"]).items()}
    inputs |= {"action": act["action"], "reward": rew, "continue": con}
    inputs |= {"value": value.logits, "slow_value": slow.logits}
    outputs = {**losses, "return": outs["ret"]}
    golden.add(f"{name}_imagination_loss", "loss", inputs, outputs)
    (last, term, rew, boot, value, slow, *_), (losses, outs, _) = run.seen["repl_loss"]
    inputs = {"last": last, "terminal": term, "reward": rew, "bootstrap": boot}
    inputs |= {"value": value.logits, "slow_value": slow.logits}
    outputs = {**losses, "return": outs["ret"]}
    golden.add(f"{name}_replay_loss", "loss", inputs, outputs)
    record_divergences(golden, run, name)


def record_divergences(golden: GoldenWriter, run: Run, name: str) -> None:
    """Balanced divergences between given logits, and the gradient of dyn + 0.1 rep, which shows on which
    side each may act; ``RSSM.loss`` with the logits in place of what it would observe."""
    import jax
    import numpy as np

    dyn, random = run.model.dyn, run.setting.random
    shape = (5, 4, dyn.stoch, dyn.classes)
    post = np.float32(random.normal(0, 1, shape) * np.linspace(0.2, 3, 5).reshape(5, 1, 1, 1))
    prior = np.float32(0.5 * post + random.normal(0, 0.7, shape))

    def losses(post: Any, prior: Any) -> Any:
        dyn.observe = lambda *_: ({}, {}, {"deter": None, "logit": post})
        dyn._prior = lambda _: prior
        try:
            return dyn.loss({}, None, None, None, True)[2]
        finally:
            del dyn.observe, dyn._prior

    def total(logits: Any) -> Any:
        parts = losses(*logits)
        return (parts["dyn"] + 0.1 * parts["rep"]).sum()

    inputs = {"post": post, "prior": prior}
    golden.add(f"{name}_divergences", "loss", inputs, run.setting.call(lambda: losses(post, prior)))
    gradient = run.setting.call(lambda: jax.grad(total)((post, prior)))
    outputs = {"post": gradient[0], "prior": gradient[1]}
    golden.add(f"{name}_divergence_gradients", "gradient", inputs, outputs)


def record_losses(golden: GoldenWriter, run: Run, name: str) -> None:
    """Each loss (B, T), their weighted sum, and the training metrics, from batch, weights and noise;
    ``dreamerv3/agent.py loss``. Of a setting that is not complete, the loss of reconstruction alone."""
    total, (_, _, outs, metrics) = run.losses
    if not run.setting.complete:
        keys = (k for k in run.setting.obs_space if k not in run.setting.scalar_keys)
        outputs = {k: outs["losses"][k] for k in keys}
        golden.add(f"{name}_reconstruction", "loss", {k: run.feat[k] for k in ("deter", "stoch")}, outputs)
        return
    for key, value in {**outs["losses"], "total": total}.items():
        golden.add(f"{name}_loss_{key}", "loss", {}, {"loss": value})
    kept = {k: v for k, v in metrics.items() if not k.startswith("loss/")}
    golden.add(f"{name}_metrics", "loss", {}, kept)


def record_gradients(golden: GoldenWriter, run: Run, name: str) -> None:
    """Gradients of the total loss with respect to every parameter that is learned. Of a setting that is
    not complete, those of encoder, decoder and policy, each of a number of its own."""
    if run.setting.complete:
        golden.add(f"{name}_gradients", "gradient", {}, run.applied["gradients"])
    else:
        record_network_gradients(golden, run, name)


def record_network_gradients(golden: GoldenWriter, run: Run, name: str) -> None:
    """Gradients of a weighted sum of tokens, of the mean loss of reconstruction, and of the mean of
    weight x log-probability + entropy / 10 of actions."""
    import numpy as np

    model, obs, random = run.model, run.context[1], run.setting.random
    feat = {k: run.feat[k] for k in ("deter", "stoch")}
    action = run.context[2]["action"]
    inputs = {k: np.float32(random.normal(size=s)) for k, s in find_weight_shapes(run).items()}

    def tokens() -> Any:
        return (model.enc({}, obs, obs["is_first"], True)[2] * inputs["weight/tokens"]).sum()

    def reconstruction() -> Any:
        recons = model.dec({}, feat, obs["is_first"], True)[2]
        return sum(v.loss(np.float32(obs[k]) / 255).mean() for k, v in recons.items())

    def policy() -> Any:
        dist = model.pol(model.feat2tensor(feat), 2)["action"]
        return (dist.logp(action) * inputs["weight/policy"] + 0.1 * dist.entropy()).mean()

    outputs: dict[str, Any] = {}
    for module, function in {"enc": tokens, "dec": reconstruction, "pol": policy}.items():
        outputs |= run.setting.gradient(module, function)
    golden.add(f"{name}_network_gradients", "gradient", {**feat, **inputs}, outputs)


def find_weight_shapes(run: Run) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of tokens and of the actions' log-probabilities."""
    tokens = run.losses[1][2]["tokens"].shape
    return {"weight/tokens": tokens, "weight/policy": tokens[:2]}


# Updates


def record_update(golden: GoldenWriter, run: Run, name: str) -> None:
    """The optimiser given gradients, the slow value, and one whole update."""
    if not run.setting.complete:
        return
    record_optimiser(golden, run, name)
    record_slow_value(golden, run, name)
    record_train_step(golden, run, name)


def record_optimiser(golden: GoldenWriter, run: Run, name: str) -> None:
    """Parameters after two steps given the same gradients, the first within the warm-up, the second after
    it; adaptive clipping acts on every second parameter; ``agent.py _make_opt``, ``embodied/jax/opt.py``."""
    import numpy as np
    import optax
    from ninjax import ninjax

    setting, optimiser = run.setting, run.model.opt.opt
    parameters = {k: setting.state[k] for k in run.applied["gradients"]}
    clip = setting.config.agent.opt.agc
    given = {}
    for i, (key, gradient) in enumerate(run.applied["gradients"].items()):
        limit = clip * max(1e-3, float(np.linalg.norm(parameters[key])))
        given[key] = np.float32(gradient * (AGC_SHARES[i % 2] * limit / np.linalg.norm(gradient)))
    _, tree = ninjax.flatten(optimiser.init(parameters))
    state = ninjax.unflatten({k: setting.state[f"opt/state/{k}"] for k in tree[0]}, tree)
    outputs = {}
    for step in ("warmup", "after"):
        updates, state = optimiser.update(given, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        outputs |= {f"{step}/{k}": v for k, v in parameters.items()}
    golden.add(f"{name}_optimiser_step", "update", given, outputs)


def record_slow_value(golden: GoldenWriter, run: Run, name: str) -> None:
    """The slow value after one update; ``embodied/jax/utils.py SlowModel``."""
    state = run.setting.run(run.model.slowval.update)[0]
    outputs = {k: v for k, v in state.items() if k.startswith("slowval/")}
    golden.add(f"{name}_slow_value_update", "update", {}, outputs)


def record_train_step(golden: GoldenWriter, run: Run, name: str) -> None:
    """One whole update from the stored batch: parameters, normaliser and slow value after it, the latents
    that go back into the replay, and the optimiser's metrics; ``dreamerv3/agent.py train``."""
    learned = run.applied["gradients"]
    outputs = {
        k: v for k, v in run.state_after.items() if k in learned or k.startswith(("slowval/", "retnorm/"))
    }
    outputs |= {f"replay/{k}": v for k, v in run.applied["replay"].items() if k != "stepid"}
    shown = ("opt/loss", "opt/grad_norm", "opt/grad_rms", "opt/update_rms", "opt/param_rms")
    outputs |= {k: run.applied["metrics"][k] for k in shown}
    golden.add(f"{name}_train_step", "update", {}, outputs)
