"""How a program is started, asked where it is to run: on this machine or on a node of a cluster.

A program runs from a copy of what was sealed, in an environment in which it can import ``wire`` and nothing
else of ours. Where its command line begins with ``{python}``, Python starts by :mod:`.boot`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import wire
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import RunContext
from ..inputs.interpreters import Packages, packages
from ..inputs.python_options import count_options
from ..inputs.trees import Tree, backend_tree, base_of, import_folder
from . import bytecode, compiled, runner
from .bytecode import Bytecode
from .compiled import cache_of, cache_variables, caches_below
from .copies import PROGRAM_FOLDER, copy_of, own_copy, seal_copy, sealed_tree
from .isolation import ASKED_FILES, OPEN, Walls, are_walls_in_force, describe_walls, room_of, walls_of
from .runner import Start

if TYPE_CHECKING:
    from ..inputs.prepare import PreparedSuite

_BOOT = Path(__file__).with_name("boot.py")
_CONTRACT = Path(wire.__file__).parent


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


def sealed_program(context: RunContext, prepared: PreparedSuite, system: str, key: str) -> Sealed:
    """A program of a run, by its key ``<part>.<system>``; ``system`` is the side that it belongs to.

    Raises:
        StoreError: the run sealed none of this key.
    """
    place = context.run_dir.resolve() / PROGRAM_FOLDER
    tree = prepared.trees.get(system) or sealed_tree(context.run_dir, prepared.suite.suite_id, key)
    return Sealed(tree, copy_of(place, tree), place, walls_of(context, prepared, system))


def seal_program_now(backend: Backend, root: Path, place: Path) -> Sealed:
    """A program as it stands, for a start that belongs to no run.

    Raises:
        BackendError: a file that it names is absent, or changes now.
        StoreError: the copy cannot be written.
    """
    tree = backend_tree(backend, root)
    # An earlier start has nothing to do with this one.
    bytecode.forget_layers(place)
    shutil.rmtree(place / compiled.COMPILED_FOLDER, ignore_errors=True)
    return Sealed(tree, seal_copy(place, tree, base_of(backend, root)), place)


@contextmanager
def start_program(
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
    read = [Path(request.source["checkout"])] if "checkout" in request.source else []
    if isinstance(program, Backend):

        def words(own: Backend, python: Path) -> list[str]:
            return own.command(python, path)

        with start_backend(program, words, path.parent, request.threads, root, sealed, read) as start:
            yield start
        return
    with own_copy(sealed.place, sealed.tree, sealed.source, _start_name(path.parent, sealed)) as folder:
        command, env, cwd = _manifest_start(program, request, root, sealed, folder)
        yield _wall_in(Start(command, env, cwd), sealed.walls, program, root, read, [path.parent, folder])


@contextmanager
def start_backend(
    backend: Backend,
    words: Callable[[Backend, Path], list[str]],
    out: Path,
    threads: int,
    root: Path,
    sealed: Sealed,
    read: Sequence[Path] = (),
) -> Iterator[Start]:
    """As :func:`start_program`, of any program of a backend.

    Args:
        words: its command line, of the backend as it is copied and its Python.
        out: the folder that it writes into. read: what it is given to read, such as a checkout.
    """
    python, base = backend.interpreter(root), base_of(backend, root.resolve())
    with own_copy(sealed.place, sealed.tree, sealed.source, _start_name(out, sealed)) as folder:
        copied = folder / "program"
        command = words(replace(backend, folder=copied / backend.folder.relative_to(base)), python)
        # What lies outside of what is copied is read where it stands.
        command = [
            there if os.path.isabs(there) and word != there and not _is_in(there, base) else word
            for word, there in zip(command, words(backend, python), strict=True)
        ]
        # A folder of backends may itself be the project.
        inside = import_folder(backend).is_relative_to(base)
        first = [copied / import_folder(backend).relative_to(base) if inside else copied]
        first.append(runner.install_wire(folder / "wire"))
        cache = cache_of(_caches_folder(sealed, backend, root), backend.name, sealed.tree.sha256)
        env = {
            **runner.program_environment(os.environ, first, threads),
            **(cache_variables(cache) if cache else {}),
        }
        env["PYTHONPYCACHEPREFIX"] = str(folder / bytecode.BYTECODE_FOLDER)
        read, write = [*read, *_named_outside(backend, base)], [out, folder, *([cache] if cache else [])]
        if words(backend, Path("{python}"))[0] != "{python}":
            yield _wall_in(Start(command, env), sealed.walls, backend, root, read, write)
            return
        found = packages(python)
        behind = [*_package_folders(found, sealed.tree, root.resolve(), folder)]
        own = _share_bytecode(found, python, sealed, folder, [*behind, *read], read)
        command = _boot_command(command, found, folder, first, behind, own)
        yield _wall_in(Start(command, env), sealed.walls, backend, root, [*read, own.shared], write)
        own.keep_compiled()


def _share_bytecode(
    found: Packages, python: Path, sealed: Sealed, folder: Path, seen: Sequence[Path], moved: Sequence[Path]
) -> Bytecode:
    """What a start in ``folder`` has of bytecode.

    Args:
        seen: folders that it may read. moved: those of them that may be elsewhere for another start.
    """
    contract = folder / "wire" / _CONTRACT.parent.name / _CONTRACT.name
    roots = (*found.stdlib, *seen, _CONTRACT)
    walls, program = sealed.walls, wire.content_hash([str(python), sealed.tree.sha256])[:16]
    shared = sealed.place / bytecode.BYTECODE_FOLDER / program
    return Bytecode(
        prefix=folder / bytecode.BYTECODE_FOLDER,
        shared=shared,
        python=python,
        moved=[(folder / "program", sealed.source), (contract, _CONTRACT), *((p, p) for p in moved)],
        files=frozenset(sealed.source / name for name, _ in sealed.tree.copied),
        roots=[path.resolve() for path in roots if not path.is_relative_to(folder)],
        hidden=[path.resolve() for path in (*walls.others, *walls.goldens, *walls.backends)],
        layers=bytecode.find_layers(shared),
    )


def _is_in(path: str, base: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(base)


def _caches_folder(sealed: Sealed, backend: Backend, root: Path) -> Path:
    """The folder of caches of compiled code: within walls the run's, where no open program of another was.

    Raises:
        IsolationError: walls are required, and cannot be had on this machine.
    """
    if are_walls_in_force(sealed.walls, backend.adapter):
        return sealed.place / compiled.COMPILED_FOLDER
    return sealed.walls.compiled or caches_below(root)


def _wall_in(
    start: Start,
    walls: Walls,
    program: Backend | CommandProgram,
    root: Path,
    read: Sequence[Path],
    write: Sequence[Path],
) -> Start:
    """A start with the walls that are in force; the first folder of ``write`` is that of the results.

    Raises:
        IsolationError: walls are required, and cannot be had on this machine.
    """
    # What is ours in there: what the program was asked, and what is said of how it ran.
    asked = [write[0] / name for name in ASKED_FILES]
    room = room_of(walls, program, root, start.command, start.env, read=[*read, *asked], write=write)
    return replace(start, room=room, isolation=describe_walls(room, walls))


def _named_outside(backend: Backend, base: Path) -> Iterator[Path]:
    """What a backend says that its program is, and that no copy holds: it is read where it stands."""
    if backend.program is not None:
        yield from backend.checkouts
        files = (Path(os.path.normpath(backend.folder / name)) for name in backend.program.files)
        yield from (path for path in files if not path.is_relative_to(base))


def _package_folders(found: Packages, tree: Tree, root: Path, folder: Path) -> Iterator[Path]:
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


def _start_name(out: Path, sealed: Sealed) -> str:
    """Tells starts of a run apart, and is the same wherever the run stands."""
    return os.path.relpath(out.resolve(), sealed.place.parent)


def _boot_command(
    words: Sequence[str],
    found: Packages,
    folder: Path,
    first: Sequence[Path],
    behind: Sequence[Path],
    own: Bytecode,
) -> list[str]:
    """The command line of a Python program by way of the boot file, which is put into ``folder``."""
    plan = {
        "first": [*map(str, first)],
        "behind": [*map(str, behind)],
        "prefix": str(found.prefix) if found.prefix else None,
        "bytecode": str(own.prefix),
        "layers": own.plan_layers(),
    }
    (folder / "boot.json").write_text(json.dumps(plan), encoding="utf-8")
    boot = str(shutil.copy(_BOOT, folder))
    python, *rest = words
    count = count_options(rest)
    return [python, "-I", "-S", "-u", *rest[:count], boot, *rest[count:]]


def _manifest_start(
    program: CommandProgram, request: wire.RunRequest, root: Path, sealed: Sealed, folder: Path
) -> tuple[list[str], dict[str, str], Path]:
    """A manifest's command, in whose words the project's sealed files are those of the copy."""
    copied, cwd = folder / "program", program.working_folder(request, root)
    inside = cwd.is_relative_to(root.resolve()) and not cwd.is_relative_to(request.out_dir)
    moved = _Moved(root.resolve(), cwd, copied, sealed.tree, inside)
    base = runner.program_environment(os.environ, [runner.install_wire(folder / "wire")], request.threads)
    env = {name: moved.text(value) for name, value in program.environment_of(request, root).items()}
    if "PYTHONPATH" in env:
        env["PYTHONPATH"] = os.pathsep.join([base["PYTHONPATH"], moved.path_list(env["PYTHONPATH"])])
    command = [moved.text(word) for word in program.command(request, root)]
    place = copied / cwd.relative_to(moved.root) if inside else cwd
    if inside:
        place.mkdir(parents=True, exist_ok=True)
    return command, {**base, **env, "PYTHONPYCACHEPREFIX": str(folder / bytecode.BYTECODE_FOLDER)}, place


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
