"""What is compared with what: a backend's own golden, held to the lock, or another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import wire
from ..errors import BackendError, GoldenError
from .backends import Backend
from .golden import held, read_golden
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


def match_spec(backend: Backend, lock_path: Path, golden_dir: Path | None = None) -> MatchSpec:
    """A backend's own golden folder, or the one named, held to the lock file and ready to be compared with.

    Args:
        golden_dir: another golden than the backend's own, for example one of a run's checkpoint.

    Raises:
        BackendError: the backend has no match program.
        GoldenError: the folder is not a golden of the backend's family, is not what the lock file wants
            (:func:`~.golden.check_locked`), or was recorded from the backend itself.
        SourceError: the lock file is there and is not a lock.
    """
    if backend.match is None:
        raise BackendError(
            f"the backend {backend.name} has no match program",
            where=str(backend.folder / "backend.yaml"),
            mend="add `match: {argv: [...], golden: <folder>}`",
        )
    folder = golden_dir or backend.golden_dir
    golden = read_golden(folder, backend.family)
    if golden.tree_sha256 == backend.tree_sha256:
        what = "the golden was recorded from the very code that would be compared with it"
        raise GoldenError(what, where=golden.folder, mend="record it from the official code")
    return MatchSpec(backend, held(golden, lock_path, own=folder.resolve() == backend.golden_dir.resolve()))
