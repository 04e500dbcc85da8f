"""The files that attempts left, by their path within the run directory: folders, or what a bundle packs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .left_files import MOST_RECORD, read_left

EXECUTIONS = "executions"


@dataclass(frozen=True)
class Attempt:
    """One attempt: ``path`` of its folder within the run directory, ``names`` of the files right in it."""

    path: str
    names: frozenset[str]


class AttemptFiles(Protocol):
    """Where the files of a run's attempts are."""

    def read(self, name: str) -> bytes:
        """The bytes of a file, by its path within the run directory.

        Raises:
            OSError: there is none, or it cannot be read.
        """

    def attempts(self, suite_id: str) -> Iterator[Attempt]:
        """Every attempt at a suite, in the order of their paths."""

    def below(self, place: str) -> AttemptFiles:
        """Those of the earlier run that is kept at a place within the run directory."""


class AttemptFolders:
    """Folders as the store makes them."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def read(self, name: str) -> bytes:
        try:
            return read_left(f"{self._run_dir}/{name}", MOST_RECORD)
        except ValueError as error:
            # A path out of an edited line may be none.
            raise FileNotFoundError(str(error)) from None

    def below(self, place: str) -> AttemptFolders:
        return AttemptFolders(self._run_dir / place)

    def attempts(self, suite_id: str) -> Iterator[Attempt]:
        for task in self.tasks(suite_id):
            yield from self.attempts_at(suite_id, task)

    def tasks(self, suite_id: str) -> list[str]:
        """Names of the folders of tasks."""
        return [path.name for path in _folders_in(self._run_dir / suite_id / EXECUTIONS)]

    def attempts_at(self, suite_id: str, task: str) -> Iterator[Attempt]:
        """Every attempt at one task, by the name of its folder."""
        for seed in _folders_in(self._run_dir / suite_id / EXECUTIONS / task):
            for folder in (path for system in _folders_in(seed) for path in _folders_in(system)):
                if folder.name.startswith("attempt_"):
                    files = frozenset(path.name for path in folder.iterdir() if not path.is_dir())
                    yield Attempt(folder.relative_to(self._run_dir).as_posix(), files)


def _folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, in order; a hidden one is a lock or half written, never a result."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
