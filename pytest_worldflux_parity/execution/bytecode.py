"""The bytecode that programs run: made by the plugin from sources, and by nobody else.

Python takes a ``.pyc`` that fits its source by time and size, or that asks for no check, whoever wrote it.
So each start of a program has a folder of its own for bytecode (``sys.pycache_prefix``), and never looks
beside sources. What :mod:`.boot` looks at before that folder is

- what the plugin has compiled for the run: packages, the program's sealed files, the contract;
- what stands beside the sources of the standard library, which nobody has sealed either.

What a start does not find it compiles for itself. When it has ended well, the plugin reads the *names* of
what it left, and compiles these sources in a process of its own into a new layer for all later starts:
``<place>/bytecode/<interpreter>/layer-<inode>-<time>/``, the time being that of ``files.json``, which is
written last. The bytes that a program wrote are never taken. A layer does not change again: of what was
touched since, nothing is read. Layers may overlap, so that starts on several machines need no lock to be
right. That one cannot be made or read costs time and nothing else.

No start has links to what there is: they would be some thousand files more to make and to remove, which a
shared or busy disk takes seconds for.
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
from pathlib import Path
from typing import Any, NamedTuple

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
_LAYER = re.compile(r"layer-(?P<inode>\d+)-(?P<made_ns>\d+)", re.ASCII)
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

    def plan(self) -> dict[str, Any]:
        """What :mod:`.boot` is told: the newest layer comes first."""
        sound = [layer for layer in _layers(self.shared) if layer.holds(layer.folder / _FILES)]
        layers = sorted(sound, key=lambda layer: layer.made_ns, reverse=True)
        return {
            "prefix": str(self.prefix),
            "library": [f"{folder}/" for folder in self.found.stdlib],
            "layers": [
                [f"{part.folder}/", f"{layer.folder}/{part.label}/", layer.made_ns]
                for layer in layers
                for part in self.parts
            ],
        }

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
                yield from part.left(os.path.relpath(folder, part.folder), names, path)

    def _lacking(self, left: Sequence[_Left]) -> list[Work]:
        """What :mod:`.fill` is to compile: all but what another start has left meanwhile."""
        layers = [*_layers(self.shared)]
        work: list[Work] = []
        for one in left:
            name, path = f"{one.part.label}/{one.name}", one.part.source / one.source
            if not any(_fits(layer.folder / name, path) for layer in layers):
                sha256 = one.part.files[one.source] if one.part.files is not None else None
                work.append((str(path), str(path), sha256, one.level, name))
        return work


def bytecode_of(
    found: Packages, place: Path, start: Path, behind: Sequence[Path], tree: Tree, source: Path
) -> Bytecode:
    """The bytecode of a start.

    Args:
        place: of the run's copies. start: the folder of the start. behind: its folders of packages.
        source: what the start's copy of ``tree`` is made from.
    """
    contract = Path(wire.__file__).parent
    outside = [path for path in behind if not path.is_relative_to(start)]
    parts = [Part(wire.content_hash([str(path)])[:16], path, path) for path in outside]
    parts.append(Part(f"program-{tree.sha256[:16]}", start / "program", source, dict(tree.copied)))
    parts.append(Part("wire", start / "wire" / contract.parent.name / contract.name, contract))
    return Bytecode(start / FOLDER, place / FOLDER / _interpreter(found), found, parts)


def altered(place: Path) -> list[str]:
    """Files of the run's bytecode that are no longer what was compiled, below ``place``."""
    found = {path for layer in _layers_below(place / FOLDER, "*/") for path in _altered_in(layer)}
    return sorted(path.relative_to(place).as_posix() for path in found)


def _altered_in(layer: _Layer) -> Iterator[Path]:
    listed = layer.folder / _FILES
    if not layer.holds(listed):
        yield listed
    try:
        files = wire.load_object(listed)
    except (OSError, wire.WireError):
        yield listed
        return
    there = {p.relative_to(layer.folder).as_posix() for p in layer.folder.rglob("*") if not p.is_dir()}
    yield from (layer.folder / name for name in there - {*files, _FILES})
    for name, sha256 in files.items():
        path = layer.folder / name
        if not layer.holds(path) or wire.file_sha256(path) != sha256:
            yield path


def _interpreter(found: Packages) -> str:
    """Tells interpreters apart; the host has no part in it, since bytecode is the same on all."""
    return wire.content_hash([str(found.python), os.path.realpath(found.python), found.version])[:16]


@dataclass(frozen=True)
class _Layer:
    """What was compiled at once, and when the last of it was written."""

    folder: Path
    made_ns: int

    def holds(self, path: Path) -> bool:
        """Whether a file has stayed untouched: a program can set other times, but not that of a change."""
        try:
            return os.lstat(path).st_ctime_ns <= self.made_ns
        except OSError:
            return False


def _layers(shared: Path) -> Iterator[_Layer]:
    return _layers_below(shared, "")


def _layers_below(folder: Path, pattern: str) -> Iterator[_Layer]:
    """The layers that were made where they are: those of a run that was copied have other numbers."""
    for path in sorted(folder.glob(f"{pattern}layer-*")):
        # A program may have put anything there.
        match = _LAYER.fullmatch(path.name)
        if match and match["inode"] == str(os.lstat(path).st_ino):
            yield _Layer(path, int(match["made_ns"]))


def _fits(bytecode: Path, source: Path) -> bool:
    """Whether Python would take it for this source."""
    try:
        found = source.stat()
        with open(bytecode, "rb") as handle:
            _, _, time, size = (int.from_bytes(handle.read(4), "little") for _ in range(4))
    except OSError:
        return False
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
        listed = partial / _FILES
        listed.write_text(json.dumps(files), encoding="utf-8")
        os.replace(partial, shared / f"layer-{partial.stat().st_ino}-{listed.stat().st_ctime_ns}")
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
