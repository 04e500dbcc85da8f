"""The import path that an environment asks for: site-packages, the folders of ``.pth`` files, finders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .files import is_within
from .pth import Lines, finder_in, imported, pth_lines
from .records import is_site_packages


@dataclass
class ImportPath:
    """Where modules would come from, in order.

    Attributes:
        sites: site-packages folders, those that a ``.pth`` names behind the interpreter's own.
        path: all folders in the order of the site module.
        folders: of ``path``, those that a ``.pth`` names. projects: those of them that are no site-packages.
        by_pth: ``<site>/<file>.pth`` -> its folders. by_finder: the path of a finder -> what it maps.
        left_out: folder or module that was left out -> the file that named it.
    """

    sites: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)
    mapped: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, tuple[str, ...]] = field(default_factory=dict)
    by_pth: dict[str, list[str]] = field(default_factory=dict)
    by_finder: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    import_lines: list[str] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)


def import_path(site_packages: Iterable[Path], leave_out: Collection[Path]) -> ImportPath:
    """Read the ``.pth`` files of the site-packages folders that exist; those of further ones have no say."""
    found = ImportPath()
    kept = _Kept(leave_out)
    own = _existing(site_packages)
    seen: set[str] = set()
    further: list[str] = []
    for site in own:
        if _is_new(site, seen):
            found.path.append(site)
        lines = pth_lines(site)
        _say(site, lines, found)
        for folder, file in lines.folders:
            if not kept.keeps(folder):
                found.left_out[folder] = f"{site}/{file}"
                continue
            found.by_pth.setdefault(f"{site}/{file}", []).append(folder)
            if _is_new(folder, seen):
                found.path.append(folder)
                found.folders.append(folder)
                (further if is_site_packages(folder) else found.projects).append(folder)
        _read_finders(site, lines, kept, found)
    found.sites = [*own, *(f for f in further if f not in own)]
    found.oddities += [
        f"{what}, which {os.path.basename(by)} names, is left out" for what, by in found.left_out.items()
    ]
    return found


class _Kept:
    """Whether a folder has nothing to do with those that are left out."""

    def __init__(self, leave_out: Collection[Path]) -> None:
        self.out = [os.path.realpath(path) for path in leave_out]

    def keeps(self, path: str) -> bool:
        place = os.path.realpath(path)
        return not any(is_within(place, out) or is_within(out, place) for out in self.out)


def _existing(folders: Iterable[Path]) -> list[str]:
    """Those that exist, once also where a link leads from one to the other."""
    by_place: dict[str, str] = {}
    for folder in folders:
        if folder.is_dir():
            by_place.setdefault(os.path.realpath(folder), str(folder))
    return list(by_place.values())


def _is_new(folder: str, seen: set[str]) -> bool:
    known = folder in seen
    seen.add(folder)
    return not known


def _say(site: str, lines: Lines, found: ImportPath) -> None:
    found.import_lines += [f"{file}: {line}" for file, line in lines.imports]
    found.oddities += [f"{name} in {site} is hidden and not read" for name in lines.hidden]
    found.oddities += [
        f"{path}, which {file} names, is no folder and not on the path" for path, file in lines.not_folders
    ]


def _read_finders(site: str, lines: Lines, kept: _Kept, found: ImportPath) -> None:
    """Take over what the finders that a folder's ``.pth`` files start map."""
    for module in (imported(line) for _, line in lines.imports):
        file = f"{site}/{module}.py"
        finder = finder_in(file)
        if finder.mapped or finder.namespaces:
            _take(finder.mapped, file, kept, found)
        for name, folders in finder.namespaces.items():
            parts = tuple(f for f in map(os.path.normpath, folders) if kept.keeps(f))
            found.left_out.update({f: file for f in folders if not kept.keeps(f)})
            if parts or not folders:
                found.namespaces[name] = (*found.namespaces.get(name, ()), *parts)


def _take(mapped: Mapping[str, str], file: str, kept: _Kept, found: ImportPath) -> None:
    by_finder = found.by_finder.setdefault(file, {})
    for module, path in mapped.items():
        if kept.keeps(path):
            found.mapped.setdefault(module, os.path.normpath(path))
            by_finder[module] = os.path.normpath(path)
        else:
            found.left_out[path] = file
