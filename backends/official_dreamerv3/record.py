"""Records what the official DreamerV3 computes: ``python -m backends.official_dreamerv3.record --checkout
DIR --commit SHA --out FOLDER [--checkpoint RUN]``.

Runs in the interpreter of the official program, in small dimensions, in float32 on the CPU, and calls the
official modules one after the other (`recorded_components.py` says which). It writes ``manifest.json`` and
``arrays.npz``, so that another program can be held against them without the official code.

Two settings are recorded: ``vector`` (three vector observations, continuous actions) and ``image`` (an
image, discrete actions). Weights are random and nowhere zero, reward and value heads included, slow value
and value differ, and the optimiser has taken steps. With ``--checkpoint`` weights, state of the optimiser
and recipe are those of an official run (the ``out_dir`` of a run of this backend), the one setting is what
its observations ask for, and rows and steps are fewer. With ``--counts`` it writes ``parameter_counts.json``
in place of a golden folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.recording import GoldenWriter, Recorder, check_same_arrays

from . import ADAPTER, REPOSITORY, TREE, recipe, recorded_components
from .setting import CONTEXT, ROWS, STEPS, Setting, Spaces, build_agent, find_shapes, make_config

MODULES = (
    "jax", "optax", "ninjax", "elements", "ruamel", "numpy", "dm_control", "mujoco", "ale_py", "PIL",
)  # fmt: skip
PACKAGES = ("jax", "jaxlib", "optax", "ninjax", "elements", "numpy", "dm_control", "mujoco", "ale-py")
COUNTED = {
    "dmc_proprio": "dmc_walker_walk",
    "dmc_vision": "dmc_walker_walk",
    "atari100k": "atari100k_pong",
}
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
# Percentiles whose distance is less than the least scale; returns near zero are one and more from the lower.
YOUNG_RETURNS = (-1.5, -0.75)
EVEN_LOGITS = 0.1  # below this a two-hot head is still as even as it began: it began with zeros
# Of a run's weights: component -> tolerance and why it is wider than that of its stage.
WIDER = {
    f"{setting}_train_step": (
        1e-4,
        "the percentiles of returns carry the rounding of returns that are far larger",
    )
    for setting in RECIPES
}


def import_official(program: Path) -> None:
    """Make the official packages in ``program`` importable, computing in float32 on the CPU."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    sys.path.insert(0, str(program))
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    from embodied.jax import nets

    nets.COMPUTE_DTYPE = jnp.float32


def make_small_spaces(name: str) -> Spaces:
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


def find_task_spaces(config: Any) -> Spaces:
    """The official spaces of a task, as ``dreamerv3/main.py make_agent`` takes them."""
    from dreamerv3 import main

    env = main.make_env(config, 0)
    obs = {k: v for k, v in env.obs_space.items() if not k.startswith("log/")}
    act = {k: v for k, v in env.act_space.items() if k != "reset"}
    env.close()
    return obs, act


def describe_spaces(obs_space: dict[str, Any], act_space: dict[str, Any]) -> dict[str, Any]:
    """Both spaces as JSON."""
    spaces = {"obs_space": obs_space, "act_space": act_space}
    return {name: {k: describe_space(v) for k, v in space.items()} for name, space in spaces.items()}


def describe_space(space: Any) -> dict[str, Any]:
    """A space as JSON; ``classes`` where it is discrete and no image."""
    import numpy as np

    told: dict[str, Any] = {"dtype": np.dtype(space.dtype).name, "shape": list(space.shape)}
    if space.discrete and space.dtype == np.int32:
        told["classes"] = int(np.asarray(space.classes).max())
    return told


