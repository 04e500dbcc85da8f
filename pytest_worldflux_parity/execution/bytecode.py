"""The bytecode that starts of a program share: compiled by the session from sources, never a program's own.

Python takes a ``.pyc`` that fits its source by time and size, or that asks for no check, whoever wrote it. So
each start writes what it compiles into a folder of its own (``prefix``), which nobody else reads. Once it has
ended, the *names* there say which modules it imported, and the session has the program's Python compile them
from their sources into a layer, ``<place>/bytecode/<program>/<time>``, which the program's later starts read
first (:mod:`.boot`). Each file holds the hash of its source, which Python compares at each import (PEP 552).

A layer does not change again. Its name is the time of its last change, which no program can set: of what was
touched later nothing is read, and the end of the session tells of it. That a layer cannot be made or read
costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

BYTECODE_FOLDER = "bytecode"
# Python compiles as much in a few hundredths of a second: not worth a process that does it for others.
WORTH_BYTES = 200_000
COMPILE_SEC = 600.0
_NAME = re.compile(r"([^.]+)\.[^.]+(?:\.opt-([12]))?\.pyc")


class _Left(NamedTuple):
    """A module that a start has compiled: ``name`` is where a layer has it, ``level`` how far optimised."""

    source: Path
    name: str
    level: str
    size: int


@dataclass(frozen=True)
class Bytecode:
    """The bytecode of one start.

    Attributes:
        prefix: what it compiles for itself. shared: the layers of its program. python: what compiles them.
        moved: (where the start has modules, where the session reads them), other places for each start.
        files: sources that are shared. roots: folders of others. hidden: what the program is not to see.
        layers: those that were there when it began, the newest first.
    """

    prefix: Path
    shared: Path
    python: Path
    moved: Sequence[tuple[Path, Path]]
    files: frozenset[Path]
    roots: Sequence[Path]
    hidden: Sequence[Path]
    layers: Sequence[Path]

    def plan_layers(self) -> list[tuple[str, str, int]]:
        """(what Python asks for, where a layer has it, the layer's time), as beginnings of paths."""
        return [
            (f"{self.prefix}{seen}/", f"{layer}/{part}", int(layer.name))
            for layer in self.layers
            for seen, part in (*((at, f".{i}/") for i, (at, _) in enumerate(self.moved)), ("", ""))
        ]

    def keep_compiled(self) -> None:
        """Compile what the start has compiled for itself, for those that follow; called once it has ended."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            # Another start may have ended meanwhile, which had to compile the same.
            new = [layer for layer in find_layers(self.shared) if layer not in self.layers]
            left = [one for one in self._find_left() if not any((layer / one.name).exists() for layer in new)]
            if sum(one.size for one in left) >= WORTH_BYTES:
                self._add_layer(left)

    def _find_left(self) -> Iterator[_Left]:
        for folder, _, names in os.walk(self.prefix):
            sources, inside = self._locate(Path("/", os.path.relpath(folder, self.prefix)))
            for name in names:
                match = _NAME.fullmatch(name)
                if match and self._is_shared(path := sources / f"{match[1]}.py"):
                    size = os.lstat(f"{folder}/{name}").st_size
                    yield _Left(path, str(inside / name), match[2] or "0", size)

    def _locate(self, folder: Path) -> tuple[Path, Path]:
        """Where the session reads the modules of a folder of the start, and where a layer has them."""
        for number, (seen, kept) in enumerate(self.moved):
            if folder.is_relative_to(seen):
                inside = folder.relative_to(seen)
                return kept / inside, Path(f".{number}", inside)
        return folder, folder.relative_to("/")

    def _is_shared(self, source: Path) -> bool:
        """Whether a program may know what is in a source: it can name any."""
        real = Path(os.path.realpath(source))
        seen = any(map(real.is_relative_to, self.roots)) and not any(map(real.is_relative_to, self.hidden))
        # The list of what is compiled has a line for each.
        return (source in self.files or seen) and len(str(source).splitlines()) == 1

    def _add_layer(self, left: Sequence[_Left]) -> None:
        partial = self.shared / f".{secrets.token_hex(8)}.partial"
        partial.mkdir(parents=True)
        try:
            self._compile(left, partial)
            for number, (_, kept) in enumerate(self.moved):
                if os.path.isdir(made := f"{partial}{kept}"):
                    os.rename(made, partial / f".{number}")
            os.replace(partial, self.shared / str(_time_last_change(partial)))
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _compile(self, left: Sequence[_Left], folder: Path) -> None:
        """Compile sources to where Python looks below a folder; what cannot be compiled is left out."""
        levels = [f"-o{level}" for level in sorted({one.level for one in left})]
        python = [str(self.python), "-I", "-S", "-Xutf8", f"-Xpycache_prefix={folder}", "-Wignore"]
        words = ["-m", "compileall", "-qq", "-l", "--invalidation-mode=checked-hash", *levels, "-i-"]
        sources = b"\n".join(os.fsencode(one.source) for one in left)
        subprocess.run(
            [*python, *words], input=sources, capture_output=True, timeout=COMPILE_SEC, check=False
        )


def find_layers(shared: Path) -> list[Path]:
    """The layers of a program, the newest first."""
    return sorted(_glob_layers(shared, "*"), key=lambda layer: int(layer.name), reverse=True)


def find_altered(place: Path) -> list[str]:
    """The layers below the folder of a run's copies that are no longer what was compiled."""
    layers = _glob_layers(place / BYTECODE_FOLDER, "*/*")
    return sorted(p.relative_to(place).as_posix() for p in layers if _time_last_change(p) != int(p.name))


def forget_layers(place: Path) -> None:
    """Remove all layers; what reads one goes on without."""
    shutil.rmtree(place / BYTECODE_FOLDER, ignore_errors=True)


def _glob_layers(folder: Path, pattern: str) -> Iterator[Path]:
    # A program may have put anything there.
    return (path for path in folder.glob(pattern) if re.fullmatch("[0-9]{1,20}", path.name))


def _time_last_change(layer: Path) -> int:
    """When something in a layer was last changed, in nanoseconds: a program can set other times, not this."""
    return max((os.lstat(path).st_ctime_ns for path in layer.rglob("*")), default=0)
