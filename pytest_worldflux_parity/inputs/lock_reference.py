"""What judged, where, and against which locked source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..suite.suite import SYSTEMS, ArtifactSide
from . import lock
from .context import RunContext
from .prepare import PreparedSuite
from .table_pins import TablePin, table_pin
from .versions import Versions, find_versions

# What documents say elsewhere, or in sentences.
_NOT_IN_DOCUMENT = ("upstream_lock_sha256", "table", "golden", "oracle_commit", "versions")


@dataclass(frozen=True)
class LockReference:
    """How a suite's official side relates to the lock (field names of ``suite_lock_ref``).

    Attributes:
        table: whether an official table is the pinned one.
        golden: what the lock pins for the suite's family to compare components with.
        oracle_commit: which made the official table, or ``unknown``; empty where the lock says nothing else
            than the entry's commit.
        versions: which locked versions of official programs the sides are.
    """

    suite_id: str
    lock_path: str
    lock_version: str | None
    lock_found: bool
    locked_upstream_commit: str | None
    locked_upstream_repo: str | None
    resolved_upstream_commit: str | None
    matches_lock: bool | None
    upstream_lock_sha256: str | None
    table: TablePin
    golden: lock.GoldenPin | None
    oracle_commit: str = ""
    versions: Versions = field(default_factory=Versions)

    @property
    def mismatch(self) -> str:
        """How the official side's commit contradicts the lock; empty where it does not."""
        if self.matches_lock is not False:
            return ""
        return (
            f"the official side is of commit {self.resolved_upstream_commit}, "
            f"{self.lock_path} locks {self.locked_upstream_commit}"
        )

    def document(self) -> dict[str, Any]:
        """The fields of ``suite_lock_ref``."""
        kept = {k: v for k, v in asdict(self).items() if k not in _NOT_IN_DOCUMENT}
        made = {"oracle_commit": self.oracle_commit, "versions": self.versions.document()}
        return {**kept, **{k: v for k, v in made.items() if v}, "table_pinned": self.table.pinned}


def lock_reference(prepared: PreparedSuite, context: RunContext) -> LockReference:
    """What the lock says about a suite, and the commit that its official side resolved to.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    suite, path = prepared.suite, context.lock_path
    locked = lock.read_lock(path) if path.exists() else None
    entry = locked.suites.get(suite.suite_id) if locked else None
    resolved = find_commit(prepared, "official")
    table = official_table(prepared, context, entry)
    return LockReference(
        suite_id=suite.suite_id,
        lock_path=names_of(prepared, context)["lock"],
        lock_version=locked.version if locked else None,
        lock_found=entry is not None,
        locked_upstream_commit=entry.commit if entry else None,
        locked_upstream_repo=entry.repo if entry else None,
        resolved_upstream_commit=resolved,
        matches_lock=resolved == entry.commit if entry and resolved else None,
        upstream_lock_sha256=locked.sha256 if locked else None,
        table=table,
        golden=locked.goldens.get(suite.family) if locked else None,
        oracle_commit=entry.oracle_commit if entry and "official" in prepared.tables else "",
        versions=find_versions(locked, _official_commits(prepared, table)),
    )


def official_table(prepared: PreparedSuite, context: RunContext, entry: lock.LockEntry | None) -> TablePin:
    """Whether the official table is the one that the suite's entry of the lock file pins."""
    table = prepared.tables.get("official")
    if table is None:
        return TablePin()
    names = names_of(prepared, context)
    called = {"table": names["tables"]["official"]["path"], "suite": names["suite"], "lock": names["lock"]}
    return table_pin(prepared.suite, table, entry, called)


def names_of(prepared: PreparedSuite, context: RunContext) -> Mapping[str, Any]:
    """What documents and sentences call the suite, the lock and each table by, and what a table replaces.

    Of a run that is judged anew they are those of the run.
    """
    if context.names:
        return context.names
    tables = {
        system: {"path": _name_path(table.path, context.root), **_name_replaced(prepared, system, context)}
        for system, table in prepared.tables.items()
    }
    return {
        "suite": _name_path(prepared.suite.path, context.root),
        "lock": _name_path(context.lock_path, context.root),
        "tables": tables,
    }


def _name_replaced(prepared: PreparedSuite, system: str, context: RunContext) -> dict[str, Any]:
    """What the suite names for a side, where a table of the command line stands in its place."""
    side = prepared.suite.replaced.get(system)
    if side is None:
        return {}
    if isinstance(side, ArtifactSide):
        return {"replaces": {"path": _name_path(side.path, context.root), "format": side.format}}
    return {"replaces": {"adapter": side.adapter}}


def _name_path(path: Path, root: Path) -> str:
    """A path as sentences name it: relative to the project where it lies in it, else its name alone."""
    # Not resolved: a linked folder keeps its name.
    path = Path(os.path.abspath(path))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _official_commits(prepared: PreparedSuite, table: TablePin) -> dict[str, str | None]:
    """Side -> the commit of the official program that it is; of versions both are one."""
    systems = SYSTEMS if prepared.suite.comparison == "versions" else ("official",)
    commits = {s: find_commit(prepared, s) for s in systems}
    return {**commits, "official": None} if table.maker else commits


def find_commit(prepared: PreparedSuite, system: str) -> str | None:
    """The upstream commit behind a side: of the run source, the suite, or the table."""
    if system in prepared.sources:
        return prepared.sources[system].get("commit")
    side = prepared.suite.sides[system]
    stated = side.commit if isinstance(side, ArtifactSide) else None
    own = prepared.tables[system].provenance.get("commit") if system in prepared.tables else None
    return stated or (own if isinstance(own, str) else None)
