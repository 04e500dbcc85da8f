"""Our DreamerV3 as a program: a request in, ``metrics.json`` out.

``python -m backends.worldflux_dreamerv3 request.json``, or by hand ``--task dmc_cartpole_balance --seed 1
--device cpu --out DIR [--set key=value ...]``. A user's mistake is one line on stderr and exit status 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire.recipe import refuse_evaluations

from .recipe import Recipe, effective_recipe, find_model_profile, parse_recipe

if TYPE_CHECKING:
    from .environments import Environment
    from .training import Run

PACKAGES = ("jax", "jaxlib", "optax", "numpy")
ENVIRONMENT_PACKAGES = {"dm_control": ("dm_control", "mujoco"), "ale": ("ale-py", "pillow")}


def check(request: wire.RunRequest) -> Recipe:
    """The recipe of a request that this program can answer.

    Raises:
        Refused: it cannot; the text says what to change.
    """
    from .environments import suite_and_name

    refuse_evaluations(request)
    try:
        suite_and_name(request.task_id)
    except ValueError as error:
        raise wire.Refused(f"task {request.task_id}: {error}") from None
    return parse_recipe(request.recipe, request.task_id)


def train(request: wire.RunRequest, log: wire.Log) -> None:
    """Train as ``request`` says.

    Raises:
        Refused, CheckpointError, Diverged: one line each.
    """
    recipe = check(request)
    log.begin(int(recipe.run.steps) * recipe.action_repeat)
    prepare_jax(request)
    envs = make_environments(request, recipe)
    # Imported here so that a refused request does not wait for JAX.
    import jax

    from . import checkpoint, training
    from .agent import Agent

    agent = Agent(recipe, envs[0].obs_space, envs[0].act_space)
    run = training.Run(agent, recipe, envs, request.seed, log, make_saver(request, log))
    if log.options.resume:
        checkpoint.restore(log.options.resume, run, recipe.task)
    outcome = run.train()
    checkpoint.save_agent(log.out_dir / "agent.npz", run)
    effective = effective_recipe(recipe, request.recipe)
    steps = effective["run.steps"]
    log.curve.extend(training.make_curve(outcome, recipe.action_repeat))
    log.metadata |= {
        "env_backend": envs[0].backend,
        "backend_kind": "jax_subprocess",
        "model_id": "dreamerv3",
        "model_profile": find_model_profile(recipe),
        "effective_recipe": effective,
        "policy_impl": "actor",
        "train_budget": {"steps": steps, "frames": steps * recipe.action_repeat},
        "packages": wire.package_versions((*PACKAGES, *ENVIRONMENT_PACKAGES[envs[0].backend])),
        "compiler_options": dict(agent.compiler_options),
        "compilation_cache": jax.config.jax_compilation_cache_dir is not None,
        "updates": outcome.updates,
        "env_steps": run.step,
        "resumed_from_step": outcome.resumed_from_step,
        "timing": run.timing(),
        "artifact_manifest": wire.hash_files(
            [log.out_dir / name for name in ("agent.npz", "progress.jsonl", "metrics.jsonl")]
        ),
    }


def make_saver(request: wire.RunRequest, log: wire.Log) -> Callable[[Run], None]:
    """What saves the run whenever it has passed another ``--checkpoint-every`` steps."""
    every = log.options.checkpoint_every

    def save_sometimes(run: Run) -> None:
        if every and run.step // every > (run.step - len(run.envs)) // every:
            from . import checkpoint

            checkpoint.save(log.out_dir / "checkpoint", run, run.recipe.task)

    return save_sometimes


def prepare_jax(request: wire.RunRequest) -> None:
    """Set platform and threads, before JAX is imported, and the compilation cache.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    wire.limit_threads(request.threads)
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
        raise wire.Refused(f"device {request.device}: JAX finds none here; to mend: --device cpu") from None
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
        raise wire.Refused(f"task {request.task_id}: {error}") from None


PROGRAM = wire.Program(
    adapter="worldflux_dreamerv3_jax_subprocess",
    family="dreamerv3",
    train=train,
    check=check,
    options={
        "--checkpoint-every": {"type": wire.from_one, "metavar": "STEPS", "help": "save the run so often"},
        "--resume": {"type": Path, "metavar": "DIR", "help": "go on from the checkpoint in this directory"},
    },
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
