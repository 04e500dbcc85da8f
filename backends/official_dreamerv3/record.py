"""Records what the official DreamerV3 computes: ``python -m backends.official_dreamerv3.record --checkout
DIR --commit SHA --out FOLDER [--checkpoint RUN]``.

Runs in the interpreter of the official program, in small dimensions, in float32 on the CPU, and calls the
official modules one after the other (`recorded_components.py` says which). It writes ``manifest.json``,
``arrays.npz`` and ``parameter_counts.json``, so that another program can be held against them without the
official code.

Nothing that is computed is changed. Only where the official program draws random numbers, they are drawn
here and recorded: Gumbel noise g for a categorical (the sample is argmax(log p + g)), standard normals for
a normal. jit is disabled meanwhile, so that the official scans are loops and each draw is seen.

Two settings are recorded: ``vector`` (three vector observations, continuous actions) and ``image`` (an
image, discrete actions). Weights are random and nowhere zero, reward and value heads included, slow value
and value differ, and the optimiser has taken steps. With ``--checkpoint`` weights, state of the optimiser
and recipe are those of an official run (the ``out_dir`` of a run of this backend, or the program's own
logdir with its ``ckpt``), the one setting is what its observations ask for, and rows and steps are fewer.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pickle
import platform
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from . import Refused, recipe, results, source

SCHEMA = "worldflux.parity.golden.v1"
ENVIRONMENT = "worldflux-parity env create official_dreamerv3"
NEEDED = (
    "jax", "optax", "ninjax", "elements", "ruamel", "numpy", "dm_control", "mujoco", "ale_py", "PIL",
)  # fmt: skip
PACKAGES = ("jax", "jaxlib", "optax", "ninjax", "elements", "numpy", "dm_control", "mujoco", "ale-py")
SIZES = ("size1m", "size12m", "size25m", "size50m", "size100m", "size200m", "size400m")
COUNTED = {
    "dmc_proprio": "dmc_walker_walk",
    "dmc_vision": "dmc_walker_walk",
    "atari100k": "atari100k_pong",
}
ROWS, STEPS, CONTEXT = 3, 8, 1
SMALL = {"deter": 32, "hidden": 16, "stoch": 4, "classes": 4, "blocks": 4, "units": 16}
# Rates are far above the official defaults, so that every term moves a result by more than the tolerance.
VIVID = {
    "batch_size": ROWS,
    "batch_length": STEPS,
    "replay_context": CONTEXT,
    "jax.compute_dtype": "float32",
    "agent.enc.simple.layers": 2,
    "agent.dec.simple.layers": 2,
    "agent.policy.layers": 2,
    "agent.value.layers": 2,
    "agent.opt.lr": 0.1,
    "agent.opt.warmup": 6,
    "agent.imag_length": 5,
    "agent.imag_loss.actent": 0.03,
    "agent.retnorm.rate": 0.1,
    "agent.slowvalue.rate": 0.05,
}
RECIPES: dict[str, dict[str, Any]] = {
    "vector": {"task": "dmc_walker_walk", "config": "dmc_proprio", **SMALL, "bins": 41, **VIVID},
    "image": {
        "task": "atari100k_pong",
        "config": "atari100k",
        **SMALL,
        "bins": 63,
        "depth": 2,
        **VIVID,
        "agent.imag_length": 3,
    },
}
SHORTHANDS = ("deter", "hidden", "stoch", "classes", "blocks", "units", "layers", "depth", "bins")
# How large kernels of the latent's logits are: some divergences are below the free nats, some above.
LATENT_GAINS = {"vector": 0.92, "image": 0.72}
OPTIMISER_STEPS = 5
# Percentiles whose distance is less than the least scale; returns near zero are one and more from the lower.
YOUNG_RETURNS = (-1.5, -0.75)
EVEN_LOGITS = 0.1  # below this a two-hot head is still as even as it began: it began with zeros
# Of a run's weights: component -> tolerance and why it is wider than that of its stage.
WIDER = {
    "train_step": (1e-4, "the percentiles of returns carry the rounding of returns that are far larger"),
}
Spaces = tuple[dict[str, Any], dict[str, Any]]  # of observations and of actions
PICKLED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}


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
        self.state = state or random_state(self.model, self.random, LATENT_GAINS[name])
        # Of the small settings, the vectors' one records every component, the images' what differs there.
        self.complete = self.given or name == "vector"

    @property
    def scalar_keys(self) -> tuple[str, ...]:
        """Observations that are no input of the encoder."""
        return ("is_first", "is_last", "is_terminal", "reward")

    def run(self, function: Any, again: list[Any] | None = None) -> tuple[dict[str, Any], Any, list[Any]]:
        """Call ``function()`` with the agent's state: the state after it, what it returns, and its draws."""
        import jax
        import ninjax as nj

        noise = Noise(self.random, again)
        with sampling_with(noise), jax.disable_jit():
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
def sampling_with(noise: Noise) -> Any:
    """Meanwhile, the official code samples with ``noise``.

    ninjax runs a function once more to see which state it touches; draws of such a run are not counted.
    """
    import jax
    from ninjax import ninjax

    before = (jax.random.categorical, jax.random.normal, ninjax._prerun)

    def prerun(*args: Any, **kwargs: Any) -> Any:
        muted, noise.muted = noise.muted, True
        try:
            return before[2](*args, **kwargs)
        finally:
            noise.muted = muted

    jax.random.categorical, jax.random.normal, ninjax._prerun = noise.categorical, noise.normal, prerun
    try:
        yield
    finally:
        jax.random.categorical, jax.random.normal, ninjax._prerun = before


