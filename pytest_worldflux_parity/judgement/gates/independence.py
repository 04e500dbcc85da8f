"""Independence: two programs, or two tables, that are not one and the same, and runs that are so many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...suite.suite import Suite
from ..stats.measurements import Observed
from . import Finding
from .copies import find_copies
from .programs import Named, program_findings


@dataclass(frozen=True)
class Origin:
    """Where a side's numbers come from.

    Attributes:
        path: of the table, resolved; empty for a live side.
        sha256: of the table's bytes; empty for a live side.
        adapter: of the program that ran, or that a table says it was made by; empty where unknown.
        trees: sha256 of the source trees that its runs resolved to, as far as known.
    """

    path: str = ""
    sha256: str = ""
    adapter: str = ""
    trees: frozenset[str] = frozenset()


def independence(
    suite: Suite,
    observed: Observed,
    origins: Mapping[str, Origin],
    named: Mapping[str, Named | None] | None = None,
) -> list[Finding]:
    """Findings when both sides are the same file, the same program, or the same numbers.

    One program twice is what ``comparison: self`` asks for; the same numbers twice are no two samples of it.

    Args:
        named: live side -> the program that it names; of tables there is none.
    """
    made_by_one = [] if suite.comparison == "self" else _find_same_origin(suite, origins)
    found = [*_find_same_file(origins), *program_findings(suite, named or {}), *made_by_one]
    # What is told by its files need not be told by its adapter too.
    return list({f.code: f for f in reversed(found)}.values())[::-1] or find_copies(suite, observed)


def _find_same_file(origins: Mapping[str, Origin]) -> Iterator[Finding]:
    official, worldflux = origins["official"], origins["worldflux"]
    if official.path and official.path == worldflux.path:
        yield Finding("same_score_file", f"both sides are {official.path}")
    elif official.sha256 and official.sha256 == worldflux.sha256:
        yield Finding("same_score_file", "both sides are copies of one file")


def _find_same_origin(suite: Suite, origins: Mapping[str, Origin]) -> Iterator[Finding]:
    """What both sides say of their program; versions of one may well have one adapter."""
    official, worldflux = origins["official"], origins["worldflux"]
    if official.adapter and official.adapter == worldflux.adapter and suite.comparison != "versions":
        yield Finding("same_program", f"both sides are scores of {official.adapter}")
    if official.trees & worldflux.trees:
        yield Finding("same_source_tree", "both sides ran the same source tree")
