"""Whether what is installed is what its RECORDs say, now and at the end of a run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from .data import Installed, Stat
from .files import files_below, in_threads, is_row, sha256_of, stat_of
from .folders import files_of_tops, tops
from .records import is_aside


@dataclass(frozen=True)
class Snapshot:
    """The metadata of every file of an environment at one time; ``installed``: how it was found before."""

    installed: Installed = field(repr=False)
    stats: Mapping[str, Stat] = field(repr=False)


def contents(installed: Installed) -> dict[str, str]:
    """Path -> how it differs, of every listed file whose bytes are not what a RECORD says; reads them all.

    What changes later is found by a :func:`snapshot` that was taken before this.
    """
    paths = list(installed.listed)
    same = in_threads(paths, lambda path: _is_expected(installed, path))
    return {
        path: installed.altered.get(path) or "has other bytes than its RECORD says"
        for path, ok in zip(paths, same, strict=True)
        if not ok
    }


def snapshot(installed: Installed) -> Snapshot:
    """The metadata of every file that stands now where the environment is."""
    stats: dict[str, Stat] = {}
    for site in installed.sites:
        stats.update(files_below(str(site)))
    projects = [str(f) for f in installed.folders if f not in installed.sites]
    beside = files_of_tops(tops(projects, installed.mapped, installed.namespaces), _sites(installed), [])
    for path in itertools.chain(beside, (p for p in installed.listed if p not in stats)):
        found = stat_of(path)
        if found:
            stats[path] = found
    return Snapshot(installed, stats)


def changed(before: Snapshot, now: Snapshot) -> list[str]:
    """The paths that came, went or have other bytes since, in order.

    Only files are read whose metadata differ. One whose bytes are what its RECORD said before, or what it
    was itself where no RECORD lists it, has not changed: the same version may have been installed again.
    """
    known = before.installed
    paths = [
        path
        for path in sorted(before.stats.keys() | now.stats.keys())
        if before.stats.get(path) != now.stats.get(path) and not is_aside(path)
    ]
    same = in_threads(paths, lambda path: path in now.stats and _is_expected(known, path))
    return [path for path, ok in zip(paths, same, strict=True) if not ok]


def _sites(installed: Installed) -> list[str]:
    return [str(site) for site in installed.sites]


def _is_expected(installed: Installed, path: str) -> bool:
    """Whether a file's bytes are what they were known to be."""
    rows = installed.listed.get(path)
    if rows is not None:
        return any(is_row(path, row) for row in rows)
    return sha256_of(path) == (installed.unlisted.get(path) or installed.folder_files.get(path))
