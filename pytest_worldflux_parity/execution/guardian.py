"""A process that ends the programs that a killed pytest leaves behind.

Each program has a process group of its own, so nothing but the pytest that started it would end it;
and a pytest that is killed with SIGKILL ends nothing. So one guardian per pytest process holds the
end of a pipe, is told which programs run, and ends those that still do once the pipe closes.

A program is told by a mark in its environment, which is announced before it is started: pytest may
be killed before it knows the number of the process, and a child may leave the process group.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

MARK = "WORLDFLUX_PARITY_PROGRAM"
# A program that was being started when its pytest was killed has its mark only a moment later.
SCANS, SCAN_EVERY_SEC = 4, 0.05
_DETACHED = False


class Guardian:
    """The guardian of this process."""

    def __init__(self, detached: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *(["--detached"] if detached else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Whoever ends pytest's process group must not end its guardian first.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()

    @contextlib.contextmanager
    def watching(self, mark: str) -> Iterator[None]:
        """Have the program with a mark ended if this process does not live to the end of the block."""
        self._tell(f"+{mark}\n")
        try:
            yield
        finally:
            self._tell(f"-{mark}\n")

    def started(self, mark: str, group: int) -> None:
        """Tell the process group of a program that is watched."""
        self._tell(f"={mark} {group}\n")

    def close(self) -> None:
        """Let the guardian go."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        # A guardian that somebody ended is missed only if this process is killed as well.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, line.encode())


@cache
def guardian() -> Guardian:
    """This process's guardian, started at its first use."""
    started = Guardian(_DETACHED)
    atexit.register(started.close)
    return started


def detach() -> None:
    """Let this process's guardian be no child of it: for one that is ended together with its children.

    To be called before the first program is started.
    """
    global _DETACHED
    _DETACHED = True


def end_marked(marks: Collection[str]) -> int:
    """End every process whose environment has one of these marks, as far as the system tells; how many."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    found = 0
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if not wanted.isdisjoint(path.read_bytes().split(b"\0")):
                os.kill(int(path.parent.name), signal.SIGKILL)
                found += 1
    return found


def watch(lines: Iterator[str]) -> None:
    """The guardian's life: read what runs until the pipe closes, then end what is left.

    Lines: ``+mark`` before a program is started, ``=mark group`` after it, ``-mark`` at its end.
    """
    running: dict[str, int | None] = {}
    for line in lines:
        mark, _, group = line[1:].strip().partition(" ")
        if line.startswith("-"):
            running.pop(mark, None)
        else:
            running[mark] = int(group) if group else None
    for number in running.values():
        if number is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(number, signal.SIGKILL)
    scans = SCANS if running else 0
    while scans:
        scans = SCANS if end_marked(running) else scans - 1
        time.sleep(SCAN_EVERY_SEC)


if __name__ == "__main__":
    # The parent of what goes on is then nobody that is ended.
    if "--detached" in sys.argv and os.fork():
        os._exit(0)
    watch(sys.stdin)
