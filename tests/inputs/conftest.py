"""Throw-away repositories, made with the real git, that stand in for an official one."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_worldflux_parity.inputs.lock import LockEntry
from tests.inputs.upstreams import REPO, TABLE, Upstream
from tests.repositories import git


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    path = tmp_path / "upstream"
    (path / "results").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main", str(path))
    table = b"step,reward,seed\r\n0,1.5,1\r\n"
    (path / TABLE).write_bytes(table)
    (path / "train.py").write_text("print('official')\n")
    (path / ".gitignore").write_text("*.log\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "locked")
    commit = git(path, "rev-parse", "HEAD")
    (path / "train.py").write_text("print('later')\n")
    git(path, "commit", "-q", "-a", "-m", "later")
    files = {TABLE: hashlib.sha256(table).hexdigest()}
    entry = LockEntry("a_suite", REPO, commit, "tdmpc2_results_csv_dir", "results", oracle_files=files)
    return Upstream(path, entry)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a git on the PATH that runs a shell text for ``fetch`` and is the real git for the rest."""

    def install(on_fetch: str) -> Path:
        real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
        folder = tmp_path / "fake-git"
        folder.mkdir()
        script = folder / "git"
        script.write_text(
            f'#!/bin/sh\nfor word in "$@"; do\n  if [ "$word" = fetch ]; then\n    {on_fetch}\n  fi\n'
            f'done\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return script

    return install
