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
