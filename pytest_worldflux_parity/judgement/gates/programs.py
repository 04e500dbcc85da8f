"""Two programs, and not one twice: by the files that each side names, whatever its adapter is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ...suite.suite import SYSTEMS, Suite
from . import Finding

# Files that every project has alike and that are no program: empty ones, and those of one line break.
TRIVIAL = frozenset(sha256(text).hexdigest() for text in (b"", b"\n", b"\r\n"))


@dataclass(frozen=True)
class Named:
    """What a side names as its program; a table names at most a repository.

    Attributes:
        repositories: that it is of. names: of packages, checkouts and files, for a reader.
        files: path -> sha256.
    """

    repositories: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def contents(self) -> frozenset[str]:
        """The sha256 of all files that say something."""
        return frozenset(self.files.values()) - TRIVIAL


@dataclass(frozen=True)
class Overlap:
    """What the two sides of a suite have in common.

    Attributes:
        repositories: of which both are. shared: how many files stand on both sides.
        files: how many files each side has, official first.
    """

    repositories: tuple[str, ...]
    shared: int
    files: tuple[int, int]

    @property
    def one(self) -> bool:
        """Whether one side holds nothing that the other does not: one program."""
        return self.shared == min(self.files)

    def line(self) -> str:
        """In words, for a reader of the card; empty where there is nothing in common."""
        where = f" of one repository, {', '.join(self.repositories)}" if self.repositories else ""
        if self.one:
            return f"one program{where}: all {self.shared} files of one side stand on the other"
        word = "file stands" if self.shared == 1 else "files stand"
        share = f"{self.shared} {word} on both sides (of {self.files[0]} and {self.files[1]})"
        if where:
            return f"two programs{where}; {share if self.shared else 'they share no file'}"
        return f"two programs; {share}" if self.shared else ""


def repositories(urls: Iterable[object]) -> frozenset[str]:
    """Repositories by their URLs, as one may write them."""
    return frozenset(u.rstrip("/").removesuffix(".git") for u in urls if isinstance(u, str) and u)


def named_of(document: Mapping[str, Any] | None) -> Named | None:
    """What ``run.json`` says that a side names; None where it names nothing that says anything."""
    sources = (document or {}).get("sources") or ()
    found = Named(
        repositories(s.get("repository") for s in sources),
        tuple(s["name"] for s in sources if s.get("name")),
        (document or {}).get("files") or {},
    )
    return found if found.contents else None


def named_programs(entry: Mapping[str, Any], part: str) -> dict[str, Named | None]:
    """Side -> the program that it names, of the sides of a part that run.

    Args:
        entry: what a session sealed of the suite; one of an earlier version says nothing of this.
        part: how it names the part.
    """
    found: dict[str, Named | None] = {}
    for system in SYSTEMS:
        program = (entry.get("programs") or {}).get(f"{part}.{system}")
        if program is not None:
            found[system] = named_of(program.get("named"))
    return found


def overlap(named: Mapping[str, Named | None]) -> Overlap | None:
    """What both sides have in common; None where one of them names no file."""
    official, worldflux = (named.get(s) for s in SYSTEMS)
    if official is None or worldflux is None or not (official.contents and worldflux.contents):
        return None
    one, other = official.contents, worldflux.contents
    both = tuple(sorted(official.repositories & worldflux.repositories))
    return Overlap(both, len(one & other), (len(one), len(other)))


def not_shown(named: Mapping[str, Named | None]) -> Iterator[Finding]:
    """Sides that run, and of which nobody can tell which program that is."""
    for system, own in named.items():
        if own is None:
            text = "nothing shows which program it is: its backend.yaml names no files (`program:`)"
            yield Finding("program_not_shown", text, system=system)


def beside_a_table(named: Mapping[str, Named | None]) -> Iterator[str]:
    """A warning where a program is of the repository that the other side's table is of."""
    known = [n for n in named.values() if n is not None]
    if len(known) == len(SYSTEMS) and sum(bool(n.contents) for n in known) == 1:
        both = known[0].repositories & known[1].repositories
        if both:
            yield (
                f"both sides are of one repository, {', '.join(sorted(both))}, and a table names no files: "
                "nothing shows that they are two programs"
            )


def program_findings(suite: Suite, named: Mapping[str, Named | None]) -> Iterator[Finding]:
    """That there are two programs, or one, as the suite asks."""
    common = overlap(named)
    if common is None:
        return
    if suite.comparison == "self" and not common.one:
        text = "the suite compares a program with itself, and these are two: each side has files of its own"
        yield Finding("not_one_program", text)
    if suite.comparison == "versions" and not (common.repositories or common.shared):
        text = "the suite compares versions of one program, and the sides share no repository and no file"
        yield Finding("not_one_program", text)
    if suite.comparison != "self" and common.one:
        text = f"{common.line()}, whatever its adapters are called"
        yield Finding("same_program", text)
