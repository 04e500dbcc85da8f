"""What it costs to start our two programs from a sealed copy, open and within walls, beside a plain Python.

    python tests/benchmarks/start_up.py [--rounds 5]

Each start imports all that the program imports, and ends. The first start of a run compiles what it imports;
the others are medians over alternating rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.execution import runner
from pytest_worldflux_parity.execution.isolation import Walls
from pytest_worldflux_parity.execution.launching import Sealed, seal_program_now, start_program
from pytest_worldflux_parity.inputs.backends import Backend, load_backends

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in ("worldflux_tdmpc2", "worldflux_dreamerv3"):
        with tempfile.TemporaryDirectory(dir=ROOT / ".worldflux") as folder:
            report(name, Path(folder), options.rounds)


def report(name: str, folder: Path, rounds: int) -> None:
    backend = next(b for b in load_backends([ROOT / "backends"]).values() if b.name == name)
    sealed = seal_program_now(backend, ROOT, folder / ".program")
    walls = Walls("require", hidden=(ROOT, folder), runs=())
    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: plain(backend),
        "open": lambda: sealed_start(backend, sealed, folder),
        "walls": lambda: sealed_start(backend, replace(sealed, walls=walls), folder),
    }
    first = ways["open"]()
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, measure in ways.items():
            times[way].append(measure())
    medians = {way: statistics.median(found) for way, found in times.items()}
    told = ", ".join(f"{way} {median:.2f} s" for way, median in medians.items())
    print(f"{name}: first {first:.2f} s; {told}", flush=True)


def code(backend: Backend) -> str:
    return f"import backends.{backend.name}.training"


def plain(backend: Backend) -> float:
    """As programs were started before: with the project on the path, and bytecode beside the sources."""
    begun = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code(backend)], env=env, check=True)
    return time.perf_counter() - begun


def sealed_start(backend: Backend, sealed: Sealed, folder: Path) -> float:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    asked = wire.RunRequest(
        request_id="", run_id="", suite_id="", family=backend.family, task_id="", seed=0,
        system=backend.system, adapter=backend.adapter, device="cpu", recipe={}, eval_protocol={},
        out_dir=str(out), deadline_sec=600.0,
    )  # fmt: skip
    begun = time.perf_counter()
    with start_program(
        replace(backend, argv=("{python}", "-c", code(backend))), asked, ROOT, sealed
    ) as start:
        status = runner.execute(start, out, 600.0, where="", hint="")
        took = time.perf_counter() - begun
        assert status == 0, runner.log_tail(out)
    return took


if __name__ == "__main__":
    main()
