"""Our DreamerV3 as a program: a request in, ``metrics.json`` out.

``python -m backends.worldflux_dreamerv3 request.json``, or by hand ``--task dmc_cartpole_balance --seed 1
--device cpu --out DIR [--set key=value ...]``. A user's mistake is one line on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_worldflux_parity import wire

from .recipe import Recipe, RecipeError, effective_recipe, model_profile, parse_recipe

if TYPE_CHECKING:
    from .environments import Environment
    from .training import Outcome, Run

ADAPTER = "worldflux_dreamerv3_jax_subprocess"
HERE = Path(__file__).resolve().parent
PACKAGES = ("jax", "jaxlib", "optax", "numpy")
ENVIRONMENT_PACKAGES = {"dm_control": ("dm_control", "mujoco"), "ale": ("ale-py", "pillow")}


class Refused(ValueError):
    """A request that cannot be carried out; the text is one line."""


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit status."""
    options = parse_arguments(argv)
    if options.check:
        return wire.check_main("worldflux_dreamerv3", check, (Refused, RecipeError), options.check)
    try:
        request = (
            wire.read_request(options.request)
            if options.request
            else wire.request_by_hand(options, "dreamerv3", "worldflux", ADAPTER)
        )
        run_request(request, options)
    except tuple(_mistakes()) as error:
        print(f"worldflux_dreamerv3: {error}".replace("\n", " "), file=sys.stderr)
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
    parser = argparse.ArgumentParser(prog="python -m backends.worldflux_dreamerv3", description=__doc__)
    parser.add_argument("request", nargs="?", help="request.json; without it, the options below make one")
    parser.add_argument("--task", help="for example dmc_cartpole_balance or atari100k_pong")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="directory to write into")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe")
    parser.add_argument("--window", action="append", default=[], metavar="NAME=FIRST:LAST", help="updates")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="save the run every so often")
    parser.add_argument("--resume", metavar="DIR", help="go on from the checkpoint in this directory")
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
    from .environments import suite_and_name

    for field, valid in (("adapter", (ADAPTER,)), ("family", ("dreamerv3",)), ("device", ("cpu", "cuda"))):
        if getattr(request, field) not in valid:
            raise Refused(f"request.{field} is {getattr(request, field)!r}; valid: {', '.join(valid)}")
    if request.threads < 1:
        raise Refused(f"request.threads is {request.threads}; valid: 1 or more")
    if request.seed < 0:
        raise Refused(f"request.seed is {request.seed}; valid: 0 or more")
    for key in ("eval_interval", "eval_episodes"):
        if request.eval_protocol.get(key) is not None:
            raise Refused(f"eval_protocol.{key}: DreamerV3 is scored by its training episodes; leave it out")
    try:
        suite_and_name(request.task_id)
    except ValueError as error:
        raise Refused(f"task {request.task_id}: {error}") from None
    return parse_recipe(request.recipe, request.task_id)


def run_request(request: wire.RunRequest, options: argparse.Namespace) -> None:
    """Carry out ``request`` and write ``metrics.json`` into its ``out_dir``.

    Raises:
        Refused, RecipeError, WireError, CheckpointError, Diverged, OSError: one line each.
    """
    recipe = check(request)
    wire.Windows(request.eval_protocol.get("windows") or {})
    out_dir = Path(request.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "metrics.json").unlink(missing_ok=True)
    progress = wire.Progress(str(out_dir), int(recipe.run.steps) * recipe.action_repeat)
    progress.beat(0)
    prepare_jax(request)
    envs = make_environments(request, recipe)
    # Imported here so that a refused request does not wait for JAX.
    from . import checkpoint, training
    from .agent import Agent

    agent = Agent(recipe, envs[0].obs_space, envs[0].act_space)
    windows = training.WindowSums(request.eval_protocol.get("windows") or {})
    saving = saver(request, options, out_dir / "checkpoint")
    run = training.Run(agent, recipe, envs, request.seed, windows, progress, saving)
    if options.resume:
        checkpoint.restore(Path(options.resume), run, recipe.task)
    outcome = run.train()
    checkpoint.save_agent(out_dir / "agent.npz", run)
    record = wire.RunRecord(
        request_id=request.request_id,
        adapter=ADAPTER,
        task_id=request.task_id,
        seed=request.seed,
        device=request.device,
        curve=tuple(training.curve(outcome, recipe.action_repeat)),
        scalars=dict(windows.means()),
        metadata={
            **identity(recipe, request.recipe, envs[0].backend),
            **circumstances(request, run),
            "artifact_manifest": manifest(out_dir),
            "timing": timing(run.step, outcome),
        },
    )
    wire.write_record(str(out_dir), record)


