"""The lock file: which commit of which official repository each suite is judged against.

``worldflux.parity.lock.v1``: ``generated_at_utc``, and per suite ``repo``, ``commit``,
``oracle_format``, ``oracle_path``. Ours beside these: ``oracle_in`` (``source``, the default, or
``project`` for a table that is committed here) and ``oracle_files`` (sha256 by path); and ``goldens``:
per family the golden folder that is pinned, how many components it has, and what every golden of the
family must hold. ``programs``: per official program the versions that are known, and the current one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import SourceError
from ..schemas.json_text import parse_json

LOCK_SCHEMA = "worldflux.parity.lock.v1"
# As ``oracle_commit``: nothing says which commit made the table.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class LockEntry:
    """The official source of one suite.

    Attributes:
        repo: URL.
        commit: 40 hexadecimal digits.
        oracle_path: of the score table, relative to the checkout or to the project (``oracle_in``).
        oracle_files: path (relative to the same folder) -> sha256.
        oracle_commit: which made the table: 40 hexadecimal digits, or ``unknown``; empty: ``commit`` did.
        oracle_commit_reason: why it is not ``commit``.
    """

    suite_id: str
    repo: str
    commit: str
    oracle_format: str
    oracle_path: str
    oracle_in: str = "source"
    oracle_files: Mapping[str, str] = field(default_factory=dict)
    oracle_commit: str = ""
    oracle_commit_reason: str = ""

    @property
    def maker_doubt(self) -> str:
        """Which commit made the table, where that is not the entry's own; empty where it is."""
        if self.oracle_commit in ("", self.commit):
            return ""
        unknown = self.oracle_commit == UNKNOWN
        who = "a commit that is not known" if unknown else f"commit {self.oracle_commit}"
        return f"{who}, and not by {self.commit[:12]} that is locked: {self.oracle_commit_reason}"


@dataclass(frozen=True)
class Version:
    """One commit of an official program.

    Attributes:
        commit: 40 hexadecimal digits. date: of the commit, ISO 8601.
        changed: what it does otherwise than the version before, in a sentence.
    """

    commit: str
    date: str
    changed: str


@dataclass(frozen=True)
class OfficialProgram:
    """An official program whose versions are locked, by name; ``current`` is one of them."""

    repo: str
    current: str
    versions: Mapping[str, Version]

    def name_of(self, commit: str) -> str | None:
        """The version that is of a commit."""
        return next((name for name, version in self.versions.items() if version.commit == commit), None)


@dataclass(frozen=True)
class GoldenPin:
    """Which golden folder a family's components are compared with.

    Attributes:
        suite: the entry whose repository and commit a golden must be recorded from.
        manifest_sha256: of the ``manifest.json`` of the backends' own golden folder.
        holds: shell patterns of ``<component>/<output>``, each of which every golden of the family must
            hold one of, also one that was recorded from a run's checkpoint.
        components: how many the pinned golden has; None where the lock file does not say.
        versions: version of the program -> sha256 and count as above, of its golden where it is another.
    """

    suite: str
    manifest_sha256: str
    holds: tuple[str, ...]
    components: int | None = None
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """A lock file; ``sha256`` is that of its bytes, ``goldens`` is by family, ``programs`` by name.

    A ``fixture`` locks made-up tables.
    """

    path: Path
    sha256: str
    version: str
    suites: Mapping[str, LockEntry]
    goldens: Mapping[str, GoldenPin] = field(default_factory=dict)
    fixture: bool = False
    programs: Mapping[str, OfficialProgram] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[LockEntry, ...]:
        """Those of suites, and one of each version of each program, called ``NAME@VERSION``."""
        versions = (f"{name}@{v}" for name, program in self.programs.items() for v in program.versions)
        return (*self.suites.values(), *map(self.entry, versions))

    def entry(self, name: str) -> LockEntry:
        """The entry of a suite, or of a program: ``NAME``, its current version, or ``NAME@VERSION``.

        Raises:
            SourceError: there is none; the nearest is named.
        """
        if name in self.suites:
            return self.suites[name]
        program, _, version = name.partition("@")
        if program not in self.programs:
            valid = sorted({*self.suites, *self.programs})
            raise SourceError(
                f"no suite and no program {program!r} is locked",
                where=str(self.path),
                valid=valid,
                got=program,
            )
        found = self.programs[program]
        if version and version not in found.versions:
            raise SourceError(
                f"no version {version!r} of {program} is locked",
                where=str(self.path), valid=list(found.versions), got=version,
            )  # fmt: skip
        name = f"{program}@{version or found.current}"
        return LockEntry(name, found.repo, found.versions[version or found.current].commit, "", "", "project")

    def entry_for(self, name: str, suite_id: str, version: str = "") -> LockEntry:
        """Which commit of a source a suite's side runs: the version that it names, else that of the suite's
        own entry where it is of the same repository, else the source's.

        Raises:
            SourceError: there is none, or the source has no versions.
        """
        if version:
            return self.entry(f"{name}@{version}")
        found, own = self.entry(name), self.suites.get(suite_id)
        return own if name in self.programs and own is not None and own.repo == found.repo else found

    def current_of(self, name: str) -> str:
        """The current version of a program; empty where it is none."""
        return self.programs[name].current if name in self.programs else ""

    def version_of(self, repo: str, commit: str) -> str:
        """The name of a commit among the versions of the repository's program; empty where it has none."""
        programs = (program for program in self.programs.values() if program.repo == repo)
        return next((name for program in programs if (name := program.name_of(commit))), "")


def read_lock(path: Path) -> Lock:
    """Read and validate a lock file.

    Raises:
        SourceError: it cannot be read, is not JSON, or does not keep the schema.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"the lock file cannot be read: {error.strerror}",
            where=str(path),
            hint="name it with --lock FILE, or in pytest with the ini setting parity_lock",
        ) from None
    document = parse_json(raw, path, SourceError)
    # Parsed JSON has no line numbers; the errors name the keys.
    schemas.check(document, "lock.v1", lambda at: str(path), SourceError)
    suites = {name: LockEntry(suite_id=name, **values) for name, values in document["suites"].items()}
    goldens = {
        family: GoldenPin(**{**values, "holds": tuple(values["holds"])})
        for family, values in document.get("goldens", {}).items()
    }
    sha256, fixture = hashlib.sha256(raw).hexdigest(), document.get("fixture", False)
    given = document.get("programs", {})
    programs = {name: _parse_program(name, values, path) for name, values in given.items()}
    found = Lock(path, sha256, document["schema_version"], suites, goldens, fixture, programs)
    for pin in goldens.values():
        found.entry(pin.suite)
        for version in pin.versions:
            found.entry(f"{pin.suite}@{version}")
    return found


def _parse_program(name: str, values: Mapping[str, Any], path: Path) -> OfficialProgram:
    versions = {version: Version(**row) for version, row in values["versions"].items()}
    if values["current"] not in versions:
        what = f"the current version {values['current']!r} of {name} is none of its versions"
        raise SourceError(what, where=str(path), valid=list(versions), got=values["current"])
    return OfficialProgram(values["repo"], values["current"], versions)
