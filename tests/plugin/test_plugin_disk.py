"""A disk that is full or cannot be written: said in one line, and nothing that finished is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project, wait_until


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """A file system of 512 KiB at ``small`` in the project."""
    folder = project.root / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as handle:
        for size in (4096, 512, 1):
            try:
                while True:
                    handle.write(b"\0" * size)
            except OSError:
                continue
    return path


def test_a_full_disk(project: Project, small_disk: Path) -> None:
    until = project.root / "go"
    recipe = {"behaviour": "waits", "until": str(until), "only": ["worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], recipe={"level": 100.0, **recipe}, deadline_sec=200)
    session = project.start("--parity-output", "small")
    stored = small_disk / "r" / "fake_quick" / "parity_runs.jsonl"
    waiting = small_disk / "r" / "fake_quick" / "executions" / "alpha" / "seed_1" / "worldflux"
    wait_until(lambda: (waiting / "attempt_1" / "pid").exists(), "the waiting run")
    before = stored.read_bytes()
    assert len(before.splitlines()) == 3
    filler = fill(small_disk)
    until.touch()
    assert session.wait(120) == pytest.ExitCode.TESTS_FAILED
    log = (project.root / "started.log").read_text(encoding="utf-8")
    assert "the disk is full; to mend: free some space, then go on with --parity-resume" in log
    assert "Traceback" not in log
    assert stored.read_bytes() == before, "what was stored is as it was, with no torn line"

    filler.unlink()
    result = project.run_here("--parity-output", "small", "--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert stored.read_bytes().startswith(before)
    assert len(stored.read_bytes().splitlines()) == 6


def test_a_run_directory_that_cannot_be_written(project: Project) -> None:
    project.suite(tasks=["alpha"])
    (project.root / "file").write_text("", encoding="utf-8")
    result = project.run_here("--parity-output", "file")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *file/r: cannot be written: Not a directory; to mend: choose a writable --parity-output"]
    )


def test_a_run_directory_that_becomes_read_only(project: Project, small_disk: Path) -> None:
    """What is there is judged no further, and nothing is lost."""
    project.suite(
        tasks=["alpha"], recipe={"level": 100.0, "behaviour": "flaky", "only": ["worldflux/alpha/2"]}
    )
    assert project.run_here("--parity-output", "small").ret == pytest.ExitCode.TESTS_FAILED
    stored = small_disk / "r" / "fake_quick" / "parity_runs.jsonl"
    before = stored.read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        result = project.run_here("--parity-output", "small", "--parity-resume")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *cannot be written: Read-only file system*"])
    assert stored.read_bytes() == before
    assert os.listdir(small_disk / "r" / "fake_quick") != []
    assert project.run_here("--parity-output", "small", "--parity-resume").ret == pytest.ExitCode.OK
