"""A disk that is full or cannot be written: said in one line, and nothing that finished is lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Project, wait_until


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """A file system of 16 MiB at ``small`` in the project."""
    folder = project.root / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


ALL = [(system, seed) for system in ("official", "worldflux") for seed in range(3)]


def successes(stored: Path) -> Counter[tuple[str, int]]:
    """(system, seed) -> how often it succeeded, of the lines that are whole."""
    found: Counter[tuple[str, int]] = Counter()
    for text in stored.read_bytes().splitlines():
        with suppress(ValueError):
            line = json.loads(text)
            found[line["system"], line["seed"]] += line["success"]
    return found


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


@pytest.mark.parametrize(("workers", "finished"), [("0", 3), ("2", 5)])
def test_a_full_disk(project: Project, small_disk: Path, workers: str, finished: int) -> None:
    until = project.root / "go"
    recipe = {"behaviour": "waits", "until": str(until), "only": ["worldflux/alpha/1"]}
    # A line is longer than what the copy of a program that ends gives back.
    recipe = {"level": 100.0, "padding": "x" * 150_000, **recipe}
    project.suite(tasks=["alpha"], recipe=recipe, deadline_sec=200, retries=0)
    session = project.start("--parity-output", "small", "-n", workers)
    stored = small_disk / "r" / "fake_quick" / "parity_runs.jsonl"
    waiting = small_disk / "r" / "fake_quick" / "executions" / "alpha" / "seed_1" / "worldflux"
    wait_until(lambda: (waiting / "attempt_1" / "pid").exists(), "the waiting run")
    wait_until(lambda: stored.read_bytes().count(b"\n") == finished, "all others that can end")
    before = stored.read_bytes()
    filler = fill(small_disk)
    until.touch()
    assert session.wait(120) == pytest.ExitCode.TESTS_FAILED
    log = (project.root / "started.log").read_text(encoding="utf-8")
    assert "the disk is full; to mend: free some space, then go on with --parity-resume" in log
    # The program itself may find no room, and its log says how it ended.
    assert "INTERNALERROR" not in log
    assert f"{Path(__file__).parents[2] / 'pytest_worldflux_parity'}" not in log
    # The line of an attempt that failed finds room where the program's copy has gone.
    after = stored.read_bytes()
    assert after.startswith(before), "what was stored is as it was"
    assert after.endswith(b"\n"), "with no torn line"

    filler.unlink()
    result = project.run("--parity-output", "small", "--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert stored.read_bytes().startswith(before)
    assert successes(stored) == Counter(ALL), "nothing is lost or there twice"
    kinds = [json.loads(text)["error_kind"] for text in stored.read_bytes().splitlines()]
    assert [kind for kind in kinds if kind] == ["disk_full"], "it is no failure, and uses up no retry"
    report = (small_disk / "r" / "report.md").read_text(encoding="utf-8")
    assert "| attempts of worldflux | 3 ok, 1 disk full |" in report


def test_a_torn_last_line_under_workers(project: Project) -> None:
    """What a crash left of a line is passed over, by several writers at once too, and its run is not lost."""
    project.suite(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    stored = project.run_dir() / "fake_quick" / "parity_runs.jsonl"
    lines = stored.read_bytes().splitlines(keepends=True)
    stored.write_bytes(b"".join(lines[:2]) + lines[2][: len(lines[2]) // 2])
    # Nobody had judged it, nor written down an end.
    for path in stored.parent.iterdir():
        if path.is_file() and path.suffix != ".jsonl":
            path.unlink()
    sessions = stored.with_name("sessions.jsonl")
    sessions.write_bytes(sessions.read_bytes().splitlines(keepends=True)[0])
    for seed in (1, 2):
        (project.out_dir("worldflux", "alpha", seed) / "attempt_1" / "metrics.json").unlink()
    result = project.run("--parity-resume", "-n", "2")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert successes(stored) == Counter(ALL)
    assert "1 torn lines of parity_runs.jsonl were passed over" in project.document()["warnings"]


def test_two_sessions_that_make_one_run_directory_at_the_same_moment(project: Project) -> None:
    """One has it, the other says so; which, the lock decides."""
    project.suite(tasks=["alpha"])
    sessions = [project.start() for _ in range(2)]
    ends = sorted(session.wait(120) for session in sessions)
    assert ends == [pytest.ExitCode.OK, pytest.ExitCode.USAGE_ERROR]
    assert successes(project.run_dir() / "fake_quick" / "parity_runs.jsonl") == Counter(ALL)
    assert project.document()["verdict"] == "pass"


def test_a_run_directory_that_cannot_be_written(project: Project) -> None:
    project.suite(tasks=["alpha"])
    (project.root / "file").write_text("", encoding="utf-8")
    result = project.run("--parity-output", "file")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*file/r: cannot be written: *; to mend: choose a writable --parity-output"])


def test_a_run_directory_that_becomes_read_only(project: Project, small_disk: Path) -> None:
    """What is there is judged no further, and nothing is lost."""
    project.suite(
        tasks=["alpha"], recipe={"level": 100.0, "behaviour": "flaky", "only": ["worldflux/alpha/2"]}
    )
    assert project.run("--parity-output", "small").ret == pytest.ExitCode.TESTS_FAILED
    stored = small_disk / "r" / "fake_quick" / "parity_runs.jsonl"
    before = stored.read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        result = project.run("--parity-output", "small", "--parity-resume")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*small/r: cannot be written: *; to mend: choose a writable *"])
    assert stored.read_bytes() == before
    assert os.listdir(small_disk / "r" / "fake_quick") != []
    anew = ("--parity-resume", "--parity-retry-failed=its program is mended")
    assert project.run("--parity-output", "small", *anew).ret == pytest.ExitCode.OK
