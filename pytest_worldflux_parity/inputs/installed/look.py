"""Looks at what is installed for an interpreter: by RECORD where there is one, file by file where not."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from .data import Installed, Interpreter, Package, Row, Stat
from .files import files_below, is_within, row_of, sha256_of_all, stat_of
from .folders import files_of_tops, tops
from .import_path import ImportPath, import_path
from .pth import imported, loader_named
from .records import Distribution, distributions, is_aside, record_sha256

Listed = dict[str, tuple[Row, ...]]


def look(interpreter: Interpreter, leave_out: Collection[Path] = ()) -> Installed:
    """What is installed for an interpreter.

    Nothing of it is imported or run. Every file that no RECORD vouches for is read; of the others only the
    metadata are (:func:`contents` reads them).

    Args:
        leave_out: folders that are to be no part of it. What a ``.pth`` or a finder names that contains, is
            or lies in one of them is dropped, and said so.
    """
    where = import_path(interpreter.site_packages, leave_out)
    there: dict[str, Stat] = {}
    for site in where.sites:
        there.update(files_below(site))
    found = [d for site in where.sites for d in distributions(site)]
    oddities = [*where.oddities, *(o for d in found for o in d.oddities)]
    rows = {d.info: _rows(d, there, oddities) for d in found}
    listed = _listed(rows.values())
    unlisted = [p for p in there if p not in listed and not is_aside(p)]
    packages = _packages(found, rows, where, oddities)
    beside = files_of_tops(tops(where.projects, where.mapped, where.namespaces), where.sites, oddities)
    return Installed(
        interpreter=interpreter,
        packages=packages,
        sites=tuple(map(Path, where.sites)),
        path=tuple(map(Path, where.path)),
        folders=tuple(map(Path, where.folders)),
        mapped={name: Path(path) for name, path in sorted(where.mapped.items())},
        namespaces={n: tuple(map(Path, paths)) for n, paths in sorted(where.namespaces.items())},
        listed=listed,
        unlisted=sha256_of_all(unlisted),
        folder_files=sha256_of_all(beside),
        altered=_altered(listed, there),
        import_lines=tuple(where.import_lines),
        oddities=tuple(dict.fromkeys(oddities)),
    )


def _rows(found: Distribution, there: Mapping[str, Stat], oddities: list[str]) -> tuple[tuple[str, Row], ...]:
    """What is listed of a distribution; where nothing or no hash is, its files as they are now."""
    rows = found.rows
    if not found.has_record:
        rows = tuple((path, Row("", -1)) for path in _files_without_record(found, there))
    bare = [p for p, row in rows if not row.hash and stat_of(p)]
    if not bare:
        return rows
    what = "has no RECORD" if not found.has_record else "has a RECORD without all hashes"
    oddities.append(f"{found.name} {what}: {len(bare)} files are taken as they are")
    known = {path: row_of(path) for path in bare}
    return tuple((path, known.get(path, row)) for path, row in rows)


def _files_without_record(found: Distribution, there: Mapping[str, Stat]) -> list[str]:
    """The files of the modules that a distribution names, or that are called as it is, and its own folder."""
    modules = {m.casefold() for m in found.top_level} or {found.name.replace("-", "_"), found.name}
    taken = []
    for path in there:
        if not path.startswith(f"{found.site}/") or is_aside(path):
            continue
        first = path[len(found.site) + 1 :].partition("/")[0]
        is_folder = f"{found.site}/{first}" != path
        stem = first if is_folder else first.partition(".")[0]
        if is_within(path, found.info) or (stem.casefold() in modules and not first.endswith(".pth")):
            taken.append(path)
    return sorted(taken)


def _listed(all_rows: Iterable[Iterable[tuple[str, Row]]]) -> Listed:
    listed: Listed = {}
    for rows in all_rows:
        for path, row in rows:
            known = listed.get(path)
            if known is None:
                listed[path] = (row,)
            elif row not in known:
                listed[path] = (*known, row)
    return listed


def _altered(listed: Listed, there: Mapping[str, Stat]) -> dict[str, str]:
    altered = {}
    for path, rows in listed.items():
        found = there.get(path) or stat_of(path)
        if found is None:
            altered[path] = "is absent"
        elif found.size < 0:
            altered[path] = "is no file"
        elif all(row.size not in (-1, found.size) for row in rows):
            altered[path] = f"has {found.size} bytes, listed are {rows[0].size}"
    return dict(sorted(altered.items()))


def _packages(
    found: Iterable[Distribution],
    rows: Mapping[str, tuple[tuple[str, Row], ...]],
    where: ImportPath,
    oddities: list[str],
) -> dict[str, Package]:
    packages: dict[str, Package] = {}
    for one in found:
        first = packages.get(one.name)
        if first is None:
            packages[one.name] = _package(one, rows[one.info], where)
            _say_unread(one, packages[one.name], where, oddities)
        elif first.site == one.site:
            oddities.append(f"{one.name} is there twice: {first.version} and {one.version}")
        elif first.version != one.version:
            oddities.append(f"{one.name} {one.version} in {one.site} stands behind {first.version}")
    for one in (d for folder in where.projects for d in distributions(folder)):
        packages.setdefault(one.name, _project(one))
    return dict(sorted(packages.items()))


def _project(found: Distribution) -> Package:
    """A package by what stands in the folder of its project, which a ``.pth`` names."""
    return Package(
        name=found.name,
        version=found.version,
        record_sha256="",
        editable="" if found.info.endswith("/EGG-INFO") else found.site,
        direct_url=found.direct_url,
        site=found.site,
        info=found.info,
        folders=(Path(found.site),),
    )


def _package(found: Distribution, rows: tuple[tuple[str, Row], ...], where: ImportPath) -> Package:
    paths = tuple(path for path, _ in rows)
    folders = [f for p in paths if p.endswith(".pth") for f in where.by_pth.get(p, ())]
    mapped = {n: Path(to) for p in paths for n, to in where.by_finder.get(p, {}).items()}
    # What leads to an editable project has that project's path in it.
    leads = {p for p in paths if p.endswith(".pth") or p in where.by_finder} if found.editable else set()
    return Package(
        name=found.name,
        version=found.version,
        record_sha256=record_sha256((r for r in rows if r[0] not in leads), found.site),
        editable=found.editable,
        direct_url=found.direct_url,
        site=found.site,
        info=found.info,
        paths=paths,
        folders=tuple(map(Path, dict.fromkeys(folders))),
        mapped=mapped,
    )


def _say_unread(found: Distribution, package: Package, where: ImportPath, oddities: list[str]) -> None:
    """Say of an editable package that nothing was found which leads to it."""
    leads = {*where.by_pth, *where.by_finder, *where.left_out.values()}
    if not found.editable or not leads.isdisjoint(package.paths):
        return
    files = {os.path.basename(p) for p in package.paths}
    modules = [
        imported(line.partition(": ")[2]) for line in where.import_lines if line.partition(": ")[0] in files
    ]
    backend = next((b for b in map(loader_named, modules) if b), "")
    by = f" of {backend}" if backend else ""
    oddities.append(
        f"{found.name} is editable through a loader{by} that is not read: its modules are not found"
    )
