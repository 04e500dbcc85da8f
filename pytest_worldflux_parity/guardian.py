"""A process that ends the programs that a killed pytest leaves behind.

Each program has a process group of its own, so nothing but the pytest that started it would end it;
and a pytest that is killed with SIGKILL ends nothing. So one guardian per pytest process holds the
end of a pipe, is told which groups run, and ends those that still do once the pipe closes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache


class Guardian:
    """The guardian of this process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Whoever ends pytest's process group must not end its guardian first.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()

    @contextlib.contextmanager
    def watching(self, group: int) -> Iterator[None]:
        """Have a process group ended if this process does not live to the end of the block."""
        self._tell(f"+{group}\n")
        try:
            yield
        finally:
            self._tell(f"-{group}\n")

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
    started = Guardian()
    atexit.register(started.close)
    return started


def watch(lines: Iterator[str]) -> None:
    """The guardian's life: read ``+group`` and ``-group`` until the pipe closes, then end what is left."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)
