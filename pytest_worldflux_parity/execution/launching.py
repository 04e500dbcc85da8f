"""How a program is started, asked where it is to run: on this machine or on a node of a cluster.

A program runs from a copy of what was sealed, in an environment in which it can import ``wire`` and nothing
else of ours. Where its command line begins with ``{python}``, Python starts by :mod:`.boot`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import wire
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import RunContext
from ..inputs.interpreters import Packages, packages
from ..inputs.python_options import count_options
from ..inputs.trees import Tree, backend_tree, base_of, import_folder
from . import bytecode, compiled, runner
from .bytecode import Bytecode
from .compiled import cache_of, caches_below, variables
from .copies import FOLDER, copy_of, own_copy, seal_copy, sealed_tree
from .isolation import ASKED, OPEN, Room, Walls, in_force, room_of, told, walls_of

if TYPE_CHECKING:
    from ..inputs.prepare import PreparedSuite

_BOOT = Path(__file__).with_name("boot.py")


@dataclass(frozen=True)
class Sealed:
    """A program as it was sealed.

    Attributes:
        source: the copy that its own copies are made from, or a folder that holds the same.
        place: where what runs now has its own copy.
        walls: what a session asks to have around it.
    """

    tree: Tree
    source: Path
    place: Path
    walls: Walls = OPEN


def sealed_in(context: RunContext, prepared: PreparedSuite, system: str, key: str) -> Sealed:
    """A program of a run, by its key ``<part>.<system>``; ``system`` is the side that it belongs to.

    Raises:
        StoreError: the run sealed none of this key.
    """
    place = context.run_dir.resolve() / FOLDER
    tree = prepared.trees.get(system) or sealed_tree(context.run_dir, prepared.suite.suite_id, key)
    return Sealed(tree, copy_of(place, tree), place, walls_of(context, prepared, system))


def sealed_now(backend: Backend, root: Path, place: Path) -> Sealed:
    """A program as it stands, for a start that belongs to no run.

    Raises:
        BackendError: a file that it names is absent, or changes now.
        StoreError: the copy cannot be written.
    """
    tree = backend_tree(backend, root)
    # An earlier start has nothing to do with this one.
    for name in (bytecode.FOLDER, compiled.FOLDER):
        shutil.rmtree(place / name, ignore_errors=True)
    return Sealed(tree, seal_copy(place, tree, base_of(backend, root)), place)


@dataclass(frozen=True)
class Start:
    """A program that is ready to be started.

    Attributes:
        cwd: the folder that it starts in, where that is not the folder of its results.
        room: the walls around it; None: it runs open. isolation: the same in a record's words.
        bytecode: of a Python program that starts by :mod:`.boot`.
    """

    command: list[str]
    env: dict[str, str]
    cwd: Path | None
    room: Room | None
    isolation: Mapping[str, Any]
    bytecode: Bytecode | None = None

    def ended_well(self) -> None:
        """To be called where it did, before its files go: what it compiled is compiled for later starts."""
        if self.bytecode is not None:
            self.bytecode.keep()


@contextmanager
def started(
    program: Backend | CommandProgram, request: wire.RunRequest, root: Path, sealed: Sealed
) -> Iterator[Start]:
    """A program ready to answer a request; its own copy goes at the end of the block.

    Args:
        request: ``out_dir`` is where the program runs, and so are the paths of its source.
        root: the project there.

    Raises:
        BackendError: the program's own environment is absent there, or its copy is not what was sealed.
        StoreError: the copy cannot be written.
        SuiteError: a placeholder of a manifest's command has no value.
    """
    path = Path(request.out_dir) / "request.json"
    read = [Path(request.source[name]) for name in ("checkout",) if name in request.source]
    if isinstance(program, Backend):
        words, out = _words(path), path.parent
        with _backend_started(program, words, out, request.threads, root, sealed, read) as start:
            yield start
        return
    with own_copy(sealed.place, sealed.tree, sealed.source, _whose(path.parent, sealed)) as folder:
        command, env, cwd = _command_start(program, request, root, sealed, folder)
        write = [path.parent, folder, _plain_bytecode(sealed)]
        yield _walled(sealed.walls, program, root, command, env, cwd, read, write)


@contextmanager
def match_started(
    backend: Backend, request: Path, threads: int, root: Path, sealed: Sealed
) -> Iterator[Start]:
    """As :func:`started`, of the match program, which the backend must have; ``request`` is its request."""

    def words(own: Backend, python: Path) -> list[str]:
        return own.match_command(python, request)

    with _backend_started(backend, words, request.parent, threads, root, sealed, ()) as start:
        yield start


@contextmanager
def check_started(
    backend: Backend, requests: Sequence[Path], threads: int, root: Path, sealed: Sealed, read: Sequence[Path]
) -> Iterator[Start]:
    """As :func:`started`, of the check program, which the backend must have.

    Args:
        requests: in one folder. read: what they name, such as a checkout.
    """

    def words(own: Backend, python: Path) -> list[str]:
        return own.check_command(python, requests)

    out = requests[0].parent
    with _backend_started(backend, words, out, threads, root, sealed, read) as start:
        yield start


@contextmanager
def record_started(
    backend: Backend, places: Mapping[str, str], work: Path, threads: int, root: Path, sealed: Sealed
) -> Iterator[Start]:
    """As :func:`started`, of the record program, which the backend must have; it writes below ``work``."""

    def words(own: Backend, python: Path) -> list[str]:
        return own.record_command(python, places)

    read = [Path(place) for name in ("checkout", "checkpoint") if (place := places.get(name))]
    with _backend_started(backend, words, work, threads, root, sealed, read) as start:
        yield start


Words = Callable[[Backend, Path], list[str]]


def _words(request: Path) -> Words:
    return lambda own, python: own.command(python, request)


@contextmanager
def _backend_started(
    backend: Backend,
    words: Words,
    out: Path,
    threads: int,
    root: Path,
    sealed: Sealed,
    read: Sequence[Path],
) -> Iterator[Start]:
    python, base = backend.interpreter(root), base_of(backend, root.resolve())
    with own_copy(sealed.place, sealed.tree, sealed.source, _whose(out, sealed)) as folder:
        copied = folder / "program"
        own_folder = copied / backend.folder.relative_to(base)
        command = words(replace(backend, folder=own_folder), python)
        # What lies outside of what is copied is read where it stands.
        command = [
            there if os.path.isabs(there) and word != there and not _is_in(there, base) else word
            for word, there in zip(command, words(backend, python), strict=True)
        ]
        # A folder of backends may itself be the project.
        inside = import_folder(backend).is_relative_to(base)
        first = [copied / import_folder(backend).relative_to(base) if inside else copied]
        first.append(runner.install_wire(folder / "wire"))
        kept = _plain_bytecode(sealed)
        cache = cache_of(_caches(sealed, backend, root), backend.name, sealed.tree.sha256)
        env = {**runner.environment(os.environ, first, threads), **(variables(cache) if cache else {})}
        env["PYTHONPYCACHEPREFIX"] = str(kept)
        own: Bytecode | None = None
        if words(backend, Path("{python}"))[0] == "{python}":
            found = packages(python)
            behind = [*_behind(found, sealed.tree, root.resolve(), folder)]
            own = bytecode.bytecode_of(found, sealed.place, folder, behind, sealed.tree, sealed.source)
            command = _booted(command, folder, first, behind, own)
        read = (*read, *_named(backend, base), *([own.shared] if own else []))
        write = [out, folder, kept, *([cache] if cache else [])]
        start = _walled(sealed.walls, backend, root, command, env, None, read, write)
        yield replace(start, bytecode=own)


def _is_in(path: str, base: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(base)


def _caches(sealed: Sealed, backend: Backend, root: Path) -> Path:
    """The folder of caches of compiled code: within walls the run's, where no open program of another was.

    Raises:
        IsolationError: walls are required, and cannot be had on this machine.
    """
    if in_force(sealed.walls, backend.adapter):
        return sealed.place / compiled.FOLDER
    return sealed.walls.compiled or caches_below(root)


def _walled(
    walls: Walls,
    program: Backend | CommandProgram,
    root: Path,
    command: list[str],
    env: dict[str, str],
    cwd: Path | None,
    read: Sequence[Path],
    write: Sequence[Path],
) -> Start:
    """A start with the walls that are in force; the first folder of ``write`` is that of the results.

    Raises:
        IsolationError: walls are required, and cannot be had on this machine.
    """
    # What is ours in there: what the program was asked, and what is said of how it ran.
    asked = [write[0] / name for name in ASKED]
    room = room_of(walls, program, root, command, env, read=[*read, *asked], write=write)
    return Start(command, env, cwd, room, told(room, walls))


def _named(backend: Backend, base: Path) -> Iterator[Path]:
    """What a backend says that its program is, and that no copy holds: it is read where it stands."""
    if backend.program is not None:
        yield from backend.checkouts
        files = (Path(os.path.normpath(backend.folder / name)) for name in backend.program.files)
        yield from (path for path in files if not path.is_relative_to(base))


def _plain_bytecode(sealed: Sealed) -> Path:
    """Where a Python that does not start by :mod:`.boot` keeps bytecode, of this sealed program alone."""
    folder = sealed.place / bytecode.FOLDER / f"plain-{sealed.tree.sha256[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _behind(found: Packages, tree: Tree, root: Path, folder: Path) -> Iterator[Path]:
    """The folders of packages; of editable ones within the project those of the copy.

    Modules that an editable installation maps to a place are put there by links in a folder of their own.
    """

    def place(path: Path) -> Path | None:
        real = path.resolve()
        if root.is_relative_to(real):
            return None
        if not real.is_relative_to(root) or real not in found.editable_in(root):
            return path
        name = real.relative_to(root).as_posix()
        return folder / "program" / name if tree.holds(name) else None

    yield from filter(None, map(place, found.folders))
    links = folder / "mapped"
    for name, path in found.mapped.items():
        if (target := place(path)) is not None:
            link = links.joinpath(*name.split("."))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.with_name(link.name + (".py" if target.suffix == ".py" else "")).symlink_to(target)
    if links.is_dir():
        yield links


def _whose(out: Path, sealed: Sealed) -> str:
    """Tells starts of a run apart, and is the same wherever the run stands."""
    return os.path.relpath(out.resolve(), sealed.place.parent)


def _booted(
    words: Sequence[str], folder: Path, first: Sequence[Path], behind: Sequence[Path], own: Bytecode
) -> list[str]:
    """The command line of a Python program by way of the boot file, which is put into ``folder``."""
    plan = {
        "first": [*map(str, first)],
        "behind": [*map(str, behind)],
        "prefix": str(own.found.prefix) if own.found.prefix else None,
        "bytecode": own.plan(),
    }
    (folder / "boot.json").write_text(json.dumps(plan), encoding="utf-8")
    boot = folder / _BOOT.name
    boot.write_text(_BOOT.read_text(encoding="utf-8"), encoding="utf-8")
    python, *rest = words
    count = count_options(rest)
    return [python, "-I", "-S", "-u", *rest[:count], str(boot), *rest[count:]]


def _command_start(
    program: CommandProgram, request: wire.RunRequest, root: Path, sealed: Sealed, folder: Path
) -> tuple[list[str], dict[str, str], Path]:
    """A manifest's command, in whose words the project's sealed files are those of the copy."""
    copied, cwd = folder / "program", program.working_folder(request, root)
    inside = cwd.is_relative_to(root.resolve()) and not cwd.is_relative_to(request.out_dir)
    moved = _Moved(root.resolve(), cwd, copied, sealed.tree, inside)
    base = runner.environment(os.environ, [runner.install_wire(folder / "wire")], request.threads)
    env = {name: moved.text(value) for name, value in program.environment_of(request, root).items()}
    if "PYTHONPATH" in env:
        env["PYTHONPATH"] = os.pathsep.join([base["PYTHONPATH"], moved.path_list(env["PYTHONPATH"])])
    command = [moved.text(word) for word in program.command(request, root)]
    place = copied / cwd.relative_to(moved.root) if inside else cwd
    if inside:
        place.mkdir(parents=True, exist_ok=True)
    return command, {**base, **env, "PYTHONPYCACHEPREFIX": str(_plain_bytecode(sealed))}, place


@dataclass(frozen=True)
class _Moved:
    """Texts of a command with the copy's files in place of the project's."""

    root: Path
    cwd: Path
    copied: Path
    tree: Tree
    inside: bool

    def text(self, word: str) -> str:
        """A word in which paths stand, alone, behind ``=``, or in a line for a shell."""
        if (whole := self._absolute(word)) != word:
            return whole
        end = r"\s'\";|&<>()=:,\[\]{}"
        # No part of a longer name, and no end of a longer path but behind an option, as in -I/project.
        start = rf"(?<![^{end}])(-[^/{end}]*)?"
        pattern = rf"{start}({re.escape(str(self.root))}(?:/[^{end}]*)?)(?![^{end}])"
        word = re.sub(pattern, lambda m: (m[1] or "") + self._absolute(m[2]), word)
        name, equal, value = word.partition("=")
        if not equal:
            return self._relative(word)
        return f"{name}={self._relative(self._absolute(value))}"

    def path_list(self, value: str) -> str:
        """Folders as in PYTHONPATH."""
        return os.pathsep.join(self._relative(part) for part in value.split(os.pathsep))

    def _held(self, path: str) -> str | None:
        """What the copy holds of an absolute path, as a path below the project; None where it does not."""
        place = Path(os.path.normpath(path))
        if not place.is_relative_to(self.root):
            return None
        name = place.relative_to(self.root).as_posix()
        return name if name == "." or self.tree.holds(name) else None

    def _absolute(self, path: str) -> str:
        name = self._held(path)
        return path if name is None else str(self.copied / name)

    def _relative(self, word: str) -> str:
        """A relative path that was not sealed, where it stands; another is the same in the copy."""
        if not word or os.path.isabs(word):
            return word
        path = os.path.normpath(self.cwd / word)
        name = self._held(path)
        if name is not None:
            return word if self.inside else str(self.copied / name)
        # A word may be longer than any name, and that is no mistake.
        return path if os.path.exists(path) else word
