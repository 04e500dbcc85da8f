"""The files of a folder, and of a project, that may be part of a program."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from ... import wire
from ...errors import BackendError
from .git import files_of_git

# What is no part of a program wherever it stands.
_NEVER = frozenset(["__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"])
# What is no part of the project's programs where git does not say what is.
_NOT_OURS = frozenset([".git", ".worldflux", "venv", "node_modules", "reports"])
# What is nobody's but this user's, wherever it stands.
_SECRET = (".env*", "*.pem", ".ssh", ".gnupg", ".aws", ".netrc", ".pypirc", "id_rsa*", "id_ed25519*")
# Checkouts and environments, whether or not git is told to pass them over.
_BUILT = ".worldflux"


def is_secret(path: PurePath) -> bool:
    """Whether a path has the name of what no program and no other machine is given."""
    return any(fnmatchcase(part, pattern) for part in path.parts for pattern in _SECRET)


def refuse_odd_names(names: Iterable[str], folder: Path) -> None:
    """Refuse files that no document could name.

    Raises:
        BackendError: the name of one below ``folder`` is no UTF-8.
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            hint = "rename the file, or name it under program.ignore"
            raise BackendError(f"the name of {shown} is no UTF-8", where=str(folder), hint=hint) from None


def hash_files(paths: Mapping[str, Path]) -> dict[str, str]:
    """Name -> sha256 of the files that are there and can be read."""
    hashed = ((name, wire.file_sha256(path)) for name, path in paths.items())
    return {name: sha256 for name, sha256 in hashed if sha256 is not None}


def everything(folder: Path) -> Iterator[Path]:
    """All that is below a folder, with its empty folders (git needs some) and without Python's caches."""
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name in _NEVER or name.endswith(".pyc"):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from everything(path)


def tracked(root: Path) -> Iterator[Path]:
    """The project's files: what git tracks or would, and without git all but what is never the project's."""
    names = files_of_git(root)
    if names is not None:
        # What is deleted and not yet committed, and the folders of other repositories.
        found = (root / n for n in names if n.partition("/")[0] != _BUILT)
        yield from (p for p in found if p.is_symlink() or p.is_file())
        return
    for name in sorted(os.listdir(root)):
        path = root / name
        if name not in _NOT_OURS and name not in _NEVER:
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from everything(path)
