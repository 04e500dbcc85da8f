"""Our TD-MPC2 as a program: a request in, ``metrics.json`` out.

``python -m backends.worldflux_tdmpc2 request.json``, or by hand ``--task cartpole-balance --seed 1
--device cpu --out DIR [--set key=value ...]``. A user's mistake is one line on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_worldflux_parity import wire

from .recipe import ACTION_REPEAT, Recipe, RecipeError, effective_recipe, parse_recipe

if TYPE_CHECKING:
    import torch

    from .agent import Agent
    from .environments import Environment
    from .training import Outcome

ADAPTER = "worldflux_tdmpc2_native"
HERE = Path(__file__).resolve().parent


class Refused(ValueError):
    """A request that cannot be carried out; the text is one line."""


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit status."""
    options = parse_arguments(argv)
    if options.check:
        return wire.check_main("worldflux_tdmpc2", check, (Refused, RecipeError), options.check)
    try:
        request = (
            wire.read_request(options.request)
            if options.request
            else wire.request_by_hand(options, "tdmpc2", "worldflux", ADAPTER)
        )
        run_request(request, options)
    except tuple(_mistakes()) as error:
        print(f"worldflux_tdmpc2: {error}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0


def _mistakes() -> list[type[Exception]]:
    """What is told in one line; anything else is our own mistake and keeps its traceback."""
    known: list[type[Exception]] = [wire.WireError, RecipeError, Refused, OSError]
    for module, name in (("checkpoint", "CheckpointError"), ("training", "Diverged")):
        loaded = sys.modules.get(f"{__package__}.{module}")
        if loaded:
            known.append(getattr(loaded, name))
    return known


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m backends.worldflux_tdmpc2", description=__doc__)
    parser.add_argument("request", nargs="?", help="request.json; without it, the options below make one")
    parser.add_argument("--task", help="for example cartpole-balance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="directory to write into")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe")
    parser.add_argument("--window", action="append", default=[], metavar="NAME=FIRST:LAST", help="updates")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="also save every so many steps")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="do not train: evaluate this checkpoint")
    parser.add_argument("--check", nargs="+", metavar="REQUEST", help="only say whether it would be answered")
    options = parser.parse_args(argv)
    if not options.check and not options.request and not (options.task and options.out):
        parser.error("give request.json, or --task and --out")
    if options.checkpoint_every is not None and options.checkpoint_every < 1:
        parser.error("--checkpoint-every: 1 or more")
    return options


