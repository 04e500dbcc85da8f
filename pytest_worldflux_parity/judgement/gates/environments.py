"""Environments: a program ran with the packages that it pins, and these are what was installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import Finding

MOST_TOLD = 3


def environment_findings(entry: Mapping[str, Any], part: str) -> Iterator[Finding]:
    """How the environments of a part's programs are not what their ``backend.yaml`` pins.

    Args:
        entry: what the session sealed of the suite. part: its key.
    """
    for key, program in sorted((entry.get("programs") or {}).items()):
        label, _, system = key.rpartition(".")
        found = program.get("environment")
        if label != part or not found:
            continue
        if found["not_as_pinned"]:
            yield Finding("environment_not_as_pinned", _name_first(found["not_as_pinned"]), system=system)
        if unlike := [*found.get("altered", ()), *(found["unlike_record"] or ())]:
            text = f"installed files are not what their RECORD says: {_name_first(unlike)}"
            yield Finding("environment_altered", text, system=system)


def _name_first(texts: list[str]) -> str:
    more = len(texts) - MOST_TOLD
    return "; ".join(texts[:MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
