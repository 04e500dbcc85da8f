"""Two programs, and not one twice: by the files that each side names, whatever its adapter is called.

And by the code that each side runs from, whatever it names: a candidate that is the official program and
names a text beside it is still that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ...suite.suite import SYSTEMS, Suite
from . import Finding

# What a program is written in. A configuration, a text or weights make no other program of it.
_ENDINGS = (
    "py pyx ipynb sh bash zsh pl rb lua js ts jl r m c cc cpp cxx h hh hpp cu cuh go rs java scala kt swift "
    "f f90 so pyd dll dylib jar"
)
SUFFIXES = tuple(f".{ending}" for ending in _ENDINGS.split())
# Files that every project has alike and that are no program: empty ones, and those of one line break.
TRIVIAL = frozenset(sha256(text).hexdigest() for text in (b"", b"\n", b"\r\n"))


@dataclass(frozen=True)
class Named:
    """What a side names as its program; a table names at most a repository.

    Attributes:
        repositories: that it is of. names: of packages, checkouts and files, for a reader.
        files: path -> sha256, of what it leaves out of a checkout too.
        tree: the same of all files that it runs from, as they were sealed.
        by_words: whether it is a command, whose words name its files, and whose tree is a script's folder.
        unsealed: code that it leaves out of a checkout, and that runs where it stands.
        beside: paths of the tree that only a component match or a recording starts, and no run.
    """

    repositories: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    tree: Mapping[str, str] = field(default_factory=dict)
    by_words: bool = False
    unsealed: tuple[str, ...] = ()
    beside: frozenset[str] = frozenset()

    @property
    def contents(self) -> frozenset[str]:
        """The sha256 of all files that say something."""
        return frozenset(self.files.values()) - TRIVIAL

    @property
    def named_code(self) -> frozenset[str]:
        """The sha256 of the code that it names."""
        return _select_code(self.files)


def _select_code(files: Mapping[str, str]) -> frozenset[str]:
    return frozenset(sha256 for path, sha256 in files.items() if path.lower().endswith(SUFFIXES)) - TRIVIAL


@dataclass(frozen=True)
class Overlap:
    """What the two sides of a suite have in common.

    Attributes:
        repositories: of which both are. shared: how many files stand on both sides.
        files: how many files each side has, official first.
        runs: how many files of code of the candidate, where it runs from no others than the official program.
        vendored: of the official program, where the candidate runs from all of them and from code of its own.
    """

    repositories: tuple[str, ...]
    shared: int
    files: tuple[int, int]
    runs: int = 0
    vendored: int = 0

    @property
    def one(self) -> bool:
        """Whether one side names, or the candidate has, nothing that the other has not: one program."""
        return self.shared == min(self.files) or self.runs > 0

    def line(self) -> str:
        """In words, for a reader of the card; empty where there is nothing in common."""
        where = f" of one repository, {', '.join(self.repositories)}" if self.repositories else ""
        if self.shared == min(self.files):
            return f"one program{where}: all {self.shared} files of one side stand on the other"
        if self.runs:
            word = "the one code file" if self.runs == 1 else f"all {self.runs} code files"
            text = f"{word} that the candidate runs from, whatever it names, the official program has too"
            return f"one program{where}: {text}"
        said = self._two(where)
        if not self.vendored:
            return said
        word = "its one code file" if self.vendored == 1 else f"all its {self.vendored} code files"
        text = f"the official program stands in the candidate's files, {word}, beside code of its own"
        return f"{said or 'two programs'}; {text}"

    def _two(self, where: str) -> str:
        word = "file stands" if self.shared == 1 else "files stand"
        share = f"{self.shared} {word} on both sides (of {self.files[0]} and {self.files[1]})"
        if where:
            return f"two programs{where}; {share if self.shared else 'they share no file'}"
        return f"two programs; {share}" if self.shared else ""


def repositories(urls: Iterable[object]) -> frozenset[str]:
    """Repositories by their URLs, as one may write them."""
    return frozenset(u.rstrip("/").removesuffix(".git") for u in urls if isinstance(u, str) and u)


def named_of(document: Mapping[str, Any] | None, tree: Mapping[str, str] | None = None) -> Named | None:
    """What ``run.json`` says that a side names; None where it names nothing that says anything.

    Args:
        tree: path -> sha256 of the files that were sealed for it.
    """
    sources = (document or {}).get("sources") or ()
    found = Named(
        repositories(s.get("repository") for s in sources),
        tuple(s["name"] for s in sources if s.get("name")),
        {**((document or {}).get("files") or {}), **((document or {}).get("ignored") or {})},
        tree or {},
        bool(sources) and all(s.get("kind") == "files" and not s.get("paths") for s in sources),
        tuple(p for p in sorted((document or {}).get("ignored") or ()) if p.lower().endswith(SUFFIXES)),
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
            tree = (entry.get("trees") or {}).get(f"{part}.{system}")
            found[system] = named_of(program.get("named"), tree)
    return found


def overlap(named: Mapping[str, Named | None]) -> Overlap | None:
    """What both sides have in common; None where one of them names no file."""
    official, worldflux = (named.get(s) for s in SYSTEMS)
    if official is None or worldflux is None or not (official.contents and worldflux.contents):
        return None
    one, other = official.contents, worldflux.contents
    both = tuple(sorted(official.repositories & worldflux.repositories))
    runs, vendored = _count_common_code(official, worldflux)
    return Overlap(both, len(one & other), (len(one), len(other)), runs, vendored)


def _count_common_code(official: Named, worldflux: Named) -> tuple[int, int]:
    """``runs`` and ``vendored`` of an overlap. Where a side's tree holds no code it tells nothing.

    What a side names may be more than its tree: a checkout or a package that one launcher starts. Beside an
    official program that lies in its tree such a thing makes no other program of the same code.
    """
    # A command's tree is the folder of its script, where both may stand; its words say which of them runs.
    words = official.by_words and worldflux.by_words
    there, here = (side.files if words else side.tree for side in (official, worldflux))
    # A script by another name is the same one.
    code = _select_code(there) | _select_code(here)
    theirs, ours = code & frozenset(there.values()), code & frozenset(here.values())
    # What only a match starts is no code of a run, unless it is the official program's.
    ours -= _select_code({p: sha for p, sha in here.items() if p in worldflux.beside}) - theirs
    if not theirs or not ours or _is_installed_for_both(official, worldflux):
        return 0, 0
    every = theirs | official.named_code
    if ours | worldflux.named_code <= every or (ours == theirs == every):
        return len(ours), 0
    return 0, len(theirs) if theirs < ours else 0


def _is_installed_for_both(official: Named, worldflux: Named) -> bool:
    """Whether the candidate is a package that stands in the official tree because an environment has it.

    It names all of its code, at the one place where it stands, and the official program names other code.
    """
    ours = _select_code(worldflux.tree)
    shared = {s for path, s in worldflux.tree.items() if official.tree.get(path) == s}
    return (
        ours <= worldflux.named_code
        and ours <= shared
        and bool(official.named_code)
        and not ours & official.named_code
    )


def find_not_shown(named: Mapping[str, Named | None]) -> Iterator[Finding]:
    """Sides that run, and of which nobody can tell which program that is, or which code of it."""
    for system, program in named.items():
        if program is None:
            text = "nothing shows which program it is: its backend.yaml names no files (`program:`)"
            yield Finding("program_not_shown", text, system=system)
        elif program.unsealed:
            more = f" and {len(program.unsealed) - 1} more" if len(program.unsealed) > 1 else ""
            left_out = f"`ignore` leaves out {program.unsealed[0]}{more}, which is read where it stands"
            text = f"nothing shows which code of its checkout runs: {left_out}"
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
