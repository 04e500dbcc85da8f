"""Files below a folder: which there are, what their metadata tell, and their hashes.

An environment has tens of thousands of files, so paths are strings here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..files.git import files_of_git

UNREADABLE = "unreadable"
MOST_FILES = 20_000
MOST_BYTES = 2_000_000_000
# /proc/kcore calls itself a file of 128 TiB.
_NO_SIZE = 1 << 40
CODE = (".py", ".pyc", ".so", ".pyd", ".pth", ".dylib")
_NO_PROJECT = ("__pycache__", "node_modules")
# What stands there is no file, also where it looks like one that never ends.
_NO_FILES = ("/proc", "/sys", "/dev")
_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


class RecordRow(NamedTuple):
    """What a RECORD says of a file: ``sha256=<base64>``, and its size (-1: it does not say)."""

    hash: str
    size: int


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def stat_of(path: str) -> os.stat_result | None:
    """What the metadata of a file tell, with links followed; None where no regular file stands there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def files_below(top: str, is_skipped: Callable[[str], bool] = lambda folder: False) -> Iterator[str]:
    """Every file below a folder, behind links too, by the name of the link; what several lead to once.

    A folder that cannot be read, and a link that leads around, are there by their own names.
    """
    seen = {os.path.realpath(top)}
    unreadable: list[str] = []
    for folder, names, files in os.walk(
        top, onerror=lambda e: unreadable.append(e.filename), followlinks=True
    ):
        paths = sorted((os.path.islink(p), p) for n in names if not is_skipped(p := os.path.join(folder, n)))
        around = {path for is_link, path in paths if is_link and not _is_new_place(path, seen)}
        names[:] = [os.path.basename(path) for _, path in paths if path not in around]
        yield from sorted([*(os.path.join(folder, name) for name in files), *around])
    yield from unreadable


def _is_new_place(link: str, seen: set[str]) -> bool:
    """Whether a link leads to a folder that was not seen, holds none of those, and has files."""
    place = os.path.realpath(link)
    if place in _NO_FILES or any(is_within(known, place) for known in seen):
        return False
    seen.add(place)
    return True


def project_files(top: str) -> tuple[list[str], bool]:
    """The files of a project's folder, or the one file, and whether these are all.

    Of a git work tree those that git does not ignore, and code also where it does (a compiled module is
    made in place). Caches, folders whose names begin with a dot and virtual environments are left out; at
    ``MOST_FILES`` or ``MOST_BYTES`` the search ends.
    """
    if os.path.isfile(top):
        return [top], True
    found: list[str] = []
    size = 0
    names = files_of_git(Path(top))
    kept = None if names is None else {os.path.join(top, name) for name in names}
    for path in files_below(top, _is_no_project):
        if kept is None or path in kept or path.endswith(CODE):
            there = stat_of(path)
            size += there.st_size if there else 0
            if len(found) == MOST_FILES or size > MOST_BYTES:
                return found, False
            found.append(path)
    return found, True


def _is_no_project(folder: str) -> bool:
    name = os.path.basename(folder)
    if name in _NO_PROJECT or name.startswith(".") or folder in _NO_FILES:
        return True
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def digest_of(path: str, algorithm: str) -> bytes | None:
    """The hash of a file; None where it cannot be read, is none, or the algorithm is not known.

    What is no regular file is never opened: a pipe would wait for a writer.
    """
    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        return None
    there = stat_of(path)
    if there is None or there.st_size > _NO_SIZE:
        return None
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, algorithm).digest()
    except OSError:
        return None


def sha256_of_all(paths: Iterable[str]) -> dict[str, str]:
    """Path -> sha256 (hex), in order of the paths; ``unreadable`` where one cannot be read or is no file."""
    ordered = sorted(paths)
    found = in_threads(ordered, lambda path: digest_of(path, "sha256"))
    return {path: digest.hex() if digest else UNREADABLE for path, digest in zip(ordered, found, strict=True)}


def in_threads(items: Sequence[_Item], work: Callable[[_Item], _Done]) -> list[_Done]:
    """``work`` of each item, in order; hashing leaves the interpreter to other threads."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, items))


def row_of(path: str, algorithm: str = "sha256") -> RecordRow:
    """What a RECORD would say of a file as it is."""
    found, there = digest_of(path, algorithm), stat_of(path)
    text = base64.urlsafe_b64encode(found).rstrip(b"=").decode() if found is not None else UNREADABLE
    return RecordRow(f"{algorithm}={text}", there.st_size if there else -1)
