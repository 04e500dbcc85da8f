"""What the commands of ``worldflux-parity`` share: how one is declared, and the project that it works on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, SourceError

if TYPE_CHECKING:
    from ..inputs.backends import Backend
    from ..inputs.context import RunContext

RUNS_IN = "reports/parity"
DEFAULT_LOCK = f"{RUNS_IN}/upstream_lock.json"
DEFAULT_POLICY = f"{RUNS_IN}/suite_policy.json"
DEFAULT_BACKENDS = "backends"
ROOT_FILES = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", ".git")

RunCommand = Callable[[argparse.Namespace], int | None]


# --- how a command is declared ---


@dataclass(frozen=True)
class Argument:
    """An argument of a command, as ``argparse`` takes it."""

    flags: tuple[str, ...]
    settings: Mapping[str, Any]


def argument(*flags: str, **settings: Any) -> Argument:
    """As ``ArgumentParser.add_argument``."""
    return Argument(flags, settings)


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: as it is typed.
        run: does it, and gives the exit status; None is 0.
        usage_status: the exit status of wrong usage.
    """

    name: str
    run: RunCommand
    arguments: tuple[Argument, ...]
    description: str | None = None
    usage_status: int = 2


def command(name: str, *arguments: Argument, **more: Any) -> Callable[[RunCommand], Command]:
    """Declare the function below as a command."""
    return lambda run: Command(name, run, arguments, **more)


SUITE = argument("suite", type=Path, metavar="SUITE", help="the suite, or a parity.suite.v2 manifest")
BACKENDS = argument(
    "--backends", action="append", type=Path, metavar="DIR",
    help=f"folder of backends (repeatable; default: {DEFAULT_BACKENDS})",
)  # fmt: skip
LOCK = argument("--lock", type=Path, metavar="FILE", help=f"the lock file (default: {DEFAULT_LOCK})")


# --- the project that it works on ---


@dataclass(frozen=True)
class Project:
    """The project that a command works on, and where its lock and its backends are."""

    root: Path
    lock_path: Path
    backend_folders: tuple[Path, ...]

    @property
    def output(self) -> Path:
        """The folder of the run directories."""
        return self.root / RUNS_IN

    def context(self, track: str, run_id: str = "", **more: Any) -> RunContext:
        """What a command asks of a suite of the project; ``more``: other fields than these."""
        from ..inputs.context import RunContext

        fields = {"run_dir": self.output / run_id, "device": "cpu", **more}
        return RunContext(
            self.root, track, run_id, lock_path=self.lock_path, backend_folders=self.backend_folders, **fields
        )

    def backends(self) -> list[Backend]:
        """Every backend of the project."""
        from ..inputs.backends import load_backends

        return list(load_backends(self.backend_folders).values())

    def backend(self, word: str) -> Backend:
        """The backend of this folder's name or adapter id.

        Raises:
            BackendError: there is none.
        """
        backends = self.backends()
        for backend in backends:
            if word in (backend.name, backend.adapter):
                return backend
        raise BackendError(f"there is no backend {word!r}", valid=[b.name for b in backends], got=word)


def project_of(options: argparse.Namespace) -> Project:
    """The project of ``--root`` or the nearest folder upwards that is one, with its lock and backends.

    Raises:
        SourceError: ``--root`` is not a folder.
    """
    root = _find_root(options.root)
    lock_path = Path(getattr(options, "lock", None) or root / DEFAULT_LOCK)
    return Project(root, lock_path, tuple(getattr(options, "backends", None) or [root / DEFAULT_BACKENDS]))


def _find_root(given: Path | None) -> Path:
    if given is not None:
        if not given.is_dir():
            raise SourceError("is not a folder", where=str(given), hint="--root DIR")
        return given.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / name).exists() for name in ROOT_FILES):
            return folder
    return here


def check_key(options: argparse.Namespace) -> None:
    """Make sure that ``--key`` names a key, before anything that it was to have signed is doubted.

    Raises:
        EvidenceError: it cannot be read, or is none.
    """
    from ..evidence.signing import read_public_key

    if options.key is not None:
        read_public_key(options.key)
