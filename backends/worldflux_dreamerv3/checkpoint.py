"""Checkpoints: of the trained agent at a run's end, and of a whole run, which then goes on from there.

A checkpoint of a run is a folder: ``checkpoint.json`` (counters, recipe, and the sha256 of the other file)
and one ``.npz`` with every array: train state, carries, replay, environments, the batch that waits. Neither
can hold code: nothing is pickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from pytest_worldflux_parity import wire

from .recipe import effective_recipe
from .training import Finished, Run

FORMAT = "worldflux_dreamerv3.run.v1"
FACTS = "checkpoint.json"
HERE = Path(__file__).resolve().parent
Arrays = dict[str, NDArray[Any]]


class CheckpointError(wire.Refused):
    """A folder that is not a checkpoint of this run; the text is one line."""


# ---------------------------------------------------------------- the agent


def save_agent(path: Path, run: Run) -> None:
    """Write all that updates have changed as ``path``, whole or not at all."""
    _write_arrays(path, _flatten("state", run.state))


# ---------------------------------------------------------------- a run


def save(folder: Path, run: Run, task_id: str) -> None:
    """Write a checkpoint of ``run`` in place of the one that ``folder`` held."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"arrays_{run.step}.npz"
    _write_arrays(path, _list_arrays(run))
    facts = {
        "format": FORMAT,
        "arrays": path.name,
        "sha256": wire.file_sha256(path),
        "tree_sha256": wire.tree_sha256(HERE),
        "task_id": task_id,
        "seed": run.seed,
        "recipe": effective_recipe(run.recipe),
        "bounds": run.log.windows.bounds(),
        "step": run.step,
        "acted": run.acted,
        "updates": run.outcome.updates,
        "paid": run.ratio.paid,
        "episodes": run.outcome.episodes,
        "train_sec": run.outcome.train_sec,
        "windows": run.log.windows.snapshot(),
        "finished_update": run.finished and run.finished.update,
    }
    wire.write_atomic(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    for old in folder.glob("arrays_*.npz"):
        if old != path:
            old.unlink()


def restore(folder: Path, run: Run, task_id: str) -> None:
    """Make ``run``, which has not begun, go on where the checkpoint was taken.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of another run.
    """
    facts = _read_facts(folder)
    try:
        _check_asked(folder, facts, run, task_id)
        _restore(run, facts, _read_arrays(folder / facts["arrays"], facts["sha256"]))
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{folder}: not of this program's version: {error!r}") from None


def _check_asked(folder: Path, facts: Mapping[str, Any], run: Run, task_id: str) -> None:
    tree = wire.tree_sha256(HERE)
    if facts["tree_sha256"] != tree:
        raise CheckpointError(
            f"{folder}: saved by other source code ({facts['tree_sha256']!r:.14}..., and this is "
            f"{tree!r:.14}...); to mend: go on with that code, or begin the run anew without --resume"
        )
    asked = {"task_id": task_id, "seed": run.seed, **_add_prefix("recipe", effective_recipe(run.recipe))}
    found = {**facts, **_add_prefix("recipe", facts["recipe"])}
    for key, value in asked.items():
        if found.get(key) != value:
            raise CheckpointError(
                f"{folder}: the checkpoint is of {key} {found.get(key)!r}, and {value!r} is asked for"
            )
    if facts["bounds"] != run.log.windows.bounds():
        raise CheckpointError(
            f"{folder}: it has windows {facts['bounds']}, and {run.log.windows.bounds()} are asked for"
        )


def _list_arrays(run: Run) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array of a run by name, one at a time: the replay may fill the memory."""
    trees = {
        "state": run.state,
        "train_carry": run.train_carry,
        "policy_carry": run.policy_carry,
        "acting": run.acting,
        "handed_over": run.handed_over or {},
    }
    for name, tree in trees.items():
        yield from _flatten(name, tree)
    dicts = {"actions": run.actions, "batch": run.batch or {}}
    if run.finished:
        dicts["latents"] = {k: np.asarray(v) for k, v in run.finished.latents.items()}
        dicts["metrics"] = {k: np.asarray(v) for k, v in run.finished.metrics.items()}
        yield "finished_stepid", run.finished.stepid
    dicts |= {f"env{i}": env.snapshot() for i, env in enumerate(run.envs)}
    for name, values in dicts.items():
        yield from _add_prefix(name, values).items()
    yield "resets", run.resets
    yield "scores", run.scores
    for key, value in run.replay.snapshot():
        yield f"replay/{key}", value


def _restore(run: Run, facts: Mapping[str, Any], arrays: Arrays) -> None:
    run.state = _unflatten("state", run.state, arrays)
    run.train_carry = _unflatten("train_carry", run.train_carry, arrays)
    run.policy_carry = _unflatten("policy_carry", run.policy_carry, arrays)
    if _select_below("handed_over", arrays):
        run.handed_over = _unflatten("handed_over", run.acting, arrays)
    run.acting = _unflatten("acting", run.acting, arrays)
    run.actions = _select_below("actions", arrays)
    run.batch = _select_below("batch", arrays) or None
    if facts["finished_update"] is not None:
        latents, metrics = _select_below("latents", arrays), _select_below("metrics", arrays)
        run.finished = Finished(facts["finished_update"], arrays["finished_stepid"], latents, metrics)
    for i, env in enumerate(run.envs):
        env.restore(_select_below(f"env{i}", arrays))
    run.resets, run.scores = arrays["resets"], arrays["scores"]
    run.replay.restore(_select_below("replay", arrays))
    run.step, run.acted, run.ratio.paid = facts["step"], facts["acted"], facts["paid"]
    run.outcome.updates, run.outcome.train_sec = facts["updates"], facts["train_sec"]
    run.outcome.resumed_from_step, run.outcome.resumed_from_update = facts["step"], facts["updates"]
    run.outcome.episodes = [(int(step), float(score)) for step, score in facts["episodes"]]
    run.log.windows.restore(facts["windows"])


# ---------------------------------------------------------------- trees and files


def _flatten(name: str, tree: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        # numpy's file format has no bfloat16; its bytes will do.
        stored = array.view(np.uint16) if array.dtype == jax.numpy.bfloat16 else array
        yield f"{name}{jax.tree_util.keystr(path)}", stored


def _unflatten(name: str, like: Any, arrays: Arrays) -> Any:
    """A tree of the shape of ``like`` with the arrays that `_flatten` named."""

    def leaf(path: Any, own: Any) -> Any:
        key = f"{name}{jax.tree_util.keystr(path)}"
        array = arrays[key]
        if own.dtype == jax.numpy.bfloat16:
            array = array.view(own.dtype)
        if array.shape != own.shape or array.dtype != own.dtype:
            raise KeyError(f"{key} is {array.dtype}{array.shape}, and here it is {own.dtype}{own.shape}")
        return jax.device_put(array)

    return jax.tree_util.tree_map_with_path(leaf, like)


def _add_prefix(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}/{key}": value for key, value in values.items()}


def _select_below(name: str, arrays: Arrays) -> Arrays:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith((prefix, f"{name}["))}


def _write_arrays(path: Path, arrays: Iterator[tuple[str, NDArray[Any]]]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.asanyarray(array), allow_pickle=False)
    os.replace(partial, path)


def _read_arrays(path: Path, sha256: str) -> Arrays:
    try:
        if wire.file_sha256(path) != sha256:
            raise CheckpointError(f"{path}: damaged: its sha256 is not the one in {FACTS}")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a file of arrays: {error}") from None


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    try:
        facts = wire.load_object(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; wanted: the folder of a checkpoint") from None
    except wire.WireError as error:
        raise CheckpointError(str(error)) from None
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT}")
    return facts
