"""Independence: two programs, or two tables, that are not one and the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...suite.suite import SYSTEMS, Suite
from ..stats.measurements import Observed
from . import Finding

# Less likely than this, equal numbers were copied.
BY_CHANCE = 1e-4
GRAINS = tuple(10.0**k for k in range(3, -10, -1))


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

    They need not stand at the same seeds: a renumbered copy is a copy. Scores that do not vary, or that
    move on a few steps, meet by chance; no rule passes the former.
    """
    shared = [
        pair
        for metric in suite.metrics
        for task in suite.tasks
        for pair in _shared(observed, metric.name, task.id)
    ]
    if all(u == w for u, w in shared) and len(set(shared)) > 1:
        text = "every score of one side stands in the other: a copy, not a comparison"
        return [Finding("identical_scores", text)]
    return [
        Finding("identical_scores", f"all values of {metric.name} on one side stand on the other", task.id)
        for metric in suite.metrics
        for task in suite.tasks
        if _contained(observed, metric.name, task.id)
    ]


def _shared(observed: Observed, metric: str, task: str) -> Iterable[tuple[float, float]]:
    """The values of both sides, by the seeds that both have."""
    official = observed.values.get(("official", metric, task), {})
    worldflux = observed.values.get(("worldflux", metric, task), {})
    return ((official[s].value, worldflux[s].value) for s in official.keys() & worldflux.keys())


def _contained(observed: Observed, metric: str, task: str) -> bool:
    """Whether the values of one side, at whatever seeds, are among those of the other, and not by chance."""
    sides = [{v.value for v in observed.values.get((s, metric, task), {}).values()} for s in SYSTEMS]
    few, many = sorted(sides, key=len)
    if not few or not few <= many:
        return False
    steps = 1 + (max(many) - min(many)) / _grain(many)
    return (len(many) / steps) ** len(few) < BY_CHANCE


def _grain(values: Iterable[float]) -> float:
    """The largest power of ten of which all values are multiples; scores of a game move in such steps."""
    return next(
        (grain for grain in GRAINS if all(abs(v / grain - round(v / grain)) < 1e-6 for v in values)),
        GRAINS[-1],
    )
