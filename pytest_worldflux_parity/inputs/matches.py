"""What is compared with what: a backend's own golden, held to the lock, or another one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .. import wire
from ..errors import BackendError, GoldenError, SourceError, SuiteError
from ..suite import suite_file
from ..suite.suite import BackendSide, Suite
from . import lock
from .backends import Backend
from .golden import hold_to_lock, read_golden
from .golden_data import Golden


@dataclass(frozen=True)
class MatchSpec:
    """What is compared with what."""

    backend: Backend
    golden: Golden
    device: str = "cpu"
    threads: int = 1

    @property
    def request_id(self) -> str:
        """sha256 over what decides the result."""
        assert self.backend.match is not None
        return wire.content_hash(
            {
                "adapter": self.backend.adapter,
                "backend_tree_sha256": self.backend.tree_sha256,
                "argv": self.backend.match.argv,
                "golden": self.golden.identity,
                "device": self.device,
                "threads": self.threads,
            }
        )


def match_spec(
    backend: Backend,
    lock_path: Path,
    golden_dir: Path | None = None,
    suite: Suite | None = None,
    version: str = "",
) -> MatchSpec:
    """A backend's own golden folder, or the one named, held to the lock file and ready to be compared with.

    Args:
        golden_dir: another golden than the backend's own, for example one of a run's checkpoint.
        suite: whose official side says which version's golden is meant; version: or this one. Without both
            it is the current one's.

    Raises:
        BackendError: the backend has no match program.
        GoldenError: the folder is not a golden of the backend's family, is not what the lock file wants
            (:func:`~.golden.hold_to_lock`), or was recorded from the backend itself.
        SourceError: the lock file is there and is not a lock.
    """
    if backend.match is None:
        raise BackendError(
            f"the backend {backend.name} has no match program",
            where=str(backend.folder / "backend.yaml"),
            hint="add `match: {argv: [...], golden: <folder>}`",
        )
    version = find_version(backend, lock_path, suite, version)
    own_dir = backend.golden_of(version)
    folder = golden_dir or own_dir
    golden = read_golden(folder, backend.family)
    if golden.tree_sha256 == backend.tree_sha256:
        what = "the golden was recorded from the very code that would be compared with it"
        raise GoldenError(what, where=golden.folder, hint="record it from the official code")
    own = folder.resolve() == own_dir.resolve()
    return MatchSpec(backend, hold_to_lock(golden, lock_path, own=own, version=version))


def find_version(backend: Backend, lock_path: Path, suite: Suite | None, version: str = "") -> str:
    """The version of the official program that components are held to; empty where none is locked.

    Args:
        version: the one that is asked for; empty: as the suite's official side, or its entry of the lock
            file, says, else the current one.

    Raises:
        SourceError: what is asked for is not locked, or the lock file is there and is not a lock.
    """
    locked = lock.read_lock(lock_path) if lock_path.exists() else None
    pin = locked.goldens.get(backend.family) if locked else None
    if locked is None or pin is None or pin.suite not in locked.programs:
        if version:
            what = f"no versions of what the family {backend.family} is compared with are locked"
            raise SourceError(what, where=str(lock_path), hint="leave the version out")
        return ""
    side = suite.sides["official"] if suite else None
    stated = side.version if isinstance(side, BackendSide) else ""
    entry = locked.entry_for(pin.suite, suite.suite_id if suite else "", version or stated)
    return locked.version_of(entry.repo, entry.commit) or locked.current_of(pin.suite)


def match_as_declared(spec: MatchSpec, suite: Suite) -> MatchSpec:
    """A match of the components that a suite declares; of all where it declares none.

    What the program is asked, and what it leaves, is the same: another part is another verdict on it.

    Raises:
        SuiteError: the golden has no such component.
    """
    names = [c.name for c in spec.golden.components]
    for i, name in enumerate(suite.components):
        if name not in names:
            where = suite_file.place(suite.path, "components", i)
            raise SuiteError(f"the golden has no component {name!r}", where=where, valid=names, got=name)
    return replace(spec, golden=replace(spec.golden, declared=suite.components))
