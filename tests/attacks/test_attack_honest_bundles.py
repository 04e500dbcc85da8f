"""``verify`` follows every bundle that an honest session leaves, wherever and however it ran."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.attacks.lab import proof
from tests.conftest import WITHOUT, Project

# An interpreter that takes every text for ASCII unless it is told otherwise.
ASCII = "export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0;"
COMMAND = Path(sysconfig.get_path("scripts")) / "worldflux-parity"
# Bytes: too few for a log of all attempts; for the evidence; for any document; enough for all of them.
LIMITS = {"the log": 22, "the evidence": 18, "a document": 12, "nothing": 200}
FOLLOWS = (1, 5)


def shell(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, as a shell starts it."""
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=240,
        check=False,
        # Python cuts compiled code off where a file may not be larger, and reads it all the same.
        env={**os.environ, "PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout, done.stdout
    return done


def session(project: Project, before: str = "") -> subprocess.CompletedProcess[str]:
    # In an ASCII locale pytest's own cache cannot write the name of a suite that is not.
    words = " ".join((*WITHOUT, "-p", "no:cacheprovider", "--parity=proof", "--parity-run-id", "r"))
    return shell(project.root, f'{before} exec "$PYTHON" -m pytest {words}')


def bundle(project: Project) -> Path:
    return project.run_dir("r") / "fake_proof" / "evidence_bundle.zip"


def verified(project: Project, before: str = "") -> tuple[int, str]:
    """Exit status and output of ``verify``; not of a bundle that does not follow."""
    done = shell(project.root, f"{before} exec {COMMAND} verify '{bundle(project)}'")
    assert done.returncode in FOLLOWS, done.stdout
    assert "does not follow" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def assert_nothing_half(project: Project) -> None:
    """No file that was begun and not ended is left."""
    assert not [p for p in project.run_dir("r").rglob("*") if p.name.endswith(".partial")]


@pytest.mark.parametrize("folder", ["plain", "Ünïcode 日本 with blanks", 'quotes " and \\ and %s {x}'])
@pytest.mark.parametrize("locale", ["", ASCII], ids=["UTF-8", "ASCII"])
def test_a_bundle_follows_from_whatever_folder(folder: str, locale: str, tmp_path: Path) -> None:
    root = tmp_path / folder
    root.mkdir()
    project = Project(root)
    proof(project, tasks=["alpha"], description="ä 日本")
    suite = project.root / "suites" / "proof" / "fake_proof.yaml"
    suite.rename(suite.with_name(f"{folder.partition(' ')[0]}.yaml"))
    done = session(project, locale)
    assert done.returncode == 0, done.stdout + done.stderr
    for reader in ("", ASCII):
        status, text = verified(project, reader)
        assert (status, text.splitlines()[-1].partition(",")[0]) == (5, "result: PASS that follows")
    assert_nothing_half(project)


def test_a_bundle_follows_in_which_no_attempt_was_made(tmp_path: Path) -> None:
    """A file stands where the attempts were to have their folders: nothing ran and no line was written."""
    project = Project(tmp_path)
    proof(project)
    blocked = project.run_dir("r") / "fake_proof" / "executions"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("", encoding="utf-8")
    done = session(project)
    assert done.returncode == 1
    assert not (blocked.parent / "parity_runs.jsonl").exists()
    status, text = verified(project)
    assert status == 1
    assert text.splitlines()[-1] == "result: NOT A PASS: inconclusive"


@pytest.mark.parametrize("small", LIMITS)
def test_what_is_too_large_to_be_written_leaves_no_half_of_it(small: str, tmp_path: Path) -> None:
    """A limit on the size of files: a line says what it hinders; a bundle that is there follows."""
    project = Project(tmp_path)
    proof(project)
    done = session(project, f"ulimit -f {LIMITS[small]};")
    assert_nothing_half(project)
    said = "the file would be larger than it may be; to mend: raise the limit (ulimit -f)"
    if small == "nothing":
        assert (done.returncode, verified(project)[0]) == (0, 5)
        return
    assert done.returncode == 1
    assert any(said in line for line in done.stdout.splitlines()), done.stdout
    if small == "the log":
        assert verified(project)[0] == 1
    else:
        assert not bundle(project).exists()
        assert "verdict[evidence]" in done.stdout
