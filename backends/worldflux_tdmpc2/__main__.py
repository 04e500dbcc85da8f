"""Our TD-MPC2 as a program: a request in, ``metrics.json`` out.

``python -m backends.worldflux_tdmpc2 request.json``, or by hand ``--task cartpole-balance --seed 1
--device cpu --out DIR [--set key=value ...]``. A user's mistake is one line on stderr and exit status 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire.recipe import recipe_with_evaluations

from .recipe import ACTION_REPEAT, Recipe, effective_recipe, parse_recipe

if TYPE_CHECKING:
    import torch

    from .agent import Agent
    from .environments import Environment


def check(request: wire.RunRequest) -> Recipe:
    """The recipe of a request that this program can answer.

    Raises:
        Refused: it cannot; the text says what to change.
    """
    return parse_recipe(recipe_with_evaluations(request, ACTION_REPEAT))


def train(request: wire.RunRequest, log: wire.Log) -> None:
    """Train as ``request`` says, or evaluate the checkpoint that the command line names.

    Raises:
        Refused, Diverged: one line each.
    """
    recipe = check(request)
    device = prepare_torch(request)
    # Imported here so that a refused request does not wait for torch.
    from . import checkpoint, training
    from .agent import Agent
    from .environments import make_env

    try:
        env = make_env(request.task_id, request.seed, recipe.obs)
    except (ValueError, RuntimeError) as error:
        raise wire.Refused(f"task {request.task_id}: {error}") from None
    agent = Agent(recipe, env.obs_shape, env.action_dim, env.episode_length, device)
    if log.options.evaluate:
        evaluate_checkpoint(agent, env, log.options.evaluate)
        sys.exit()

    def save_sometimes(step: int) -> None:
        every = log.options.checkpoint_every
        if every and step % every == 0:
            checkpoint.save(log.out_dir / f"checkpoint_{step}.pt", agent, request.task_id, step)

    run = training.Run(agent, env, log, save_sometimes)
    outcome = run.train()
    checkpoint.save(log.out_dir / "checkpoint.pt", agent, request.task_id, run.step)
    files = [*sorted(log.out_dir.glob("checkpoint*.pt")), *sorted(log.out_dir.glob("*s.jsonl"))]
    log.metadata |= {
        "env_backend": "dm_control",
        "backend_kind": "native_torch",
        "model_id": "tdmpc2",
        "model_profile": recipe.model_profile,
        "effective_recipe": effective_recipe(recipe, env.obs_shape, env.action_dim, env.episode_length),
        "policy_impl": "mppi" if recipe.mpc else "policy_prior",
        "train_budget": {"steps": recipe.steps, "frames": recipe.steps * ACTION_REPEAT},
        "eval_protocol": {
            "eval_interval": recipe.eval_freq * ACTION_REPEAT,
            "eval_episodes": recipe.eval_episodes,
        },
        "learnable_parameters": agent.count_parameters(),
        "packages": wire.package_versions(("torch", "dm_control", "mujoco", "numpy")),
        "updates": outcome.updates,
        "timing": wire.compute_rates(recipe.steps, outcome.updates, outcome.train_sec),
        "artifact_manifest": wire.hash_files(files),
    }


def prepare_torch(request: wire.RunRequest) -> torch.device:
    """Seed and limit PyTorch; the device to run on.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    wire.limit_threads(request.threads)
    import torch

    torch.set_num_threads(request.threads)
    if request.device == "cuda":
        if not torch.cuda.is_available():
            raise wire.Refused("device cuda: PyTorch finds no CUDA device here; to mend: --device cpu")
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(request.seed)
    return torch.device(request.device)


def evaluate_checkpoint(agent: Agent, env: Environment, path: Path) -> None:
    """Print the mean return of ``eval_episodes`` episodes with a saved agent; no record is written."""
    from . import checkpoint, training

    state = checkpoint.read(path, agent.device)
    step = checkpoint.restore(agent, state, str(path))
    returns = training.evaluate(training.Actor(agent), env, agent.recipe.eval_episodes)
    print(json.dumps({"step": step * ACTION_REPEAT, "return": sum(returns) / len(returns)}))


PROGRAM = wire.Program(
    adapter="worldflux_tdmpc2_native",
    family="tdmpc2",
    train=train,
    check=check,
    options={
        "--checkpoint-every": {"type": wire.from_one, "metavar": "STEPS", "help": "also save so often"},
        "--evaluate": {"type": Path, "metavar": "CHECKPOINT", "help": "do not train: evaluate this"},
    },
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
