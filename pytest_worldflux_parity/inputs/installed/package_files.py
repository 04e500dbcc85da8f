"""The files of one installed package, by the names under which they are imported."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ...errors import BackendError
from .document import satisfies
from .files import is_within
from .import_path import module_places
from .look import Installed
from .packages import Package

_MOST_SHOWN = 20
_SUFFIXES = (".py", ".pyc", ".so", ".pyd")


def package_files(installed: Installed, name: str, module: str = "") -> dict[str, Path]:
    """``<name>/<path>`` -> file, of everything that a package brings to be imported or read by it.

    Scripts, bytecode and metadata are no part of it.

    Args:
        name: of the distribution, alone or as a requirement such as ``numpy==2.4.6``.
        module: only this module, with what is below it.

    Raises:
        BackendError: there is no such package or module, another version is installed, or its files
            cannot be told.
    """
    package = _find_package(installed, name)
    files = _editable_files(installed, package) if package.editable else _listed_files(package)
    if not files:
        lacks = (
            "its folder is left out, or its loader is not read" if package.editable else "it lists no files"
        )
        raise BackendError(f"the files of {package.name} cannot be told: {lacks}", where=package.info)
    if module:
        files = _narrow_files(package, files, module)
    return {f"{package.name}/{path}": Path(files[path]) for path in sorted(files)}


def _find_package(installed: Installed, name: str) -> Package:
    where = str(installed.interpreter.python)
    try:
        wanted = Requirement(name)
    except InvalidRequirement:
        raise BackendError(
            f"{name!r} is no name of a package", where=where, hint="write it as numpy or numpy==2.4.6"
        ) from None
    canonical = canonicalize_name(wanted.name)
    package = installed.packages.get(canonical)
    if package is None:
        near = _nearest_names(canonical, installed.packages)
        raise BackendError(f"{wanted.name} is not installed", where=where, valid=near, got=canonical)
    if not satisfies(package, wanted):
        raise BackendError(
            f"{wanted.name} is {package.version}, wanted is {wanted.specifier}",
            where=where,
            hint=f"pip install {name!r}",
        )
    return package


def _listed_files(package: Package) -> dict[str, str]:
    """Path below site-packages -> file."""
    start = len(package.site) + 1
    return {p[start:]: p for p in package.paths if is_within(p, package.site) and _is_imported(p[start:])}


def _is_imported(path: str) -> bool:
    first, _, rest = path.partition("/")
    if first.endswith((".dist-info", ".egg-info")) or (first.endswith(".pth") and not rest):
        return False
    return not path.endswith(".pyc")


def _editable_files(installed: Installed, package: Package) -> dict[str, str]:
    """Path below where a module is looked for -> file of the project."""
    found: dict[str, str] = {}
    for folder in package.folders:
        for path in _seen_below(installed, folder):
            found.setdefault(os.path.relpath(path, folder), path)
    for module, target in package.mapped.items():
        name = module.replace(".", "/")
        for place in module_places(target):
            # A module that is one file keeps its ending, a package what is below its folder.
            cut = len(place) if os.path.isdir(place) else len(place) - len(_ending(place))
            found.update({f"{name}{path[cut:]}": path for path in _seen_below(installed, place)})
    return {name: path for name, path in found.items() if _is_imported(name)}


def _seen_below(installed: Installed, place: str) -> list[str]:
    return [path for path in installed.folder_files if is_within(path, place)]


def _ending(path: str) -> str:
    """``.py``, ``.cpython-311-x86_64-linux-gnu.so``."""
    name = os.path.basename(path)
    return name[name.index(".") :] if "." in name else ""


def _narrow_files(package: Package, files: Mapping[str, str], module: str) -> dict[str, str]:
    path = module.replace(".", "/")
    kept = {name: files[name] for name in files if _is_below_module(name, path)}
    if not kept:
        valid = sorted(_modules_below(files, path.rpartition("/")[0]) or _modules_below(files, ""))
        raise BackendError(
            f"{package.name} has no module {module!r}",
            where=package.site,
            valid=valid
            if len(valid) <= _MOST_SHOWN
            else _nearest_names(module, valid) or valid[:_MOST_SHOWN],
            got=module,
        )
    return kept


def _is_below_module(name: str, module: str) -> bool:
    """Whether a file is a module or below it."""
    if name.startswith(f"{module}/"):
        return True
    return name.startswith(f"{module}.") and "/" not in name[len(module) :] and name.endswith(_SUFFIXES)


def _modules_below(files: Mapping[str, str], parent: str) -> set[str]:
    """The modules directly below a package, or on the path, with their full names."""
    start = f"{parent}/" if parent else ""
    found = set()
    for name in files:
        if not name.startswith(start) or not name.endswith(_SUFFIXES):
            continue
        first = name[len(start) :].partition("/")[0].partition(".")[0]
        if first.isidentifier() and first != "__init__":
            found.add(f"{start}{first}".replace("/", "."))
    return found


def _nearest_names(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, names, n=5, cutoff=0.6)
