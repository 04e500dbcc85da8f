"""Proof runs of the fake programs, from the first run to the bundle, as the plugin makes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import forked
from tests.components import goldens
from tests.conftest import FAKES, WITHOUT

SUITE_ID = "fake_proof"
BELOW = f"run/{SUITE_ID}"
COMMIT = "a" * 40
SUITE: dict[str, Any] = {
    "schema_version": "worldflux.parity.suite.v1",
    "suite_id": SUITE_ID,
    "track": "proof",
    "claim": "none",
    "family": "fake",
    "tasks": ["alpha", "beta"],
    "seed_policy": {"mode": "fixed", "values": [0, 1, 2], "min_seeds": 3},
    "official": {"backend": "fake_official"},
    "worldflux": {"backend": "fake_worldflux"},
    "component_match": "golden",
    "recipe": {"level": 100.0, "spread": 0.1},
    "eval_protocol": {"eval_interval": 500, "eval_episodes": 1},
    "budget": {"step": 1000},
    "deadline_sec": 60,
    "retries": 1,
    "statistical": {"bayesian": {"draws": 1000}},
    "validity": {"forbidden_shortcuts": ["mode=mock"]},
    "metrics": [{"name": "final_return_mean", "margin": 0.05}, {"name": "auc_return", "margin": 0.05}],
}
LOCK = {
    "schema_version": "worldflux.parity.lock.v1",
    "generated_at_utc": "2026-01-01T00:00:00Z",
    "suites": {
        "other": {
            "repo": "https://example.org/other", "commit": COMMIT, "oracle_format": "canonical_json",
            "oracle_path": "scores.json",
        },
    },
}  # fmt: skip
# Of a project without git, whose official program is of no repository, and one of whose attempts fails.
ADMIT = ["no_isolation", "no_project_commit", "oracle_commit_unknown", {"failed_attempts": 0.1}]
POLICY = {
    "schema_version": "worldflux.parity.policy.v2",
    "suites": {
        f"suites/proof/{SUITE_ID}.yaml": {
            "family": "fake", "stage": "required", "evidence": "bundle", "admit": ADMIT,
        },
    },
    "signers": [],
}  # fmt: skip


class Proof:
    """A project folder with one proof suite of the fake programs."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.root = root
        self.run_dir = root / "reports" / "parity" / "r"
        self.folder = self.run_dir / SUITE_ID
        self.suite = root / "suites" / "proof" / f"{SUITE_ID}.yaml"
        shutil.copytree(FAKES, root / "backends")
        program = root / "backends" / "program.py"
        # What a program says last stands in reports, and often holds a path.
        text = program.read_text(encoding="utf-8").replace(
            '"ValueError: the replay buffer is empty"', 'f"ValueError: {request.out_dir}/replay is empty"'
        )
        program.write_text(text, encoding="utf-8")
        goldens.declare(root / "backends", "  deadline_sec: 60\n")
        goldens.behave(root / "golden", "ok")
        (root / "pytest.ini").write_text("[pytest]\nparity_workers = 0\n", encoding="utf-8")
        self.write(self.suite, {**SUITE, **changes})
        self.write(root / "reports" / "parity" / "upstream_lock.json", LOCK)
        self.write(root / "reports" / "parity" / "suite_policy.json", POLICY)

    def write(self, path: Path, document: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """``pytest --parity=proof`` in a process of its own."""
        command = ["pytest", *WITHOUT, "--parity=proof", "--parity-run-id=r", *arguments]
        return forked.run(command, self.root, env={**os.environ, **(env or {})})

    def document(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return found

    @property
    def bundle(self) -> Path:
        return self.folder / "evidence_bundle.zip"
