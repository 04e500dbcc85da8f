"""Files below a folder, quickly: what stands there, its metadata and its hashes.

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
from typing import TypeVar

from ..files.git import files_of_git
from .data import Row, Stat

NO_FILE = Stat(-1, 0, 0, 0)
UNREADABLE = "unreadable"
MOST_FILES = 20_000
MOST_BYTES = 2_000_000_000
# /proc/kcore calls itself a file of 128 TiB.
_NO_SIZE = 1 << 40
CODE = (".py", ".pyc", ".so", ".pyd", ".pth", ".dylib")
_SKIPPED = ("__pycache__", "node_modules")
# What stands there is no file, also where it looks like one that never ends.
_NO_FILES = ("/proc", "/sys", "/dev")
_BATCH = 64
Item = TypeVar("Item")
Result = TypeVar("Result")


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def stat_of(path: str) -> Stat | None:
    """What the metadata of a file tell, with links followed; None where nothing stands there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return NO_FILE if os.path.lexists(path) else None
    return _stat(found)


def _stat(found: os.stat_result) -> Stat:
    if not stat.S_ISREG(found.st_mode):
        return NO_FILE
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def files_below(top: str) -> dict[str, Stat]:
    """Every file below a folder, behind links too, but for what Python writes into ``__pycache__``.

    A folder that cannot be read, and a link that leads around, are there by their own names, as no file.
    """
    found: dict[str, Stat] = {}
    linked = {os.path.realpath(top)}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        cache = os.path.basename(folder) == "__pycache__"
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if cache and entry.name.endswith(".pyc") and entry.name.count(".") > 1:
                        continue
                    if _is_new_folder(entry, linked):
                        waiting.append(entry.path)
                    else:
                        found[entry.path] = _stat_of_entry(entry)
        except OSError:
            found[folder] = NO_FILE
    return found


def _is_new_folder(entry: os.DirEntry[str], linked: set[str]) -> bool:
    """Whether to look into it; into what a link leads to once, and not where it leads around."""
    try:
        if not entry.is_dir():
            return False
        if not entry.is_symlink():
            return True
    except OSError:
        return False
    return _is_new_place(entry.path, linked)


def _is_new_place(link: str, seen: set[str]) -> bool:
    """Whether a link leads to a folder that was not seen, holds none of those, and has files."""
    place = os.path.realpath(link)
    if place in _NO_FILES or any(is_within(known, place) for known in seen):
        return False
    seen.add(place)
    return True


def _stat_of_entry(entry: os.DirEntry[str]) -> Stat:
    try:
        return _stat(entry.stat())
    except OSError:
        return NO_FILE


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
    for path in _walk(top):
        if kept is None or path in kept or path.endswith(CODE):
            size += max(0, (stat_of(path) or NO_FILE).size)
            if len(found) == MOST_FILES or size > MOST_BYTES:
                return found, False
            found.append(path)
    return found, True


def _walk(top: str) -> Iterator[str]:
    linked = {os.path.realpath(top)}
    for folder, names, files in os.walk(top, followlinks=True):
        names[:] = [n for n in sorted(names) if _is_projects(os.path.join(folder, n), linked)]
        yield from (os.path.join(folder, name) for name in sorted(files))


def _is_projects(folder: str, linked: set[str]) -> bool:
    name = os.path.basename(folder)
    if name in _SKIPPED or name.startswith(".") or folder in _NO_FILES:
        return False
    if os.path.exists(os.path.join(folder, "pyvenv.cfg")):
        return False
    return not os.path.islink(folder) or _is_new_place(folder, linked)


def sha256_of(path: str) -> str:
    """sha256 (hex) of a file, ``unreadable`` where it cannot be read or is none."""
    found = digest_of(path, "sha256")
    return found.hex() if found is not None else UNREADABLE


def digest_of(path: str, algorithm: str) -> bytes | None:
    """The hash of a file; None where it cannot be read, is none, or the algorithm is not known.

    What is no regular file is never opened: a pipe would wait for a writer.
    """
    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        return None
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _NO_SIZE:
            return None
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, algorithm).digest()
    except (OSError, ValueError):
        return None


def sha256_of_all(paths: Iterable[str]) -> dict[str, str]:
    """Path -> sha256 (hex), in order of the paths."""
    ordered = sorted(paths)
    return dict(zip(ordered, in_threads(ordered, sha256_of), strict=True))


def in_threads(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """``work`` of each item, in order; hashing leaves the interpreter to other threads."""
    batches = [items[i : i + _BATCH] for i in range(0, len(items), _BATCH)]
    if len(batches) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        done = pool.map(lambda batch: [work(item) for item in batch], batches)
        return [result for batch in done for result in batch]


def is_row(path: str, row: Row) -> bool:
    """Whether a file's bytes are what a RECORD says."""
    algorithm, _, wanted = row.hash.partition("=")
    found = digest_of(path, algorithm)
    return found is not None and base64.urlsafe_b64encode(found).rstrip(b"=").decode() == wanted.rstrip("=")


def row_of(path: str) -> Row:
    """What a RECORD would say of a file as it is."""
    found, there = digest_of(path, "sha256"), stat_of(path)
    text = base64.urlsafe_b64encode(found).rstrip(b"=").decode() if found is not None else UNREADABLE
    return Row(f"sha256={text}", there.size if there else -1)
