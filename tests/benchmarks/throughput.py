"""Environment steps per second and memory of both TD-MPC2 programs on one recipe, side by side.

    python tests/benchmarks/throughput.py --official-python .worldflux/envs/official_tdmpc2/bin/python \
        --checkout .worldflux/sources/nicklashansen+tdmpc2/<commit> [--suite FILE] [--rounds 3]

Each round runs the official program and ours in turn, whole, on one thread, with the recipe of the
suite's first task; the ratio is taken round by round and its median printed. Goal: at least 1.5
times the steps per second and no more memory. With --device cuda both run on the GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from pytest_worldflux_parity import lock, runner, suite_file, wire

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official-python", type=Path, required=True)
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--suite", type=Path, default=ROOT / "suites/quick/tdmpc2_quick.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    rounds = [one_round(options, i) for i in range(options.rounds)]
    for key, better in (("env_steps_per_sec", "more"), ("wall_sec", "less"), ("peak_rss_mb", "less")):
        official, ours = ([r[side][key] for r in rounds] for side in (0, 1))
        ratios = [b / a for a, b in zip(official, ours, strict=True)]
        print(
            f"{key:18} official {statistics.median(official):9.1f}  worldflux "
            f"{statistics.median(ours):9.1f}  ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}; {better} is better)"
        )


def one_round(options: argparse.Namespace, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Timing of the official program and of ours, the order changing from round to round."""
    programs = [
        ("official", "official_tdmpc2_torch_subprocess", "official_tdmpc2", options.official_python),
        ("worldflux", "worldflux_tdmpc2_native", "worldflux_tdmpc2", Path(sys.executable)),
    ]
    order = (0, 1) if seed % 2 == 0 else (1, 0)
    timings = {i: timing(options, seed, *programs[i]) for i in order}
    print(f"round {seed}: official {timings[0]}\n         worldflux {timings[1]}", flush=True)
    return timings[0], timings[1]


def timing(
    options: argparse.Namespace, seed: int, system: str, adapter: str, module: str, python: Path
) -> dict[str, float]:
    suite = suite_file.load(options.suite)
    task = suite.tasks[0]
    entry = lock.read_lock(ROOT / "reports/parity/upstream_lock.json").entry("tdmpc2_dmcontrol39")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        request = wire.RunRequest(
            request_id=wire.content_hash([system, seed]),
            run_id="throughput",
            suite_id=suite.suite_id,
            family=suite.family,
            task_id=task.id,
            seed=seed,
            system=system,
            adapter=adapter,
            device=options.device,
            recipe=dict(task.recipe),
            eval_protocol=dict(task.eval_protocol),
            out_dir=str(out),
            deadline_sec=3600,
            threads=options.threads,
            source={"checkout": str(options.checkout.resolve()), "commit": entry.commit, "repo": entry.repo},
        )
        shim = runner.install_wire(Path(folder) / "wire")
        env = runner.environment(os.environ, [shim, ROOT], options.threads, keep_python_path=False)
        outcome = runner.run(
            request, [str(python), "-m", f"backends.{module}", str(out / "request.json")], env
        )
        if outcome.record is None:
            sys.exit(f"{system}: {outcome.error}")
        kept = ("env_steps_per_sec", "wall_sec", "peak_rss_mb")
        return json.loads(json.dumps({k: round(outcome.record.metadata["timing"][k], 2) for k in kept}))


if __name__ == "__main__":
    main()
