"""Commands in processes of their own, forked from one that has imported all that they need.

A session of pytest with our plugin, or ``worldflux-parity``, spends most of its time on imports. Here one
process (the standard library's fork server) imports once; each command is a fork of it, with the folder, the
environment, the arguments and the output of a command that is started from a shell.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Plugins that may be installed beside ours: the one warns under xdist, the other takes a second to start.
WITHOUT = ("-p", "no:benchmark", "-p", "no:hypothesispytest")
# The rooms that a session and the commands begin in, and import late.
ROOMS = ("cli", "plugin", "session")
_SERVER = multiprocessing.get_context("forkserver")
# Before any test has changed it.
_ENVIRON = dict(os.environ)


def run(
    command: Sequence[object],
    cwd: str | os.PathLike[str] = ".",
    *,
    env: Mapping[str, str] = os.environ,
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """Run ``pytest ...`` or ``worldflux-parity ...`` to its end.

    Args:
        env: its environment; without it, this process's.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``timeout``, and was killed.
    """
    words = [str(word) for word in command]
    _start_server()
    with tempfile.TemporaryDirectory(prefix="worldflux-forked-") as folder:
        outputs = [Path(folder, name) for name in ("out", "err")]
        arguments = (words, os.path.abspath(cwd), dict(env), [str(path) for path in outputs])
        process = _SERVER.Process(target=_become, args=arguments)
        process.start()
        try:
            process.join(timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(words, timeout)
        finally:
            process.kill()
            process.join()
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
        return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _start_server() -> None:
    """In the checkout, where the module to import first is found.

    The server outlives the test that begins it: in that test's own environment, what ends all processes of
    a variable would end it too.
    """
    _SERVER.set_forkserver_preload(["tests.forking"])
    own = dict(os.environ)
    try:
        _set_environ(_ENVIRON)
        with contextlib.chdir(ROOT):
            forkserver.ensure_running()
    finally:
        _set_environ(own)


def _set_environ(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)


def _become(words: list[str], cwd: str, environ: dict[str, str], outputs: list[str]) -> None:
    """In the fork: what the shell and the interpreter do for a command before it begins."""
    from tests.forking import PATH

    os.chdir(cwd)
    _set_environ(environ)
    for number, path in enumerate([os.devnull, *outputs]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    name, *arguments = words
    sys.argv[:] = words
    given = [cwd] if name == "pytest" else []
    given += filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [*given, *PATH]
    try:
        sys.exit(_MAINS[name](arguments))
    finally:
        # A fork ends without what an interpreter does at its end.
        atexit._run_exitfuncs()


def _run_command(arguments: list[str]) -> int:
    from pytest_worldflux_parity.cli.main import main

    return main(arguments)


_MAINS = {"pytest": pytest.main, "worldflux-parity": _run_command}


class Imports:
    """A plugin that imports what is imported late, while asserts are rewritten as in any session."""

    def pytest_configure(self) -> None:
        importlib.import_module("jsonschema")
        for room in ROOMS:
            folder = ROOT / "pytest_worldflux_parity" / room
            for module in pkgutil.iter_modules([str(folder)], f"pytest_worldflux_parity.{room}."):
                if not module.name.endswith(".__main__"):
                    importlib.import_module(module.name)
