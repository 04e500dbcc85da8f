"""What the tests of sources share: the real git, and a repository that stands in for an official one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from pytest_worldflux_parity.inputs.lock import LockEntry

REPO = "https://example.invalid/owner/name"
TABLE = "results/table.csv"


def git(folder: Path, *arguments: str) -> str:
    """Run the real git as somebody."""
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.invalid"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Upstream:
    """A repository of two commits; the locked one is the first, so that no branch points at it."""

    path: Path
    entry: LockEntry
