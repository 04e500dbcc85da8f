"""Runs of the match program, and what the plugin's comparison makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from backends.worldflux_dreamerv3.match.__main__ import FAMILY, MEND
from backends.worldflux_dreamerv3.match.components import SINGLE, Needed, group_of
from backends.worldflux_dreamerv3.match.perturbations import Session
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import MatchError
from pytest_worldflux_parity.inputs.golden import read_arrays, read_golden
from pytest_worldflux_parity.inputs.golden_data import Match, Perturbation
from pytest_worldflux_parity.judgement.gates.components import MatchResult, compare, difference

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "backends" / "golden" / "dreamerv3"


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


def run(request: Path) -> subprocess.CompletedProcess[str]:
    """The program on a request, warnings being errors."""
    command = [sys.executable, "-W", "error", "-m", "backends.worldflux_dreamerv3.match", str(request)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600
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
    return compare(read_golden(golden, "dreamerv3"), match)


def computed(session: Session, component: str) -> dict[str, Any]:
    """One component of the committed golden by our code as it is now, compiled anew and alone."""
    if component in SINGLE:
        own = Needed(session.golden.below(f"inputs/{component}/"))
        return SINGLE[component](session.golden, own)
    setting = session.settings[component.partition("_")[0]]
    name = component.removeprefix(f"{setting.name}_")
    program = setting.compile(group_of(name), [name])
    return setting.named(program(setting.state, setting.shared, setting.own))[name]


def session() -> Session:
    """The committed golden."""
    return Session(own_golden(GOLDEN))


def own_golden(folder: Path) -> wire.Golden:
    """A golden folder as the program reads it."""
    return wire.read_golden(folder, FAMILY, MEND)


def diverging(outputs: dict[str, dict[str, Any]]) -> list[str]:
    """The components whose outputs are not the official ones, in data-flow order."""
    golden = read_golden(GOLDEN, "dreamerv3")
    found = []
    for component in golden.components:
        ours = outputs.get(component.name)
        if ours is None:
            continue
        keys = component.keys()
        worst = max(difference(k, golden.outputs[keys[k]], np.asarray(v)).badness for k, v in ours.items())
        if not worst <= component.tolerance:
            found.append(component.name)
    return found
