"""Runs of our two match programs on goldens, and what the plugin's comparison makes of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import MatchError
from pytest_worldflux_parity.inputs.golden import read_arrays, read_golden
from pytest_worldflux_parity.inputs.golden_data import Match, Perturbation
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.judgement.gates.components import MatchResult, compare

ROOT = Path(__file__).resolve().parents[2]
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]


@dataclass(frozen=True)
class MatchProgram:
    """The match program of a family."""

    family: str

    @property
    def folder(self) -> Path:
        """The backend whose program it is."""
        return ROOT / "backends" / f"worldflux_{self.family}"

    @property
    def module(self) -> str:
        """What starts it."""
        return f"backends.worldflux_{self.family}.match"

    @property
    def golden(self) -> Path:
        """The committed golden of the current version."""
        return self.golden_of(read_lock(ROOT / "reports/parity/upstream_lock.json").current_of(self.family))

    def golden_of(self, version: str) -> Path:
        """The committed golden of a version of the official program."""
        return ROOT / "backends" / "golden" / self.family / version

    def write_request(self, out_dir: Path, golden: Path | None = None, **changes: object) -> Path:
        """A request for a match with the committed golden, or another one."""
        out_dir.mkdir(parents=True, exist_ok=True)
        request = {
            "schema_version": "worldflux.parity.match_request.v1",
            "golden": str(golden or self.golden),
            "out_dir": str(out_dir),
            "device": "cpu",
            "threads": 1,
        }
        path = out_dir / "match_request.json"
        path.write_text(json.dumps(request | changes))
        return path

    def run(self, request: Path, program: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """The program, or another one, on a request; warnings are errors."""
        command = [sys.executable, "-W", "error", *(program or ["-m", self.module]), str(request)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600
        )

    def judge(self, out_dir: Path, golden: Path | None = None) -> MatchResult:
        """The plugin's comparison of what a program left with a golden."""
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
        return compare(read_golden(golden or self.golden, self.family), match)

    def altered(self, tmp_path: Path, change: Change) -> Path:
        """A copy of the golden, changed, whose sha256 is right."""
        golden = tmp_path / "golden"
        shutil.copytree(self.golden, golden)
        manifest = json.loads((golden / "manifest.json").read_text())
        with np.load(golden / "arrays.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        change(manifest, arrays)
        np.savez(golden / "arrays.npz", **arrays)
        manifest["arrays_sha256"] = hashlib.sha256((golden / "arrays.npz").read_bytes()).hexdigest()
        (golden / "manifest.json").write_text(json.dumps(manifest))
        return golden


TDMPC2, DREAMERV3 = MatchProgram("tdmpc2"), MatchProgram("dreamerv3")
