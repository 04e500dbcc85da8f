"""Which locked versions of official programs the sides of a suite are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..suite.suite import SYSTEMS
from .lock import Lock


@dataclass(frozen=True)
class SideVersion:
    """The version of an official program that a side is.

    Attributes:
        program, name: as the lock file has them. current: the name of the current one.
    """

    program: str
    name: str
    commit: str
    current: str

    @property
    def line(self) -> str:
        """As the card has it."""
        return self.name if self.name == self.current else f"{self.name}, not the current {self.current}"


@dataclass(frozen=True)
class Versions:
    """Those of the sides whose commit is of a locked version.

    Attributes:
        sides: system -> its version.
        changed: what the later of two versions of one program does otherwise, a sentence for each since.
    """

    sides: Mapping[str, SideVersion] = field(default_factory=dict)
    changed: tuple[str, ...] = ()

    @property
    def not_current(self) -> str:
        """What a verdict says first where its official side is not of the current version; else empty."""
        side = self.sides.get("official")
        if side is None or side.name == side.current:
            return ""
        return f"the official {side.program} of version {side.line}"

    @property
    def compared(self) -> str:
        """Two versions of one program and what changed between them; empty where there are not two."""
        found = [self.sides[s] for s in SYSTEMS if s in self.sides]
        if not self.changed:
            return ""
        one, other = (f"{v.name} ({v.commit[:12]})" for v in found)
        return f"{found[0].program} {one} against {other}, between which changed: {'; '.join(self.changed)}"

    def document(self) -> dict[str, Any]:
        """``versions`` of a document: by system, with what changed between two of one program."""
        rows: dict[str, Any] = {
            s: {"program": v.program, "version": v.name, "commit": v.commit, "current": v.name == v.current}
            for s, v in self.sides.items()
        }
        return {**rows, **({"changed": list(self.changed)} if self.changed else {})}


def find_versions(locked: Lock | None, commits: Mapping[str, str | None]) -> Versions:
    """The versions that the sides' commits are of, and what changed between two of one program.

    Args:
        commits: system -> the commit of the official program that the side is; None where none is known.
    """
    if locked is None:
        return Versions()
    known = {
        version.commit: SideVersion(name, label, version.commit, program.current)
        for name, program in locked.programs.items()
        for label, version in program.versions.items()
    }
    sides = {s: known[c] for s, c in commits.items() if c in known}
    return Versions(sides, _list_changes(locked, [sides[s] for s in SYSTEMS if s in sides]))


def _list_changes(locked: Lock, sides: list[SideVersion]) -> tuple[str, ...]:
    if len({side.program for side in sides}) != 1 or len(sides) != len(SYSTEMS):
        return ()
    versions = locked.programs[sides[0].program].versions
    first, last = sorted(list(versions).index(side.name) for side in sides)
    return tuple(version.changed for version in list(versions.values())[first + 1 : last + 1])
