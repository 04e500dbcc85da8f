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
import contextlib
import datetime
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.official_tdmpc2 import Refused, results, source
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire

SCHEMA = "worldflux.parity.golden.v1"
ENVIRONMENT = "worldflux-parity env create official_tdmpc2"
NEEDED = ("torch", "tensordict", "torchrl", "hydra", "omegaconf", "dm_control", "gymnasium")
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


def main(argv: Sequence[str] | None = None) -> int:
    """Record as the command line says; the exit status: 0 done, 1 not done, 2 usage."""
    options = parse_arguments(sys.argv[1:] if argv is None else list(argv))
    try:
        record(options)
    except (Refused, wire.WireError, OSError) as error:
        return _say(str(error))
    except Exception as error:  # the official program's own: its traceback belongs into the log
        traceback.print_exc()
        return _say(f"the official program failed: {type(error).__name__}: {error}")
    return 0


def _say(text: str) -> int:
    print("official_tdmpc2.record: " + " ".join(text.split()), file=sys.stderr)
    return 1


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m backends.official_tdmpc2.record")
    parser.add_argument("--checkout", required=True, type=Path, help="checkout of the official repository")
    parser.add_argument("--commit", required=True, help="the commit that it must be at")
    parser.add_argument("--out", required=True, type=Path, help="folder to write into")
    parser.add_argument("--checkpoint", type=Path, help="out_dir of a run, or its final.pt: weights, sizes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a recipe key")
    parser.add_argument("--seed", type=int, default=1, help="of weights and inputs")
    parser.add_argument("--counts", action="store_true", help="write parameter counts of every profile")
    return parser.parse_args(argv)


