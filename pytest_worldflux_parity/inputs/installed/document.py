"""What a report says of an environment, and how it stands to the versions that were asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from ... import wire
from .files import is_within
from .look import Installed
from .packages import Package

MOST_SHOWN = 20


def document(installed: Installed) -> dict[str, Any]:
    """An environment as a small JSON object; paths are relative to it where they are below it.

    ``sha256`` is over everything that could be imported: what the RECORDs say, the files that no RECORD
    lists and those of folders beside site-packages. Of long lists the first entries are named.
    """
    prefix = installed.interpreter.prefix
    return {
        "python": installed.interpreter.full_version,
        "packages": {name: package.version for name, package in installed.packages.items()},
        "editable": [name for name, package in installed.packages.items() if package.editable],
        "sha256": environment_sha256(installed),
        "counts": {
            "listed": len(installed.listed),
            "unlisted": len(installed.unlisted),
            "in_folders": len(installed.folder_files),
            "altered": len(installed.altered),
            "oddities": len(installed.oddities),
        },
        "unlisted": [installed.shown(path) for path in sorted(installed.unlisted)[:MOST_SHOWN]],
        "altered": [f"{installed.shown(p)} {how}" for p, how in [*installed.altered.items()][:MOST_SHOWN]],
        "import_lines_sha256": wire.content_hash(installed.where.import_lines),
        "oddities": [o.replace(f"{prefix}/", "") for o in installed.oddities[:MOST_SHOWN]],
    }


def environment_sha256(installed: Installed) -> str:
    """sha256 (hex) over what is installed; the same on every machine that has the same."""
    return wire.content_hash(
        {
            "python": list(installed.interpreter.version),
            "packages": [[p.name, p.version, p.record_sha256] for p in installed.packages.values()],
            "unlisted": _place_files(installed, installed.unlisted),
            "folders": _place_files(installed, installed.folder_files),
            "altered": _place_files(installed, installed.altered),
            "mapped": [*sorted(installed.where.mapped), *sorted(installed.where.namespaces)],
            "import_lines": installed.where.import_lines,
        }
    )


def _place_files(installed: Installed, files: Mapping[str, str]) -> list[list[Any]]:
    """Files as (which of the places, path below it, what is known), in order."""
    where = installed.where
    parts = (folder for _, folders in sorted(where.namespaces.items()) for folder in folders)
    mapped = (path for _, path in sorted(where.mapped.items()))
    places = [*where.path, *parts, *mapped, str(installed.interpreter.prefix)]
    return sorted([*_place_below(path, places), what] for path, what in files.items())


def _place_below(path: str, places: Sequence[str]) -> tuple[int, str]:
    for number, place in enumerate(places):
        if is_within(path, place):
            return number, path[len(place) :]
    return len(places), path.rpartition("/")[2]


def against_pins(installed: Installed, requirements: Sequence[str]) -> list[str]:
    """Sentences on what is not installed as asked for; extras' own requirements are not looked at.

    Args:
        requirements: as in a ``backend.yaml``: PEP 508, with comments and markers.
    """
    found = (_compare_requirement(installed, text) for text in map(_without_comment, requirements) if text)
    return [sentence for sentence in found if sentence]


def _without_comment(text: str) -> str:
    return re.sub(r"(^|\s)#.*", "", text).strip()


def _compare_requirement(installed: Installed, text: str) -> str:
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        return f"{text!r} is no requirement: {str(error).splitlines()[0]}"
    try:
        if not _is_meant(installed, wanted):
            return ""
    except ValueError as error:
        return f"the marker of {text!r} cannot be evaluated: {str(error).splitlines()[0]}"
    package = installed.packages.get(canonicalize_name(wanted.name))
    if package is None:
        return f"{wanted.name} is not installed"
    return _compare_package(package, wanted)


def _is_meant(installed: Installed, wanted: Requirement) -> bool:
    """Whether a requirement's marker is true for the interpreter."""
    return wanted.marker is None or wanted.marker.evaluate({**installed.interpreter.markers, "extra": ""})


def _compare_package(package: Package, wanted: Requirement) -> str:
    if wanted.url:
        here = package.direct_url
        same = bool(here) and here.removeprefix("git+") == wanted.url.partition("#")[0].removeprefix("git+")
        return "" if same else f"{wanted.name} is from {here or 'an index'}, pinned is {wanted.url}"
    asked = f"pinned {wanted.specifier}" if _is_pinned(wanted) else f"asked for is {wanted.specifier}"
    if not satisfies(package, wanted):
        return f"{wanted.name} is {package.version}, {asked}"
    if package.editable and _is_pinned(wanted):
        return f"{wanted.name} is {package.version} as an editable project, {asked}"
    return ""


def _is_pinned(wanted: Requirement) -> bool:
    return any(s.operator in ("==", "===") for s in wanted.specifier)


def satisfies(package: Package, wanted: Requirement) -> bool:
    """Whether an installed version is one that was asked for."""
    try:
        return wanted.specifier.contains(package.version, prereleases=True)
    except InvalidVersion:
        return any(s.operator in ("==", "===") and s.version == package.version for s in wanted.specifier)
