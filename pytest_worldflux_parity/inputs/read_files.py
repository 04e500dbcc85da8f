"""What a backend declares that it reads (``needs: {read: ...}``), as it stands: no copy holds it.

Code and settings by their sha256; data, which may be large, by size and time of last change.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from .. import wire
from .backends import Backend
from .installed.files import CODE, files_below, sha256_of_all, stat_of

# What decides what a program does.
HASHED = (*CODE, ".sh", ".ipynb", ".jl", ".lua", ".yaml", ".yml", ".json", ".toml", ".cfg", ".ini")
MOST_HASHED_BYTES = 16 * 2**20
# Rows of data of one declared path; of more there is one row of all.
MOST_DATA = 2000
ALL_DATA = "/*"
_SKIPPED_FOLDERS = (".git", ".worldflux", "node_modules", "__pycache__")


def read_files(backend: Backend, root: Path, but: Collection[Path]) -> dict[str, str]:
    """Path from above what is declared -> sha256, or size and time, of each file that is there.

    Args:
        root: the project. but: folders of which nothing is looked at: no program sees them, or their files
            are sealed otherwise.
    """
    found: dict[str, str] = {}
    for name, rows in _declared_files(backend, root, but):
        paths = {key: path for key, (path, stat) in rows.items() if _is_hashed(path, stat)}
        by_path = sha256_of_all(paths.values())
        data = {
            key: f"{stat.st_size} bytes of {stat.st_mtime_ns}"
            for key, (_, stat) in rows.items()
            if key not in paths
        }
        found.update({key: by_path[path] for key, path in paths.items()})
        found.update(data if len(data) <= MOST_DATA else {name + ALL_DATA: wire.content_hash(data)})
    return dict(sorted(found.items()))


def read_since(backend: Backend, root: Path, but: Collection[Path], time_ns: int) -> list[str]:
    """The hashed ones of :func:`read_files` that were written to after a time, whatever they hold now."""
    every = [row for _, rows in _declared_files(backend, root, but) for row in rows.items()]
    return [key for key, (path, stat) in every if stat.st_ctime_ns > time_ns and _is_hashed(path, stat)]


def _is_hashed(path: str, stat: os.stat_result) -> bool:
    return path.lower().endswith(HASHED) and stat.st_size <= MOST_HASHED_BYTES


def _declared_files(
    backend: Backend, root: Path, but: Collection[Path]
) -> Iterator[tuple[str, dict[str, tuple[str, os.stat_result]]]]:
    """Of each path that is declared its own name, and the files there: name -> path, and what it tells."""
    read, written = backend.needs.places(backend.folder, root)
    left_out = {os.path.realpath(path) for path in (*but, *written)}
    names: set[str] = set()
    for number, path in enumerate(read, 1):
        name = path.name if path.name not in names else f"{path.name} ({number})"
        names.add(name)
        rows = {}
        files = (
            [str(path)]
            if path.is_file()
            else files_below(
                str(path),
                lambda place: (
                    os.path.basename(place) in _SKIPPED_FOLDERS or os.path.realpath(place) in left_out
                ),
            )
        )
        for file in files:
            if stat := stat_of(file):
                below = os.path.relpath(file, path)
                key = name if below == "." else f"{name}/{below}"
                # What is no UTF-8 cannot stand in a document.
                rows[key.encode(errors="backslashreplace").decode()] = (file, stat)
        yield name, rows
