"""Shared fixtures: a throw-away project with fake backends, and pytest runs in it."""

from __future__ import annotations

import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.forked import WITHOUT

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
    "eval_protocol": {"eval_interval": 1000, "eval_episodes": 1},
    "budget": {"step": 1000},
    "deadline_sec": 20,
    "metrics": [{"name": "episode_return", "rule": "calibrated", "margin": 0.05}],
}


PROOF: dict[str, Any] = {
    **{k: SUITE[k] for k in ("schema_version", "family", "official", "worldflux", "recipe")},
    **{k: SUITE[k] for k in ("tasks", "budget", "deadline_sec")},
    "track": "proof",
    "eval_protocol": {"eval_interval": 500, "eval_episodes": 1},
    "claim": "none",
    "seed_policy": {"mode": "fixed", "values": [0, 1, 2, 3]},
    "component_match": "none",
    "metrics": [
        {"name": "final_return_mean", "margin": 0.05},
        {"name": "auc_return", "margin": 0.05},
    ],
}


def heed_ctrl_c() -> None:
    """In a new process: take Ctrl-C, which who started us may ignore, as CI in the background does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Project:
    """A project folder with suites, fake backends, and ways to run pytest in it."""

    track = "quick"

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(FAKES, root / "backends")
        # A root of its own, so that no configuration of the surroundings is found.
        self.ini("filterwarnings = error", "parity_workers = 0")

    def copied(self, root: Path) -> Project:
        """A copy, to be changed or attacked."""
        other = copy.copy(self)
        shutil.copytree(self.root, root)
        other.root = root
        return other

    def ini(self, *lines: str) -> None:
        """Write ``pytest.ini``; programs run open unless it, or an option, says otherwise."""
        if not any(line.startswith("parity_isolate") for line in lines):
            lines = (*lines, "parity_isolate = off")
        (self.root / "pytest.ini").write_text("\n".join(("[pytest]", *lines, "")), encoding="utf-8")

    def suite(self, name: str = "fake_quick", **changes: Any) -> Path:
        """Write ``suites/quick/<name>.yaml``: SUITE with ``changes``; None removes a key."""
        document = {**SUITE, "suite_id": name, **changes}
        path = self.root / "suites" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        kept = {k: v for k, v in document.items() if v is not None}
        path.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        return path

    def proof(self, name: str = "fake_proof", **changes: Any) -> Path:
        """Write ``suites/proof/<name>.yaml``: PROOF with ``changes``; None removes a key."""
        self.track = "proof"
        path = self.root / "suites" / "proof" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in {**PROOF, "suite_id": name, **changes}.items() if v is not None}
        path.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        return path

    def run(self, *args: str, run_id: str | None = "r", folder: str = ".") -> pytest.RunResult:
        """``pytest --parity=quick`` in a process of its own, from a folder of the project."""
        return self.plain(*self.options(*args, run_id=run_id), folder=folder)

    def plain(self, *args: str, folder: str = ".") -> pytest.RunResult:
        """``pytest`` without the plugin's options, in a process of its own."""
        done = forked.run(["pytest", *WITHOUT, *args], self.root / folder)
        return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)

    def start(self, *args: str, run_id: str = "r") -> subprocess.Popen[bytes]:
        """The same from a shell, in the background and in a process group of its own.

        Its output goes to ``started.log``.
        """
        with open(self.root / "started.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pytest", *WITHOUT, *self.options(*args, run_id=run_id)],
                cwd=self.root,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_ctrl_c,
            )

    def options(self, *args: str, run_id: str | None) -> list[str]:
        """What follows ``pytest`` in the command line of a run."""
        named = ["--parity-run-id", run_id] if run_id else []
        return [f"--parity={self.track}", *named, *args]

    def run_dir(self, run_id: str = "r") -> Path:
        """Folder of a run."""
        return self.root / "reports" / "parity" / run_id

    def document(self, name: str = "fake_quick/run.json", run_id: str = "r") -> dict[str, Any]:
        """A document of a run."""
        document: dict[str, Any] = json.loads((self.run_dir(run_id) / name).read_text(encoding="utf-8"))
        return document

    def report(self, run_id: str = "r") -> str:
        """``report.md`` of a run."""
        return (self.run_dir(run_id) / "report.md").read_text(encoding="utf-8")

    def lines(self, suite: str = "fake_quick", run_id: str = "r") -> list[dict[str, Any]]:
        """The stored lines of a suite."""
        path = self.run_dir(run_id) / suite / "parity_runs.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def out_dir(
        self, system: str, task: str, seed: int, suite: str = "fake_quick", run_id: str = "r"
    ) -> Path:
        """Folder of a run's attempts."""
        return self.run_dir(run_id) / suite / "executions" / task / f"seed_{seed}" / system

    def pids(self) -> list[int]:
        """Process ids that the fake backends wrote down."""
        # Not in the copies of programs, which go while they are looked at.
        folders = [
            *self.root.glob("reports/parity/*/*/executions"),
            *self.root.glob("reports/parity/*/*/comp*"),
        ]
        paths = [path for folder in folders for path in folder.rglob("*pid")]
        return [int(p.read_text()) for p in paths if p.read_text()]


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that is the current folder, and the home of who works in it."""
    root = tmp_path_factory.mktemp("project")
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("PY_COLORS", "0")
    return Project(root)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait for a condition; the time is only there so that a broken program ends the test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie that nobody reaps does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
