"""A repository that stands in for an official one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_worldflux_parity.inputs.lock import LockEntry

REPO = "https://example.invalid/owner/name"
TABLE = "results/table.csv"


@dataclass(frozen=True)
class Upstream:
    """A repository of two commits; the locked one is the first, so that no branch points at it."""

    path: Path
    entry: LockEntry
