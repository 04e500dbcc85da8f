"""The files that attempts left, by their path within the run directory: folders, or what a bundle packs."""

from __future__ import annotations

import os
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


class AttemptFolders:
    """Folders as the store makes them."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = str(run_dir)

    def read(self, name: str) -> bytes:
        try:
            return read_left(f"{self._run_dir}/{name}", MOST_RECORD)
        except ValueError as error:
            # A path out of an edited line may be none.
            raise FileNotFoundError(str(error)) from None

    def attempts(self, suite_id: str) -> Iterator[Attempt]:
        for task in self.tasks(suite_id):
            yield from self.attempts_at(suite_id, task)

    def tasks(self, suite_id: str) -> list[str]:
        """Names of the folders of tasks."""
        return _folders(f"{self._run_dir}/{suite_id}/{EXECUTIONS}")

    def attempts_at(self, suite_id: str, task: str) -> Iterator[Attempt]:
        """Every attempt at one task, by the name of its folder."""
        below = f"{suite_id}/{EXECUTIONS}/{task}"
        for seed in _folders(f"{self._run_dir}/{below}"):
            for system in _folders(f"{self._run_dir}/{below}/{seed}"):
                place = f"{below}/{seed}/{system}"
                for name in _folders(f"{self._run_dir}/{place}"):
                    if name.startswith("attempt_"):
                        yield Attempt(f"{place}/{name}", _files(f"{self._run_dir}/{place}/{name}"))


def _folders(path: str) -> list[str]:
    """Names of the folders in a folder, in order; a hidden one is a lock or half written, never a result."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(path: str) -> frozenset[str]:
    with os.scandir(path) as entries:
        return frozenset(e.name for e in entries if not e.is_dir())
