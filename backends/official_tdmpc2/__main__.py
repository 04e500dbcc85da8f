"""``python -m backends.official_tdmpc2 request.json``: one run of the official TD-MPC2.

By hand::

    python -m backends.official_tdmpc2 --checkout DIR --commit SHA --task cartpole-balance --seed 1 \\
        --out DIR [--set key=value ...] [--window name=first:last ...]

All is done in one process: the official train.py runs inside it, so ending it ends everything.
"""

from __future__ import annotations

import ctypes.util
import os
import sys
from pathlib import Path
from typing import Any

from backends.official_tdmpc2 import ADAPTER, CPU_CHANGES, PACKAGES, REPOSITORY, TREE, observe, results
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire.checkout import list_artifacts, program_copy
from pytest_worldflux_parity.wire.recipe import recipe_with_evaluations


def check(request: wire.RunRequest) -> dict[str, Any]:
    """The recipe of a request that this program can answer.

    Raises:
        Refused: a part of it is missing or contradicts another.
    """
    return recipes.complete_recipe(recipe_with_evaluations(request, recipes.ACTION_REPEAT))


def train(request: wire.RunRequest, log: wire.Log) -> None:
    """Run the official train.py and tell the log what was observed.

    Raises:
        Refused: the request, the checkout, the recipe or what the program left is not good.
    """
    asked = check(request)
    changes = CPU_CHANGES if request.device == "cpu" else ()
    arguments = recipes.make_overrides(request.task_id, request.seed, asked)
    observer = observe.Observer(asked, log)
    prepare_environment(request.threads, asked.get("obs", "state"))
    with program_copy(request, REPOSITORY, TREE, changes) as (program, run_dir, source):
        observe.run_train(program, arguments, observer)
    effective = observer.effective
    if not effective:
        raise wire.Refused("the official program ended without training")
    out_dir = Path(request.out_dir).resolve()
    logs = results.find_log_dir(run_dir, request.task_id, request.seed)
    files = results.list_files(run_dir, logs)
    log.curve.extend(results.read_curve(logs / "eval.csv", results.list_evaluation_steps(effective)))
    log.scalars |= observer.plan_means()
    log.metadata |= {
        "env_backend": "dm_control",
        "backend_kind": "torch_subprocess",
        "model_id": "tdmpc2",
        "model_profile": effective["model_profile"],
        "effective_recipe": effective,
        "policy_impl": "mppi" if effective["mpc"] else "policy_prior",
        "train_budget": {
            "steps": effective["steps"],
            "frames": effective["steps"] * recipes.ACTION_REPEAT,
        },
        "eval_protocol": {
            "eval_interval": effective["eval_freq"] * recipes.ACTION_REPEAT,
            "eval_episodes": effective["eval_episodes"],
        },
        "packages": wire.package_versions(PACKAGES),
        "mujoco_gl": os.environ["MUJOCO_GL"],
        "updates": observer.updates,
        "artifact_manifest": list_artifacts(files, out_dir),
        "timing": wire.compute_rates(effective["steps"], observer.updates, observer.train_sec),
        "source": source,
    }


def prepare_environment(threads: int, obs: str) -> None:
    """Set what must be set before numpy, torch, mujoco and hydra are imported."""
    wire.limit_threads(threads)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Observations of the state are not drawn, so a machine without EGL can do them.
    can_draw = obs == "rgb" or ctypes.util.find_library("EGL")
    os.environ.setdefault("MUJOCO_GL", "egl" if can_draw else "disabled")


PROGRAM = wire.Program(
    adapter=ADAPTER,
    family="tdmpc2",
    train=train,
    check=check,
    system="official",
    source=("checkout", "commit"),
    title="the official program",
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
