"""Independence: two programs, or two tables, that are not one and the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..observations import Observed
from ..suite import Suite
from . import Finding


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


def independence(suite: Suite, observed: Observed, origins: Mapping[str, Origin]) -> list[Finding]:
    """Findings when both sides are the same file, the same source tree, or the same numbers."""
    official, worldflux = origins["official"], origins["worldflux"]
    findings = []
    if official.path and official.path == worldflux.path:
        findings.append(Finding("same_score_file", f"both sides are {official.path}"))
    elif official.sha256 and official.sha256 == worldflux.sha256:
        findings.append(Finding("same_score_file", "both sides are copies of one file"))
    if official.adapter and official.adapter == worldflux.adapter:
        findings.append(Finding("same_program", f"both sides are scores of {official.adapter}"))
    if official.trees & worldflux.trees:
        findings.append(Finding("same_source_tree", "both sides ran the same source tree"))
    if not findings and _copied(suite, observed):
        findings.append(
            Finding(
                "identical_scores", "every score of one side stands in the other: a copy, not a comparison"
            )
        )
    return findings


def _copied(suite: Suite, observed: Observed) -> bool:
    """Whether all shared (metric, task, seed) values are equal, with at least one that is not zero."""
    pairs = list(_shared(suite, observed))
    return len(pairs) > 1 and all(a == b for a, b in pairs) and any(a != 0 for a, _ in pairs)


def _shared(suite: Suite, observed: Observed) -> Iterable[tuple[float, float]]:
    for metric in suite.metrics:
        for task in suite.tasks:
            left = observed.values.get(("official", metric.name, task.id), {})
            right = observed.values.get(("worldflux", metric.name, task.id), {})
            for seed in left.keys() & right.keys():
                yield left[seed].value, right[seed].value
