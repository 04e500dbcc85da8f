"""Fixtures: made-up numbers for rehearsing a release. Whatever touches one says so, and proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import Finding

BANNER = "FIXTURE: made-up numbers, not evidence"
MODE = "fixture"


def is_fixture_table(provenance: Mapping[str, Any]) -> bool:
    """Whether a score table says of itself that it is one; only ``false`` and silence say that it is not."""
    stated = provenance.get("fixture")
    return stated is not None and stated is not False


def is_fixture_line(line: Mapping[str, Any]) -> bool:
    """Whether a stored line holds a record whose ``metadata.mode`` is ``fixture``."""
    metrics = line.get("metrics")
    metadata = metrics.get("metadata") if isinstance(metrics, Mapping) else None
    return isinstance(metadata, Mapping) and metadata.get("mode") == MODE


def forbidden_fixtures(lines: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """A finding for every fixture among the records of a proof that is to be a claim."""
    for line in lines:
        if is_fixture_line(line):
            about = (line.get("task_id"), line.get("seed"), line.get("system"))
            yield Finding("fixture_forbidden", f"mode is {MODE!r}: a claim cannot rest on it", *about)
