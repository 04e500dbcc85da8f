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
from ..suite.suite import Locate
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
class MatchProgram:
    """The program of a backend that computes a golden folder's components with the backend's own code.

    Attributes:
        golden: the folder that it is compared with unless another is named; relative paths are
            relative to the backend's folder.
    """

    argv: tuple[str, ...]
    golden: str
    deadline_sec: float = 300.0


@dataclass(frozen=True)
class RecordProgram:
    """The program of an official backend that records a golden folder from the checkpoint of a run.

    ``argv`` may name ``{checkout}``, ``{commit}``, ``{checkpoint}`` (what a run left) and ``{out}``.
    """

    argv: tuple[str, ...]
    deadline_sec: float = 900.0


@dataclass(frozen=True)
class CheckProgram:
    """The program of a backend that says of requests whether it would answer them."""

    argv: tuple[str, ...]
    deadline_sec: float = 60.0


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
        stated = {
            "network": self.network, "read": [*self.read], "write": [*self.write], "dev_shm": self.dev_shm
        }  # fmt: skip
        return {name: value for name, value in stated.items() if value}


NO_NEEDS = Needs()


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
class Package:
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
    packages: tuple[Package, ...] = ()
    files: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backend:
    """One program.

    Attributes:
        folder: where its ``backend.yaml`` stands; its name is the backend's name in commands.
        environment: ``shared`` or ``own``.
        python: ``3.N`` that an own environment is built with; empty: any.
        lock_suite: the suite of the lock file whose checkout it runs; empty: none.
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
    match: MatchProgram | None = None
    record: RecordProgram | None = None
    check: CheckProgram | None = None
    needs: Needs = NO_NEEDS
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
        lacks = self.environment_lack(root)
        if lacks:
            raise BackendError(
                f"the environment of backend {self.name} {lacks}",
                where=str(self.environment_dir(root)),
                mend=f"worldflux-parity env create {self.name}",
            )
        return self.environment_dir(root).resolve() / "bin" / "python"

    def is_ready(self, root: Path) -> bool:
        """Whether an interpreter for the program is here."""
        return self.environment == "shared" or not self.environment_lack(root)

    def environment_lack(self, root: Path) -> str:
        """What keeps the own environment from being used, empty when it is ready."""
        return self.lack_of(self.environment_dir(root))

    def lack_of(self, folder: Path) -> str:
        """As :meth:`environment_lack`, of an environment in a folder."""
        if not folder.is_dir():
            return "is absent"
        try:
            marker = wire.load_object(folder / MARKER)
        except (OSError, wire.WireError):
            return "is not complete"
        if marker.get("requirements_sha256") != self.requirements_sha256:
            return "was built from other requirements"
        return "" if (folder / "bin" / "python").exists() else "has no interpreter"

    def command(self, python: Path, request_path: Path) -> list[str]:
        """The program's command line for one request; a list, never a shell's string."""
        return self._filled_argv(self.argv, python, request_path)

    def match_command(self, python: Path, request_path: Path) -> list[str]:
        """As :meth:`command`, of the match program, which the backend must have."""
        assert self.match is not None
        return self._filled_argv(self.match.argv, python, request_path)

    def check_command(self, python: Path, request_paths: Sequence[Path]) -> list[str]:
        """As :meth:`command`, of the check program, which the backend must have, for several requests."""
        assert self.check is not None
        first, *others = request_paths
        return [*self._filled_argv(self.check.argv, python, first), *map(str, others)]

    def record_command(self, python: Path, places: Mapping[str, str]) -> list[str]:
        """The command line of the record program, which the backend must have.

        Args:
            places: what ``checkout``, ``commit``, ``checkpoint`` and ``out`` are.
        """
        assert self.record is not None
        values = {"{python}": str(python), "{backend_dir}": str(self.folder)}
        values.update({f"{{{name}}}": value for name, value in places.items()})
        return [_filled(word, values) for word in self.record.argv]

    def _filled_argv(self, argv: Sequence[str], python: Path, request_path: Path) -> list[str]:
        values = {"{python}": str(python), "{backend_dir}": str(self.folder)}
        return [*(_filled(word, values) for word in argv), str(request_path)]

    @property
    def golden_dir(self) -> Path:
        """The golden folder that the match program, which the backend must have, is compared with."""
        assert self.match is not None
        return self.folder / _filled(self.match.golden, {"{backend_dir}": str(self.folder)})


def _filled(word: str, values: dict[str, str]) -> str:
    """``word`` with its placeholders filled in; other braces stay as they are."""
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def load_backends(folders: Sequence[Path]) -> dict[str, Backend]:
    """The backends below ``folders`` (``<folder>/<name>/backend.yaml``), by adapter id.

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
                mend="name it with --backends DIR, or in pytest with the ini setting parity_backends",
            )
        for path in sorted([*folder.glob(FILE), *folder.glob(f"*/{FILE}")]):
            backend = read_backend(path)
            for table, key, what in ((known, backend.adapter, "adapter id"), (names, backend.name, "name")):
                other = table.setdefault(key, backend)
                if other is not backend and other.folder.resolve() != backend.folder.resolve():
                    raise BackendError(
                        f"the {what} {key!r} is also that of {other.folder / FILE}",
                        where=str(path),
                        mend=f"give each backend {what} of its own" if what == "name" else "rename one",
                    )
    return known


