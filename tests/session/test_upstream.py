"""``worldflux-parity upstream``: what official programs have done since the versions that are locked."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.lock import read_lock
from tests.components import goldens

ROOT = Path(__file__).parents[2]
DEFAULT_LOCK = ROOT / "reports/parity/upstream_lock.json"


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
    assert f"newer up to {head}: commits: 2, files: 2\n" in told
    assert "to follow it: add it to the lock file as the current version" in told
    assert told.index("Say so") < told.index("Fix the scale") < told.index("changed: README.md")
    assert ask(project, "name", "--mirror", mirror, "--check") == 1


def test_files_that_goldens_and_changes_rest_on_are_told(
    project: Path, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the recorder's backend.yaml and the golden's manifest say."""
    for name, text in {
        "recorder": "adapter: o\nfamily: fam\nsystem: official\nargv: [x]\nenvironment: shared\nkind: k\n"
        "source: {lock: name}\nrecord: {argv: [x], rests_on: ['program/*.py']}\n",
        "ours": "adapter: w\nfamily: fam\nsystem: worldflux\nargv: [x]\nenvironment: shared\nkind: k\n"
        "match: {argv: [x], golden: '../../golden/{version}'}\n",
    }.items():
        (project / "backends" / name).mkdir()
        (project / "backends" / name / "backend.yaml").write_text(text, encoding="utf-8")
    lock = project / "reports/parity/upstream_lock.json"
    document = json.loads(lock.read_text(encoding="utf-8"))
    version = document["programs"]["name"]["versions"]["one"]
    change = {"file": "train.py", "what": "no GPU", "occurrences": 1}
    source = {"repo": "https://example.invalid/owner/name", "commit": version["commit"], "changes": [change]}
    (project / "golden").mkdir()
    goldens.write(project / "golden" / "one", source=source)
    pin = {"suite": "name", "manifest_sha256": "0" * 64, "holds": ["a/*"]}
    document["goldens"] = {"fam": pin}
    lock.write_text(json.dumps(document), encoding="utf-8")
    files = ("program/init.py", "program/train.py", "other/train.py", "other/retrain.py", "train.py")
    for file in files:
        commit(official, file, "new = 1\n", f"Move {file}")
    assert ask(project, "--mirror", str(official)) == 0
    told = {line.strip() for line in capsys.readouterr().out.splitlines() if "changed: " in line}
    assert told == {
        "changed: program/init.py (our goldens rest on it)",
        "changed: program/train.py (our changes for a CPU and our goldens rest on it)",
        "changed: other/train.py (our changes for a CPU rest on it)",
        "changed: train.py (our changes for a CPU rest on it)",
        "changed: other/retrain.py",
    }


def test_a_newest_commit_that_is_locked_and_not_current_is_told_by_its_version(
    project: Path, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = commit(official, "program/init.py", "scale = 2\n", "Fix the scale")
    lock = project / "reports/parity/upstream_lock.json"
    document = json.loads(lock.read_text(encoding="utf-8"))
    row = {"commit": head, "date": "2026-01-01", "changed": "the scale"}
    document["programs"]["name"]["versions"]["two"] = row
    lock.write_text(json.dumps(document), encoding="utf-8")
    assert ask(project, "--mirror", str(official), "--check") == 1
    assert "to follow it: it is locked as two: make that the current version" in capsys.readouterr().out
    assert ask(project, "name@two", "--mirror", str(official), "--check") == 0


@pytest.mark.parametrize("name", ["tdmpc2", "dreamerv3"])
def test_what_official_recorders_rest_on_is_there(name: str) -> None:
    """Each pattern is of files of the checkout of each version that is here."""
    entries = [e for e in read_lock(DEFAULT_LOCK).entries if e.suite_id.startswith(f"{name}@")]
    folders = [p for e in entries if (p := checkout_path(ROOT, e.repo, e.commit)).is_dir()]
    if not folders:
        pytest.skip(f"no official checkout is here; to mend: worldflux-parity fetch-oracles --suite {name}")
    [backend] = [b for b in load_backends([ROOT / "backends"]).values() if b.lock_suite == name]
    assert backend.record is not None
    for folder in folders:
        assert not [pattern for pattern in backend.record.rests_on if not [*folder.glob(pattern)]]


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