def check_environment() -> None:
    """Make sure that this interpreter has what the official program imports.

    Raises:
        Refused: it lacks something.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(f"{sys.executable}: no module {', '.join(missing)}; to mend: {ENVIRONMENT}")


def record(options: argparse.Namespace) -> None:
    """Write the golden folder, or the counts.

    Raises:
        Refused: the checkout, the checkpoint or a recipe key is not good.
    """
    settings = dict(map(wire.setting, options.set))
    if options.checkpoint and options.checkpoint.is_dir():
        options.checkpoint = results.kept(options.checkpoint, "checkpoint_paths")
    with official_modules(options.checkout, options.commit) as (modules, described):
        # Said before the minutes of recording, not after.
        options.out.mkdir(parents=True, exist_ok=True)
        import torch

        torch.set_num_threads(1)
        if options.counts:
            write_counts(options.out, modules, described)
            return
        from backends.official_tdmpc2 import record_components

        weights = read_checkpoint(options.checkpoint) if options.checkpoint else None
        sizes, shapes = sizes_of(weights) if weights else (SMALL, (OBS_SHAPE, ACTION_DIM))
        recipe = recipes.checked({**sizes, **AMOUNTS, **settings})

        def configure(task: str = "cartpole-balance", seed: int = 1, **changes: Any) -> Any:
            config = make_config(modules, recipe, *shapes, task, seed)
            for key, value in changes.items():
                setattr(config, key, value)
            return config

        torch.manual_seed(options.seed)
        blank = modules["tdmpc2"].TDMPC2(configure())
        weights = fitting(weights, blank, options.checkpoint) if weights else None
        weights = weights or record_components.random_weights(blank)
        official = record_components.Official(modules, configure, weights)
        golden = record_components.record_all(official, options.seed, bool(options.checkpoint))
        write_golden(options, official, golden, described)


@contextlib.contextmanager
def official_modules(checkout: Path, commit: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The official modules, imported from a verified copy that is removed at the end, and its description.

    Raises:
        Refused: as :func:`backends.official_tdmpc2.source.prepare`.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["MUJOCO_GL"] = "disable"  # states need no renderer
    os.environ["LAZY_LEGACY_OP"] = "0"  # as the official train.py sets it
    folder = Path(tempfile.mkdtemp(prefix="official_tdmpc2_"))
    try:
        described = source.prepare(checkout.expanduser().resolve(), commit, "cpu", folder / "program")
        check_environment()
        sys.path.insert(0, str(folder / "program"))
        with contextlib.redirect_stdout(sys.stderr):
            yield _imported(folder / "program"), described
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _imported(program: Path) -> dict[str, Any]:
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
) -> Any:
    """The official configuration of ``recipe``, through the official ``parse_cfg``, and what ``make_env``
    adds to it."""
    import hydra
    from omegaconf import OmegaConf

    cfg = OmegaConf.load(modules["program"] / "config.yaml")
    del cfg["defaults"]
    given = recipes.overrides(task, seed, recipe)
    cfg.merge_with_dotlist([word for word in given if not word.startswith("hydra.")])
    where = hydra.utils.get_original_cwd
    hydra.utils.get_original_cwd = lambda: str(modules["program"])  # there is no command line to ask
    try:
        config = modules["parser"].parse_cfg(cfg)
    finally:
        hydra.utils.get_original_cwd = where
    config.obs_shape, config.action_dim = {config.obs: tuple(obs_shape)}, action_dim
    config.episode_length = EPISODE_LENGTH
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
    tensors = {k: v for k, v in model.items() if isinstance(v, torch.Tensor)}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise Refused(f"{path}: {name} has values that are not finite numbers")
    return tensors


def sizes_of(weights: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[int], int]]:
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


def fitting(weights: Mapping[str, Any], agent: Any, path: Path) -> dict[str, Any]:
    """The checkpoint's tensors by the names of ``own_parameters``; a running scale is not in a checkpoint.

    Raises:
        Refused: one is missing, unknown or of another shape.
    """
    import torch

    from backends.official_tdmpc2.record_components import own_parameters

    own = own_parameters(agent)
    ignored = ("_detach_Qs_params.", "log_std")
    given = {k: v for k, v in weights.items() if not k.startswith(ignored) and "__" not in k}
    given["scale.value"] = torch.full((1,), 1.7)
    for name in sorted(own.keys() | given.keys()):
        if name not in given or name not in own:
            raise Refused(f"{path}: {name} is {'missing' if name in own else 'unknown'}")
        if own[name].shape != given[name].shape:
            shapes = f"{tuple(given[name].shape)}, and this model's is {tuple(own[name].shape)}"
            raise Refused(f"{path}: {name} is {shapes}")
    return given


def write_golden(options: argparse.Namespace, official: Any, golden: Any, described: dict[str, Any]) -> None:
    """Write ``arrays.npz`` and then ``manifest.json``.

    Raises:
        Refused: an output is not finite or constant, so that it would show nothing.
    """
    import numpy as np

    arrays = {name: _array(value) for name, value in golden.arrays.items()}
    check_outputs(arrays)
    arrays |= {f"weights/{name}": value.numpy() for name, value in official.weights.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "manifest.json").unlink(missing_ok=True)
    path = options.out / "arrays.npz"
    with open(path, "wb") as handle:
        np.savez_compressed(handle, **arrays)
    manifest = {
        **provenance(described),
        "schema_version": SCHEMA,
        "family": "tdmpc2",
        "config": describe_config(official.configure()),
        "arrays_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": {name: list(value.shape) for name, value in official.weights.items()},
        "components": golden.components,
    }
    if options.checkpoint:
        manifest["config"]["checkpoint_sha256"] = hashlib.sha256(options.checkpoint.read_bytes()).hexdigest()
    text = json.dumps(manifest, indent=1, allow_nan=False) + "\n"
    wire.write_atomic(options.out / "manifest.json", text)


def _array(value: Any) -> Any:
    array = value.detach().contiguous().numpy()
    return array.astype("float32") if array.dtype == "float64" else array


def check_outputs(arrays: Mapping[str, Any]) -> None:
    """Make sure that every output can show a difference.

    Raises:
        Refused: one is not finite, all zero, or all one number.
    """
    import numpy as np

    for name, array in arrays.items():
        if not name.startswith("outputs/"):
            continue
        if not np.isfinite(array).all():
            raise Refused(f"{name}: holds values that are not finite numbers")
        if not array.any() or (array.size > 1 and array.min() == array.max()):
            raise Refused(f"{name}: is constant, so it would hide a difference; another --seed may do")


def describe_config(cfg: Any) -> dict[str, Any]:
    """The recipe in plain JSON types, and the shapes that a task would give."""
    recipe = {key: kind(getattr(cfg, key)) for key, kind in recipes.KINDS.items()}
    return {
        "recipe": {**recipe, "model_profile": "custom"},
        "obs_shape": [int(n) for n in cfg.obs_shape[cfg.obs]],
        "action_dim": int(cfg.action_dim),
        "episode_length": int(cfg.episode_length),
    }


def provenance(described: dict[str, Any]) -> dict[str, Any]:
    """Who recorded what, when and with what; the folders of this machine are left out."""
    words = ["python", "-m", "backends.official_tdmpc2.record"]
    hidden = {"--checkout": "DIR", "--out": "DIR", "--checkpoint": "RUN"}
    for before, word in zip(["", *sys.argv[1:]], sys.argv[1:], strict=False):
        words.append(hidden.get(before, word))
    return {
        "command": " ".join(words),
        "source": described,
        "packages": results.versions(),
        "python": results.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "generated_at_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_counts(out: Path, modules: Mapping[str, Any], described: dict[str, Any]) -> None:
    """Write ``parameter_counts.json``: per profile and task, the official ``total_params`` and the shapes.

    The networks are built on PyTorch's meta device, which spends no memory on them.
    """
    shapes = {task: _task_shapes(modules, task) for task in COUNTED_TASKS}
    counts = {
        profile: {task: _count(modules, profile, *shape) for task, shape in shapes.items()}
        for profile in recipes.PROFILES
        if profile != "custom"
    }
    document = {
        **provenance(described),
        "tasks": {task: {"obs_shape": list(obs), "action_dim": n} for task, (obs, n) in shapes.items()},
        "counts": counts,
    }
    out.mkdir(parents=True, exist_ok=True)
    wire.write_atomic(out / "parameter_counts.json", json.dumps(document, indent=1) + "\n")


def _task_shapes(modules: Mapping[str, Any], task: str) -> tuple[tuple[int, ...], int]:
    cfg = make_config(modules, recipes.checked({}), (1,), 1, task=task)
    modules["envs"].make_env(cfg)
    return tuple(int(n) for n in cfg.obs_shape["state"]), int(cfg.action_dim)


def _count(modules: Mapping[str, Any], profile: str, obs_shape: tuple[int, ...], action_dim: int) -> int:
    import torch

    cfg = make_config(modules, recipes.checked({"model_profile": profile}), obs_shape, action_dim)
    with torch.device("meta"):
        return int(modules["world_model"].WorldModel(cfg).total_params)


if __name__ == "__main__":
    sys.exit(main())
