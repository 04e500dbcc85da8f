"""Backends: folders with a ``backend.yaml`` that says how one program is run.

Keys: ``adapter`` (its id), ``kind``, ``family``, ``system``, ``argv`` (a list; ``{python}`` and
``{backend_dir}`` are filled in, the request's path is appended, no shell is involved),
``environment`` (``shared``: the interpreter that runs pytest; ``own``: a virtual environment that
``worldflux-parity env create`` builds), ``python``, ``requirements``, ``extra``,
``source: {lock: <suite>}`` for a program that runs a locked official checkout,
``program: {checkouts, packages, files, ignore}`` for what the program is beside its folder,
``match: {argv, golden, deadline_sec}`` for one whose components can be compared with a golden folder,
``record: {argv, deadline_sec}`` for an official one that can record such a folder from a run's checkpoint,
``check: {argv, deadline_sec}`` for one that can say of requests whether it would answer them,
and ``needs: {network, read, write, dev_shm}`` for what it cannot do without where programs are isolated.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from .. import schemas, wire
from ..errors import BackendError, SuiteError
from ..suite import suite_file
from .files.project_files import is_secret, refuse_odd_names
from .python_options import count_options

FILE = "backend.yaml"
MARKER = "complete.json"
# Stands for the project in what a program needs.
PROJECT = "{repo_root}"


def own_python() -> Path:
    """The interpreter of this process, by a path that goes through no folder that it leaves again.

    ``project/../venv/bin/python`` is nowhere for a program that does not see the project. The last part may
    be a link that says which environment is meant.
    """
    folder, name = os.path.split(sys.executable)
    return Path(os.path.realpath(folder), name)


@dataclass(frozen=True)
class Program:
    """A program of a backend beside the one that answers requests.

    ``match`` computes a golden folder's components with the backend's own code. ``record``, of an official
    one, records such a folder from what a run left; its ``argv`` may name ``{checkout}``, ``{commit}``,
    ``{checkpoint}`` and ``{out}``. ``check`` says of requests whether it would answer them.

    Attributes:
        golden: of ``match``, the folder that it is compared with unless another is named; relative paths are
            relative to the backend's folder.
        rests_on: of ``record``, shell patterns of the official files whose numbers it records.
    """

    argv: tuple[str, ...]
    deadline_sec: float
    golden: str = ""
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Needs:
    """What a program cannot do without where programs are isolated (:mod:`..execution.isolation`).

    Attributes:
        read, write: files and folders; relative ones are relative to the backend's folder, ``~`` is the home
            and ``{repo_root}`` the project.
        dev_shm: more shared memory than a lock or a queue takes.
    """

    network: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    dev_shm: bool = False

    def places(self, folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
        """Where the files and folders are: to read, and to write.

        Args:
            folder: of the backend. root: the project.
        """
        read, write = (
            [Path(os.path.abspath(folder / os.path.expanduser(p.replace(PROJECT, str(root))))) for p in paths]
            for paths in (self.read, self.write)
        )
        return read, write

    def document(self) -> dict[str, Any]:
        """What is needed, as ``backend.yaml`` says it; empty where nothing is."""
        return {n: [*v] if isinstance(v, tuple) else v for n, v in vars(self).items() if v}


@dataclass(frozen=True)
class Checkout:
    """A repository that a program is run from, where it stands.

    Attributes:
        path: relative to the backend's folder. repository: its URL; empty: not said.
        commit: that it must be at; empty: any.
    """

    path: str
    repository: str = ""
    commit: str = ""


@dataclass(frozen=True)
class NamedPackage:
    """An installed package that a program is; ``module`` narrows it to one module of it."""

    name: str
    version: str = ""
    module: str = ""


@dataclass(frozen=True)
class Names:
    """What a backend says that its program is.

    Attributes:
        files: files and folders, relative to the backend's folder; ``.`` is that folder.
        ignore: patterns of files that are no part of it.
    """

    checkouts: tuple[Checkout, ...] = ()
    packages: tuple[NamedPackage, ...] = ()
    files: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backend:
    """One program.

    Attributes:
        folder: where its ``backend.yaml`` stands; its name is the backend's name in commands.
        environment: ``shared`` or ``own``.
        python: ``3.N`` that an own environment is built with; empty: any.
        lock_suite: the suite or program of the lock file whose checkout it runs; empty: none.
        program: what it says that its program is; None where it says nothing.
        sealed_tree: sha256 of its folder as a run sealed it, which its programs run from; empty: of none.
    """

    folder: Path
    adapter: str
    kind: str
    family: str
    system: str
    argv: tuple[str, ...]
    environment: str
    python: str = ""
    requirements: tuple[str, ...] = ()
    extra: str = ""
    lock_suite: str = ""
    match: Program | None = None
    record: Program | None = None
    check: Program | None = None
    needs: Needs = Needs()
    program: Names | None = None
    sealed_tree: str = ""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def checkouts(self) -> list[Path]:
        """Where the checkouts that ``program:`` declares stand."""
        declared = self.program.checkouts if self.program else ()
        return [Path(os.path.normpath(self.folder / checkout.path)) for checkout in declared]

    @property
    def files(self) -> dict[str, str]:
        """Path below the backend's folder -> sha256 of each file there that is not ignored; no keys.

        Raises:
            BackendError: the name of one is no UTF-8.
        """
        ignored = self.program.ignore if self.program else ()
        found = wire.tree_files(self.folder).items()
        kept = {name: sha for name, sha in found if not any(fnmatchcase(name, p) for p in ignored)}
        refuse_odd_names(kept, self.folder)
        return {name: sha for name, sha in kept.items() if not is_secret(PurePosixPath(name))}

    @property
    def tree_sha256(self) -> str:
        """sha256 over :attr:`files`, or what a run sealed of them."""
        return self.sealed_tree or wire.files_sha256(self.files)

    @property
    def requirements_sha256(self) -> str:
        """sha256 of what an own environment is built from."""
        return wire.content_hash({"python": self.python, "requirements": self.requirements})

    def environment_dir(self, root: Path) -> Path:
        """Where the backend's own virtual environment is found: a link, since equal ones are shared."""
        return root / ".worldflux" / "envs" / self.name

    def interpreter(self, root: Path) -> Path:
        """The Python that runs the program.

        Raises:
            BackendError: the backend's own environment is absent, half built or out of date.
        """
        if self.environment == "shared":
            return own_python()
        if missing := self.missing_of_environment(root):
            raise BackendError(
                f"the environment of backend {self.name} {missing}",
                where=str(self.environment_dir(root)),
                hint=f"worldflux-parity env create {self.name}",
            )
        return self.environment_dir(root).resolve() / "bin" / "python"

    def missing_of_environment(self, root: Path, folder: Path | None = None) -> str:
        """What keeps the own environment from being used; empty where it is ready, or is none of its own.

        Args:
            folder: where it is, if not where it is found.
        """
        folder = folder or self.environment_dir(root)
        if self.environment == "shared":
            return ""
        if not folder.is_dir():
            return "is absent"
        try:
            marker = wire.load_object(folder / MARKER)
        except (OSError, wire.WireError):
            return "is not complete"
        if marker.get("requirements_sha256") != self.requirements_sha256:
            return "was built from other requirements"
        return "" if (folder / "bin" / "python").exists() else "has no interpreter"

    def command(self, python: Path, *requests: Path, program: str = "", **places: str) -> list[str]:
        """The command line of one of the backend's programs; a list, never a shell's string.

        Args:
            requests: paths that are appended.
            program: ``match``, ``record`` or ``check``, which the backend must have; empty: the one that
                answers requests.
            places: what further places in its argv are.
        """
        argv = getattr(self, program).argv if program else self.argv
        values = {"{python}": str(python), "{backend_dir}": str(self.folder)}
        values.update({f"{{{name}}}": value for name, value in places.items()})
        return [*(_fill_places(word, values) for word in argv), *map(str, requests)]

    @property
    def golden_dir(self) -> Path:
        """The golden folder that the match program, which the backend must have, is compared with.

        Where its place names ``{version}``, the folder of the goldens of all versions.
        """
        whole = self.golden_of("{version}")
        return whole.parent if whole.name == "{version}" else whole

    def golden_of(self, version: str) -> Path:
        """The golden folder of a version of the official program."""
        assert self.match is not None
        places = {"{backend_dir}": str(self.folder), "{version}": version}
        return self.folder / _fill_places(self.match.golden, places)