def unlinked_backends(folder: Path) -> Iterator[Backend | BackendError]:
    """The backends of the folders that stand in ``folder`` themselves; of one that is not valid its error.

    What a link leads to may be anything.
    """
    for path in sorted(folder.glob(f"*/{FILE}")):
        if path.parent.is_symlink():
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
        raise BackendError(error.what, where=error.where, valid=error.valid, mend=error.mend) from None
    return _backend(path, document, lines)


_PROGRAMS: Mapping[str, Any] = {"match": MatchProgram, "record": RecordProgram, "check": CheckProgram}


def _backend(path: Path, document: Any, lines: dict[schemas.Path, int]) -> Backend:
    locate = suite_file.locator(path, lines)
    if not isinstance(document, dict):
        raise BackendError("a backend is a mapping of keys", where=f"{path}:1")
    _refuse_shell_argv(document, (), locate)
    for key in _PROGRAMS:
        if isinstance(document.get(key), dict):
            _refuse_shell_argv(document[key], (key,), locate)
    schemas.check(document, "backend.v1", locate, BackendError)
    for at in ((), *((key,) for key in _PROGRAMS if key in document)):
        argv = (document[at[0]] if at else document)["argv"]
        if argv[0] == "{python}":
            count_options(argv[1:], locate((*at, "argv")))
    values = {**document, "argv": tuple(document["argv"])}
    values["requirements"] = tuple(document.get("requirements", ()))
    values["lock_suite"] = values.pop("source", {}).get("lock", "")
    for key, kind in _PROGRAMS.items():
        if key in values:
            values[key] = kind(**{**document[key], "argv": tuple(document[key]["argv"])})
    needs = document.get("needs", {})
    folders = {key: tuple(needs.get(key, ())) for key in ("read", "write")}
    values["needs"] = Needs(**{**needs, **folders})
    if "program" in values:
        values["program"] = _names(document["program"])
    return Backend(folder=path.parent.resolve(), **values)


def _names(document: Mapping[str, Any]) -> Names:
    """``program:`` of a backend.yaml that its schema has admitted."""
    return Names(
        checkouts=tuple(Checkout(**row) for row in document.get("checkouts", ())),
        packages=tuple(Package(**row) for row in document.get("packages", ())),
        files=tuple(document.get("files", ())),
        ignore=tuple(document.get("ignore", ())),
    )


def _refuse_shell_argv(document: dict[str, Any], at: schemas.Path, locate: Locate) -> None:
    if isinstance(document.get("argv"), str):
        raise BackendError(
            "argv is a string, and no shell is ever started",
            where=locate((*at, "argv")),
            mend='write a list, such as argv: ["{python}", "-m", "my_program"]',
        )
