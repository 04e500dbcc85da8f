"""``python -m backends.official_tdmpc2 request.json``: one run of the official TD-MPC2.

By hand::

    python -m backends.official_tdmpc2 --checkout DIR --commit SHA --task cartpole-balance --seed 1 \\
        --out DIR [--set key=value ...] [--window name=first:last ...]

All is done in one process: the official train.py runs inside it, so ending it ends everything.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
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

from backends.official_tdmpc2 import Refused, observe, results, source
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire

KIND = "torch_subprocess"


def main(argv: Sequence[str] | None = None) -> int:
    """Do the run that the command line asks for; the exit status: 0 done, 1 not done, 2 usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["--check"]:
        return wire.check_main("official_tdmpc2", check, (Refused,), words[1:])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        run(request_of(words))
    except (Refused, wire.WireError) as error:
        return _say(str(error))
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
    print("official_tdmpc2: " + " ".join(text.split()), file=sys.stderr)
    return 1


def request_of(argv: list[str]) -> wire.RunRequest:
    """The request in the named file, or one made of the options.

    Raises:
        WireError: the file does not keep the contract.
        Refused: it cannot be read, or an option's value cannot.
    """
    parser = argparse.ArgumentParser(prog="python -m backends.official_tdmpc2")
    parser.add_argument("request", nargs="?", help="request.json; without it, the options below")
    parser.add_argument("--checkout", help="checkout of the official repository")
    parser.add_argument("--commit", help="the commit that it must be at")
    parser.add_argument("--task", default="cartpole-balance")
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
    return wire.request_by_hand(options, "tdmpc2", "official", results.ADAPTER, asked_for)


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
    began = time.perf_counter()
    asked = check(request)
    out_dir = Path(request.out_dir).resolve()
    run_dir = fresh_run_dir(out_dir)
    with source_copy(request, out_dir) as (program, described):
        observer = run_official(request, asked, program, run_dir)
    logs = results.log_dir(run_dir, request.task_id, request.seed)
    record = wire.RunRecord(
        request_id=request.request_id,
        adapter=results.ADAPTER,
        task_id=request.task_id,
        seed=request.seed,
        device=request.device,
        curve=results.read_curve(logs / "eval.csv", results.evaluations(observer.effective)),
        scalars=observer.scalars(),
        metadata={
            **identity(request, observer),
            **circumstances(request, observer),
            "artifact_manifest": results.manifest(out_dir, run_dir, logs),
            "timing": timing(observer, time.perf_counter() - began),
            "source": described,
        },
    )
    wire.write_record(str(out_dir), record)


def check(request: wire.RunRequest) -> dict[str, Any]:
    """The recipe of a request that this program can answer.

    Raises:
        Refused: it is another program's, or a part of it is missing or contradicts another.
    """
    if request.adapter != results.ADAPTER:
        raise Refused(f"request.adapter: {request.adapter!r}, and this is {results.ADAPTER!r}")
    if request.device not in ("cpu", "cuda"):
        raise Refused(f"request.device: {request.device!r} is unknown; valid: cpu, cuda")
    if request.threads < 1:
        raise Refused(f"request.threads: {request.threads} is not 1 or more")
    for key in ("checkout", "commit"):
        if not isinstance(request.source.get(key), str):
            raise Refused(f"request.source.{key} is missing; to mend: {source.MEND}")
    asked = recipes.checked({**_from_protocol(request.eval_protocol), **request.recipe})
    interval = request.eval_protocol.get("eval_interval")
    if interval is not None and interval != asked["eval_freq"] * recipes.ACTION_REPEAT:
        raise Refused(
            f"recipe.eval_freq: {asked['eval_freq']} steps of {recipes.ACTION_REPEAT} frames are not "
            f"eval_protocol.eval_interval ({interval} frames)"
        )
    episodes = request.eval_protocol.get("eval_episodes")
    if episodes is not None and episodes != asked["eval_episodes"]:
        raise Refused(f"recipe.eval_episodes: {asked['eval_episodes']}, and eval_protocol says {episodes}")
    return asked


