"""Runs of the match program, and what the plugin's comparison makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import MatchError
from pytest_worldflux_parity.inputs.golden import read_arrays, read_golden
from pytest_worldflux_parity.inputs.golden_data import Match, Perturbation
from pytest_worldflux_parity.judgement.gates.components import MatchResult, compare

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "backends" / "golden" / "tdmpc2"
FAITHFUL = ["-m", "backends.worldflux_tdmpc2.match"]


def mistaken(name: str) -> list[str]:
    """The program with a mistake of ``mistakes.py``."""
    return [str(Path(__file__).with_name("mistaken_match.py")), name]


def write_request(out_dir: Path, golden: Path = GOLDEN, **changes: object) -> Path:
    """A request for a match."""
    out_dir.mkdir(parents=True, exist_ok=True)
    request = {
        "schema_version": "worldflux.parity.match_request.v1",
        "golden": str(golden),
        "out_dir": str(out_dir),
        "device": "cpu",
        "threads": 1,
    }
    path = out_dir / "match_request.json"
    path.write_text(json.dumps(request | changes))
    return path


def run(request: Path, program: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """The program on a request, warnings being errors."""
    command = [sys.executable, "-W", "error", *(program or FAITHFUL), str(request)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
    )


def judged(out_dir: Path, golden: Path = GOLDEN) -> MatchResult:
    """The plugin's comparison of what a program left."""
    document = wire.load_object(out_dir / "match.json")
    match = Match(
        mapping=document["mapping"],
        parameters={name: tuple(shape) for name, shape in document["parameters"].items()},
        perturbations=tuple(Perturbation(**row) for row in document["perturbations"]),
        outputs=read_arrays(out_dir / "outputs.npz", MatchError),
        perturbed=read_arrays(out_dir / "perturbed.npz", MatchError),
        packages=document["packages"],
        tree_sha256=document["source"]["tree_sha256"],
    )
    return compare(read_golden(golden, "tdmpc2"), match)


def diverging(mistake: str, out_dir: Path) -> list[str]:
    """The components that show a mistake, in data-flow order.

    Raises:
        RuntimeError: the program ended before it could tell.
    """
    done = run(write_request(out_dir), mistaken(mistake))
    if done.returncode != 0:
        raise RuntimeError(f"{mistake}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return [c.component.name for c in judged(out_dir).components if not c.passed]
