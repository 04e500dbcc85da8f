"""Texts of a kind that a pattern says badly: what keeps each ``format`` of our schemas, and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

# pytest cuts node ids at the first two, older commands have the next two around what they are given, and
# a backslash is no part of a name anywhere.
_NO_TASK = ("::", "[", "]", "{", "}", "\\")


class Format(NamedTuple):
    """What values of a format hold; ``words`` stand after "is not" in an error."""

    holds: Callable[[str], bool]
    words: str


def is_task(text: str) -> bool:
    """Whether a task may have this name, which becomes a node id, folders and members of evidence."""
    named = text.isprintable() and text.strip() == text != ""
    return named and not any(sign in text for sign in _NO_TASK)


FORMATS: Mapping[str, Format] = {
    "task": Format(is_task, "the name of a task: printable text without ::, [ ], { } and backslashes"),
}
