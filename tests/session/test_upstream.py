"""``worldflux-parity upstream``: what official programs have done since the versions that are locked."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytest_worldflux_parity.cli import main as cli


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=A", "-c", "user.email=a@example.invalid"]
    done = subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, name: str, text: str, message: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """An official repository with one commit."""
    folder = tmp_path / "official"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commit(folder, "program/init.py", "scale = 1\n", "As it began")
    return folder


@pytest.fixture
def project(tmp_path: Path, official: Path) -> Path:
    """A project that locks that commit."""
    folder = tmp_path / "project"
    (folder / "reports/parity").mkdir(parents=True)
    (folder / "backends").mkdir()
    (folder / "pytest.ini").touch()
    version = {"commit": git(official, "rev-parse", "HEAD"), "date": "2025-01-01", "changed": "the first"}
    repo = "https://example.invalid/owner/name"
    oracle = {"oracle_format": "canonical_json", "oracle_path": "scores.json"}
    lock = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": {"a_suite": {"repo": repo, "commit": version["commit"], **oracle}},
        "programs": {"name": {"repo": repo, "current": "one", "versions": {"one": version}}},
    }
    (folder / "reports/parity/upstream_lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return folder


def ask(project: Path, *words: str) -> int:
    return cli.main(["--root", str(project), "upstream", *words])


@pytest.mark.parametrize("kind", ["clone", "bare", "url"])
def test_what_is_newer_is_told(
    project: Path, official: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(official, "program/init.py", "scale = 2\n", "Fix the scale")
    head = commit(official, "README.md", "text\n", "Say so")
    place = official.with_name("official.git")
    git(official.parent, "clone", "--quiet", "--bare", "official", place.name)
    mirror = {"clone": str(official), "bare": str(place), "url": f"file://{place}"}[kind]
    assert ask(project, "--mirror", mirror) == 0
    told = capsys.readouterr().out
    assert f"2 commits and 2 files are newer, up to {head}" in told
    assert told.index("Say so") < told.index("Fix the scale") < told.index("changed: README.md")
    assert ask(project, "name", "--mirror", mirror, "--check") == 1


def test_where_nothing_is_newer_the_check_passes(
    project: Path, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(project, "--check", "--mirror", str(official)) == 0
    assert "is the newest commit of https://example.invalid/owner/name" in capsys.readouterr().out


def test_what_cannot_be_asked_is_one_line_with_what_to_do(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    commit(other, "a", "a", "another history")
    for words, told in (
        (["nam"], "no suite and no program 'nam' is locked; did you mean 'name'?"),
        (["--mirror", str(other)], "with a local clone"),
        (["--mirror", str(tmp_path / "nowhere")], "is not a git repository"),
    ):
        assert ask(project, *words) == 1
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
