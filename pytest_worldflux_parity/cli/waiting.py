"""What a command is doing while nothing else is said."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import printable

# What is over at once is not told of.
FIRST_SEC, EVERY_SEC = 1.0, 10.0
_TAIL_BYTES = 2000


@contextlib.contextmanager
def waiting(text: str, more: Callable[[], str] = str) -> Iterator[None]:
    """Say what is being done, and every ten seconds for how long, until the block ends.

    Nothing is said of what takes less than a second.

    Args:
        more: what else is known by then.
    """
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        if not ended.wait(FIRST_SEC):
            say(f"{text} ...")
        while not ended.wait(EVERY_SEC):
            known = more()
            say(f"{text}: {time.monotonic() - began:.0f} s{f', {known}' if known else ''}")

    thread = threading.Thread(target=tell, name="parity-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def say(text: str) -> None:
    """A line of progress; stderr is for the one line of an error."""
    print(printable(text), flush=True)


def last_line(path: Path) -> str:
    """The last line of a log that grows; empty where there is none."""
    with contextlib.suppress(OSError), open(path, "rb") as handle:
        handle.seek(max(0, handle.seek(0, 2) - _TAIL_BYTES))
        lines = handle.read().decode("utf-8", "replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
    return ""
