"""The lock file: which commit of which official repository each suite is judged against.

``worldflux.parity.lock.v1``: ``generated_at_utc``, and per suite ``repo``, ``commit``,
``oracle_format``, ``oracle_path``. Ours beside these: ``oracle_in`` (``source``, the default, or
``project`` for a table that is committed here) and ``oracle_files`` (sha256 by path); and ``goldens``:
per family the golden folder that is pinned, how many components it has, and what every golden of the
family must hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import schemas
from ..errors import SourceError
from ..schemas.json_text import parse_json

LOCK_SCHEMA = "worldflux.parity.lock.v1"


@dataclass(frozen=True)
class LockEntry:
    """The official source of one suite.

    Attributes:
        repo: URL.
        commit: 40 hexadecimal digits.
        oracle_path: of the score table, relative to the checkout or to the project (``oracle_in``).
        oracle_files: path (relative to the same folder) -> sha256.
    """

    suite_id: str
    repo: str
    commit: str
    oracle_format: str
    oracle_path: str
    oracle_in: str = "source"
    oracle_files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GoldenPin:
    """Which golden folder a family's components are compared with.

    Attributes:
        suite: the entry whose repository and commit a golden must be recorded from.
        manifest_sha256: of the ``manifest.json`` of the backends' own golden folder.
        holds: shell patterns of ``<component>/<output>``, each of which every golden of the family must
            hold one of, also one that was recorded from a run's checkpoint.
        components: how many the pinned golden has; None where the lock file does not say.
    """

    suite: str
    manifest_sha256: str
    holds: tuple[str, ...]
    components: int | None = None


@dataclass(frozen=True)
class Lock:
    """A lock file; ``sha256`` is that of its bytes, ``goldens`` is by family.

    A ``fixture`` locks made-up tables.
    """

    path: Path
    sha256: str
    version: str
    suites: Mapping[str, LockEntry]
    goldens: Mapping[str, GoldenPin] = field(default_factory=dict)
    fixture: bool = False

    def entry(self, suite_id: str) -> LockEntry:
        """The entry of a suite.

        Raises:
            SourceError: there is none; the nearest is named.
        """
        if suite_id not in self.suites:
            raise SourceError(
                f"no suite {suite_id!r} is locked",
                where=str(self.path),
                valid=sorted(self.suites),
                got=suite_id,
            )
        return self.suites[suite_id]


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
    found = Lock(path, sha256, document["schema_version"], suites, goldens, fixture)
    for pin in goldens.values():
        found.entry(pin.suite)
    return found
