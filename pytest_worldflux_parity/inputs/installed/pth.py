"""``.pth`` files and the finders of editable installations: read, never run."""

from __future__ import annotations

import ast
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

_IMPORT = re.compile(r"import[ \t]+(\w+)\s*(;|$)")
# Loaders that rebuild or redirect by code of their own, by the name of the module that a .pth imports.
_LOADERS = {"_editable_loader": "meson-python", "_editable": "scikit-build-core"}


@dataclass
class Lines:
    """What the ``.pth`` files of a folder say.

    Attributes:
        folders: (path, the file that names it), in order.
        imports: (file, line) of what would be run.
        hidden: files that newer interpreters do not read.
        not_folders: (path, file) of what exists and is none.
    """

    folders: list[tuple[str, str]] = field(default_factory=list)
    imports: list[tuple[str, str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    not_folders: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Finder:
    """What an editable installation maps: module -> path, and namespace package -> folders."""

    mapped: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, tuple[str, ...]] = field(default_factory=dict)


def pth_lines(site: str) -> Lines:
    """The lines of a folder's ``.pth`` files, as the site module would take them: files by name."""
    found = Lines()
    try:
        names = sorted(n for n in os.listdir(site) if n.endswith(".pth"))
    except OSError:
        return found
    for name in names:
        if name.startswith("."):
            found.hidden.append(name)
            continue
        for kind, text in parse_pth(_bytes_of(f"{site}/{name}")):
            if kind == "import":
                found.imports.append((name, text))
                continue
            path = os.path.normpath(os.path.join(site, text))
            if os.path.isdir(path):
                found.folders.append((path, name))
            elif os.path.exists(path):
                found.not_folders.append((path, name))
    return found


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


def loader_named(module: str) -> str:
    """The build backend whose loader a module is, empty where it is none that is known."""
    return next((backend for end, backend in _LOADERS.items() if module.endswith(end)), "")


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
        name, value = _assigned(node)
        if name == "MAPPING":
            found.mapped.update({k: v for k, v in _literal(value).items() if _is_path(v)})
        elif name == "NAMESPACES":
            lists = {k: v for k, v in _literal(value).items() if isinstance(v, list)}
            found.namespaces.update({k: tuple(p for p in v if _is_path(p)) for k, v in lists.items()})
        else:
            found.mapped.update(_map_module(node))
    return found


def _is_path(value: object) -> TypeGuard[str]:
    """Whether it is an absolute path that a file system can have."""
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        return False
    try:
        return bool(os.fsencode(value))
    except UnicodeEncodeError:
        return False


def _assigned(node: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.value
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    return "", None


def _literal(value: ast.expr | None) -> dict[str, object]:
    try:
        found = ast.literal_eval(value) if value is not None else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        found = None
    return {k: v for k, v in found.items() if isinstance(k, str)} if isinstance(found, dict) else {}


def _map_module(node: ast.stmt) -> dict[str, str]:
    """Of ``F.map_module('name', '/path/of/name/__init__.py')``."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return {}
    said = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if call.func.attr != "map_module" or len(said) != 2 or not _is_path(said[1]):
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
