"""Why a program ended, in one line of its log.

That is the exception of its last traceback, whatever loggers and clean-up print after it, or the line of a
fatal error of the interpreter; of a program that left neither, and of one that was killed, its last line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST = 300
_TRACEBACK = re.compile(r"(?P<before>.*?)(?:Exception Group )?Traceback \(most recent call last\):\s*$")
_FATAL = re.compile(r"Fatal Python error: .*")


def last_words(log: str, *, killed: bool = False) -> str:
    """The line of a log that says why its program ended; nothing of an empty log.

    Args:
        log: the end of what the program wrote.
        killed: a signal ended it, so an exception before that was not the end.
    """
    lines = log.splitlines()
    fatal = [found[0] for line in lines if (found := _FATAL.search(line))]
    said = fatal[-1:] or ([] if killed else _exception_line(lines)) or [x for x in lines if x.strip()][-1:]
    return said[0].strip()[:MOST] if said else ""


def _exception_line(lines: Sequence[str]) -> list[str]:
    """The line that names the exception of the last whole traceback, where there is one."""
    starts = [(n, found["before"]) for n, line in enumerate(lines) if (found := _TRACEBACK.match(line))]
    for number, before in reversed(_outer_tracebacks(starts, lines)):
        # Launchers and loggers put words before each line; a group's lines stand behind a bar.
        margin = before.replace("+", "|")
        body = [line.removeprefix(before).removeprefix(margin) for line in lines[number + 1 :]]
        if named := next((x for x in body if x.strip() and not x[0].isspace()), ""):
            return [named]
    return []


def _outer_tracebacks(starts: Sequence[tuple[int, str]], lines: Sequence[str]) -> list[tuple[int, str]]:
    """The tracebacks that do not stand in the frame of an exception group: that names itself before them."""
    outer: list[tuple[int, str]] = []
    for number, before in starts:
        first, around = outer[-1] if outer else (0, "")
        frame = re.compile(re.escape(around.removesuffix("+ ")) + r" *[|+]")
        if not around.endswith("+ ") or not all(frame.match(line) for line in lines[first : number + 1]):
            outer.append((number, before))
    return outer
