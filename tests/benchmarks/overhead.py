"""What the plugin itself costs: per pair over starting its process, and to collect 3,250 pairs.

    python tests/benchmarks/overhead.py [--pairs 60]

Runs pytest on a throw-away project with the fake backend of the tests, and the same program bare,
side by side. Limits of the issue: 60 ms a pair, 1.5 s for collection.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from pytest_worldflux_parity.execution.runner import install_wire

FAKES = Path(__file__).parents[1] / "fakes" / "backends"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60, help="pairs that are run (default: 60)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(FAKES, root / "backends")
        (root / "pytest.ini").write_text("[pytest]\n")
        write_suite(root / "run.yaml", tasks=1, seeds=options.pairs)
        write_suite(root / "collect.yaml", tasks=65, seeds=50)
        pair, bare = pair_cost(root)
        print(
            f"pair {1e3 * pair:.1f} ms, bare process {1e3 * bare:.1f} ms: {1e3 * (pair - bare):+.1f} ms each"
        )
        print(f"3,250 pairs collected in {collection_time(root):.2f} s")


def write_suite(path: Path, tasks: int, seeds: int) -> None:
    """A suite with a live worldflux side and a table on the other."""
    names = [f"task-{i}" for i in range(tasks)]
    table = [
        {"task": t, "seed": s, "step": 1000, "score": 100.0 + s % 7} for t in names for s in range(seeds)
    ]
    path.with_suffix(".json").write_text(json.dumps({"scores": table}))
    suite = {
        "schema_version": "worldflux.parity.suite.v1",
        "suite_id": path.stem,
        "family": "fake",
        "track": "quick",
        "tasks": names,
        "seeds": seeds,
        "official": {"artifact": {"path": path.with_suffix(".json").name, "format": "canonical_json"}},
        "worldflux": {"backend": "fake_worldflux"},
        "recipe": {"level": 100.0},
        "budget": {"step": 1000},
        "metrics": [{"name": "episode_return", "rule": "calibrated", "margin": 0.05}],
    }
    path.write_text(json.dumps(suite))


def pair_cost(root: Path) -> tuple[float, float]:
    """Median seconds of a pair in pytest, and of the same command started bare."""
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "--parity=quick",
        "-n0",
        "--parity-run-id=r",
        "--junitxml=out.xml",
        "-q",
    ]
    subprocess.run([*pytest, "run.yaml"], cwd=root, capture_output=True, check=False)
    cases = [c for c in ET.parse(root / "out.xml").iter("testcase") if "seed=" in str(c.get("name"))]
    requests = sorted((root / "reports/parity/r").glob("*/executions/*/*/*/*/request.json"))
    shim = install_wire(root / "wire")
    return (
        statistics.median(float(str(c.get("time"))) for c in cases),
        statistics.median(bare_time(root, request, shim) for request in requests),
    )


def bare_time(root: Path, request: Path, shim: Path) -> float:
    (request.parent / "metrics.json").unlink()
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, str(root / "backends" / "program.py"), str(request)],
        env={"PYTHONPATH": str(shim)},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - start


def collection_time(root: Path) -> float:
    """Seconds that pytest says it took to collect; the median of three."""
    command = [sys.executable, "-m", "pytest", "--parity=quick", "--collect-only", "-q", "collect.yaml"]
    # Its summary is another plugin's cost, and more than the collection.
    command += ["-p", "no:hypothesispytest"]
    times = []
    for _ in range(3):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        found = re.search(r"3250 tests collected in ([0-9.]+)s", done.stdout)
        assert found, done.stdout[-500:]
        times.append(float(found[1]))
    return statistics.median(times)


if __name__ == "__main__":
    main()
