"""The files of a project that a manifest's command runs from, by their sha256, before it runs.

A word names a file by its path, alone or behind ``=``, as one of the words in a text for a shell, or as a
module behind ``-m``. Of a script the whole folder is taken, whose modules it may import; so are the folders
of the command's PYTHONPATH. What the run itself writes is not looked at.
"""

from __future__ import annotations

import glob
import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import SuiteError
from ..suite.commands import CommandSide, fill
from .files.project_files import hash_files, is_secret, refuse_odd_names, tracked

SCRIPTS = (".py", ".sh", ".bash")
# Of a project's own folder, which holds more than the program: texts for people are none of it.
_TEXT_SUFFIXES = (".md", ".rst")


def program_files(
    sides: Mapping[str, CommandSide], folder: Path, root: Path, output: Path, values: Mapping[str, str]
) -> dict[str, str]:
    """Path from the project -> sha256, of every file that the commands run from.

    Of what lies outside of the project there are the scripts that are named and the folders of PYTHONPATH;
    their paths begin with ``..``.

    Args:
        sides: task -> how it is run. folder: what their folders are relative to.
        output: of the runs; nothing below it is a program.
        values: of the placeholders that are known before anything runs, but for task and seed: every seed
            is meant.

    Raises:
        BackendError: the name of a file is no UTF-8.
    """
    root, output = root.resolve(), output.resolve()
    files: set[Path] = set()
    folders: set[Path] = set()
    for task, side in sides.items():
        known = {**values, "task_id": task}
        # The project as an argument, ``--root {repo_root}``, is no program; on the import path it is.
        words = [p for p in _named_by_words(side, folder, known) if p != root]
        imported = [
            Path(p).resolve() for name in _imported_folders(side, folder, known) for p in glob.glob(name)
        ]
        inside = [p for p in words if p.is_relative_to(root)]
        files.update(p for p in words if p.is_file() and (p in inside or p.suffix in SCRIPTS))
        folders.update(p.parent if p.is_file() else p for p in inside if p.is_dir() or p.suffix in SCRIPTS)
        folders.update(imported)
    files.update(
        f for place in folders if not place.is_relative_to(output) for f in _program_files_below(place, root)
    )
    ours = (p for p in sorted(files) if not p.is_relative_to(output))
    found = hash_files({Path(os.path.relpath(path, root)).as_posix(): path for path in ours})
    refuse_odd_names(found, root)
    return found


def named_by_command(
    sides: Mapping[str, CommandSide], folder: Path, root: Path, values: Mapping[str, str]
) -> dict[str, str]:
    """Path from the project -> sha256, of the files and modules that the words of commands name themselves.

    What lies beside a script may be another program, and says nothing of which one this is; what is data for
    both sides stands on both.
    """
    root = root.resolve()
    words = {
        p for task, side in sides.items() for p in _named_by_words(side, folder, {**values, "task_id": task})
    }
    inside = [p for p in sorted(words) if p != root and p.is_relative_to(root)]
    modules = (f for p in inside if p.is_dir() for f in _program_files_below(p, root) if f.suffix in SCRIPTS)
    files = {*(p for p in inside if p.is_file()), *modules}
    return hash_files({path.relative_to(root).as_posix(): path for path in sorted(files)})


def _program_files_below(folder: Path, root: Path) -> Iterator[Path]:
    """The files of a folder that programs are run from."""
    for path in tracked(folder):
        if (
            path.is_file()
            and not is_secret(path.relative_to(folder))
            and (folder != root or path.suffix not in _TEXT_SUFFIXES)
        ):
            yield path


def _named_by_words(side: CommandSide, folder: Path, values: Mapping[str, str]) -> Iterator[Path]:
    """The files and folders that a command names, with every link followed."""
    place, known = _start_folder(side, folder, values)
    for word in _path_words(side.command):
        pattern = _fill_pattern(word, known)
        # A seed alone is no path; of a folder that is known only once it runs, no file is known.
        if pattern and pattern != "*" and (place or os.path.isabs(pattern)):
            yield from (Path(p).resolve() for p in glob.glob(os.path.join(place or "", pattern)))
    for module in _modules_of_words(side.command):
        for where in (*([place] if place else []), *_imported_folders(side, folder, values)):
            names = [os.path.join(where, module), os.path.join(where, f"{module}.py")]
            yield from (Path(p).resolve() for name in names for p in glob.glob(name))


def _start_folder(
    side: CommandSide, folder: Path, values: Mapping[str, str]
) -> tuple[str | None, dict[str, str]]:
    """The folder that a command starts in, as a pattern, and what its placeholders are as patterns."""
    known = {**{k: glob.escape(v) for k, v in values.items()}, "seed": "*"}
    start = _fill_pattern(side.cwd, known)
    if start is None:
        return None, known
    return os.path.normpath(os.path.join(glob.escape(str(folder.resolve())), start)), known


def _fill_pattern(text: str, known: Mapping[str, str]) -> str | None:
    """``text`` as a pattern; None where it names what is known only once it runs."""
    try:
        return fill(glob.escape(text), known)
    except SuiteError:
        return None


def _path_words(command: Sequence[str]) -> Iterator[str]:
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


def _modules_of_words(command: Sequence[str]) -> Iterable[str]:
    """The packages, or single modules, of ``-m`` words."""
    flat = [part for word in command for part in (_shell_words(word) or [word])]
    follows = itertools.pairwise(flat)
    return [name.partition(".")[0] for option, name in follows if option == "-m" and name.strip(".")]


def _imported_folders(side: CommandSide, folder: Path, values: Mapping[str, str]) -> Iterator[str]:
    """The folders of a command's PYTHONPATH, as patterns."""
    place, known = _start_folder(side, folder, values)
    for entry in side.env.get("PYTHONPATH", "").split(os.pathsep):
        pattern = _fill_pattern(entry, known) if entry else None
        if pattern and (place or os.path.isabs(pattern)):
            yield os.path.join(place or "", pattern)
