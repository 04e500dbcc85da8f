"""``python -m backends.official_dreamerv3 request.json``: one run of the official DreamerV3.

By hand::

    python -m backends.official_dreamerv3 --checkout DIR --commit SHA --task dmc_cartpole_balance --seed 1 \\
        --out DIR [--set key=value ...] [--window name=first:last ...]

All is done in one process: the official main.py runs inside it, so ending it ends everything.
"""

from __future__ import annotations

import ctypes.util
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from backends.official_dreamerv3 import ADAPTER, PACKAGES, REPOSITORY, TREE, observe, results
from backends.official_dreamerv3 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.checkout import FETCH_COMMAND, list_artifacts, program_copy
from pytest_worldflux_parity.wire.recipe import refuse_evaluations

# Official flag -> (value, why): what this backend sets beside the recipe. None of it changes a number
# that is trained on. On a GPU the first is left to the official default.
FIXED: dict[str, tuple[Any, str]] = {
    "jax.platform": ("cpu", "runs on the CPU"),
    "logger.outputs": (["jsonl"], "scores go to a file and to no service"),
    "run.report_every": (0, "open-loop reports cost time and train nothing"),
    "agent.report": (False, "so the report is not compiled either"),
    "report_length": (1, "a report is never longer than a batch, also where none is made"),
    "run.save_every": (0, "the parameters are kept at the end"),
    observe.PROFILER: (
        False,
        "no trace of updates 100 to 120 is recorded; no official flag reaches this option",
    ),
}


def check(request: wire.RunRequest) -> tuple[str, dict[str, Any]]:
    """The official task and the recipe of a request that this program can answer.

    Raises:
        Refused: a part of it is missing or contradicts another.
    """
    refuse_evaluations(request)
    task = recipes.to_official_task(request.task_id)
    return task, recipes.complete_recipe(task, request.recipe)


def check_values(request: wire.RunRequest) -> None:
    """As :func:`check`, and that the official configuration has what the recipe names.

    Raises:
        Refused: as there.
    """
    import elements
    import ruamel.yaml

    task, asked = check(request)
    path = Path(request.source["checkout"]).expanduser() / "dreamerv3" / "configs.yaml"
    try:
        named = ruamel.yaml.YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; to mend: {FETCH_COMMAND}") from None
    recipes.coerce_recipe(task, asked, elements.Config(named["defaults"]).flat)


def train(request: wire.RunRequest, log: wire.Log) -> None:
    """Run the official main.py and tell the log what was observed.

    Raises:
        Refused: the request, the checkout, the recipe or what the program left is not good.
    """
    task, asked = check(request)
    fixed = {k: v for k, v in FIXED.items() if not (request.device == "cuda" and k == "jax.platform")}
    observer = observe.Observer(asked, log)
    prepare_environment(request.threads, task)
    flags = {key: value for key, (value, _) in fixed.items() if key != observe.PROFILER}
    with program_copy(request, REPOSITORY, TREE) as (program, run_dir, source):
        logdir = run_dir / "log"
        try:
            observe.run_main(program, request.seed, task, flags, observer)
        finally:
            # Written before the first update: it would only be mistaken for a trained one.
            shutil.rmtree(logdir / "ckpt", ignore_errors=True)
    effective, steps = observer.effective, observer.effective["run.steps"]
    out_dir = Path(request.out_dir).resolve()
    log.curve.extend(results.read_curve(logdir / results.SCORES, observer.episodes))
    log.metadata |= {
        "env_backend": "dm_control" if effective["task"].startswith("dmc_") else "ale",
        "backend_kind": "jax_subprocess",
        "model_id": "dreamerv3",
        "model_profile": effective["model_profile"],
        "effective_recipe": effective,
        "policy_impl": "actor",
        "train_budget": {"steps": steps, "frames": steps * effective["action_repeat"]},
        "settings": [{"key": key, "value": value, "why": why} for key, (value, why) in fixed.items()],
        "packages": wire.package_versions(PACKAGES),
        "mujoco_gl": os.environ.get("MUJOCO_GL"),
        "compilation_cache": bool(os.environ.get("JAX_COMPILATION_CACHE_DIR")),
        "updates": observer.updates,
        "env_steps": observer.steps,
        "artifact_manifest": list_artifacts(results.list_files(logdir), out_dir),
        "timing": observer.timing,
        "source": source,
    }


def prepare_environment(threads: int, task: str) -> None:
    """Set what must be set before numpy, jax and mujoco are imported.

    Raises:
        Refused: the task is drawn and there is nothing to draw with.
    """
    wire.limit_threads(threads)
    if not task.startswith("dmc_"):
        return
    os.environ.setdefault("MUJOCO_GL", "egl")
    library = {"egl": "EGL", "osmesa": "OSMesa", "glfw": "glfw"}.get(os.environ["MUJOCO_GL"])
    if library is None or (library != "glfw" and ctypes.util.find_library(library) is None):
        raise Refused(
            f"the official program draws every step (embodied/envs/dmc.py), and with MUJOCO_GL="
            f"{os.environ['MUJOCO_GL']} there is nothing to draw with; to mend: install libegl1 (Debian, "
            f"Ubuntu) and unset MUJOCO_GL"
        )


PROGRAM = wire.Program(
    adapter=ADAPTER,
    family="dreamerv3",
    train=train,
    check=check,
    system="official",
    source=("checkout", "commit"),
    title="the official program",
    check_before=check_values,
)


def end_process(status: int) -> None:
    """End this process and what the official program started, whatever its threads are doing.

    Its prefetching thread waits for ever, and the interpreter could not shut down JAX under it.
    """
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    end_process(PROGRAM.main())
