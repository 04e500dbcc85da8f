"""Speed and memory of the official program and of ours on one recipe, side by side.

    python tests/benchmarks/throughput.py SUITE --official-python .worldflux/envs/<backend>/bin/python \
        --checkout .worldflux/sources/<owner>+<name>/<commit> [--rounds 3] [--set key=value ...]

Each round runs the official program and ours in turn, whole, with the recipe of the suite's first task
(``--set`` changes keys of it), the order changing from round to round; ratios are taken round by round
and their median is printed. Compilation caches are cold: every run gets an empty one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.execution import runner
from pytest_worldflux_parity.inputs import backends, lock
from pytest_worldflux_parity.suite import suite_file

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "reports/parity/upstream_lock.json"
# What a backend says of its own time (seconds, per second, MiB), and which way is better.
KEPT = {
    "env_steps_per_sec": "more",
    "updates_per_sec": "more",
    "first_update_sec": "less",
    "wall_sec": "less",
    "peak_rss_mb": "less",
    "cpu_sec": "less",
}


def main() -> None:
    options = parse_arguments()
    rounds = [one_round(options, i) for i in range(options.rounds)]
    for key, better in KEPT.items():
        if all(key in side for pair in rounds for side in pair):
            print(summary(key, better, rounds))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("suite", type=Path, help="its family says which programs, its first task what")
    # Programs start in folders of their own. A link to an interpreter says which environment is meant.
    parser.add_argument("--official-python", type=os.path.abspath, required=True)
    parser.add_argument("--checkout", type=os.path.abspath, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe")
    return parser.parse_args()


def summary(key: str, better: str, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    """One line: the medians of both programs, and of the ratio of ours to the official one."""
    official, ours = ([pair[side][key] for pair in rounds] for side in (0, 1))
    ratios = [b / a for a, b in zip(official, ours, strict=True)]
    return (
        f"{key:18} official {statistics.median(official):9.1f}  worldflux {statistics.median(ours):9.1f}  "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; {better} is better)"
    )


def one_round(options: argparse.Namespace, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """What the official program and ours took for one seed."""
    order = ("official", "worldflux") if seed % 2 == 0 else ("worldflux", "official")
    timings = {system: timing(options, seed, system) for system in order}
    print(
        f"round {seed}: official {timings['official']}\n         worldflux {timings['worldflux']}", flush=True
    )
    return timings["official"], timings["worldflux"]


def timing(options: argparse.Namespace, seed: int, system: str) -> dict[str, float]:
    """Run one program whole; its record's timing."""
    family = suite_file.load(options.suite).family
    backend = program(family, system)
    python = Path(options.official_python if system == "official" else sys.executable)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        request = make_request(options, seed, backend, folder / "out")
        shim = runner.install_wire(folder / "wire")
        base = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        env = runner.program_environment(base, [shim, ROOT], options.threads)
        outcome = runner.run(request, runner.Start(backend.command(python, folder / "out/request.json"), env))
        if outcome.record is None:
            sys.exit(f"{system}: {outcome.error}")
        found = outcome.record.metadata["timing"]
        return {key: round(found[key], 2) for key in KEPT if key in found}


def program(family: str, system: str) -> backends.Backend:
    """The project's own backend of a family and a system."""
    known = backends.load_backends([ROOT / "backends"]).values()
    return next(b for b in known if (b.family, b.system) == (family, system))


def make_request(
    options: argparse.Namespace, seed: int, backend: backends.Backend, out: Path
) -> wire.RunRequest:
    suite = suite_file.load(options.suite)
    task = suite.tasks[0]
    source: dict[str, Any] = {}
    if backend.lock_suite:
        entry = lock.read_lock(LOCK).entry(backend.lock_suite)
        source = {"checkout": options.checkout, "commit": entry.commit, "repo": entry.repo}
    return wire.RunRequest(
        request_id=wire.content_hash([backend.adapter, seed]),
        run_id="throughput",
        suite_id=suite.suite_id,
        family=suite.family,
        task_id=task.id,
        seed=seed,
        system=backend.system,
        adapter=backend.adapter,
        device=options.device,
        recipe={**task.recipe, **dict(map(wire.parse_setting, options.set))},
        eval_protocol=dict(task.eval_protocol),
        out_dir=str(out),
        deadline_sec=7200,
        threads=options.threads,
        source=source,
    )


if __name__ == "__main__":
    main()
