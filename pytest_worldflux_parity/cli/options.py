"""Commands of ``worldflux-parity``, one module each, listed in ``cli.COMMANDS``; here what they share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import SourceError

DEFAULT_LOCK = "reports/parity/upstream_lock.json"
DEFAULT_POLICY = "reports/parity/suite_policy.json"
DEFAULT_BACKENDS = "backends"
_ROOT_FILES = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", ".git")

Subparsers = Any  # argparse keeps the class of its sub-parsers to itself


def add_backends_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--backends``, as :func:`backend_folders` reads it."""
    parser.add_argument(
        "--backends", action="append", type=Path, metavar="DIR",
        help=f"folder of backends (repeatable; default: {DEFAULT_BACKENDS})",
    )  # fmt: skip


def add_lock_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--lock``, as :func:`lock_path` reads it."""
    parser.add_argument("--lock", type=Path, metavar="FILE", help=f"the lock file (default: {DEFAULT_LOCK})")


def backend_folders(options: argparse.Namespace, root: Path) -> tuple[Path, ...]:
    """Where backends are looked for."""
    return tuple(options.backends or [root / DEFAULT_BACKENDS])


def lock_path(options: argparse.Namespace, root: Path) -> Path:
    """The lock file."""
    return Path(options.lock or root / DEFAULT_LOCK)


def check_key(options: argparse.Namespace) -> None:
    """Make sure that ``--key`` names a key, before anything that it was to have signed is doubted.

    Raises:
        EvidenceError: it cannot be read, or is none.
    """
    from ..evidence.signing import read_public_key

    if options.key is not None:
        read_public_key(options.key)


def project_root(options: argparse.Namespace) -> Path:
    """The project that a command works on: ``--root``, or the nearest folder upwards that is one.

    Raises:
        SourceError: ``--root`` is not a folder.
    """
    if options.root is not None:
        if not options.root.is_dir():
            raise SourceError("is not a folder", where=str(options.root), mend="--root DIR")
        return Path(options.root).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / name).exists() for name in _ROOT_FILES):
            return folder
    return here
