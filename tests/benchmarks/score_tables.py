"""Seconds and memory of reading a large CSV of scores: ours, numpy's loadtxt and, where it is, pandas.

    python tests/benchmarks/score_tables.py [--mib 200] [--rounds 3] [--kind plain|empty|agent]

A file is made (``empty``: with one cell that is empty; ``agent``: with a column of text), and each reader
reads it in a process of its own, in turn. Peaks include the interpreter and what it imports. What is not
``plain`` numpy cannot read, and ours reads row by row.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Points of a run: one evaluation a thousand steps, for ten million.
POINTS = 10_000
READERS = {
    "ours": """
from pathlib import Path
from pytest_worldflux_parity.inputs.scores import load_table
rows = len(load_table(Path(sys.argv[1]), "tdmpc2_results_csv_dir"))
""",
    "numpy.loadtxt": """
import numpy
rows = len(numpy.loadtxt(sys.argv[1], delimiter=",", skiprows=1))
""",
    "pandas": """
import pandas
rows = len(pandas.read_csv(sys.argv[1]))
""",
}
AROUND = """
import json, resource, sys, time
started, used = time.perf_counter(), time.process_time()
{read}
print(json.dumps({{
    "rows": rows,
    "seconds": time.perf_counter() - started,
    "cpu": time.process_time() - used,
    "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=("plain", "empty", "agent"), default="plain")
    options = parser.parse_args()
    names = [name for name in READERS if options.kind == "plain" or name != "numpy.loadtxt"]
    if importlib.util.find_spec("pandas") is None:
        names.remove("pandas")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walker-walk.csv"
        rows = make(path, options.mib * 2**20, options.kind)
        print(f"{path.stat().st_size / 2**20:.0f} MiB, {rows} rows, {options.kind}", flush=True)
        rounds = [{name: read(name, path) for name in names} for _ in range(options.rounds)]
    for name in names:
        print(summary(name, [found[name] for found in rounds], [found["ours"] for found in rounds]))


def make(path: Path, size: int, kind: str) -> int:
    """Write rows of as many seeds as make ``size`` bytes; return how many rows."""
    noise, rows, seed = random.Random(0), 0, 0
    end = ",TD-MPC2\n" if kind == "agent" else "\n"
    with path.open("w", encoding="utf-8") as file:
        file.write(f"step,reward,seed{',agent' if kind == 'agent' else ''}\n")
        while file.tell() < size:
            file.writelines(f"{1000 * i},{noise.gauss(500, 100):.6f},{seed}{end}" for i in range(POINTS))
            rows, seed = rows + POINTS, seed + 1
        if kind == "empty":
            file.write(f"0,,{seed}{end}")
    return rows


def read(name: str, path: Path) -> dict[str, float]:
    code = AROUND.format(read=READERS[name])
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def summary(name: str, found: list[dict[str, float]], ours: list[dict[str, float]]) -> str:
    """One line: medians, and of ours by this reader's in the same round."""
    told = [f"{key} {statistics.median(f[key] for f in found):.2f}" for key in ("seconds", "cpu", "mib")]
    ratios = [
        f"{key} {statistics.median(o[key] / f[key] for o, f in zip(ours, found, strict=True)):.2f}"
        for key in ("seconds", "cpu", "mib")
    ]
    return f"{name:14} {', '.join(told)}; ours by this: {', '.join(ratios)}"


if __name__ == "__main__":
    main()
