"""Programs within walls, run as whoever runs the tests and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.execution.isolation import why_no_walls

ABSENT = why_no_walls()
needs_walls = pytest.mark.skipif(ABSENT is not None, reason=ABSENT.line() if ABSENT else "")
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CHECKOUT = Path(__file__).resolve().parents[2]
USERS = ("this user", "an ordinary user")


def python_as(user: str, *words: object) -> list[str]:
    """A command line of Python, of the user; a test that cannot be run as another one is skipped."""
    if user == "this user":
        return [sys.executable, *(str(word) for word in words)]
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed: apt-get install util-linux")
    return [*AS_NOBODY, _everyones_python(), *(str(word) for word in words)]


@cache
def _everyones_python() -> str:
    """An interpreter that an ordinary user may run, and that has what the tests need."""
    for python in (sys.executable, "/usr/bin/python3"):
        # A process of its own, since whoever sheds rights may still start what it could before.
        ask = ["/bin/sh", "-c", '"$0" -c "import pytest, xdist, yaml, pytest_worldflux_parity"', python]
        done = subprocess.run(
            [*AS_NOBODY, *ask], cwd="/", env=environment("/"), capture_output=True, check=False
        )
        if done.returncode == 0:
            return python
    pytest.skip("an ordinary user may not read the interpreter, or the checkout, of the tests")


def environment(home: object) -> dict[str, str]:
    """The environment of a command: with the checkout and its packages on the path of any Python."""
    path = os.pathsep.join([str(CHECKOUT), *(p for p in sys.path if p.endswith("site-packages"))])
    return {**os.environ, "PYTHONPATH": path, "HOME": str(home)}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A new folder that every user may enter: those of pytest are this user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="walls_")).resolve()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def ended(user: str, code: str, *arguments: object, cwd: Path) -> Any:
    """What a script of the user says, as JSON in its last line; the home is beside the folder of ``cwd``."""
    command = python_as(user, "-c", code, *arguments)
    env = environment(cwd.parents[1] / "home")
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def processes(below: Path, *, but: Sequence[str] = ("bwrap", "env", "sh")) -> list[int]:
    """The processes in a folder or below it, as the host counts them, but for the walls themselves."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            inside = Path(os.readlink(path / "cwd")).is_relative_to(below)
            state = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            name = (path / "comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if inside and state not in "ZX" and name not in but:
            found.append(int(path.name))
    return sorted(found)
