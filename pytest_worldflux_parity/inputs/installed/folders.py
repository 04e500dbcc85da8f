"""The files of folders that a ``.pth`` names, and of modules that a finder maps: part of what runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .files import is_within, project_files


def tops(
    folders: Iterable[str], mapped: Mapping[str, object], namespaces: Mapping[str, Sequence[object]]
) -> list[str]:
    """The folders and files, each once, that are not site-packages and yet are on the path."""
    found = [*folders, *(str(p) for parts in namespaces.values() for p in parts)]
    return list(
        dict.fromkeys([*found, *(place for path in mapped.values() for place in module_places(str(path)))])
    )


def files_of_tops(found: Iterable[str], sites: Sequence[str], oddities: list[str]) -> set[str]:
    """Every file of them, but for what lies below site-packages, which is looked at with these."""
    files: set[str] = set()
    for top in found:
        if any(is_within(top, site) for site in sites) or top in files:
            continue
        below, whole = project_files(top)
        if not whole:
            oddities.append(f"{top} holds too much, and after {len(below):,} files nothing is looked at")
        files.update(below)
    return files


def module_places(path: str) -> list[str]:
    """The folder, or the files, of a mapped module: finders name it without its ending."""
    if os.path.exists(path):
        return [path]
    folder, stem = os.path.split(path)
    return sorted(f"{folder}/{name}" for name in _names(folder) if _is_module(name, stem))


def _names(folder: str) -> Iterator[str]:
    try:
        yield from os.listdir(folder)
    except OSError:
        return


def _is_module(name: str, stem: str) -> bool:
    return name.partition(".")[0] == stem and name.endswith((".py", ".so", ".pyd"))