def _fill_places(word: str, values: dict[str, str]) -> str:
    """``word`` with its placeholders filled in; other braces stay as they are."""
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def load_backends(folders: Sequence[Path]) -> dict[str, Backend]:
    """The backends below ``folders``, by adapter id (:func:`backend_files`).

    Raises:
        BackendError: a folder is absent, a file is not valid (with file:line), or two backends
            have one adapter id or one name.
    """
    known: dict[str, Backend] = {}
    names: dict[str, Backend] = {}
    for folder in folders:
        if not folder.is_dir():
            raise BackendError(
                "the folder of backends is absent",
                where=str(folder),
                hint="name it with --backends DIR, or in pytest with the ini setting parity_backends",
            )
        for path in backend_files(folder):
            backend = read_backend(path)
            for table, key, what in ((known, backend.adapter, "adapter id"), (names, backend.name, "name")):
                other = table.setdefault(key, backend)
                if other is not backend and other.folder.resolve() != backend.folder.resolve():
                    raise BackendError(
                        f"the {what} {key!r} is also that of {other.folder / FILE}",
                        where=str(path),
                        hint=f"give each backend {what} of its own" if what == "name" else "rename one",
                    )
    return known


def backend_files(folder: Path) -> list[Path]:
    """Each ``backend.yaml`` of a folder of backends: its own, ``<name>/`` and ``<group>/<name>/``.

    A folder that is a backend is no group: what lies in it is its program.
    """
    found = [*folder.glob(FILE), *folder.glob(f"*/{FILE}")]
    grouped = (path for path in folder.glob(f"*/*/{FILE}") if path.parents[1] / FILE not in found)
    return sorted([*found, *grouped])


