"""How close to the least possible time a list of unequal runs is done with ``-n 4``.

    python tests/benchmarks/scheduling.py [--seconds 70] [--only longest-first]

Three heavy-tailed lists of 40 runs that sleep, each with exact estimates, and with estimates off by a
factor of 1.6 either way.
Printed: time from the first start to the last end over the lower bound, max(longest run, sum / 4), once
of the runs as they were measured (what a scheduler is answerable for), once of the sleeps as asked for
(with what starting a process costs). Limits: 1.03, and 1.05 with estimates that are off.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

WORKERS, RUNS = 4, 40
LISTS: dict[str, Callable[[random.Random], float]] = {
    "lognormal": lambda rng: rng.lognormvariate(0, 1.1),
    "pareto": lambda rng: min(rng.paretovariate(1.3), 25.0),
    "few giants": lambda rng: 20.0 if rng.random() < 0.1 else rng.expovariate(1.0),
}
MODES = ("longest-first", "longest-first, off by 1.6")

# A shell, since a Python takes a moment to start, which is no matter of scheduling.
PROGRAM = r"""
here=$(dirname "$0")
task=$(sed -n 's/.*"task_id": *"\([^"]*\)".*/\1/p' "$1" | head -n 1)
read -r seconds < "$here/seconds/$task"
sleep "$seconds"
cp "$here/records/$task" metrics.tmp
mv metrics.tmp metrics.json
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=70.0, help="lower bound of each list (default: 70)")
    parser.add_argument("--only", choices=MODES, nargs="+", default=MODES)
    options = parser.parse_args()
    print(f"{'list':12}{'scheduler':28}{'over measured':>14}{'over asked':>12}{'time':>9}")
    for name, draw in LISTS.items():
        seconds = draw_list(random.Random(name), draw, options.seconds)
        for mode in options.only:
            with tempfile.TemporaryDirectory() as folder:
                measured, asked, span = makespan(Path(folder), seconds, mode)
            print(f"{name:12}{mode:28}{span / measured:14.3f}{span / asked:12.3f}{span:8.1f}s", flush=True)


def draw_list(rng: random.Random, draw: Callable[[random.Random], float], bound: float) -> list[float]:
    """Seconds of ``RUNS`` runs whose lower bound is ``bound``."""
    raw = [draw(rng) for _ in range(RUNS)]
    scale = bound / lower_bound(raw)
    return [max(0.05, scale * x) for x in raw]


def lower_bound(seconds: list[float]) -> float:
    return max(max(seconds), sum(seconds) / WORKERS)


def makespan(root: Path, seconds: list[float], mode: str) -> tuple[float, float, float]:
    """(lower bound of the runs as measured, of those asked for, time that all took)."""
    write_project(root, seconds, estimates(seconds, mode))
    command = [sys.executable, "-m", "pytest", "--parity=quick", "--parity-run-id=now", f"-n{WORKERS}", "-q"]
    command += ["-p", "xdist", "-p", "pytest_worldflux_parity.plugin.hooks"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    folders = list(root.glob("reports/parity/now/sleeps/executions/*/*/*/attempt_1"))
    ended = [f for f in folders if (f / "metrics.json").exists()]
    if len(ended) != RUNS:
        sys.exit(f"{len(ended)} of {RUNS} runs ended:\n{done.stdout}\n{done.stderr}")
    starts = [(f / "request.json").stat().st_mtime for f in folders]
    ends = [(f / "metrics.json").stat().st_ctime for f in folders]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    return lower_bound(lengths), lower_bound(seconds), max(ends) - min(starts)


def estimates(seconds: list[float], mode: str) -> list[float]:
    rng = random.Random(7)
    off = [1.6 ** rng.uniform(-1, 1) if "off" in mode else 1.0 for _ in seconds]
    return [s * factor for s, factor in zip(seconds, off, strict=True)]


def write_project(root: Path, seconds: list[float], expected: list[float]) -> None:
    tasks = [f"task-{i:02}" for i in range(RUNS)]
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    write_backend(root / "backends" / "sleeper", dict(zip(tasks, seconds, strict=True)))
    suites = root / "suites" / "quick"
    suites.mkdir(parents=True)
    table = [{"task": t, "seed": 0, "step": 1000, "score": 100.0} for t in tasks]
    (suites / "table.json").write_text(json.dumps({"scores": table}))
    suite = {
        "schema_version": "worldflux.parity.suite.v1", "suite_id": "sleeps", "family": "fake",
        "track": "quick", "tasks": tasks, "seeds": 1, "budget": {"step": 1000},
        "official": {"artifact": {"path": "table.json", "format": "canonical_json"}},
        "worldflux": {"backend": "sleeper"},
        "metrics": [{"name": "episode_return", "rule": "drop_ratio", "margin": 0.05}],
    }  # fmt: skip
    (suites / "sleeps.yaml").write_text(json.dumps(suite))
    lines = [
        {"request_id": t, "task_id": t, "seed": 0, "system": "worldflux", "status": "success", "attempt": 1,
         "adapter": "sleeper", "device": "cpu", "recipe": {}, "duration_sec": s}
        for t, s in zip(tasks, expected, strict=True)
    ]  # fmt: skip
    earlier = root / "reports" / "parity" / "earlier" / "sleeps" / "parity_runs.jsonl"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("".join(json.dumps(x) + "\n" for x in lines))


def write_backend(folder: Path, seconds: dict[str, float]) -> None:
    for name in ("seconds", "records"):
        (folder / name).mkdir(parents=True)
    description = {
        "adapter": "sleeper", "kind": "fake", "family": "fake", "system": "worldflux",
        "argv": ["/bin/sh", "{backend_dir}/program.sh"], "environment": "shared",
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(description))
    (folder / "program.sh").write_text(PROGRAM)
    for task, length in seconds.items():
        (folder / "seconds" / task).write_text(f"{length:.3f}\n")
        record = {
            "schema_version": "parity.v1", "adapter": "sleeper", "task_id": task, "seed": 0, "device": "cpu",
            "curve": [{"step": 1000, "return": 100.0}],
        }  # fmt: skip
        (folder / "records" / task).write_text(json.dumps(record))


if __name__ == "__main__":
    main()
