"""``python -m backends.official_dreamerv3 request.json``: one run of the official DreamerV3.

By hand::

    python -m backends.official_dreamerv3 --checkout DIR --commit SHA --task dmc_cartpole_balance --seed 1 \\
        --out DIR [--set key=value ...] [--window name=first:last ...]

All is done in one process: the official main.py runs inside it, so ending it ends everything.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backends.official_dreamerv3 import Refused, observe, results, source
from backends.official_dreamerv3 import recipe as recipes
from pytest_worldflux_parity import wire

KIND = "jax_subprocess"

# Official flag -> (value, why): what this backend sets beside the recipe. None of it changes a number
# that is trained on. On a GPU the first is left to the official default.
FIXED: dict[str, tuple[Any, str]] = {
    "jax.platform": ("cpu", "runs on the CPU"),
    "logger.outputs": (["jsonl"], "scores go to a file and to no service"),
    "run.report_every": (0, "open-loop reports cost time and train nothing"),
    "agent.report": (False, "so the report is not compiled either"),
    "report_length": (1, "a report is never longer than a batch, also where none is made"),
    "run.save_every": (0, "the parameters are kept at the end"),
}
PROFILER_WHY = "no trace of updates 100 to 120 is recorded; no official flag reaches this option"


def main(argv: Sequence[str] | None = None) -> int:
    """Do the run that the command line asks for; the exit status: 0 done, 1 not done, 2 usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["--check"]:
        return wire.check_main("official_dreamerv3", check_values, (Refused,), words[1:])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        run(request_of(words))
    except (Refused, wire.WireError) as error:
        return _say(str(error))
    except ModuleNotFoundError as error:
        return _say(
            f"the package {error.name} is absent from {sys.executable}; to mend: "
            "worldflux-parity env create official_dreamerv3"
        )
    except Terminated:
        _say("ended by SIGTERM")
        return 128 + signal.SIGTERM
    except Exception as error:  # the official program's own: its traceback belongs into the log
        traceback.print_exc()
        return _say(f"the official program failed: {type(error).__name__}: {error}")
    return 0


class Terminated(BaseException):
    """SIGTERM arrived; raised, so that the copy of the source is removed on the way out."""


def _terminate(*_: object) -> None:
    raise Terminated


def _say(text: str) -> int:
    print("official_dreamerv3: " + " ".join(text.split()), file=sys.stderr)
    return 1


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


def request_of(argv: list[str]) -> wire.RunRequest:
    """The request in the named file, or one made of the options.

    Raises:
        WireError: the file does not keep the contract.
        Refused: it cannot be read, or an option's value cannot.
    """
    parser = argparse.ArgumentParser(prog="python -m backends.official_dreamerv3")
    parser.add_argument("request", nargs="?", help="request.json; without it, the options below")
    parser.add_argument("--checkout", help="checkout of the official repository")
    parser.add_argument("--commit", help="the commit that it must be at")
    parser.add_argument("--task", default="dmc_cartpole_balance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="folder to write into")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a recipe key")
    parser.add_argument("--window", action="append", default=[], metavar="NAME=FIRST:LAST")
    options = parser.parse_args(argv)
    if options.request:
        return _read(options.request)
    if not (options.checkout and options.commit and options.out):
        parser.error("give request.json, or --checkout, --commit and --out")
    asked_for = {"checkout": options.checkout, "commit": options.commit}
    return wire.request_by_hand(options, "dreamerv3", "official", results.ADAPTER, asked_for)


def _read(path: str) -> wire.RunRequest:
    try:
        return wire.read_request(path)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


def run(request: wire.RunRequest) -> None:
    """Run the official program as the request says and write ``metrics.json``.

    Raises:
        Refused: the request, the checkout, the recipe or what the program left is not good.
        WireError: a number of the record is not finite.
    """
    task, asked = check(request)
    out_dir = Path(request.out_dir).resolve()
    run_dir = fresh_run_dir(out_dir)
    with source_copy(request, out_dir) as (program, described):
        observer = run_official(request, task, asked, program, run_dir)
    logdir = run_dir / "log"
    record = wire.RunRecord(
        request_id=request.request_id,
        adapter=results.ADAPTER,
        task_id=request.task_id,
        seed=request.seed,
        device=request.device,
        curve=results.read_curve(logdir / results.SCORES, observer.episodes),
        scalars=dict(observer.windows.means()),
        metadata={
            **identity(observer),
            **circumstances(request, observer),
            "artifact_manifest": results.manifest(out_dir, logdir),
            "timing": timing(observer),
            "source": described,
        },
    )
    wire.write_record(str(out_dir), record)


def check(request: wire.RunRequest) -> tuple[str, dict[str, Any]]:
    """The official task and the recipe of a request that this program can answer.

    Raises:
        Refused: it is another program's, or a part of it is missing or contradicts another.
    """
    if request.adapter != results.ADAPTER:
        raise Refused(f"request.adapter: {request.adapter!r}, and this is {results.ADAPTER!r}")
    if request.device not in ("cpu", "cuda"):
        raise Refused(f"request.device: {request.device!r} is unknown; valid: cpu, cuda")
    if request.threads < 1:
        raise Refused(f"request.threads: {request.threads} is not 1 or more")
    if request.seed < 0:
        raise Refused(f"request.seed: {request.seed} is not 0 or more")
    for key in ("checkout", "commit"):
        if not isinstance(request.source.get(key), str):
            raise Refused(f"request.source.{key} is missing; to mend: {source.MEND}")
    for key in ("eval_interval", "eval_episodes"):
        if request.eval_protocol.get(key) is not None:
            raise Refused(f"eval_protocol.{key}: DreamerV3 is scored by its training episodes; leave it out")
    task = recipes.official_task(request.task_id)
    return task, recipes.checked(task, request.recipe)


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
        raise Refused(f"{path}: {error.strerror}; to mend: {source.MEND}") from None
    recipes.check_values(task, asked, elements.Config(named["defaults"]).flat)


