"""However a run ends, nothing that it started is left running, and a resume goes on from there."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import StoreError
from tests.conftest import WITHOUT, Project, alive, wait_until

# Ends the session; the other two end a part of it, and the session goes on.
ENDINGS = ("ctrl-c", "terminate", "kill", "closed terminal")


def descendants(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            yield child
            yield from descendants(child)


def take_the_terminal() -> None:
    """In a new process: own the terminal and heed its end, which who started us (nohup) may ignore."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start_in_a_terminal(project: Project) -> tuple[subprocess.Popen[bytes], int]:
    """A session that owns a terminal; the other end of which is returned."""
    ours, its = os.openpty()
    command = [sys.executable, "-m", "pytest", *WITHOUT, "--parity=quick", "--parity-run-id", "r", "-n", "1"]
    session = subprocess.Popen(
        command,
        cwd=project.root,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=take_the_terminal,
    )
    os.close(its)
    return session, ours


def end(ending: str, session: subprocess.Popen[bytes], terminal: int | None) -> None:
    if ending == "ctrl-c":
        os.killpg(session.pid, signal.SIGINT)
    elif ending == "closed terminal":
        assert terminal is not None
        os.close(terminal)
    else:
        session.send_signal({"terminate": signal.SIGTERM, "kill": signal.SIGKILL}[ending])


def waiting_family(project: Project) -> None:
    recipe = {"behaviour": "family", "until": str(project.root / "go"), "only": ["worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], recipe={"level": 100.0, **recipe}, deadline_sec=200)


def assert_complete(project: Project) -> None:
    for line in project.lines():
        schemas.check(line, "run_line.v1", str, StoreError)
    assert project.document()["verdict"] == "pass"
    successes = Counter((x["system"], x["seed"]) for x in project.lines() if x["success"])
    assert len(successes) == 6
    assert set(successes.values()) == {1}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_session_ends(project: Project, ending: str) -> None:
    waiting_family(project)
    terminal = None
    if ending == "closed terminal":
        session, terminal = start_in_a_terminal(project)
    else:
        session = project.start("-n", "1")
    wait_until(lambda: len(project.pids()) == 3, "the program and its children")
    all_of_it = {*descendants(session.pid), *project.pids()}
    assert len(all_of_it) >= 5, "a worker, its guardian, the program and its two children"
    end(ending, session, terminal)
    session.wait(120)
    wait_until(lambda: not [p for p in all_of_it if alive(p)], "the end of all that was started")
    assert len([x for x in project.lines() if x["success"]]) >= 3
    (project.root / "go").touch()
    result = project.run_here("--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert_complete(project)
    assert not [p for p in project.pids() if alive(p)], "the children of one that ended well end too"


@pytest.mark.parametrize("victim", ["worker", "program"])
def test_a_part_of_the_session_ends(project: Project, victim: str) -> None:
    """A worker and a program that are killed are replaced, and what they left ends."""
    waiting_family(project)
    session = project.start("-n", "1")
    wait_until(lambda: len(project.pids()) == 3, "the program and its children")
    first = project.pids()
    folder = project.out_dir("worldflux", "alpha", 1)
    program = int((folder / "attempt_1" / "pid").read_text())
    worker = next(p for p in descendants(session.pid) if program in descendants(p))
    os.kill({"worker": worker, "program": program}[victim], signal.SIGKILL)
    wait_until(lambda: not [p for p in first if alive(p)], "the end of the program and its children")
    wait_until((folder / "attempt_2" / "pid").exists, "the second attempt")
    (project.root / "go").touch()
    assert session.wait(120) == pytest.ExitCode.OK
    assert_complete(project)
    kinds = [x["error_kind"] for x in project.lines() if (x["system"], x["seed"]) == ("worldflux", 1)]
    assert kinds == [{"worker": "lost", "program": "killed"}[victim], None]
    assert not [p for p in project.pids() if alive(p)]