class Golden:
    """Collects the arrays and components of one folder.

    Args:
        trained: whether weights and recipe are those of a run.
    """

    def __init__(self, trained: bool = False) -> None:
        # Where rates are a run's, not all that a planted mistake moves is moved by more than a tolerance.
        declared = {"*": "of a run's recipe and weights; the small golden shows what can be seen"}
        self._more = {"insensitive": declared} if trained else {}
        self._wider = WIDER if trained else {}
        self.arrays: dict[str, Any] = {}
        self.components: list[dict[str, Any]] = []

    def inputs(self, component: str, values: dict[str, Any]) -> None:
        """Add inputs of a component, or of several that share them."""
        self._put(f"inputs/{component}", values)

    def component(self, name: str, stage: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Add a component; ends with a line to stderr if an output could hide a difference."""
        import numpy as np

        for key, value in outputs.items():
            value = np.asarray(value)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                sys.exit(f"{name}: output {key} is not finite")
            if value.size > 1 and value.min() == value.max():
                sys.exit(f"{name}: output {key} is constant ({value.flat[0]}), which shows nothing")
        self._put(f"inputs/{name}", inputs)
        self._put(f"outputs/{name}", outputs)
        wider = dict(zip(("tolerance", "reason"), self._wider.get(name.partition("_")[2], ()), strict=False))
        row = {"name": name, "stage": stage, "outputs": list(outputs)}
        self.components.append({**row, **wider, **self._more})

    def weights(self, setting: Setting) -> None:
        """Add the state of an agent. How often it was updated, which it counts five times, is an input."""
        import numpy as np

        weights = {
            name: value
            for name, value in setting.state.items()
            if np.asarray(value).dtype.kind == "f" and (setting.complete or not name.startswith("opt/"))
        }
        self._put(f"weights/{setting.name}", weights)
        self.inputs(f"shared/{setting.name}", {"updates": setting.state["opt/step/value"]})

    def _put(self, prefix: str, values: dict[str, Any]) -> None:
        import numpy as np

        for key, value in values.items():
            name = f"{prefix}/{key}"
            assert name not in self.arrays, name
            value = np.asarray(value)
            self.arrays[name] = np.float32(value) if value.dtype == np.float64 else value

    def write(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Write ``arrays.npz`` and, last, ``manifest.json``."""
        import numpy as np

        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "arrays.npz", **dict(sorted(self.arrays.items())))
        parameters = {
            name.removeprefix("weights/"): list(value.shape)
            for name, value in self.arrays.items()
            if name.startswith("weights/")
        }
        sha256 = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
        listed = {"arrays_sha256": sha256, "parameters": parameters, "components": self.components}
        text = json.dumps({**manifest, **listed}, indent=1)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


# The official program


