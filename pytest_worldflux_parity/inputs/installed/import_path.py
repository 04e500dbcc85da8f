"""The import path that an environment asks for: site-packages, the folders of ``.pth`` files, finders.

All are read, and nothing of them is run.
"""

from __future__ import annotations

import ast
import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from .files import is_within
from .packages import is_site_packages, names_in

_IMPORT = re.compile(r"import[ \t]+(\w+)\s*(;|$)")


@dataclass
class Finder:
    """What an editable installation maps: module -> path, and namespace package -> folders."""

    mapped: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class ImportPath:
    """Where modules would come from, in order.

    Attributes:
        sites: site-packages folders, those that a ``.pth`` names behind the interpreter's own.
        path: all folders in the order of the site module.
        projects: those of ``path`` that a ``.pth`` names and that are no site-packages.
        mapped: module -> its folder or file, as the finders of editable installations say.
        namespaces: namespace package -> its folders, likewise; none where it only holds mapped modules.
        finders: the files of these finders.
        left_out: folder or module that was left out -> the file that named it.
        import_lines: ``<file>: <line>`` of the lines of ``.pth`` files that would have been run.
    """

    sites: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)
    mapped: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, tuple[str, ...]] = field(default_factory=dict)
    finders: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    import_lines: list[str] = field(default_factory=list)

    @property
    def beside(self) -> list[str]:
        """The folders and files that are not site-packages and yet are on the path."""
        parts = (folder for folders in self.namespaces.values() for folder in folders)
        modules = (place for path in self.mapped.values() for place in module_places(path))
        return list(dict.fromkeys([*self.projects, *parts, *modules]))


def import_path(site_packages: Iterable[Path], leave_out: Collection[Path]) -> ImportPath:
    """Read the ``.pth`` files of the site-packages folders that exist; those of further ones have no say."""
    found = ImportPath()
    out = [os.path.realpath(path) for path in leave_out]

    def is_kept(path: str, file: str) -> bool:
        """Whether a path has nothing to do with those that are left out."""
        place = os.path.realpath(path)
        kept = not any(is_within(place, o) or is_within(o, place) for o in out)
        if not kept:
            found.left_out[path] = file
        return kept

    # Once, also where a link leads from one to the other.
    own = {os.path.realpath(site): str(site) for site in reversed([*site_packages]) if site.is_dir()}
    found.sites = [site for site in map(str, site_packages) if site in own.values()]
    for site in [*found.sites]:
        found.path += [site] if site not in found.path else []
        for file, kind, text in _pth_lines(site):
            folder = os.path.normpath(os.path.join(site, text))
            if kind == "import":
                found.import_lines.append(f"{file}: {text}")
                _read_finder(f"{site}/{imported(text)}.py", is_kept, found)
            elif os.path.isdir(folder) and is_kept(folder, file) and folder not in found.path:
                found.path.append(folder)
                (found.sites if is_site_packages(folder) else found.projects).append(folder)
    found.sites = list(dict.fromkeys(found.sites))
    return found


def _read_finder(file: str, is_kept: Callable[[str, str], bool], found: ImportPath) -> None:
    """Take over what a finder that a ``.pth`` file starts maps."""
    finder = finder_in(file)
    if finder.mapped or finder.namespaces:
        found.finders.add(file)
    for module, path in finder.mapped.items():
        if is_kept(path, file):
            found.mapped.setdefault(module, os.path.normpath(path))
    for name, folders in finder.namespaces.items():
        parts = tuple(os.path.normpath(f) for f in folders if is_kept(f, file))
        if parts or not folders:
            found.namespaces[name] = (*found.namespaces.get(name, ()), *parts)


def _pth_lines(site: str) -> Iterator[tuple[str, str, str]]:
    """(file, kind, text) of the lines of a folder's ``.pth`` files, as the site module would take them."""
    for name in names_in(site):
        # Newer interpreters read no hidden ones.
        if name.endswith(".pth") and not name.startswith("."):
            yield from ((name, kind, text) for kind, text in parse_pth(_bytes_of(f"{site}/{name}")))


def parse_pth(raw: bytes) -> Iterator[tuple[str, str]]:
    """``("import", line)`` and ``("path", line)`` of a ``.pth`` file; what names no file is left out."""
    text = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", errors="surrogateescape")
    for line in text:
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(("import ", "import\t")):
            yield "import", line.rstrip()
        elif "\0" not in line:
            yield "path", line.rstrip()


def imported(line: str) -> str:
    """The module that a line of a ``.pth`` imports first."""
    match = _IMPORT.match(line)
    return match[1] if match else ""


def module_places(path: str) -> list[str]:
    """The folder, or the files, of a mapped module: finders name it without its ending."""
    if os.path.exists(path):
        return [path]
    folder, stem = os.path.split(path)
    names = (name for name in names_in(folder) if name.endswith((".py", ".so", ".pyd")))
    return [f"{folder}/{name}" for name in names if name.partition(".")[0] == stem]


def finder_in(path: str) -> Finder:
    """What a finder of setuptools, or one made by ``editables``, maps, read off its source.

    Empty where the file is none, or says it in anything but literals.
    """
    try:
        body = ast.parse(_bytes_of(path)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Finder()
    found = Finder()
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        name = targets[0].id if isinstance(targets[0], ast.Name) else ""
        if name == "MAPPING":
            found.mapped.update({k: v for k, v in _literal(node).items() if _is_path(v)})
        elif name == "NAMESPACES":
            lists = {k: v for k, v in _literal(node).items() if isinstance(v, list)}
            found.namespaces.update({k: tuple(p for p in v if _is_path(p)) for k, v in lists.items()})
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found.mapped.update(_map_module(node.value))
    return found


def _is_path(value: object) -> TypeGuard[str]:
    """Whether it is an absolute path that a file system can have."""
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        return False
    try:
        return bool(os.fsencode(value))
    except UnicodeEncodeError:
        return False


def _literal(node: ast.stmt) -> dict[str, object]:
    """The mapping that an assignment writes out; empty where it is none."""
    try:
        found = ast.literal_eval(getattr(node, "value", None) or "None")
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        found = None
    return {k: v for k, v in found.items() if isinstance(k, str)} if isinstance(found, dict) else {}


def _map_module(call: ast.Call) -> dict[str, str]:
    """Of ``F.map_module('name', '/path/of/name/__init__.py')``."""
    said = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    is_mapping = isinstance(call.func, ast.Attribute) and call.func.attr == "map_module"
    if not is_mapping or len(said) != 2 or not _is_path(said[1]):
        return {}
    name, path = said
    return {name: os.path.dirname(path) if os.path.basename(path) == "__init__.py" else path}


def _bytes_of(path: str) -> bytes:
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as handle:
            return handle.read()
    except (OSError, ValueError):
        return b""
