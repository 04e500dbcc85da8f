"""A project in which the real plugin judged several suites once; tests copy what they change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from judged_runs import COMMIT, Document, table

from pytest_worldflux_parity import cli
from tests.conftest import FAKES, SUITE, WITHOUT


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run ``r`` of four suites; ``worse`` has the older format."""
    root = tmp_path_factory.mktemp("judged")
    suites = root / "suites" / "quick"
    suites.mkdir(parents=True)
    shutil.copytree(FAKES, root / "backends")
    (root / "pytest.ini").write_text("[pytest]\nparity_workers = 0\n")
    for name, factor in (("official", 1.0), ("good", 1.0), ("worse", 0.8)):
        table(suites / f"{name}.json", name, factor)

    def side(name: str) -> Document:
        return {"path": f"{name}.json", "format": "canonical_json"}

    official = {**side("official"), "commit": COMMIT}
    one = {**SUITE, "seeds": 4, "official": {"artifact": official}}
    losses = [{"name": "loss.late", "rule": "equivalence", "margin": 0.1}]
    both = [*SUITE["metrics"], *losses]
    documents = {
        "good": {**one, "suite_id": "good", "worldflux": {"artifact": side("good")}},
        "losses": {**SUITE, "tasks": ["alpha"], "seeds": 2, "suite_id": "losses", "metrics": losses},
        "live": {**SUITE, "tasks": ["alpha"], "suite_id": "live", "metrics": both},
        "worse": {
            "suite_id": "worse", "family": "other", "tasks": ["alpha", "beta"], "upstream": official,
            "worldflux": side("worse"),
        },
    }  # fmt: skip
    for name, document in documents.items():
        (suites / f"{name}.yaml").write_text(json.dumps(document), encoding="utf-8")
    lock = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": {name: {"repo": "https://example.invalid/owner/name", "commit": COMMIT,
                          "oracle_format": "canonical_json", "oracle_path": "suites/quick/official.json",
                          "oracle_in": "project"} for name in ("good", "worse")},
    }  # fmt: skip
    reports = root / "reports" / "parity"
    reports.mkdir(parents=True)
    (reports / "upstream_lock.json").write_text(json.dumps(lock), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", *WITHOUT, "--parity=quick", "--parity-run-id=r"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return root


@pytest.fixture
def copied(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the judged project, which is also the current folder."""
    root = tmp_path / "project"
    shutil.copytree(judged, root, ignore=shutil.ignore_patterns("executions"))
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs ``worldflux-parity``: (exit status, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run
