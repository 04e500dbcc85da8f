"""Record what the official TD-MPC2 computes, for other programs to be compared with.

    python -m backends.official_tdmpc2.record --checkout DIR --commit SHA --out backends/golden/tdmpc2
        [--checkpoint RUN] [--set key=value ...] [--seed 1]
    python -m backends.official_tdmpc2.record --checkout DIR --commit SHA --out DIR --counts

Runs in the official program's environment, on a CPU, from a copy of the commit's program. Without a
checkpoint the networks are small and their weights random and non-zero (the official ones begin with
reward and Q outputs of zero, which would hide them). With one, its weights and their sizes are used.
``--counts`` writes ``parameter_counts.json`` in place of a golden folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from backends.official_tdmpc2 import ADAPTER, CPU_CHANGES, PACKAGES, REPOSITORY, TREE
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.recording import Recorder, check_same_arrays

MODULES = ("torch", "tensordict", "torchrl", "hydra", "omegaconf", "dm_control", "gymnasium")
# Small enough to be committed, and such that every term shows: the official entropy weighs 1e-4.
SMALL: dict[str, Any] = {
    "enc_dim": 16, "mlp_dim": 16, "latent_dim": 16, "num_enc_layers": 3, "num_q": 4, "num_bins": 41,
    "dropout": 0.1, "entropy_coef": 0.1, "grad_clip_norm": 0.5, "lr": 1e-3,
}  # fmt: skip
# Sizes of what is computed, not of the networks; smaller than anybody's.
AMOUNTS: dict[str, Any] = {
    "batch_size": 8, "num_samples": 16, "num_elites": 5, "num_pi_trajs": 3, "iterations": 3,
    "model_profile": "custom",
}  # fmt: skip
OBS_SHAPE, ACTION_DIM, EPISODE_LENGTH = (5,), 2, 500
COUNTED_TASKS = ("cartpole-balance", "walker-walk", "humanoid-run", "dog-run")


def record(options: argparse.Namespace, program: Path, origin: dict[str, Any]) -> None:
    """Write the golden folder, or the counts.

    Raises:
        Refused: the checkpoint or a recipe key is not good, or an output would show nothing.
    """
    import torch

    torch.set_num_threads(1)
    modules = import_official(program)
    if options.counts:
        write_counts(options.out, modules, origin)
        return
    from backends.official_tdmpc2 import record_components, record_lockstep

    path = options.checkpoint
    if path and path.is_dir():
        path = wire.find_artifact(path, "checkpoint_paths", ADAPTER)
    weights = read_checkpoint(path) if path else None
    sizes, shapes = find_sizes(weights) if weights else (SMALL, (OBS_SHAPE, ACTION_DIM))
    recipe = recipes.complete_recipe({**sizes, **AMOUNTS, **dict(map(wire.parse_setting, options.set))})
    torch.manual_seed(options.seed)
    official = make_official(modules, recipe, shapes, weights, path)
    golden = record_components.record_all(official, options.seed, bool(path))
    config = describe_config(official)
    if not path:
        record_lockstep.initialisation(official, golden)
        record_lockstep.lockstep(make_official(modules, {**recipe, **record_lockstep.SIZES}, shapes), golden)
        config["lockstep"] = record_lockstep.SIZES
    golden.put("weights", official.weights)
    if path:
        config["checkpoint_sha256"] = wire.file_sha256(path)
    golden.write(options.out, {**origin, "family": "tdmpc2", "config": config})


def make_official(
    modules: Mapping[str, Any],
    recipe: Mapping[str, Any],
    shapes: tuple[tuple[int], int],
    weights: Mapping[str, Any] | None = None,
    path: Path | None = None,
) -> Any:
    """The official program with these networks; without weights of a checkpoint at ``path``, drawn ones."""
    from backends.official_tdmpc2 import record_components

    configure = partial(make_config, modules, recipe, obs_shape=shapes[0], action_dim=shapes[1])
    blank = modules["tdmpc2"].TDMPC2(configure())
    given = fit_weights(weights, blank, path) if weights and path else record_components.draw_weights(blank)
    return record_components.Official(modules, configure, given)


def import_official(program: Path) -> dict[str, Any]:
    """The official modules by their last names, and ``program``."""
    wire.limit_threads(1)
    os.environ["MUJOCO_GL"] = "disable"  # states need no renderer
    os.environ["LAZY_LEGACY_OP"] = "0"  # as the official train.py sets it
    names = ("tdmpc2", "envs", "common.parser", "common.math", "common.buffer", "common.world_model")
    modules = {name.rpartition(".")[2]: importlib.import_module(name) for name in names}
    return {**modules, "program": program}


def make_config(
    modules: Mapping[str, Any],
    recipe: Mapping[str, Any],
    obs_shape: tuple[int, ...],
    action_dim: int,
    task: str = "cartpole-balance",
    seed: int = 1,
    **changes: Any,
) -> Any:
    """The official configuration of ``recipe``, through the official ``parse_cfg``, what ``make_env`` adds to
    it, and then ``changes``."""
    import hydra
    from omegaconf import OmegaConf

    cfg = OmegaConf.load(modules["program"] / "config.yaml")
    del cfg["defaults"]
    given = recipes.make_overrides(task, seed, recipe)
    cfg.merge_with_dotlist([word for word in given if not word.startswith("hydra.")])
    where = hydra.utils.get_original_cwd
    hydra.utils.get_original_cwd = lambda: str(modules["program"])  # there is no command line to ask
    try:
        config = modules["parser"].parse_cfg(cfg)
    finally:
        hydra.utils.get_original_cwd = where
    config.obs_shape, config.action_dim = {config.obs: tuple(obs_shape)}, action_dim
    config.episode_length = EPISODE_LENGTH
    for key, value in changes.items():
        setattr(config, key, value)
    return config


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors of an official checkpoint (``TDMPC2.save``), loaded without running anything in it.

    Raises:
        Refused: there is none, or it is not one, or not one of a state-based single-task model.
    """
    import torch

    if not path.is_file():
        raise Refused(f"{path}: no such file; wanted: the out_dir of a run, or its models/final.pt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error of its own for what is not its format
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Refused(f"{path}: not a checkpoint that can be read safely: {reason[:200]}") from None
    model = state.get("model") if isinstance(state, dict) else None
    if not isinstance(model, dict) or "_Qs.params.0.weight" not in model:
        raise Refused(f"{path}: not a checkpoint of the official TD-MPC2 (no _Qs.params.0.weight)")
    if "_encoder.state.0.weight" not in model or "_task_emb.weight" in model:
        raise Refused(f"{path}: not of a single task with state observations; wanted one that is")
    return {k: v for k, v in model.items() if isinstance(v, torch.Tensor)}


def find_sizes(weights: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[int], int]]:
    """The architecture's recipe keys, and the shapes of observation and action, of a checkpoint."""
    first, reward = weights["_encoder.state.0.weight"], weights["_reward.2.weight"]
    layers = sum(name.startswith("_encoder.state.") and name.endswith("ln.weight") for name in weights)
    latent = weights["_dynamics.2.weight"].shape[0]
    sizes = {
        "enc_dim": int(first.shape[0]),
        "mlp_dim": int(reward.shape[1]),
        "latent_dim": int(latent),
        "num_enc_layers": layers,
        "num_q": int(weights["_Qs.params.0.weight"].shape[0]),
        "num_bins": int(reward.shape[0]),
        **{key: SMALL[key] for key in ("dropout", "entropy_coef", "grad_clip_norm", "lr")},
    }
    return sizes, ((int(first.shape[1]),), int(weights["_pi.2.weight"].shape[0]) // 2)


def fit_weights(weights: Mapping[str, Any], agent: Any, path: Path) -> dict[str, Any]:
    """The checkpoint's tensors by the names of ``list_parameters``; a running scale is not in a checkpoint.

    Raises:
        Refused: one is missing, unknown, of another shape, or not finite.
    """
    import torch

    from backends.official_tdmpc2.record_components import list_parameters

    ignored = ("_detach_Qs_params.", "log_std")
    given = {k: v for k, v in weights.items() if not k.startswith(ignored) and "__" not in k}
    given["scale.value"] = torch.full((1,), 1.7)
    check_same_arrays(list_parameters(agent), given, path)
    return given


def describe_config(official: Any) -> dict[str, Any]:
    """The recipe in plain JSON types, and the shapes that a task would give."""
    cfg, agent = official.configure(), official.new_agent()
    recipe = {key: kind(getattr(cfg, key)) for key, kind in recipes.KINDS.items()}
    return {
        "recipe": {**recipe, "q_init": recipes.read_q_init(agent), "model_profile": "custom"},
        "obs_shape": [int(n) for n in cfg.obs_shape[cfg.obs]],
        "action_dim": int(cfg.action_dim),
        "episode_length": int(cfg.episode_length),
    }


def write_counts(out: Path, modules: Mapping[str, Any], origin: dict[str, Any]) -> None:
    """Write ``parameter_counts.json``: per profile and task, the official ``total_params`` and the shapes.

    The networks are built on PyTorch's meta device, which spends no memory on them.
    """
    shapes = {task: find_shapes(modules, task) for task in COUNTED_TASKS}
    counts = {
        profile: {task: count_parameters(modules, profile, *shape) for task, shape in shapes.items()}
        for profile in recipes.PROFILES
        if profile != "custom"
    }
    document = {
        **origin,
        "tasks": {task: {"obs_shape": list(obs), "action_dim": n} for task, (obs, n) in shapes.items()},
        "counts": counts,
    }
    wire.write_atomic(out / "parameter_counts.json", json.dumps(document, indent=1) + "\n")


def find_shapes(modules: Mapping[str, Any], task: str) -> tuple[tuple[int, ...], int]:
    cfg = make_config(modules, recipes.complete_recipe({}), (1,), 1, task=task)
    modules["envs"].make_env(cfg)
    return tuple(int(n) for n in cfg.obs_shape["state"]), int(cfg.action_dim)


def count_parameters(
    modules: Mapping[str, Any], profile: str, obs_shape: tuple[int, ...], action_dim: int
) -> int:
    import torch

    cfg = make_config(modules, recipes.complete_recipe({"model_profile": profile}), obs_shape, action_dim)
    with torch.device("meta"):
        return int(modules["world_model"].WorldModel(cfg).total_params)


RECORDER = Recorder(
    name="backends.official_tdmpc2.record",
    record=record,
    repo=REPOSITORY,
    tree=TREE,
    changes=CPU_CHANGES,
    modules=MODULES,
    packages=PACKAGES,
    options={
        "--set": {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "a recipe key"},
        "--seed": {"type": int, "default": 1, "help": "of weights and inputs"},
    },
)

if __name__ == "__main__":
    sys.exit(RECORDER.main())