def unlinked_backends(folder: Path) -> Iterator[Backend | BackendError]:
    """The backends below ``folder`` that stand there themselves; of one that is not valid its error.

    What a link leads to may be anything.
    """
    for path in backend_files(folder):
        inner = [p for p in path.parents if p != folder and p.is_relative_to(folder)]
        if not inner or any(p.is_symlink() for p in inner):
            continue
        try:
            yield read_backend(path)
        except BackendError as error:
            yield error


def read_backend(path: Path) -> Backend:
    """Read and validate one ``backend.yaml``.

    Raises:
        BackendError: it cannot be read or is not valid; the text has file:line, the valid values
            and the nearest of them.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BackendError(f"cannot be read: {error.strerror}", where=str(path)) from None
    try:
        document, lines = suite_file.parse_yaml(raw, str(path))
    except SuiteError as error:
        raise BackendError(error.what, where=error.where, valid=error.valid, hint=error.hint) from None
    return _parse_backend(path, document, lines)


# Beside the one that answers requests: how long each may take, where it does not say.
_DEADLINES = {"match": 300.0, "record": 900.0, "check": 60.0}


def _parse_backend(path: Path, document: Any, lines: dict[schemas.Path, int]) -> Backend:
    locate = suite_file.locator(path, lines)
    if not isinstance(document, dict):
        raise BackendError("a backend is a mapping of keys", where=f"{path}:1")
    programs: dict[tuple[str, ...], Any] = {
        (): document,
        **{(key,): document[key] for key in _DEADLINES if key in document},
    }
    for at, program in programs.items():
        if isinstance(program, dict) and isinstance(program.get("argv"), str):
            raise BackendError(
                "argv is a string, and no shell is ever started",
                where=locate((*at, "argv")),
                hint='write a list, such as argv: ["{python}", "-m", "my_program"]',
            )
    schemas.check(document, "backend.v1", locate, BackendError)
    for at, program in programs.items():
        if program["argv"][0] == "{python}":
            count_options(program["argv"][1:], locate((*at, "argv")))
    values = {**document, "argv": tuple(document["argv"])}
    values["requirements"] = tuple(document.get("requirements", ()))
    values["lock_suite"] = values.pop("source", {}).get("lock", "")
    for key in _DEADLINES.keys() & document.keys():
        own = {"deadline_sec": _DEADLINES[key], **document[key]}
        lists = {name: tuple(own.get(name, ())) for name in ("argv", "rests_on")}
        values[key] = Program(**{**own, **lists})
    needs = document.get("needs", {})
    folders = {key: tuple(needs.get(key, ())) for key in ("read", "write")}
    values["needs"] = Needs(**{**needs, **folders})
    if "program" in values:
        values["program"] = _parse_names(document["program"])
    return Backend(folder=path.parent.resolve(), **values)


def _parse_names(document: Mapping[str, Any]) -> Names:
    """``program:`` of a backend.yaml that its schema has admitted."""
    return Names(
        checkouts=tuple(Checkout(**row) for row in document.get("checkouts", ())),
        packages=tuple(NamedPackage(**row) for row in document.get("packages", ())),
        files=tuple(document.get("files", ())),
        ignore=tuple(document.get("ignore", ())),
    )