def import_official(program: Path) -> None:
    """Make the official packages in ``program`` importable, computing in float32 on the CPU."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    sys.path.insert(0, str(program))
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    from embodied.jax import nets

    nets.COMPUTE_DTYPE = jnp.float32


def official_config(program: Path, asked: dict[str, Any]) -> Any:
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
        if key in SHORTHANDS:
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


def small_spaces(name: str) -> Spaces:
    """Observation and action spaces of a small setting."""
    import elements
    import numpy as np

    def space(dtype: Any, shape: tuple[int, ...] = (), *bounds: Any) -> Any:
        return elements.Space(dtype, shape, *bounds)

    if name == "vector":
        obs = {"position": (3,), "height": (), "velocity": (2,)}
        spaces = {k: space(np.float32, shape) for k, shape in obs.items()}
        action = space(np.float32, (2,), -1, 1)
    else:
        spaces = {"image": space(np.uint8, (64, 64, 3))}
        action = space(np.int32, (), 0, 5)
    spaces["reward"] = space(np.float32)
    spaces.update({k: space(bool) for k in ("is_first", "is_last", "is_terminal")})
    return spaces, {"action": action}


def task_spaces(config: Any) -> Spaces:
    """The official spaces of a task, as ``dreamerv3/main.py make_agent`` takes them."""
    from dreamerv3 import main

    env = main.make_env(config, 0)
    obs = {k: v for k, v in env.obs_space.items() if not k.startswith("log/")}
    act = {k: v for k, v in env.act_space.items() if k != "reset"}
    env.close()
    return obs, act


def described(space: Any) -> dict[str, Any]:
    """A space as JSON; ``classes`` where it is discrete and no image."""
    import numpy as np

    told: dict[str, Any] = {"dtype": np.dtype(space.dtype).name, "shape": list(space.shape)}
    if space.discrete and space.dtype == np.int32:
        told["classes"] = int(np.asarray(space.classes).max())
    return told


def zeros_of(model: Any, rows: int) -> dict[str, Any]:
    """A batch of zeros, as the official agent is initialised with."""
    import numpy as np

    spaces = {**model.obs_space, **model.act_space, **model.ext_space}
    return {k: np.zeros((rows, 3, *v.shape), v.dtype) for k, v in spaces.items()}


def shapes_of(model: Any, *, learned_only: bool = False) -> dict[str, Any]:
    """Shapes of all the agent's state by official name, without computing or holding any of it.

    Args:
        learned_only: leave out the optimiser's, which makes tracing quick.
    """
    import jax
    import jax.numpy as jnp
    import ninjax as nj

    def touch() -> Any:
        data, carry = zeros_of(model, 1), model.init_train(1)
        if not learned_only:
            return model.train(carry, data)
        start, obs, prevact, _ = model._apply_replay_context(carry, data)
        return model.loss(start, obs, prevact, False)[0]

    def start(seed: Any) -> Any:
        return nj.pure(touch)({}, seed=seed, create=True, modify=True, ignore=True)[0]

    with contextlib.redirect_stdout(sys.stderr):
        return dict(jax.eval_shape(start, jax.ShapeDtypeStruct((2,), jnp.uint32)))


# Weights


def random_state(model: Any, random: Any, latent_gain: float) -> dict[str, Any]:
    """Random state of the agent; the optimiser's is zero until `after_optimiser_steps`."""
    import numpy as np

    state = {}
    for name, shape in shapes_of(model).items():
        if name.startswith("opt/") or name.endswith("_count/value"):
            state[name] = np.zeros(shape.shape, shape.dtype)
        elif name.startswith("retnorm/"):
            state[name] = np.float32(2.5 if "/hi/" in name else -0.75)
        else:
            state[name] = random_parameter(name, shape.shape, random, latent_gain)
    return state


def random_parameter(name: str, shape: tuple[int, ...], random: Any, latent_gain: float) -> Any:
    """A parameter of the scale that training leaves, and not zero where the official start is zero."""
    import numpy as np

    value = random.normal(size=shape)
    if name.endswith("/scale"):
        return np.float32(1 + 0.3 * value)
    if name.endswith("/bias"):
        return np.float32(
            0.3 * value + two_hot_shape(name, shape) + (2.5 if name.startswith("con/head") else 0)
        )
    gain = latent_gain if name.startswith("dyn/") and "logit/" in name else 1.3
    fan_in = shape[1] if len(shape) == 3 else np.prod(shape[:-1])
    return np.float32(gain * value / np.sqrt(fan_in))


def two_hot_shape(name: str, shape: tuple[int, ...]) -> Any:
    """Logits that put the weight of a two-hot head on bins near 1, as after training; else 0.

    With even logits all that a head predicts would be the outermost bins of 20 in symlog space.
    """
    import numpy as np

    centres = {"rew/head/logits": 0.1, "val/head/logits": 0.5, "slowval/head/logits": 0.3}
    if name.removesuffix("/bias") not in centres:
        return 0.0
    return -((np.linspace(-20, 20, *shape) - centres[name.removesuffix("/bias")]) ** 2) / 4


def after_optimiser_steps(setting: Setting, gradients: dict[str, Any]) -> None:
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


# A checkpoint of an official run


class NumpyOnly(pickle.Unpickler):
    """Reads arrays, numbers, strings and containers; anything else in a pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that arrays need."""
        if (module, name) not in PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return super().find_class(module, name)


