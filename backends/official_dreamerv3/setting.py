"""The official DreamerV3 agent in one setting: its state, its noise, and a way to call it.

Nothing that is computed is changed. Only where the official program draws random numbers, they are drawn here
and kept: Gumbel noise g for a categorical (the sample is argmax(log p + g)), standard normals for a normal.
jit is disabled meanwhile, so that the official scans are loops and each draw is seen.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from . import recipe

ROWS, STEPS, CONTEXT = 3, 8, 1
# How large kernels of the latent's logits are: some divergences are below the free nats, some above.
LATENT_GAINS = {"vector": 0.92, "image": 0.72}
OPTIMISER_STEPS = 5
Spaces = tuple[dict[str, Any], dict[str, Any]]  # of observations and of actions


class Noise:
    """Draws for the official sampling functions, recorded in their order, or given again.

    Args:
        random: where new draws come from.
        again: draws of an earlier call, which are used instead.
    """

    def __init__(self, random: Any, again: list[Any] | None = None) -> None:
        self.random, self.again, self.draws, self.muted = random, again, [], False

    def categorical(self, key: Any, logits: Any, axis: int = -1, shape: Any = None) -> Any:
        """In place of ``jax.random.categorical``: indices of `shape`."""
        import jax.numpy as jnp

        assert axis == -1, axis
        return jnp.argmax(logits + self._next("gumbel", (*shape, logits.shape[-1])), axis=-1)

    def normal(self, key: Any, shape: Any = (), dtype: Any = None) -> Any:
        """In place of ``jax.random.normal``."""
        return self._next("normal", shape)

    def _next(self, kind: str, shape: tuple[int, ...]) -> Any:
        import numpy as np

        if self.muted:
            return np.zeros(shape, np.float32)
        if self.again is not None:
            value = self.again[len(self.draws)]
            assert value.shape == tuple(shape), (value.shape, shape)
        else:
            value = np.float32(getattr(self.random, kind)(size=shape))
        self.draws.append(value)
        return value


class Setting:
    """The official agent in one setting, its state, and a way to call it.

    Args:
        name: ``vector`` or ``image``.
        config: the official configuration.
        spaces: official observation and action spaces.
        state: the agent's state by official name; random where it is None.
    """

    def __init__(
        self, name: str, config: Any, spaces: tuple[dict[str, Any], dict[str, Any]], state: Any
    ) -> None:
        import numpy as np

        self.name, self.config, (self.obs_space, self.act_space) = name, config, spaces
        self.model = build_agent(config, *spaces)
        self.random = np.random.default_rng([33, *name.encode()])
        self.given = state is not None
        self.state = state or draw_state(self.model, self.random, LATENT_GAINS[name])
        # Of the small settings, the vectors' one records every component, the images' what differs there.
        self.complete = self.given or name == "vector"

    # Observations that are no input of the encoder.
    scalar_keys = ("is_first", "is_last", "is_terminal", "reward")

    @property
    def weights(self) -> dict[str, Any]:
        """The state without counts; how often it was updated, which it counts five times, is an input."""
        import numpy as np

        return {
            name: value
            for name, value in self.state.items()
            if np.asarray(value).dtype.kind == "f" and (self.complete or not name.startswith("opt/"))
        }

    def run(self, function: Any, again: list[Any] | None = None) -> tuple[dict[str, Any], Any, list[Any]]:
        """Call ``function()`` with the agent's state: the state after it, what it returns, and its draws."""
        import jax
        import ninjax as nj

        noise = Noise(self.random, again)
        with sample_with(noise), jax.disable_jit():
            state, out = nj.pure(function)(self.state, seed=0)
        return state, out, noise.draws

    def call(self, function: Any) -> Any:
        """What ``function()`` returns."""
        return self.run(function)[1]

    def gradient(self, module: str, function: Any) -> dict[str, Any]:
        """Gradient of the number that ``function()`` returns, by name of the parameters of ``module``."""
        import jax
        import ninjax as nj

        def number(parameters: dict[str, Any]) -> Any:
            return nj.pure(function)({**self.state, **parameters}, seed=0)[1]

        with jax.disable_jit():
            return dict(jax.grad(number)({k: v for k, v in self.state.items() if k.startswith(f"{module}/")}))


@contextlib.contextmanager
def sample_with(noise: Noise) -> Any:
    """Meanwhile, the official code samples with ``noise``.

    ninjax runs a function once more to see which state it touches; draws of such a run are not counted.
    """
    import jax
    from ninjax import ninjax

    original = ninjax._prerun

    def prerun(*args: Any, **kwargs: Any) -> Any:
        muted, noise.muted = noise.muted, True
        try:
            return original(*args, **kwargs)
        finally:
            noise.muted = muted

    draws = mock.patch.multiple(jax.random, categorical=noise.categorical, normal=noise.normal)
    with draws, mock.patch.object(ninjax, "_prerun", prerun):
        yield


