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
from tests.execution.walls import needs_walls, processes

pytestmark = pytest.mark.long

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


def waiting_family(project: Project, walls: str) -> Path:
    """A suite one of whose programs waits, with two children, for a file; where that file is awaited."""
    flags = project.root / "flags"
    flags.mkdir()
    project.ini("filterwarnings = error", "parity_workers = 0", f"parity_isolate = {walls}")
    backend = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    backend.write_text(backend.read_text() + "needs: {read: [../../flags]}\n")
    recipe = {"behaviour": "family", "until": str(flags / "go"), "only": ["worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], recipe={"level": 100.0, **recipe}, deadline_sec=200, retries=1)
    return flags / "go"


def running(project: Project) -> list[int]:
    """What runs in the folders of attempts: within walls programs know other numbers of themselves."""
    return processes(project.run_dir())


def assert_complete(project: Project) -> None:
    for line in project.lines():
        schemas.check(line, "run_line.v1", str, StoreError)
    assert project.document()["verdict"] == "pass"
    successes = Counter((x["system"], x["seed"]) for x in project.lines() if x["success"])
    assert len(successes) == 6
    assert set(successes.values()) == {1}


WALLS = ["off", pytest.param("require", marks=needs_walls)]


@pytest.mark.parametrize(
    ("ending", "walls"),
    [
        *((ending, "off") for ending in ENDINGS),
        *(pytest.param(ending, "require", marks=needs_walls) for ending in ("terminate", "kill", "ctrl-c")),
    ],
)
def test_the_session_ends(project: Project, ending: str, walls: str) -> None:
    go = waiting_family(project, walls)
    terminal = None
    if ending == "closed terminal":
        session, terminal = start_in_a_terminal(project)
    else:
        session = project.start("-n", "1")
    wait_until(lambda: len(running(project)) == 3, "the program and its children")
    all_of_it = {*descendants(session.pid), *processes(project.run_dir(), but=())}
    assert len(all_of_it) >= 4, "a guardian, the program and its two children"
    end(ending, session, terminal)
    session.wait(120)
    wait_until(lambda: not [p for p in all_of_it if alive(p)], "the end of all that was started")
    assert len([x for x in project.lines() if x["success"]]) >= 3
    go.touch()
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert_complete(project)
    assert not processes(project.run_dir(), but=()), "the children of one that ended well end too"


@pytest.mark.parametrize("walls", WALLS)
def test_a_program_ends(project: Project, walls: str) -> None:
    """A program that is killed is replaced, and what it left ends."""
    go = waiting_family(project, walls)
    session = project.start("-n", "2")
    wait_until(lambda: len(running(project)) == 3, "the program and its children")
    first = processes(project.run_dir(), but=())
    folder = project.out_dir("worldflux", "alpha", 1)
    # The children were started by the program, after it.
    program = next(p for p in running(project) if set(descendants(p)) & set(running(project)))
    os.kill(program, signal.SIGKILL)
    wait_until(lambda: not [p for p in first if alive(p)], "the end of the program and its children")
    wait_until((folder / "attempt_2" / "pid").exists, "the second attempt")
    go.touch()
    assert session.wait(120) == pytest.ExitCode.OK
    assert_complete(project)
    kinds = [x["error_kind"] for x in project.lines() if (x["system"], x["seed"]) == ("worldflux", 1)]
    assert kinds == ["killed", None]
    assert not processes(project.run_dir(), but=())
