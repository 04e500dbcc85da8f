"""The bytecode that programs run: made by the plugin from sources, and by nobody else.

Python takes a ``.pyc`` that fits its source by time and size, or that asks for no check, whoever wrote it.
So each start of a program looks for bytecode in a folder of its own (``-X pycache_prefix``), never beside
sources. There it finds links:

- to what the plugin has compiled for the run: packages, the program's sealed files, the contract;
- to what stands beside the sources of the standard library, which nobody has sealed either.

What a start does not find it compiles for itself. When it has ended well, the plugin reads the *names* of
what it left, and compiles these sources in a process of its own into a new layer for all later starts:
``<place>/bytecode/<interpreter>/layer-<inode>-<chance>/``, with ``files.json`` written last. The bytes that
a program wrote are never taken. A layer does not change again, and layers may overlap, so that starts on
several machines need no lock to be right. That one cannot be made or read costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from .. import wire
from ..inputs.interpreters import Packages
from ..inputs.trees import Tree

FOLDER = "bytecode"
# What a start compiled for itself, below which a process that compiles it again is not worth its own start.
WORTH_BYTES = 200_000
FILL_SEC = 600.0
_FILL = Path(__file__).with_name("fill.py")
_FILES = "files.json"
_NAME = re.compile(r"(?P<module>[^.]+)\.[^.]+(?:\.opt-(?P<level>[12]))?\.pyc")
# Folders of the standard library that hold others' packages, or what no program imports.
_NO_LIBRARY = frozenset(["site-packages", "dist-packages", "test", "idlelib", "turtledemo"])
# Source, the name of its code, sha256 of the source, level of optimisation, where the bytecode goes.
Work = tuple[str, str, "str | None", str, str]


@dataclass(frozen=True)
class Part:
    """A folder of modules.

    Attributes:
        label: names it in layers, the same in every start that has the same modules.
        folder: where the program finds them.
        source: where the plugin reads them.
        files: path -> sha256 of those that count; None: all.
    """

    label: str
    folder: Path
    source: Path
    files: Mapping[str, str] | None = None

    def left(self, below: str, names: Sequence[str], path: str) -> Iterator[_Left]:
        """What files of bytecode say by their names; ``below``: where their modules are in the part."""
        for name in names:
            if match := _NAME.fullmatch(name):
                source = os.path.normpath(f"{below}/{match['module']}.py")
                if self.files is None or source in self.files:
                    size = os.lstat(f"{path}/{name}").st_size
                    yield _Left(self, source, os.path.normpath(f"{below}/{name}"), match["level"] or "", size)


class _Left(NamedTuple):
    """Bytecode that a start has made: paths of source and bytecode below the part, and its bytes."""

    part: Part
    source: str
    name: str
    level: str
    size: int


@dataclass(frozen=True)
class Bytecode:
    """The bytecode of one start.

    Attributes:
        prefix: where Python looks for it, and writes what is missing.
        shared: where the run has what was compiled for this interpreter.
    """

    prefix: Path
    shared: Path
    found: Packages
    parts: Sequence[Part]

    def link(self) -> None:
        """Fill the prefix with links to what there is."""
        links = _Links(str(self.prefix))
        with contextlib.suppress(OSError):
            modules = _modules(self.shared)
            for part in self.parts:
                for name, target in modules.get(part.label, {}).items():
                    links.make(f"{part.folder}/{name}", target)
            for path, target in _library(self.found.stdlib):
                links.make(path, target)

    def keep(self) -> None:
        """Compile what the start has compiled for itself, for those that follow; called once it has ended."""
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
            left = [*self._left()]
            if sum(one.size for one in left) < WORTH_BYTES:
                return
            self.shared.mkdir(parents=True, exist_ok=True)
            with _only(self.shared / "lock") as alone:
                if alone and (work := self._lacking(left)):
                    _new_layer(self.found.python, self.shared, work)

    def _left(self) -> Iterator[_Left]:
        """What the start has compiled for itself."""
        parts = sorted(self.parts, key=lambda part: len(str(part.folder)), reverse=True)
        for path, _, names in os.walk(self.prefix):
            folder = f"/{os.path.relpath(path, self.prefix)}"
            part = next((p for p in parts if f"{folder}/".startswith(f"{p.folder}/")), None)
            if part is not None:
                below = os.path.relpath(folder, part.folder)
                yield from part.left(below, [n for n in names if not os.path.islink(f"{path}/{n}")], path)

    def _lacking(self, left: Sequence[_Left]) -> list[Work]:
        """What :mod:`.fill` is to compile: all but what another start has left meanwhile."""
        modules = _modules(self.shared)
        work: list[Work] = []
        for one in left:
            known = modules.get(one.part.label, {}).get(one.name)
            path = one.part.source / one.source
            if known is None or not _fits(known, path):
                sha256 = one.part.files[one.source] if one.part.files is not None else None
                work.append((str(path), str(path), sha256, one.level, f"{one.part.label}/{one.name}"))
        return work


def bytecode_of(
    found: Packages, place: Path, start: Path, behind: Sequence[Path], tree: Tree, source: Path
) -> Bytecode:
    """The bytecode of a start, not linked yet.

    Args:
        place: of the run's copies. start: the folder of the start. behind: its folders of packages.
        source: what the start's copy of ``tree`` is made from.
    """
    contract = Path(wire.__file__).parent
    outside = [path for path in (*found.stdlib, *behind) if not path.is_relative_to(start)]
    parts = [Part(wire.content_hash([str(path)])[:16], path, path) for path in outside]
    parts.append(Part(f"program-{tree.sha256[:16]}", start / "program", source, dict(tree.copied)))
    parts.append(Part("wire", start / "wire" / contract.parent.name / contract.name, contract))
    return Bytecode(start / FOLDER, place / FOLDER / _interpreter(found), found, parts)


def altered(place: Path) -> list[str]:
    """Files of the run's bytecode that are no longer what was compiled, below ``place``."""
    found: list[str] = []
    for folder in sorted((place / FOLDER).glob("*/layer-*")):
        layer = _layer(str(folder))
        if layer is None:
            # Of a folder that was copied no start takes anything.
            found += [] if _is_copied(folder) else [str(folder / _FILES)]
            continue
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
        found += [str(folder / name) for name in there - {*layer.files, _FILES}]
        for name, sha256 in layer.files.items():
            path = folder / name
            if not layer.holds(str(path)) or wire.file_sha256(path) != sha256:
                found.append(str(path))
    return sorted(os.path.relpath(path, place) for path in found)


