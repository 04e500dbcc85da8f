"""The files of a project that a command names, by their sha256: what is known of its program before it runs.

A word names a file by its path, alone or behind ``=``, as one of the words in a text for a shell, or as a
module behind ``-m``. Of a script also those beside and below it are taken, which it may import; of a folder
the scripts in it. What the run itself writes is not looked at.
"""

from __future__ import annotations

import glob
import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .. import wire
from ..errors import SuiteError
from ..suite.commands import CommandSide, fill

SCRIPTS = (".py", ".sh", ".bash")


def program_files(
    sides: Mapping[str, CommandSide], folder: Path, root: Path, output: Path, values: Mapping[str, str]
) -> dict[str, str]:
    """Path within the project (of the scripts in a folder with ``/`` behind it) -> sha256.

    Args:
        sides: task -> how it is run. folder: what their folders are relative to.
        output: of the runs; nothing below it is a program.
        values: of the placeholders that are known before anything runs, but for task and seed: every seed
            is meant.
    """
    root, output = root.resolve(), output.resolve()
    found: dict[str, str] = {}
    for path in sorted({p for t, s in sides.items() for p in _named(s, folder, {**values, "task_id": t})}):
        outside = not path.is_relative_to(root) or path.is_relative_to(output) or root.is_relative_to(path)
        if outside:
            continue
        name = path.relative_to(root).as_posix()
        if path.is_file():
            found[name] = str(wire.file_sha256(path))
        beside = path.parent if path.is_file() else path
        # A project's own folder holds more than the program.
        if beside != root and (path.is_dir() or path.suffix in SCRIPTS):
            found[f"{beside.relative_to(root).as_posix()}/"] = _scripts_sha256(beside, output)
    return found


def _scripts_sha256(folder: Path, output: Path) -> str:
    """sha256 over the names and bytes of the scripts below a folder."""
    scripts = {
        path.relative_to(folder).as_posix(): wire.file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in SCRIPTS and path.is_file() and not path.is_relative_to(output)
    }
    return wire.content_hash(scripts)


def _named(side: CommandSide, folder: Path, values: Mapping[str, str]) -> Iterator[Path]:
    """The files and folders that a command names, with every link followed."""
    known = {**{k: glob.escape(v) for k, v in values.items()}, "seed": "*"}
    start = _filled(side.cwd, known)
    if start is None:
        return
    place = os.path.normpath(os.path.join(glob.escape(str(folder.resolve())), start))
    starts = [place, *_import_folders(side, place, known)]
    for word in _words(side.command):
        pattern = _filled(word, known)
        # A seed alone is no path.
        if pattern and pattern != "*":
            yield from (Path(p).resolve() for p in glob.glob(os.path.join(place, pattern)))
    for module in _modules(side.command):
        for where in starts:
            names = [os.path.join(where, module), os.path.join(where, f"{module}.py")]
            yield from (Path(p).resolve() for name in names for p in glob.glob(name))


def _filled(text: str, known: Mapping[str, str]) -> str | None:
    """``text`` as a pattern; None where it names what is known only once it runs."""
    try:
        return fill(glob.escape(text), known)
    except SuiteError:
        return None


def _words(command: Sequence[str]) -> Iterator[str]:
    """The words that may be paths."""
    for word in command:
        for part in (word, *_shell_words(word)):
            yield part
            if "=" in part:
                yield part.partition("=")[2]


def _shell_words(word: str) -> list[str]:
    if not any(c.isspace() for c in word):
        return []
    try:
        return shlex.split(word)
    except ValueError:
        return word.split()


def _modules(command: Sequence[str]) -> Iterable[str]:
    """The packages, or single modules, of ``-m`` words."""
    flat = [part for word in command for part in (_shell_words(word) or [word])]
    follows = itertools.pairwise(flat)
    return [name.partition(".")[0] for option, name in follows if option == "-m" and name.strip(".")]


def _import_folders(side: CommandSide, place: str, known: Mapping[str, str]) -> Iterator[str]:
    for entry in side.env.get("PYTHONPATH", "").split(os.pathsep):
        folder = _filled(entry, known) if entry else None
        if folder:
            yield os.path.join(place, folder)