def fresh_run_dir(out_dir: Path) -> Path:
    """An empty folder for the official program's own files; no earlier attempt's file survives."""
    run_dir = out_dir / "official_run"
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    (out_dir / "metrics.json").unlink(missing_ok=True)
    return run_dir


@contextlib.contextmanager
def source_copy(request: wire.RunRequest, out_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The program's folder for this run, and its description; removed at the end."""
    copy = out_dir / "official_source"
    shutil.rmtree(copy, ignore_errors=True)
    checkout = Path(request.source["checkout"]).expanduser().resolve()
    repo = request.source.get("repo") or source.REPOSITORY
    try:
        yield copy, source.prepare(checkout, request.source["commit"], copy, repo)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def run_official(
    request: wire.RunRequest, task: str, asked: dict[str, Any], program: Path, run_dir: Path
) -> observe.Observer:
    """Run the official main.py in ``run_dir`` and return what was observed."""
    windows = wire.Windows(request.eval_protocol.get("windows") or {})
    observer = observe.Observer(task, asked, windows, run_dir.parent)
    set_environment(request.threads, task)
    fixed = {key: value for key, (value, _) in settings(request.device).items() if key != observe.PROFILER}
    home = os.getcwd()
    os.chdir(run_dir)
    try:
        observe.run_main(program, request.seed, task, asked, fixed, observer)
    finally:
        os.chdir(home)
        # Written before the first update: it would only be mistaken for a trained one.
        shutil.rmtree(run_dir / "log" / "ckpt", ignore_errors=True)
    return observer


def settings(device: str) -> dict[str, tuple[Any, str]]:
    """What is set beside the recipe, each with its reason."""
    fixed = {**FIXED, observe.PROFILER: (False, PROFILER_WHY)}
    return {k: v for k, v in fixed.items() if not (device == "cuda" and k == "jax.platform")}


def set_environment(threads: int, task: str) -> None:
    """What must be set before numpy, jax and mujoco are imported.

    Raises:
        Refused: the task is drawn and there is nothing to draw with.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # The thread pool of XLA on a CPU; XLA_FLAGS would be overwritten by the official program.
    os.environ["PJRT_NPROC"] = os.environ["NPROC"] = str(threads)
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


def identity(observer: observe.Observer) -> dict[str, Any]:
    """Who ran what: the part of the metadata that both systems must agree on."""
    effective = observer.effective
    return {
        "mode": "live",
        "env_backend": "dm_control" if effective["task"].startswith("dmc_") else "ale",
        "backend_kind": KIND,
        "adapter_id": results.ADAPTER,
        "model_id": "dreamerv3",
        "model_profile": effective["model_profile"],
        "effective_recipe": effective,
        "recipe_hash": wire.content_hash(effective),
        "policy_mode": "trained",
        "policy_impl": "actor",
        "train_budget": {
            "steps": effective["run.steps"],
            "frames": effective["run.steps"] * effective["action_repeat"],
        },
        "command": list(sys.orig_argv),
    }


def circumstances(request: wire.RunRequest, observer: observe.Observer) -> dict[str, Any]:
    """How it ran: the protocol as carried out, what was set beside the recipe, versions, threads."""
    protocol = {
        "eval_interval": None,
        "eval_episodes": None,
        "eval_window": request.eval_protocol.get("eval_window"),
        "windows": request.eval_protocol.get("windows") or {},
    }
    fixed = settings(request.device).items()
    return {
        "eval_protocol": protocol,
        "eval_protocol_hash": wire.eval_protocol_hash(request.family, request.task_id, protocol),
        "settings": [{"key": key, "value": value, "why": why} for key, (value, why) in fixed],
        "packages": results.versions(),
        "python": results.python_version(),
        "threads": request.threads,
        "mujoco_gl": os.environ.get("MUJOCO_GL"),
        "compilation_cache": bool(os.environ.get("JAX_COMPILATION_CACHE_DIR")),
        "updates": observer.updates,
        "env_steps": observer.steps,
    }


def timing(observer: observe.Observer) -> dict[str, float]:
    """Seconds since the process started, and rates, in agent steps and updates a second.

    ``train_sec`` runs from the first step of the environment to the end; ``env_steps_per_sec`` and
    ``updates_per_sec`` are those after the first update, which waits for the compiler; with
    ``_over_all`` they are those of the whole process. Memory is in MiB.
    """
    now, age = time.perf_counter(), process_age()
    moments = observer.moments
    wall, later = age - (now - moments["end"]), moments["end"] - moments["first_update"]
    return {
        "wall_sec": wall,
        "train_sec": moments["end"] - moments["first_step"],
        "first_update_sec": age - (now - moments["first_update"]),
        "env_steps_per_sec": (observer.steps - observer.early_steps) / later,
        "updates_per_sec": (observer.updates - 1) / later,
        "env_steps_per_sec_over_all": observer.steps / wall,
        "updates_per_sec_over_all": observer.updates / wall,
        "cpu_sec": time.process_time(),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def process_age() -> float:
    """Seconds since this process was started, by the kernel's clock (Linux: proc(5), starttime)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


if __name__ == "__main__":
    end_process(main())
