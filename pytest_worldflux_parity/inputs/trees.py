"""The files that a program runs from: what is sealed before its first run, and copied for it.

A tree holds paths below a base, which is the project; for backends that stand elsewhere it is the folder
above that of the backends. Of what lies outside of the base (paths that begin with ``..``) only hashes are
kept: it is read where it stands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

from .. import wire
from ..errors import BackendError
from .backends import FILE, Backend
from .command_program import CommandProgram
from .files.project_files import hash_files, is_secret, refuse_odd_names, tracked
from .interpreters import packages

# Begins the paths of what is read where it stands.
OUTSIDE = "../"


@dataclass(frozen=True)
class Tree:
    """Path below the base -> sha256 of each file that a program runs from."""

    files: Mapping[str, str]

    @cached_property
    def sha256(self) -> str:
        """sha256 over names and bytes."""
        return wire.files_sha256(dict(sorted(self.files.items())))

    @property
    def copied(self) -> Iterator[tuple[str, str]]:
        """(path, sha256) of the files that a copy holds."""
        return ((name, sha256) for name, sha256 in self.files.items() if not name.startswith(OUTSIDE))

    def holds(self, name: str) -> bool:
        """Whether a copy holds a file or a folder of this path below the base."""
        return name in self.files or any(other.startswith(f"{name}/") for other in self.files)


def base_of(program: Backend | CommandProgram, root: Path) -> Path:
    """The folder that the paths of a program's tree are relative to."""
    folder = program.folder
    if isinstance(program, CommandProgram) or folder.is_relative_to(root):
        return root
    return folder.parent.parent


def import_folder(backend: Backend) -> Path:
    """The folder that ``-m backends.name`` is found from."""
    return backend.folder.parent.parent


def backend_tree(backend: Backend, root: Path) -> Tree:
    """The files of a backend's folder, those that its command lines name, and those of ``program.files``.

    With them come the projects within the project that its environment has installed as editable.

    Raises:
        BackendError: what ``program.files`` names is absent; the name of a file is no UTF-8.
    """
    base = base_of(backend, root.resolve())
    place = backend.folder.relative_to(base)
    found = {(place / name).as_posix(): sha256 for name, sha256 in backend.files.items()}
    found.update(_hash_below(_named_beside(backend, base), base))
    found.update(named_files(backend, base))
    found.update(_hash_below(_editable_projects(backend, root.resolve()), base))
    found.update(_hash_below((path for _, path in copied_checkouts(backend, base)), base))
    refuse_odd_names(found, base)
    return Tree(found)


def copied_checkouts(backend: Backend, base: Path) -> Iterator[tuple[Path, Path]]:
    """(checkout, file) of declared checkouts within ``base`` that a command line leads into."""
    words = {path for path in _named_beside(backend, base) if path.is_absolute()}
    for place in backend.checkouts:
        if place.is_relative_to(base) and place != base and any(w.is_relative_to(place) for w in words):
            yield from ((place, path) for path in tracked(place) if path.is_file())


def _editable_projects(backend: Backend, root: Path) -> Iterator[Path]:
    if backend.argv[0] != "{python}":
        return
    try:
        found = packages(backend.interpreter(root)).editable_in(root)
    except BackendError:
        # Of an environment that is absent its own error is raised where it is needed.
        return
    for place in found:
        yield from [place] if place.is_file() else (p for p in tracked(place) if p.is_file())


def named_files(backend: Backend, base: Path) -> dict[str, str]:
    """Path from ``base`` -> sha256 of what ``program.files`` names, but for ``backend.yaml``.

    Raises:
        BackendError: a file or folder that is named is absent, or holds the whole project.
    """
    found: dict[str, str] = {}
    for name in backend.program.files if backend.program else ():
        path = Path(os.path.normpath(backend.folder / name))
        if base.is_relative_to(path):
            raise BackendError(
                f"program.files names {name!r}, which holds the whole project",
                where=str(backend.folder / FILE),
                hint="name the program's own folders",
            )
        files = _files_of(path, name, backend)
        found.update({Path(os.path.relpath(p, base)).as_posix(): sha for p, sha in files.items()})
    return found


def _files_of(path: Path, name: str, backend: Backend) -> dict[Path, str]:
    """A file, or all of a folder, that ``program.files`` names by ``name``."""
    if path == backend.folder:
        return {path / n: sha256 for n, sha256 in backend.files.items() if n != FILE}
    # Of a path that no file system can have they say no.
    if os.path.isdir(path):
        below = wire.tree_files(path).items()
        return {path / n: sha256 for n, sha256 in below if not is_secret(PurePosixPath(n))}
    if is_secret(PurePosixPath(path.name)):
        raise BackendError(
            f"program.files names {name!r}, a name of keys and passwords, which no copy holds",
            where=str(backend.folder / FILE),
            hint="read it from where it stands, or give the file another name",
        )
    if (sha256 := wire.file_sha256(path)) is not None:
        return {path: sha256}
    raise _no_such_file(f"program.files names {name!r}", path, backend)


def _no_such_file(what: str, path: Path, backend: Backend) -> BackendError:
    valid = sorted(os.listdir(path.parent)) if os.path.isdir(path.parent) else ()
    where = str(backend.folder / FILE)
    return BackendError(f"{what}, and there is no such file", where=where, valid=valid, got=path.name)


def require_scripts(backend: Backend) -> None:
    """Make sure that the scripts are there that command lines start by ``{backend_dir}/...``.

    Raises:
        BackendError: one is not.
    """
    for program in (p for p in (backend, backend.check, backend.match) if p is not None):
        word = next((w for w in program.argv[1:] if not w.startswith("-")), "")
        path = _place_of_word(word, backend)
        if word.startswith("{backend_dir}/") and not os.path.exists(path):
            raise _no_such_file(f"argv names {word!r}", path, backend)


def only_beside(backend: Backend, root: Path) -> frozenset[str]:
    """Paths below the base that the command lines of a match or a recording name, and that of runs does not.

    Nothing where runs start a module: any file may be it.
    """
    if "-m" in backend.argv:
        return frozenset()
    base = base_of(backend, root.resolve())
    others = [p.argv for p in (backend.match, backend.record) if p is not None]
    named = {_place_of_word(w, backend) for argv in others for w in argv} - {
        _place_of_word(w, backend) for w in backend.argv
    }
    return frozenset(p.relative_to(base).as_posix() for p in named if p.is_relative_to(base))


def _place_of_word(word: str, backend: Backend) -> Path:
    return Path(os.path.normpath(word.replace("{backend_dir}", str(backend.folder))))


def _named_beside(backend: Backend, base: Path) -> Iterator[Path]:
    """Files beside a backend's folder that its command lines name or import first.

    A program ``{backend_dir}/../program.py``; of ``-m backends.name`` each package's ``__init__.py``.
    """
    programs = [p.argv for p in (backend, backend.match, backend.record) if p is not None]
    words = [word for argv in programs for word in argv]
    yield from (_place_of_word(w, backend) for w in words)
    for module in (after for before, after in pairwise(words) if before == "-m"):
        parts = module.split(".")
        yield from (import_folder(backend).joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts)))


def _hash_below(paths: Iterator[Path], base: Path) -> dict[str, str]:
    below = {p.relative_to(base): p for p in paths if p.is_absolute() and p.is_relative_to(base)}
    return hash_files({name.as_posix(): path for name, path in below.items() if not is_secret(name)})
