"""What the Ray engine adds to a run: ``python -m tests.benchmarks.ray_overhead [RUNS]``.

A tiny program is run by the local engine and by a cluster of one simulated node, one run after the other, and
then as a fleet. What is told is the time in the engine beside the program's own, which ``execution.runner``
takes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.execution.copies import PROGRAM_FOLDER
from pytest_worldflux_parity.execution.engine import Engine, Execution, Launch
from pytest_worldflux_parity.execution.launching import seal_program_now
from pytest_worldflux_parity.execution.local import LocalEngine
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.context import RunContext
from pytest_worldflux_parity.suite.suite import Resources

FAKES = Path(__file__).resolve().parents[1] / "fakes" / "backends"


def context(root: Path, engine: str) -> RunContext:
    return RunContext(
        root=root, track="quick", run_id="r", run_dir=root / "runs" / engine, device="cpu",
        lock_path=root / "lock", backend_folders=(root / "backends",), engine=engine,
    )  # fmt: skip


def launch(asked: RunContext, seed: int) -> Launch:
    folder = asked.run_dir / f"seed_{seed}"
    folder.mkdir(parents=True)
    program = load_backends(asked.backend_folders)["fake_worldflux"]
    request = wire.RunRequest(
        request_id="0" * 64, run_id="r", suite_id="s", family="fake", task_id="alpha", seed=seed,
        system="worldflux", adapter=program.adapter, device="cpu", recipe={}, eval_protocol={},
        out_dir=str(folder), deadline_sec=600.0,
    )  # fmt: skip
    descriptor = os.open(os.devnull, os.O_RDONLY)
    sealed = seal_program_now(program, asked.root, asked.run_dir / PROGRAM_FOLDER)
    return Launch(request, folder, program, sealed, Resources(), "", ("*",), descriptor)


def timed(engine: Engine, one: Launch) -> tuple[float, Execution]:
    start = time.monotonic()
    execution = engine.execute(one)
    assert execution.outcome.success, execution.outcome.error
    return time.monotonic() - start, execution


def measure(name: str, engine: Engine, asked: RunContext, runs: int) -> None:
    timed(engine, launch(asked, 0))
    taken = [timed(engine, launch(asked, seed)) for seed in range(1, runs + 1)]
    beside = [seconds - execution.outcome.duration_sec for seconds, execution in taken]
    program = statistics.median(execution.outcome.duration_sec for _, execution in taken)
    print(f"{name}: {statistics.median(beside):.3f} s beside a program of {program:.3f} s (median of {runs})")


def main(runs: int) -> None:
    import ray
    from ray.cluster_utils import Cluster

    base = Path(tempfile.mkdtemp(prefix="parity-ray-"))
    shutil.copytree(FAKES, base / "backends")
    os.environ["WORLDFLUX_PARITY_CACHE"] = str(base / "cache")
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (as Ray spells it)
    local = context(base, "local")
    measure("local", LocalEngine(local), local, runs)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    from pytest_worldflux_parity.execution.ray.engine import RayEngine

    remote = context(base, "ray")
    start = time.monotonic()
    engine = RayEngine(remote)
    print(f"ray: {time.monotonic() - start:.3f} s to join the cluster and pack the package")
    start = time.monotonic()
    timed(engine, launch(remote, -1))
    print(f"ray: {time.monotonic() - start:.3f} s for the first run on a node")
    measure("ray", engine, remote, runs)
    start, many = time.monotonic(), [launch(remote, 1000 + i) for i in range(runs)]
    with ThreadPoolExecutor(engine.width()) as pool:
        list(pool.map(lambda one: timed(engine, one), many))
    print(f"ray: {(time.monotonic() - start) / runs:.3f} s a run, {engine.width()} at a time")
    engine.close()
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(base)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=20)
    main(parser.parse_args().runs)