def saver(request: wire.RunRequest, options: argparse.Namespace, folder: Path) -> Callable[[Run], None]:
    """What saves the run whenever it has passed another ``--checkpoint-every`` steps."""
    every = options.checkpoint_every

    def save_sometimes(run: Run) -> None:
        if every and run.step // every > (run.step - len(run.envs)) // every:
            from . import checkpoint

            checkpoint.save(folder, run, run.recipe.task)

    return save_sometimes


def prepare_jax(request: wire.RunRequest) -> None:
    """Set platform and threads, before JAX is imported, and the compilation cache.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(request.threads))
    # The size of XLA's pool of threads on a CPU (xla/pjrt/utils.cc).
    os.environ["PJRT_NPROC"] = os.environ["NPROC"] = str(request.threads)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # XLA calls it an error when a busy machine takes minutes to compile.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["JAX_PLATFORMS"] = request.device
    import jax

    from . import compilation

    try:
        jax.devices()
    # JAX also asserts that there is a device.
    except (RuntimeError, AssertionError):
        raise Refused(f"device {request.device}: JAX finds none here; to mend: --device cpu") from None
    compilation.enable()


def make_environments(request: wire.RunRequest, recipe: Recipe) -> list[Environment]:
    """The environments of a run.

    Raises:
        Refused: images are asked for and cannot be drawn, or nothing is to be observed.
    """
    from .environments import make_env
    from .seeds import environment_seeds

    try:
        seeds = environment_seeds(request.seed, recipe.run.envs)
        return [make_env(request.task_id, recipe.env, seed) for seed in seeds]
    except (ValueError, RuntimeError) as error:
        raise Refused(f"task {request.task_id}: {error}") from None


def identity(recipe: Recipe, given: Mapping[str, Any], env_backend: str) -> dict[str, Any]:
    """Who ran what: the part of the record's metadata that both systems must agree on."""
    effective = effective_recipe(recipe, given)
    steps = effective["run.steps"]
    return {
        "mode": "live",
        "env_backend": env_backend,
        "backend_kind": "jax_subprocess",
        "adapter_id": ADAPTER,
        "model_id": "dreamerv3",
        "model_profile": model_profile(recipe),
        "effective_recipe": effective,
        "recipe_hash": wire.content_hash(effective),
        "policy_mode": "trained",
        "policy_impl": "actor",
        "train_budget": {"steps": steps, "frames": steps * recipe.action_repeat},
    }


def circumstances(request: wire.RunRequest, run: Run) -> dict[str, Any]:
    """How it ran: the protocol as carried out, versions, threads, source."""
    import jax

    protocol = {
        "eval_interval": None,
        "eval_episodes": None,
        "eval_window": request.eval_protocol.get("eval_window"),
        "windows": request.eval_protocol.get("windows") or {},
    }
    packages = (*PACKAGES, *ENVIRONMENT_PACKAGES[run.envs[0].backend])
    return {
        "eval_protocol": protocol,
        "eval_protocol_hash": wire.eval_protocol_hash(request.family, request.task_id, protocol),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "threads": request.threads,
        "compiler_options": dict(run.agent.compiler_options),
        "compilation_cache": jax.config.jax_compilation_cache_dir is not None,
        "updates": run.outcome.updates,
        "env_steps": run.step,
        "resumed_from_step": run.outcome.resumed_from_step,
        "command": list(sys.orig_argv),
        "source": {"tree_sha256": wire.tree_sha256(HERE)},
    }


def timing(steps: int, outcome: Outcome) -> dict[str, float]:
    """Seconds since the process started, and rates, in agent steps and updates a second.

    ``train_sec`` runs from the first step of the environment to the end, over all processes of a resumed run;
    the rest is of this process. ``env_steps_per_sec`` and ``updates_per_sec`` are those after the first
    update, which waits for the compiler; with ``_over_all`` they are those of the whole process. Memory is
    in MiB.
    """
    wall = process_age()
    steps_here = steps - (outcome.resumed_from_step or 0)
    updates_here = outcome.updates - outcome.resumed_from_update
    found = {"wall_sec": wall, "train_sec": outcome.train_sec}
    if outcome.first_update_at is not None:
        later = time.perf_counter() - outcome.first_update_at
        found["first_update_sec"] = wall - later
        found["env_steps_per_sec"] = (steps - outcome.first_update_step) / later
        found["updates_per_sec"] = (outcome.updates - outcome.first_update) / later
    return {
        **found,
        "env_steps_per_sec_over_all": steps_here / wall,
        "updates_per_sec_over_all": updates_here / wall,
        "cpu_sec": time.process_time(),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def process_age() -> float:
    """Seconds since this process was started; since this module was loaded where no kernel tells."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.perf_counter() - _LOADED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def manifest(out_dir: Path) -> dict[str, str]:
    """sha256 of the files that the run wrote, by name."""
    files = [out_dir / "agent.npz", out_dir / "progress.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


_LOADED = time.perf_counter()

if __name__ == "__main__":
    sys.exit(main())
