"""``--parity-isolate``: what it means on each track, what it says, and what records say of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import StoreError
from pytest_worldflux_parity.execution import isolation
from tests.conftest import FAKES, PROOF, Project
from tests.execution.walls import environment, needs_walls, open_folder, python_as

__all__ = ["open_folder"]

HIDDEN = {"by": "bubblewrap", "why": "", "key_hidden": False, "needs": {}}
MISSING = "bubblewrap is not installed"


def said(project: Project, suite: str, run_id: str = "r") -> list[object]:
    """What was in force of each line, each once."""
    lines = project.lines(suite, run_id)
    for line in lines:
        schemas.check(line, "run_line.v1", str, StoreError)
    found: list[object] = []
    found += [line["isolation"] for line in lines if line["isolation"] not in found][:1]
    return found


@pytest.fixture
def without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH of links to all that is on this machine's, but for bubblewrap."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("env", "sh", "git", "setpriv"):
        if (found := shutil.which(name)) is not None:
            (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


def by_default(project: Project) -> None:
    """Let the track say whether programs are isolated."""
    (project.root / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nparity_workers = 0\n", encoding="utf-8"
    )


@needs_walls
def test_proofs_are_isolated_and_quick_runs_are_not_unless_asked(project: Project) -> None:
    by_default(project)
    project.suite(tasks=["alpha"], seeds=2)
    assert project.run().ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    assert said(project, "fake_quick") == [isolation.describe_walls(None, isolation.OPEN)]
    project.run("--parity-isolate=require", run_id="asked")
    assert said(project, "fake_quick", "asked") == [HIDDEN]
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_isolate = auto")
    project.run(run_id="ini")
    assert said(project, "fake_quick", "ini") == [HIDDEN]
    assert project.document("run.json", "ini")["isolate"] == "auto"
    by_default(project)
    project.proof(tasks=["alpha"])
    result = project.run(run_id="proof")
    assert said(project, "fake_proof", "proof") == [HIDDEN]
    assert "isolation" in result.stdout.str()
    assert "bubblewrap, all 8 runs and matches that count; no signing key was hidden" in result.stdout.str()


@pytest.mark.usefixtures("without_bubblewrap")
def test_auto_says_in_one_line_what_failed_and_goes_on(project: Project) -> None:
    by_default(project)
    project.proof(tasks=["alpha"])
    result = project.run()
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    line = f"parity: programs are not isolated: {MISSING}; to mend: apt-get install bubblewrap"
    assert [text for text in result.outlines if "not isolated" in text] == [line]
    assert said(project, "fake_proof") == [{"by": "none", "why": MISSING, "key_hidden": False, "needs": {}}]
    assert f"none: 8 of 8 ran open ({MISSING}); a signing key was within reach" in result.stdout.str()


@pytest.mark.usefixtures("without_bubblewrap")
def test_require_runs_nothing_where_it_cannot_be_had(project: Project) -> None:
    project.proof(tasks=["alpha"])
    result = project.run("--parity-isolate=require")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = f"this machine: --parity-isolate=require, and {MISSING}; to mend: apt-get install bubblewrap"
    assert text in result.stderr.str()
    assert not list(project.run_dir().rglob("request.json"))


def test_another_word_is_refused(project: Project) -> None:
    project.suite()
    project.ini("parity_isolate = always")
    result = project.run()
    assert "parity_isolate is 'always': valid: auto, require, off" in result.stderr.str()


@needs_walls
def test_an_ordinary_user_runs_a_whole_session_within_walls(open_folder: Path) -> None:
    """In a folder of its own, with its own interpreter: what a user without rights has."""
    root = open_folder / "project"
    shutil.copytree(FAKES, root / "backends")
    (root / "suites" / "proof").mkdir(parents=True)
    document = {**PROOF, "suite_id": "fake_proof", "tasks": ["alpha"]}
    (root / "suites" / "proof" / "fake_proof.yaml").write_text(json.dumps(document))
    (root / "pytest.ini").write_text("[pytest]\nparity_workers = 2\n")
    for path in (root, *root.rglob("*")):
        os.chown(path, 65534, 65534) if os.geteuid() == 0 else None
    words = ["-m", "pytest", "-p", "no:benchmark", "-p", "no:hypothesispytest", "-p", "no:cacheprovider"]
    words += ["--parity=proof", "--parity-run-id=r", "--parity-isolate=require"]
    done = subprocess.run(
        python_as("an ordinary user", *words), cwd=root, env=environment(open_folder / "home"),
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bubblewrap, all 8 runs and matches that count" in done.stdout
