"""Shared fixtures: a throw-away project with fake backends, and pytest runs in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

FAKES = Path(__file__).parent / "fakes" / "backends"

SUITE: dict[str, Any] = {
    "schema_version": "worldflux.parity.suite.v1",
    "suite_id": "fake_quick",
    "family": "fake",
    "track": "quick",
    "tasks": ["alpha", "beta"],
    "seeds": 3,
    "official": {"backend": "fake_official"},
    "worldflux": {"backend": "fake_worldflux"},
    "recipe": {"level": 100.0},
    "eval_protocol": {"eval_episodes": 1},
    "budget": {"step": 1000},
    "deadline_sec": 20,
    "metrics": [{"name": "episode_return", "rule": "calibrated", "margin": 0.05}],
}


class Project:
    """A project folder with suites, fake backends, and ways to run pytest in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.root = pytester.path
        shutil.copytree(FAKES, self.root / "backends")
        # A root of its own, so that no configuration of the surroundings is found.
        (self.root / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\nparity_workers = 0\n", encoding="utf-8")

    def suite(self, name: str = "fake_quick", **changes: Any) -> Path:
        """Write ``suites/quick/<name>.yaml``: SUITE with ``changes``; None removes a key."""
        document = {**SUITE, "suite_id": name, **changes}
        path = self.root / "suites" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        kept = {k: v for k, v in document.items() if v is not None}
        path.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        return path

    def run(self, *args: str, run_id: str | None = "r") -> pytest.RunResult:
        """``pytest --parity=quick`` in a process of its own."""
        named = ("--parity-run-id", run_id) if run_id else ()
        return self.pytester.runpytest_subprocess("--parity=quick", *named, *args, timeout=120)

    def document(self, name: str = "fake_quick/run.json", run_id: str = "r") -> dict[str, Any]:
        """A document of a run."""
        text = (self.root / "reports" / "parity" / run_id / name).read_text(encoding="utf-8")
        document: dict[str, Any] = json.loads(text)
        return document

    def lines(self, suite: str = "fake_quick", run_id: str = "r") -> list[dict[str, Any]]:
        """The stored lines of a suite."""
        path = self.root / "reports" / "parity" / run_id / suite / "parity_runs.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def out_dir(self, system: str, task: str, seed: int, suite: str = "fake_quick", run_id: str = "r") -> Path:
        """Folder of a run's attempts."""
        base = self.root / "reports" / "parity" / run_id / suite / "executions"
        return base / task / f"seed_{seed}" / system


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    return Project(pytester)