def check(request: wire.RunRequest) -> Recipe:
    """The recipe of a request that this program can answer.

    Raises:
        Refused, RecipeError: it cannot; the text says what to change.
    """
    if request.adapter != ADAPTER:
        raise Refused(f"request.adapter is {request.adapter!r}; valid: {ADAPTER}")
    if request.family != "tdmpc2":
        raise Refused(f"request.family is {request.family!r}; valid: tdmpc2")
    if request.device not in ("cpu", "cuda"):
        raise Refused(f"request.device is {request.device!r}; valid: cpu, cuda")
    if request.threads < 1:
        raise Refused(f"request.threads is {request.threads}; valid: 1 or more")
    given = dict(request.recipe)
    interval, episodes = (request.eval_protocol.get(k) for k in ("eval_interval", "eval_episodes"))
    if isinstance(interval, int):
        given.setdefault("eval_freq", interval // ACTION_REPEAT)
    if episodes is not None:
        given.setdefault("eval_episodes", episodes)
    recipe = parse_recipe(given)
    if interval is not None and interval != recipe.eval_freq * ACTION_REPEAT:
        raise Refused(
            f"eval_protocol.eval_interval is {interval} frames and recipe.eval_freq {recipe.eval_freq} "
            f"steps of {ACTION_REPEAT} frames; they must agree"
        )
    if episodes is not None and episodes != recipe.eval_episodes:
        raise Refused(
            f"eval_protocol.eval_episodes is {episodes} and recipe.eval_episodes {recipe.eval_episodes}; "
            "they must agree"
        )
    return recipe


def run_request(request: wire.RunRequest, options: argparse.Namespace) -> None:
    """Carry out ``request`` and write ``metrics.json`` into its ``out_dir``.

    Raises:
        Refused, RecipeError, WireError, CheckpointError, Diverged, OSError: one line each.
    """
    began = time.perf_counter()
    recipe = check(request)
    windows = wire.Windows(request.eval_protocol.get("windows") or {})
    out_dir = Path(request.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "metrics.json").unlink(missing_ok=True)
    device = prepare_torch(request)
    env = make_environment(request, recipe)
    # Imported here so that a refused request does not wait for torch.
    from . import checkpoint, training
    from .agent import Agent

    agent = Agent(recipe, env.obs_shape, env.action_dim, env.episode_length, device)
    if options.evaluate:
        evaluate_checkpoint(agent, env, Path(options.evaluate))
        return

    def save_sometimes(step: int) -> None:
        if options.checkpoint_every and step % options.checkpoint_every == 0:
            checkpoint.save(out_dir / f"checkpoint_{step}.pt", agent, request.task_id, step)

    progress = wire.Progress(str(out_dir), recipe.steps * ACTION_REPEAT)
    run = training.Run(agent, env, windows, progress, save_sometimes)
    outcome = run.train()
    checkpoint.save(out_dir / "checkpoint.pt", agent, request.task_id, run.step)
    metadata = describe(request, agent, env) | {
        "updates": outcome.updates,
        "timing": timing(outcome, recipe.steps, time.perf_counter() - began),
        "artifact_manifest": manifest(out_dir),
    }
    record = wire.RunRecord(
        request_id=request.request_id,
        adapter=ADAPTER,
        task_id=request.task_id,
        seed=request.seed,
        device=request.device,
        curve=tuple(outcome.curve),
        scalars=training.scalars(outcome, windows),
        metadata=metadata,
    )
    wire.write_record(str(out_dir), record)


def prepare_torch(request: wire.RunRequest) -> torch.device:
    """Seed and limit PyTorch; the device to run on.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(request.threads))
    import torch

    torch.set_num_threads(request.threads)
    if request.device == "cuda":
        if not torch.cuda.is_available():
            raise Refused("device cuda: PyTorch finds no CUDA device here; to mend: --device cpu")
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(request.seed)
    return torch.device(request.device)


def make_environment(request: wire.RunRequest, recipe: Recipe) -> Environment:
    """The task's environment.

    Raises:
        Refused: there is no such task, or pixels are asked for and cannot be drawn.
    """
    from .environments import make_env

    try:
        return make_env(request.task_id, request.seed, recipe.obs)
    except (ValueError, RuntimeError) as error:
        raise Refused(f"task {request.task_id}: {error}") from None


def evaluate_checkpoint(agent: Agent, env: Environment, path: Path) -> None:
    """Print the mean return of ``eval_episodes`` episodes with a saved agent; no record is written."""
    from . import checkpoint, training

    state = checkpoint.read(path, agent.device)
    step = checkpoint.restore(agent, state, str(path))
    returns = training.evaluate(training.Actor(agent), env, agent.recipe.eval_episodes)
    print(json.dumps({"step": step * ACTION_REPEAT, "return": sum(returns) / len(returns)}))


def describe(request: wire.RunRequest, agent: Agent, env: Environment) -> dict[str, Any]:
    """The record's metadata: who ran what, with which effective recipe and protocol."""
    recipe = agent.recipe
    effective = effective_recipe(recipe, env.obs_shape, env.action_dim, env.episode_length)
    protocol = {
        "eval_interval": recipe.eval_freq * ACTION_REPEAT,
        "eval_episodes": recipe.eval_episodes,
        "eval_window": request.eval_protocol.get("eval_window"),
        "windows": request.eval_protocol.get("windows") or {},
    }
    return {
        "mode": "live",
        "env_backend": "dm_control",
        "backend_kind": "native_torch",
        "adapter_id": ADAPTER,
        "model_id": "tdmpc2",
        "model_profile": recipe.model_profile,
        "effective_recipe": effective,
        "recipe_hash": wire.content_hash(effective),
        "policy_mode": "trained",
        "policy_impl": "mppi" if recipe.mpc else "policy_prior",
        "train_budget": {"steps": recipe.steps, "frames": recipe.steps * ACTION_REPEAT},
        "eval_protocol": protocol,
        "eval_protocol_hash": wire.eval_protocol_hash(request.family, request.task_id, protocol),
        "learnable_parameters": agent.learnable_parameters(),
        "packages": {p: importlib.metadata.version(p) for p in ("torch", "dm_control", "mujoco", "numpy")},
        "python": platform.python_version(),
        "threads": request.threads,
        "command": list(sys.orig_argv),
        "source": {"tree_sha256": wire.tree_sha256(HERE)},
    }


def timing(outcome: Outcome, steps: int, wall_sec: float) -> dict[str, float]:
    """Seconds, agent steps per second of training (evaluations included) and peak memory in MiB."""
    return {
        "wall_sec": wall_sec,
        "train_sec": outcome.train_sec,
        "env_steps_per_sec": steps / outcome.train_sec,
        "updates_per_sec": outcome.updates / outcome.train_sec,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def manifest(out_dir: Path) -> dict[str, str]:
    """sha256 of the files that the run wrote, by name."""
    import hashlib

    files = [*sorted(out_dir.glob("checkpoint*.pt")), out_dir / "progress.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    sys.exit(main())