def read_checkpoint(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Official configuration and state: of what a run of this backend left in its ``out_dir``, or of the
    newest checkpoint in the ``logdir`` of an official run. Rows and steps are cut to the small settings'.

    Raises:
        Refused: neither is there, or it cannot be read.
    """
    import elements

    if (folder / "ckpt").is_dir():
        path, state = folder / "config.yaml", pickled_state(folder)
    else:
        path = results.kept(folder, "config_snapshot")
        state = stored_state(results.kept(folder, "checkpoint_paths"))
    try:
        config = elements.Config.load(elements.Path(str(path)))
        cut = {"batch_size": min(ROWS, config.batch_size), "batch_length": min(STEPS, config.batch_length)}
        cut["agent.imag_length"] = min(VIVID["agent.imag_length"], config.agent.imag_length)
        return config.update({**cut, "jax.compute_dtype": "float32"}), state
    # What reads YAML has no one error for what is not its format.
    except Exception as error:
        raise Refused(f"{path}: not the configuration of an official run ({type(error).__name__})") from None


def pickled_state(logdir: Path) -> dict[str, Any]:
    """The state in the newest checkpoint that the official program wrote.

    Raises:
        Refused: there is none that can be read without running anything in it.
    """
    try:
        newest = (logdir / "ckpt" / "latest").read_text(encoding="utf-8").strip()
        with open(logdir / "ckpt" / newest / "agent.pkl", "rb") as file:
            return dict(NumpyOnly(file).load()["params"])
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"{logdir}: no readable checkpoint of an official run ({error})") from None


def stored_state(path: Path) -> dict[str, Any]:
    """The arrays of ``parameters.npz``.

    Raises:
        Refused: it is no file of arrays.
    """
    import numpy as np

    try:
        # np.load leaves a file that it cannot read open.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise Refused(f"{path}: not a file of arrays ({error})") from None


def check_state(state: dict[str, Any], model: Any, where: str) -> None:
    """Make sure that ``state`` is that of ``model``, every array of it.

    Raises:
        Refused: one is missing, unknown, of another shape, or has values that are not finite.
    """
    import numpy as np

    own = shapes_of(model)
    for name in sorted(own.keys() | state.keys()):
        if name not in state or name not in own:
            raise Refused(f"{where}: {name} is {'missing' if name in own else 'unknown'}")
        if state[name].shape != own[name].shape:
            raise Refused(f"{where}: {name} is {state[name].shape}, and the run's model's {own[name].shape}")
        if not np.isfinite(state[name]).all():
            raise Refused(f"{where}: {name} has values that are not finite numbers")


def spread_returns(setting: Setting) -> dict[str, float]:
    """Move the return normaliser, which is no weight, where a run left it nothing to normalise: by name.

    A young agent's returns, and a sparse task's, lie within the least scale. No scaled return is then far
    from zero, so that a metric of it would be zero, and percentiles are what is left of bins that cancel,
    in the rounding of which programs differ by more than the tolerance.
    """
    import numpy as np

    names = [f"retnorm/{key}/value" for key in ("lo", "hi")]
    if not all(name in setting.state for name in names):
        return {}
    low, high = (float(setting.state[name]) for name in names)
    if high - low >= setting.config.agent.retnorm.limit:
        return {}
    moved = dict(zip(names, YOUNG_RETURNS, strict=True))
    setting.state |= {name: np.float32(value) for name, value in moved.items()}
    return moved


def check_heads(golden: Golden, checkpoint: str) -> None:
    """Make sure that the two-hot heads have left zero.

    Raises:
        Refused: one has not. It predicts what is left of bins of up to 5e8 that cancel: rounding.
    """
    import numpy as np

    for name, logits in golden.arrays.items():
        if name.startswith("outputs/") and name.endswith(("_reward/logits", "_value/logits")):
            largest = float(np.abs(logits).max())
            if largest < EVEN_LOGITS:
                head = name.split("_")[-1].removesuffix("/logits")
                raise Refused(
                    f"{checkpoint}: too young to be compared: the logits of its {head} head are at most "
                    f"{largest:.2g}, hardly the zeros that they began with; to mend: a run with more updates"
                )


def recipe_of(config: Any) -> dict[str, Any]:
    """The recipe of an official run: its task, the named configuration, and the keys that a recipe has."""
    named = "atari100k" if config.task.startswith("atari") else "dmc_proprio"
    if named == "dmc_proprio" and config.env.dmc.image:
        named = "dmc_vision"
    keys = recipe.dotted_keys(config.task, config.flat)
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in config.flat.items() if k in keys}
    return {"task": config.task, "config": named, **values}


# The folder


def parameter_counts(program: Path, source: dict[str, Any]) -> dict[str, Any]:
    """Parameters that official networks learn, per size and config: total, per module, and the spaces."""
    counts: dict[str, Any] = {"source": source, "configs": {}}
    for name, task in COUNTED.items():
        told: dict[str, Any] = {"task": task, "sizes": {}}
        for size in SIZES:
            config = official_config(program, {"config": name, "size": size, "task": task})
            model = build_agent(config, *task_spaces(config))
            told["obs_space"] = {k: described(v) for k, v in model.obs_space.items()}
            told["act_space"] = {k: described(v) for k, v in model.act_space.items()}
            told["sizes"][size] = counted(model)
            print(f"{name} {size}: {told['sizes'][size]['total']}", file=sys.stderr, flush=True)
        counts["configs"][name] = told
    return counts


def counted(model: Any) -> dict[str, Any]:
    """Numbers that the optimiser learns: ``total`` and per module."""
    import math

    shapes = shapes_of(model, learned_only=True)
    modules = {
        module.name: sum(math.prod(v.shape) for k, v in shapes.items() if k.startswith(f"{module.name}/"))
        for module in model.modules
    }
    return {"total": sum(modules.values()), "modules": modules}


def settings_of(program: Path, checkpoint: str | None) -> tuple[dict[str, Setting], dict[str, Any]]:
    """The settings to record, and what the manifest says of each."""
    settings, told = {}, {}
    if checkpoint:
        config, state = read_checkpoint(Path(checkpoint))
        spaces = task_spaces(config)
        name = "image" if any(len(s.shape) == 3 for s in spaces[0].values()) else "vector"
        settings[name] = Setting(name, config, spaces, state)
        check_state(state, settings[name].model, checkpoint)
        told[name] = {"recipe": recipe_of(config), "moved": spread_returns(settings[name])}
    else:
        for name, small in RECIPES.items():
            settings[name] = Setting(name, official_config(program, small), small_spaces(name), None)
            told[name] = {"recipe": small}
    for name, setting in settings.items():
        told[name]["obs_space"] = {k: described(v) for k, v in setting.obs_space.items()}
        told[name]["act_space"] = {k: described(v) for k, v in setting.act_space.items()}
    return settings, told


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m backends.official_dreamerv3.record")
    parser.add_argument("--checkout", required=True, help="directory of the official repository")
    parser.add_argument("--commit", required=True, help="the commit that it must be at")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--checkpoint", metavar="RUN", help="out_dir of a run whose weights are taken")
    parser.add_argument("--counts", action="store_true", help="write parameter_counts.json (some minutes)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Record the folder; the exit status."""
    arguments = parse_arguments(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "program"
            check_environment()
            check_writable(Path(arguments.out))
            origin = source.prepare(Path(arguments.checkout), arguments.commit, program)
            import_official(program)
            record(arguments, program, origin)
    except (Refused, OSError, ImportError) as error:
        print(f"official_dreamerv3.record: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def check_environment() -> None:
    """Make sure that this interpreter has what the official program and this recorder import.

    Raises:
        Refused: it lacks something.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(f"{sys.executable}: no module {', '.join(missing)}; to mend: {ENVIRONMENT}")


def check_writable(folder: Path) -> None:
    """Make sure, before the minutes of recording, that there will be a folder to write into.

    Raises:
        Refused: there cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Refused(f"--out {folder}: cannot be written: {error.strerror}") from None


def record(arguments: argparse.Namespace, program: Path, origin: dict[str, Any]) -> None:
    """Write the folder that is asked for, from the official ``program``."""
    from . import recorded_components

    out, golden = Path(arguments.out), Golden(trained=bool(arguments.checkpoint))
    (out / "manifest.json").unlink(missing_ok=True)
    if arguments.checkpoint:
        import jax

        # A run waits for it, and thousands of single operations are compiled: half the time.
        jax.config.update("jax_disable_most_optimizations", True)
    settings, told = settings_of(program, arguments.checkpoint)
    recorded_components.record_all(golden, settings, lambda keys: official_config(program, keys))
    if arguments.checkpoint:
        check_heads(golden, arguments.checkpoint)
    told.update(recorded_components.told())
    command = "python -m backends.official_dreamerv3.record --checkout DIR --commit {commit} --out DIR"
    command += " --checkpoint RUN" if arguments.checkpoint else ""
    manifest = {
        "schema_version": SCHEMA,
        "family": "dreamerv3",
        "command": command.format(**origin),
        "source": origin,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "generated_at_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": told,
    }
    golden.write(out, manifest)
    if arguments.counts:
        text = json.dumps(parameter_counts(program, origin), indent=1)
        (out / "parameter_counts.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
