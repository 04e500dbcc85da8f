"""Texts of a kind that a pattern says badly: what keeps each ``format`` of our schemas, and in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

# pytest cuts node ids at the first two, older commands have the next two around what they are given, and
# a backslash is no part of a name anywhere.
_NO_TASK = ("::", "[", "]", "{", "}", "\\")


SIDE_WORDS = frozenset(("official", "worldflux", "upstream"))
# What a label must not begin a word with, lest it be read as the other side or as a verdict.
_NO_LABEL = (*SIDE_WORDS, "reference", "candidate", "pass", "fail", "inconclusive", "verified")
_LABEL = re.compile(r"(?!.*  )[A-Za-z0-9]([A-Za-z0-9 ._+-]{0,22}[A-Za-z0-9+])?")


class Format(NamedTuple):
    """What values of a format hold; ``words`` stand after "is not" in an error."""

    holds: Callable[[str], bool]
    words: str


def is_task(text: str) -> bool:
    """Whether a task may have this name, which becomes a node id, folders and members of evidence."""
    named = text.isprintable() and text.strip() == text != ""
    return named and not any(sign in text for sign in _NO_TASK)


def is_reason(text: str) -> bool:
    """Whether a text gives a reason that a card has room for: three words or more, on one line."""
    return text.isprintable() and len(text.split()) >= 3 and len(text) <= 200


def is_label(text: str) -> bool:
    """Whether a side may be called so: of ASCII alone, so that no letter looks like another."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    return _LABEL.fullmatch(text) is not None and not any(word.startswith(_NO_LABEL) for word in words)


FORMATS: Mapping[str, Format] = {
    "label": Format(
        is_label,
        "a label: 1 to 24 letters, digits, single spaces or .-_+, with no word for a side or a verdict "
        f"({', '.join(sorted(_NO_LABEL))})",
    ),
    "reason": Format(is_reason, "a reason: three words or more, at most 200 characters on one line"),
    "task": Format(is_task, "the name of a task: printable text without ::, [ ], { } and backslashes"),
}