def _from_protocol(protocol: dict[str, Any]) -> dict[str, Any]:
    """The recipe keys that the evaluation protocol gives, where the recipe does not."""
    keys: dict[str, Any] = {}
    if isinstance(protocol.get("eval_interval"), int):
        keys["eval_freq"] = protocol["eval_interval"] // recipes.ACTION_REPEAT
    if "eval_episodes" in protocol:
        keys["eval_episodes"] = protocol["eval_episodes"]
    return keys


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
        yield copy, source.prepare(checkout, request.source["commit"], request.device, copy, repo)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def run_official(
    request: wire.RunRequest, asked: dict[str, Any], program: Path, run_dir: Path
) -> observe.Observer:
    """Run the official train.py in ``run_dir`` and return what was observed."""
    arguments = recipes.overrides(request.task_id, request.seed, asked)
    windows = wire.Windows(request.eval_protocol.get("windows") or {})
    observer = observe.Observer(asked, windows, run_dir.parent, request.device, request.threads)
    set_environment(request.threads, asked.get("obs", "state"))
    home = os.getcwd()
    os.chdir(run_dir)
    try:
        observe.run_train(program, arguments, observer)
    finally:
        os.chdir(home)
    if not observer.effective:
        raise Refused("the official program ended without training")
    return observer


def set_environment(threads: int, obs: str) -> None:
    """What must be set before numpy, torch, mujoco and hydra are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Observations of the state are not drawn, so a machine without EGL can do them.
    can_draw = obs == "rgb" or ctypes.util.find_library("EGL")
    os.environ.setdefault("MUJOCO_GL", "egl" if can_draw else "disabled")


def identity(request: wire.RunRequest, observer: observe.Observer) -> dict[str, Any]:
    """Who ran what: the part of the metadata that both systems must agree on."""
    effective = observer.effective
    return {
        "mode": "live",
        "env_backend": "dm_control",
        "backend_kind": KIND,
        "adapter_id": results.ADAPTER,
        "model_id": "tdmpc2",
        "model_profile": effective["model_profile"],
        "effective_recipe": effective,
        "recipe_hash": wire.content_hash(effective),
        "policy_mode": "trained",
        "policy_impl": "mppi" if effective["mpc"] else "policy_prior",
        "train_budget": {
            "steps": effective["steps"],
            "frames": effective["steps"] * recipes.ACTION_REPEAT,
        },
        "command": list(sys.orig_argv),
    }


def circumstances(request: wire.RunRequest, observer: observe.Observer) -> dict[str, Any]:
    """How it ran: the evaluation protocol as carried out (interval in frames), versions, threads."""
    effective = observer.effective
    protocol = {
        "eval_interval": effective["eval_freq"] * recipes.ACTION_REPEAT,
        "eval_episodes": effective["eval_episodes"],
        "eval_window": request.eval_protocol.get("eval_window"),
        "windows": request.eval_protocol.get("windows") or {},
    }
    return {
        "eval_protocol": protocol,
        "eval_protocol_hash": wire.eval_protocol_hash(request.family, request.task_id, protocol),
        "packages": results.versions(),
        "python": results.python_version(),
        "threads": request.threads,
        "mujoco_gl": os.environ["MUJOCO_GL"],
        "updates": observer.updates,
    }


def timing(observer: observe.Observer, wall_sec: float) -> dict[str, float]:
    """Seconds, agent steps per second of training (evaluations included) and peak memory in MiB."""
    steps = observer.effective["steps"]
    return {
        "wall_sec": wall_sec,
        "train_sec": observer.train_sec,
        "env_steps_per_sec": steps / observer.train_sec,
        "updates_per_sec": observer.updates / observer.train_sec,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    sys.exit(main())
