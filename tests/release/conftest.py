"""A project in which the real plugin judged several suites once; tests copy what they change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_worldflux_parity.cli import main as cli
from tests import forked
from tests.forked import WITHOUT
from tests.release.judged_runs import judged_project


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run ``r`` of four suites; ``worse`` has the older format."""
    root = tmp_path_factory.mktemp("judged")
    judged_project(root)
    done = forked.run(["pytest", *WITHOUT, "--parity=quick", "--parity-run-id=r"], root)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return root


@pytest.fixture
def copied(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the judged project, which is also the current folder."""
    root = tmp_path / "project"
    shutil.copytree(judged, root)
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
