"""Looks at what is installed for an interpreter: by RECORD where there is one, file by file where not."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .files import (
    UNREADABLE,
    RecordRow,
    files_below,
    in_threads,
    is_within,
    project_files,
    row_of,
    sha256_of_all,
    stat_of,
)
from .import_path import ImportPath, import_path
from .interpreter import Interpreter
from .packages import Package, is_aside, modules_of, packages_in, record_sha256

Listed = dict[str, tuple[RecordRow, ...]]


@dataclass(frozen=True)
class Installed:
    """What an interpreter has besides its standard library. Paths of files are absolute.

    Attributes:
        packages: by canonical name; of two of one name the first on the path.
        where: from which folders modules come.
        listed: path -> what the RECORDs say of it (two packages may bring one file).
        unlisted: path -> sha256 of a file below site-packages that no RECORD lists.
        folder_files: path -> sha256 of a file beside site-packages, of a project or a mapped module.
        altered: path -> how a listed file differs, as far as can be seen without reading it.
        oddities: sentences on code that is not looked at.
    """

    interpreter: Interpreter
    packages: Mapping[str, Package]
    where: ImportPath
    listed: Mapping[str, tuple[RecordRow, ...]] = field(repr=False)
    unlisted: Mapping[str, str]
    folder_files: Mapping[str, str] = field(repr=False)
    altered: Mapping[str, str]
    oddities: Sequence[str]

    def shown(self, path: str) -> str:
        """A path as reports name it: relative to the environment where it is below it."""
        for folder in (*self.where.sites[:1], self.interpreter.prefix):
            if path.startswith(f"{folder}/"):
                return path.removeprefix(f"{folder}/")
        return path


def look(interpreter: Interpreter, leave_out: Collection[Path] = ()) -> Installed:
    """What is installed for an interpreter.

    Nothing of it is imported or run. Every file that no RECORD vouches for is read; of the others only the
    metadata are (:func:`contents` reads them).

    Args:
        leave_out: folders that are to be no part of it. What a ``.pth`` or a finder names that contains, is
            or lies in one of them is dropped, and said so.
    """
    where = import_path(interpreter.site_packages, leave_out)
    there = [path for site in where.sites for path in files_below(site)]
    found = [_complete_package(p, there, where) for site in where.sites for p in packages_in(site)]
    oddities = [
        f"{what}, which {os.path.basename(by)} names, is left out" for what, by in where.left_out.items()
    ]
    oddities += [sentence for package in found if (sentence := _explain_unread(package, where))]
    # A package by what stands in the folder of its project, which a .pth names.
    for project in where.projects:
        for one in packages_in(project):
            own = "" if one.info.endswith("/EGG-INFO") else project
            found.append(replace(one, rows=(), editable=own, folders=(project,)))
    listed = _list_rows(row for package in found for row in package.rows)
    packages: dict[str, Package] = {}
    for package in found:
        packages.setdefault(package.name, package)
    return Installed(
        interpreter=interpreter,
        packages=dict(sorted(packages.items())),
        where=where,
        listed=listed,
        unlisted=sha256_of_all(p for p in there if p not in listed and not is_aside(p)),
        folder_files=sha256_of_all(_files_beside(where, oddities)),
        altered=_find_altered(listed),
        oddities=oddities,
    )


def contents(installed: Installed) -> dict[str, str]:
    """Path -> how it differs, of every listed file whose bytes are not what a RECORD says; reads them all."""
    paths = list(installed.listed)
    same = in_threads(paths, lambda path: any(_is_as_listed(path, row) for row in installed.listed[path]))
    return {
        path: installed.altered.get(path) or "has other bytes than its RECORD says"
        for path, ok in zip(paths, same, strict=True)
        if not ok
    }


def _is_as_listed(path: str, row: RecordRow) -> bool:
    found = row_of(path, row.hash.partition("=")[0]).hash
    # What cannot be read, or hashed in that way, is not as anything says.
    return found == row.hash.rstrip("=") and not found.endswith(f"={UNREADABLE}")


def _complete_package(found: Package, there: Iterable[str], where: ImportPath) -> Package:
    """A package with a hash of each of its files, and what leads to it where it is editable."""
    rows = found.rows or tuple((path, RecordRow("", -1)) for path in _files_without_record(found, there))
    rows = tuple((path, row if row.hash else row_of(path)) for path, row in rows)
    if not found.editable:
        return replace(found, rows=rows, record_sha256=record_sha256(rows, found.site))
    # What leads to an editable project has that project's path in it.
    own = [(path, row) for path, row in rows if not path.endswith(".pth") and path not in where.finders]
    return replace(
        found,
        rows=rows,
        record_sha256=record_sha256(own, found.site),
        folders=tuple(f for f in where.projects if is_within(f, found.editable)),
        mapped={module: path for module, path in where.mapped.items() if is_within(path, found.editable)},
    )


def _files_without_record(found: Package, there: Iterable[str]) -> list[str]:
    """The files of the modules that a distribution names, or that are called as it is, and its own folder."""
    modules, taken = modules_of(found), []
    for path in there:
        if not path.startswith(f"{found.site}/") or is_aside(path):
            continue
        first, folder, _ = path[len(found.site) + 1 :].partition("/")
        stem = first if folder else first.partition(".")[0]
        if is_within(path, found.info) or (stem.casefold() in modules and not first.endswith(".pth")):
            taken.append(path)
    return sorted(taken)


def _explain_unread(package: Package, where: ImportPath) -> str:
    """That nothing was found which leads to an editable package; empty where something was."""
    folders = (folder for parts in where.namespaces.values() for folder in parts)
    places = (*package.folders, *package.mapped, *folders, *where.left_out)
    if not package.editable or package.mapped or any(is_within(p, package.editable) for p in places):
        return ""
    return f"{package.name} is editable through a loader that is not read: its modules are not found"


def _files_beside(where: ImportPath, oddities: list[str]) -> set[str]:
    """Every file beside site-packages, but for what lies below these, which is looked at with them."""
    files: set[str] = set()
    for top in where.beside:
        if any(is_within(top, site) for site in where.sites) or top in files:
            continue
        below, whole = project_files(top)
        if not whole:
            oddities.append(f"{top} holds too much, and after {len(below):,} files nothing is looked at")
        files.update(below)
    return files


def _list_rows(rows: Iterable[tuple[str, RecordRow]]) -> Listed:
    listed: Listed = {}
    for path, row in rows:
        if row not in (known := listed.get(path, ())):
            listed[path] = (*known, row)
    return listed


def _find_altered(listed: Listed) -> dict[str, str]:
    altered = {}
    for path, rows in sorted(listed.items()):
        there = stat_of(path)
        if there is None:
            altered[path] = "is no file" if os.path.lexists(path) else "is absent"
        elif all(row.size not in (-1, there.st_size) for row in rows):
            altered[path] = f"has {there.st_size} bytes, listed are {rows[0].size}"
    return altered
