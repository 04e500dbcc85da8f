"""Independence: two programs, or two tables, that are not one and the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..observations import Observed
from ..suite import Suite
from . import Finding

# So many different numbers, all of them in both sides, are no chance.
TELLING = 3


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
    return findings or _copies(suite, observed)


def _copies(suite: Suite, observed: Observed) -> list[Finding]:
    """Findings where scores of one side stand in the other: all of them, or all of a task.

    Of one task only many different numbers tell, since two programs can both reach 21 in every seed.
    They need not stand at the same seeds: a renumbered copy is a copy.
    """
    shared = {
        (metric.name, task.id): list(_shared(observed, metric.name, task.id))
        for metric in suite.metrics
        for task in suite.tasks
    }
    all_pairs = [pair for pairs in shared.values() for pair in pairs]
    if len(all_pairs) > 1 and _equal(all_pairs) and any(u != 0 for u, _ in all_pairs):
        text = "every score of one side stands in the other: a copy, not a comparison"
        return [Finding("identical_scores", text)]
    return [
        Finding("identical_scores", f"all values of {metric} on one side stand on the other", task)
        for metric, task in shared
        if _contained(observed, metric, task)
    ]


def _equal(pairs: Iterable[tuple[float, float]]) -> bool:
    return all(u == w for u, w in pairs)


def _contained(observed: Observed, metric: str, task: str) -> bool:
    """Whether the values of one side, at whatever seeds, are among those of the other."""
    sides = [
        {v.value for v in observed.values.get((system, metric, task), {}).values()}
        for system in ("official", "worldflux")
    ]
    return min(map(len, sides)) >= TELLING and (sides[0] <= sides[1] or sides[1] <= sides[0])


def _shared(observed: Observed, metric: str, task: str) -> Iterable[tuple[float, float]]:
    """The values of both sides, by the seeds that both have."""
    official = observed.values.get(("official", metric, task), {})
    worldflux = observed.values.get(("worldflux", metric, task), {})
    return ((official[s].value, worldflux[s].value) for s in official.keys() & worldflux.keys())