def read_checkpoint(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Official configuration and state of what a run of this backend left in its ``out_dir``.

    Rows and steps are cut to the small settings'.

    Raises:
        Refused: it is not there, or it cannot be read.
    """
    import elements

    path = wire.find_artifact(folder, "config_snapshot", ADAPTER)
    state = read_state(wire.find_artifact(folder, "checkpoint_paths", ADAPTER))
    try:
        config = elements.Config.load(elements.Path(str(path)))
        cut = {"batch_size": min(ROWS, config.batch_size), "batch_length": min(STEPS, config.batch_length)}
        cut["agent.imag_length"] = min(VIVID["agent.imag_length"], config.agent.imag_length)
        return config.update({**cut, "jax.compute_dtype": "float32"}), state
    # What reads YAML has no one error for what is not its format.
    except Exception as error:
        raise Refused(f"{path}: not the configuration of an official run ({type(error).__name__})") from None


def read_state(path: Path) -> dict[str, Any]:
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


def check_heads(golden: GoldenWriter, checkpoint: Path) -> None:
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


def describe_recipe(config: Any) -> dict[str, Any]:
    """The recipe of an official run: its task, the named configuration, and the keys that a recipe has."""
    named = "atari100k" if config.task.startswith("atari") else "dmc_proprio"
    if named == "dmc_proprio" and config.env.dmc.image:
        named = "dmc_vision"
    return {"task": config.task, "config": named, **recipe.list_plain_values(config)}


def count_parameters(program: Path, source: dict[str, Any]) -> dict[str, Any]:
    """Parameters that official networks learn, per size and config: total, per module, and the spaces."""
    counts: dict[str, Any] = {"source": source, "configs": {}}
    for name, task in COUNTED.items():
        told: dict[str, Any] = {"task": task, "sizes": {}}
        for size in recipe.SIZES:
            config = make_config(program, {"config": name, "size": size, "task": task})
            model = build_agent(config, *find_task_spaces(config))
            told |= describe_spaces(model.obs_space, model.act_space)
            told["sizes"][size] = count_learned(model)
            print(f"{name} {size}: {told['sizes'][size]['total']}", file=sys.stderr, flush=True)
        counts["configs"][name] = told
    return counts


def count_learned(model: Any) -> dict[str, Any]:
    """Numbers that the optimiser learns: ``total`` and per module."""
    shapes = find_shapes(model, learned_only=True)
    modules = {
        module.name: sum(math.prod(v.shape) for k, v in shapes.items() if k.startswith(f"{module.name}/"))
        for module in model.modules
    }
    return {"total": sum(modules.values()), "modules": modules}


def make_settings(program: Path, checkpoint: Path | None) -> tuple[dict[str, Setting], dict[str, Any]]:
    """The settings to record, and what the manifest says of each."""
    settings, told = {}, {}
    if checkpoint:
        config, state = read_checkpoint(checkpoint)
        spaces = find_task_spaces(config)
        name = "image" if any(len(s.shape) == 3 for s in spaces[0].values()) else "vector"
        settings[name] = Setting(name, config, spaces, state)
        check_same_arrays(find_shapes(settings[name].model), state, checkpoint)
        told[name] = {"recipe": describe_recipe(config), "moved": spread_returns(settings[name])}
    else:
        for name, small in RECIPES.items():
            settings[name] = Setting(name, make_config(program, small), make_small_spaces(name), None)
            told[name] = {"recipe": small}
    for name, setting in settings.items():
        told[name] |= describe_spaces(setting.obs_space, setting.act_space)
    return settings, told


def record(options: argparse.Namespace, program: Path, origin: dict[str, Any]) -> None:
    """Write the golden folder, or the counts.

    Raises:
        Refused: the checkpoint is not good, or an output would show nothing.
    """
    import_official(program)
    if options.counts:
        text = json.dumps(count_parameters(program, origin["source"]), indent=1)
        (options.out / "parameter_counts.json").write_text(text + "\n", encoding="utf-8")
        return
    golden = GoldenWriter(WIDER if options.checkpoint else {}, trained=bool(options.checkpoint))
    if options.checkpoint:
        import jax

        # A run waits for it, and thousands of single operations are compiled: half the time.
        jax.config.update("jax_disable_most_optimizations", True)
    settings, told = make_settings(program, options.checkpoint)
    recorded_components.record_all(golden, settings, partial(make_config, program))
    if options.checkpoint:
        check_heads(golden, options.checkpoint)
    config = {**told, **recorded_components.describe_fixed(program)}
    golden.write(options.out, {**origin, "family": "dreamerv3", "config": config})


RECORDER = Recorder(
    name="backends.official_dreamerv3.record",
    record=record,
    repo=REPOSITORY,
    tree=TREE,
    modules=MODULES,
    packages=PACKAGES,
)

if __name__ == "__main__":
    sys.exit(RECORDER.main())