def _interpreter(found: Packages) -> str:
    """Tells interpreters apart; the host has no part in it, since bytecode is the same on all."""
    return wire.content_hash([str(found.python), os.path.realpath(found.python), found.version])[:16]


class _Links:
    """Makes links at absolute paths below a prefix; the first for a path counts."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._folders: set[str] = set()

    def make(self, path: str, target: str) -> None:
        where = self._prefix + path
        folder = where.rpartition("/")[0]
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, where)


@lru_cache(maxsize=16)
def _library(folders: tuple[Path, ...]) -> tuple[tuple[str, str], ...]:
    """(path below a prefix, target) of the links that bring the bytecode of a standard library."""
    return tuple(link for folder in folders for link in _cached(str(folder)))


def _cached(folder: str) -> Iterator[tuple[str, str]]:
    """Links for a folder of modules.

    What lies in ``__pycache__`` of a folder stands, below a prefix, in the folder itself. Where that has no
    folder within, one link does for all.
    """
    cache = f"{folder}/__pycache__"
    try:
        names = sorted(os.listdir(cache))
        inner = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name != "__pycache__")
    except OSError:
        # Absent, an archive, or nothing was compiled.
        return
    if not inner:
        yield folder, cache
        return
    yield from ((f"{folder}/{name}", f"{cache}/{name}") for name in names if name.endswith(".pyc"))
    for name in inner:
        if name not in _NO_LIBRARY:
            yield from _cached(f"{folder}/{name}")


@dataclass(frozen=True)
class _Layer:
    """What was compiled at once: path -> sha256, and when the last of it was written."""

    files: Mapping[str, str]
    made_ns: int

    def holds(self, path: str) -> bool:
        """Whether a file has stayed untouched: a program can set other times, but not that of a change."""
        try:
            return os.lstat(path).st_ctime_ns <= self.made_ns
        except OSError:
            return False


@lru_cache(maxsize=64)
def _layer(folder: str) -> _Layer | None:
    """A layer as it was when it was first read; None: it is not what was made here."""
    try:
        if _is_copied(Path(folder)):
            return None
        with open(f"{folder}/{_FILES}", encoding="utf-8") as handle:
            made_ns = os.fstat(handle.fileno()).st_ctime_ns
            files = json.load(handle)
    except (OSError, ValueError):
        return None
    return _Layer(files, made_ns) if isinstance(files, dict) else None


def _is_copied(folder: Path) -> bool:
    return folder.name.split("-")[1] != str(folder.stat().st_ino)


def _modules(shared: Path) -> dict[str, dict[str, str]]:
    """Label -> path below a part -> the bytecode there is of it, the newest where there are several."""
    found: dict[str, dict[str, str]] = {}
    layers = [(layer, str(path)) for path in shared.glob("layer-*") if (layer := _layer(str(path)))]
    for layer, folder in sorted(layers, key=lambda pair: pair[0].made_ns):
        for name in layer.files:
            path = f"{folder}/{name}"
            if layer.holds(path):
                label, _, below = name.partition("/")
                found.setdefault(label, {})[below] = path
    return found


def _fits(bytecode: str, source: Path) -> bool:
    """Whether Python would take it for this source."""
    with open(bytecode, "rb") as handle:
        _, _, time, size = (int.from_bytes(handle.read(4), "little") for _ in range(4))
    found = source.stat()
    return (time, size) == (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)


@contextlib.contextmanager
def _only(lock: Path) -> Iterator[bool]:
    """Whether nobody else compiles now: who comes second goes on without."""
    with open(lock, "a", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _new_layer(python: Path, shared: Path, work: Sequence[Work]) -> None:
    partial = shared / f".{secrets.token_hex(8)}.partial"
    partial.mkdir()
    try:
        files = _filled(python, partial, work)
        for path in partial.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        # Whatever changes later has a later time than this file.
        (partial / _FILES).write_text(json.dumps(files), encoding="utf-8")
        os.replace(partial, shared / f"layer-{partial.stat().st_ino}-{secrets.token_hex(4)}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _filled(python: Path, folder: Path, work: Sequence[Work]) -> dict[str, str]:
    done = subprocess.run(
        [str(python), "-I", "-S", str(_FILL)],
        input=json.dumps({"folder": str(folder), "modules": work}),
        capture_output=True,
        encoding="utf-8",
        timeout=FILL_SEC,
        check=True,
    )
    files = json.loads(done.stdout)
    assert isinstance(files, dict)
    return {str(name): str(sha256) for name, sha256 in files.items()}