def make_config(program: Path, asked: dict[str, Any]) -> Any:
    """The official configuration of a recipe: named config, size, shorthands, dotted keys."""
    import elements
    import ruamel.yaml

    text = (program / "dreamerv3" / "configs.yaml").read_text(encoding="utf-8")
    named = ruamel.yaml.YAML(typ="safe").load(text)
    config = elements.Config(named["defaults"])
    for key in ("config", "size"):
        if key in asked:
            config = config.update(named[asked[key]])
    for key, value in asked.items():
        if key in recipe.SHORTHANDS:
            config = config.update({rf".*\.{key}": value})
        elif key not in ("config", "size"):
            config = config.update({key: value})
    return config


def build_agent(config: Any, obs_space: dict[str, Any], act_space: dict[str, Any]) -> Any:
    """The official agent's model, without the wrapper that compiles it."""
    import elements
    from dreamerv3.agent import Agent

    keys = ("batch_size", "batch_length", "replay_context", "report_length", "seed", "jax")
    chosen = {**config.agent, **{k: config[k] for k in keys}, "logdir": "", "replica": 0, "replicas": 1}
    model = object.__new__(Agent)
    model.__init__(obs_space, act_space, elements.Config(**chosen))
    return model


def make_zeros(model: Any, rows: int) -> dict[str, Any]:
    """A batch of zeros, as the official agent is initialised with."""
    import numpy as np

    spaces = {**model.obs_space, **model.act_space, **model.ext_space}
    return {k: np.zeros((rows, 3, *v.shape), v.dtype) for k, v in spaces.items()}


def find_shapes(model: Any, *, learned_only: bool = False) -> dict[str, Any]:
    """Shapes of all the agent's state by official name, without computing or holding any of it.

    Args:
        learned_only: leave out the optimiser's, which makes tracing quick.
    """
    import jax
    import jax.numpy as jnp
    import ninjax as nj

    def touch() -> Any:
        data, carry = make_zeros(model, 1), model.init_train(1)
        if not learned_only:
            return model.train(carry, data)
        start, obs, prevact, _ = model._apply_replay_context(carry, data)
        return model.loss(start, obs, prevact, False)[0]

    def start(seed: Any) -> Any:
        return nj.pure(touch)({}, seed=seed, create=True, modify=True, ignore=True)[0]

    with contextlib.redirect_stdout(sys.stderr):
        return dict(jax.eval_shape(start, jax.ShapeDtypeStruct((2,), jnp.uint32)))


def draw_state(model: Any, random: Any, latent_gain: float) -> dict[str, Any]:
    """Random state of the agent; the optimiser's is zero until `take_optimiser_steps`."""
    import numpy as np

    state = {}
    for name, shape in find_shapes(model).items():
        if name.startswith("opt/") or name.endswith("_count/value"):
            state[name] = np.zeros(shape.shape, shape.dtype)
        elif name.startswith("retnorm/"):
            state[name] = np.float32(2.5 if "/hi/" in name else -0.75)
        else:
            state[name] = draw_parameter(name, shape.shape, random, latent_gain)
    return state


def draw_parameter(name: str, shape: tuple[int, ...], random: Any, latent_gain: float) -> Any:
    """A parameter of the scale that training leaves, and not zero where the official start is zero."""
    import numpy as np

    value = random.normal(size=shape)
    if name.endswith("/scale"):
        return np.float32(1 + 0.3 * value)
    if name.endswith("/bias"):
        return np.float32(
            0.3 * value + shape_two_hot(name, shape) + (2.5 if name.startswith("con/head") else 0)
        )
    gain = latent_gain if name.startswith("dyn/") and "logit/" in name else 1.3
    fan_in = shape[1] if len(shape) == 3 else np.prod(shape[:-1])
    return np.float32(gain * value / np.sqrt(fan_in))


def shape_two_hot(name: str, shape: tuple[int, ...]) -> Any:
    """Logits that put the weight of a two-hot head on bins near 1, as after training; else 0.

    With even logits all that a head predicts would be the outermost bins of 20 in symlog space.
    """
    import numpy as np

    centres = {"rew/head/logits": 0.1, "val/head/logits": 0.5, "slowval/head/logits": 0.3}
    if name.removesuffix("/bias") not in centres:
        return 0.0
    return -((np.linspace(-20, 20, *shape) - centres[name.removesuffix("/bias")]) ** 2) / 4


def take_optimiser_steps(setting: Setting, gradients: dict[str, Any]) -> None:
    """Give the optimiser the state that official steps with varied ``gradients`` leave.

    No second moment is nearly zero: it would turn the rounding of a gradient into a step of full length.
    """
    import jax
    import numpy as np
    from ninjax import ninjax

    def varied(gradient: Any) -> Any:
        spread = np.sqrt(np.mean(np.square(gradient)))
        noise = setting.random.normal(size=(2, *gradient.shape))
        return np.float32(gradient * (1 + noise[0]) + 0.5 * spread * noise[1])

    optimiser = setting.model.opt.opt
    parameters = {k: setting.state[k] for k in gradients}
    state = optimiser.init(parameters)
    for _ in range(OPTIMISER_STEPS):
        state = optimiser.update({k: varied(g) for k, g in gradients.items()}, state, parameters)[1]
    names, _ = ninjax.flatten(state)
    setting.state.update({f"opt/state/{k}": np.asarray(v) for k, v in names.items()})
    for name in ("opt/step/value", "slowval_count/value"):
        setting.state[name] = np.asarray(jax.numpy.int32(OPTIMISER_STEPS))
