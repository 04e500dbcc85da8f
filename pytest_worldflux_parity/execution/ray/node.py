"""What a node does with an attempt: runs it as a machine of its own would, and tells of it while it runs.

No cluster is named here. Paths of the controller are exchanged for those of the node; the program is
started by :func:`..runner.run`, so that a failure has the words and the kind that it has everywhere; and
what it writes is told in pieces, which :mod:`.delivery` puts together in the run directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ... import wire
from ...errors import IsolationError, ParityError, SuiteError
from ...inputs import venvs
from ...inputs.backends import Backend
from ...inputs.command_program import CommandProgram
from ...inputs.trees import Tree, base_of
from .. import retention, runner
from ..copies import FOLDER
from ..devices import gpus
from ..guardian import detach
from ..isolation import OPEN, Walls
from ..launching import Sealed, Start, started
from ..leases import XLA_SHARE
from ..retry import NODE_LOST
from .bootstrap import own_folder

EVERY_SEC = 1.0
PART_BYTES = 4 * 2**20
# What grows while a program runs and is told at once.
LIVE = ("progress.jsonl", "stdout.log", "stderr.log")
# Written by the controller in its own words, or told at the end.
OWN = ("request.json", "metrics.json")
# What a node cannot run: anything, or this program (its environment cannot be built there).
Unfit = Literal["", "node", "program"]


@dataclass(frozen=True)
class Parcel:
    """An attempt as it is sent to a node.

    Attributes:
        request: with the controller's paths.
        root: the project on the controller. tree: the files that the program runs from.
        keep: patterns of what comes back beside record, logs and what the record lists; ``*``: all.
        largest: bytes that come back at the most, logs, record and what ``asked`` names aside.
        walls: what the session asks to have around it, with the controller's paths.
        share: of a GPU's memory that the run may take.
        asked: patterns of what a gate asks for: without it the run would have to be made again.
        session: tells sessions apart; chance, since run ids come again.
    """

    request: wire.RunRequest
    program: Backend | CommandProgram
    root: Path
    tree: Tree
    keep: tuple[str, ...]
    largest: int
    walls: Walls = OPEN
    share: float = 1.0
    asked: tuple[str, ...] = ()
    session: str = "none"


@dataclass(frozen=True)
class Host:
    """Who a node is: its id in the cluster, its name, and its own numbers of the attempt's GPUs."""

    node_id: str
    name: str
    gpu_ids: tuple[str, ...] = ()

    def identified(self) -> tuple[str, ...]:
        """The GPUs by node and UUID where the driver tells, else by node and number."""
        visible = [gpu.uuid for gpu in gpus()] if self.gpu_ids else []
        names = visible if len(visible) == len(self.gpu_ids) else self.gpu_ids
        return tuple(f"{self.node_id}:{name}" for name in names)


@dataclass(frozen=True)
class Started:
    """The attempt has reached a node."""

    node_id: str
    name: str
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grown:
    """What was added to a file that is told while the program runs."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Part:
    """A piece of a file that the program left, the first with ``first``; or the target of a link."""

    path: str
    data: bytes = b""
    first: bool = True
    link: str | None = None


@dataclass(frozen=True)
class Ended:
    """How it ended; the last that is told.

    Attributes:
        metrics: the bytes of metrics.json, where there is one.
        folders: all folders below that of the attempt, since some may be empty.
        left_out: path -> bytes of what was too large to come back.
        unfit: the program was not begun, for something that this node lacks: for any, or for this one.
    """

    outcome: runner.Outcome
    command: tuple[str, ...] = ()
    metrics: bytes | None = None
    folders: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    unfit: Unfit = ""


Event = Started | Grown | Part | Ended


def attempt(parcel: Parcel, places: Mapping[Path, Path], cache: Path, host: Host) -> Iterator[Event]:
    """Run an attempt on this machine. However the generator is left, nothing of it runs on.

    Args:
        places: folder on the controller -> where it was unpacked here.
        cache: where environments are built and attempts write.
    """
    yield Started(host.node_id, host.name, host.identified())
    # A Ray worker that exits ends its children first: the guardian must outlive it.
    detach()
    ran = False
    try:
        with _scratch(cache) as folder:
            request, program, root = moved(parcel, places, cache, folder)
            if isinstance(program, Backend) and program.environment == "own":
                _build(program, root)
            with (
                _sealed(parcel, places, cache) as sealed,
                started(program, request, root, sealed) as start,
            ):
                running = _Running(request, start, parcel.share)
                yield from running.told()
                if running.outcome is not None and running.outcome.success:
                    start.ended_well()
            ran = True
            yield from _left_behind(folder, running, parcel)
    except (ParityError, OSError) as problem:
        unfit = "" if ran else _unfit(problem)
        error = f"node {host.name}: {_line(problem)}"
        yield Ended(runner.Outcome(None, error, None, 0.0, NODE_LOST if unfit else "failed"), unfit=unfit)


def _unfit(problem: ParityError | OSError) -> Unfit:
    if isinstance(problem, (OSError, IsolationError)):
        return "node"
    # A placeholder without a value is the suite's mistake, on any node.
    return "" if isinstance(problem, SuiteError) else "program"


def _line(problem: ParityError | OSError) -> str:
    if isinstance(problem, ParityError):
        return problem.line()
    return f"{problem.filename}: {problem.strerror}; to mend: make room there, or give permission"


class _Running:
    """A program and the thread that waits for it."""

    def __init__(self, request: wire.RunRequest, start: Start, share: float) -> None:
        self.folder = Path(request.out_dir)
        self.request, self.start = request, start
        self.env = {**start.env, **_memory_share(share, start.env)}
        self.outcome: runner.Outcome | None = None
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="parity-run")
        self._told = dict.fromkeys(LIVE, 0)

    def _run(self) -> None:
        try:
            start = self.start
            within = (start.room, start.isolation)
            self.outcome = runner.run(self.request, start.command, self.env, start.cwd, (), *within)
        except BaseException as problem:
            self.problem = problem

    def told(self) -> Iterator[Event]:
        """Run it; what it writes into its logs, about once a second."""
        self._thread.start()
        try:
            while self._thread.is_alive():
                self._thread.join(EVERY_SEC)
                yield from self._grown()
        finally:
            # The program may not have been started yet when this is left early.
            while self._thread.is_alive():
                runner.end_running()
                self._thread.join(0.05)
        yield from self._grown()
        if self.problem is not None:
            raise self.problem

    def _grown(self) -> Iterator[Event]:
        for name in LIVE:
            # The program may not have made it, and may have taken it away.
            with contextlib.suppress(OSError):
                for data in _from(self.folder / name, self._told[name]):
                    self._told[name] += len(data)
                    yield Grown(name, data)


def _from(path: Path, offset: int) -> Iterator[bytes]:
    with open(path, "rb") as handle:
        handle.seek(offset)
        while data := handle.read(PART_BYTES):
            yield data


def _memory_share(share: float, env: Mapping[str, str]) -> dict[str, str]:
    """XLA takes its share of a GPU's memory at once: what it may have where several runs are on one."""
    if share >= 1 or "XLA_PYTHON_CLIENT_MEM_FRACTION" in env:
        return {}
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{XLA_SHARE * share:.3f}"}


def moved(
    parcel: Parcel, places: Mapping[Path, Path], cache: Path, folder: Path
) -> tuple[wire.RunRequest, Backend | CommandProgram, Path]:
    """Request, program and the project's root with the paths of this machine.

    The root of a backend with an environment of its own is a folder of the cache, one for each list of
    requirements: a later version of the project must not rebuild what an earlier one still uses.
    """
    request, program = parcel.request, parcel.program
    source = dict(request.source)
    if "checkout" in source:
        source["checkout"] = str(_place(Path(source["checkout"]), places))
    request = replace(request, out_dir=str(folder), source=source)
    program = replace(program, folder=_place(program.folder, places))
    root = _place(parcel.root, places)
    if isinstance(program, Backend) and program.environment == "own":
        root = cache / "environments" / f"{program.name}-{program.requirements_sha256[:16]}"
    return request, program, root


@contextlib.contextmanager
def _sealed(parcel: Parcel, places: Mapping[Path, Path], cache: Path) -> Iterator[Sealed]:
    """The program as it was sealed: what was shipped of it is compared with that while it is copied.

    What is kept between starts is the session's alone. That of others goes once nothing of them runs here.
    """
    sessions = own_folder(own_folder(cache) / FOLDER)
    with open(sessions / f"{parcel.session}.lock", "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for other in sessions.glob("*.lock"):
            if other.stem != parcel.session:
                _clear_unused(other)
        base = base_of(parcel.program, parcel.root)
        own = own_folder(sessions / parcel.session)
        yield Sealed(parcel.tree, _place(base, places), own, _walls(parcel, cache))


def _clear_unused(lock: Path) -> None:
    """Remove the folder of a lock that nobody holds. The lock stays: somebody may wait for it just now."""
    with contextlib.suppress(OSError), open(lock, encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)


def _walls(parcel: Parcel, cache: Path) -> Walls:
    """The walls with the folders of this machine: its cache holds other attempts and what they run from.

    It may be the controller's machine, or share its files; what is absent here is left out.
    """
    asked = parcel.walls
    hidden, runs = (cache, *asked.hidden), (cache / "attempts", cache / FOLDER, *asked.runs)
    return replace(asked, hidden=hidden, runs=runs, compiled=cache / "compiled")


def _place(path: Path, places: Mapping[Path, Path]) -> Path:
    """Where a path of the controller is here; as it is where it was not shipped."""
    for folder, place in places.items():
        if path.is_relative_to(folder):
            return place / path.relative_to(folder)
    return path


def _build(program: Backend, root: Path) -> None:
    if not program.environment_lack(root):
        return
    try:
        venvs.create(program, root)
    except ParityError as error:
        raise ParityError(
            f"the environment of backend {program.name} cannot be built: {error.what}",
            where=error.where,
            mend=f"on the node, put python{program.python} on the PATH that `ray start` has, with what pip "
            "needs to reach its packages",
        ) from None


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A new folder for an attempt, removed at the end; what killed attempts left here is removed first."""
    attempts = own_folder(own_folder(cache) / "attempts")
    for lock in attempts.glob("*.lock"):
        _remove_left(lock)
    folder = attempts / secrets.token_hex(8)
    with open(folder.with_suffix(".lock"), "w", encoding="ascii") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock_file.name).unlink(missing_ok=True)


def _remove_left(lock: Path) -> None:
    with contextlib.suppress(OSError), open(lock, encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)


def _left_behind(folder: Path, running: _Running, parcel: Parcel) -> Iterator[Event]:
    """What the program left, the smallest first, and its end."""
    record = running.outcome.record if running.outcome else None
    manifest = record.metadata.get("artifact_manifest") if record else None
    patterns = (*parcel.keep, *parcel.asked, *retention.listed(manifest))
    left, left_out = parcel.largest, {}
    for path, size in sorted(_found(folder, ""), key=lambda f: (f[1], f[0])):
        if path in (*LIVE, *OWN) or not _matches(path, patterns):
            continue
        if not _matches(path, parcel.asked):
            if size > left:
                left_out[path] = size
                continue
            left -= size
        yield from _parts(folder, path)
    metrics = folder / "metrics.json"
    assert running.outcome is not None
    yield Ended(
        running.outcome,
        tuple(running.start.command),
        metrics.read_bytes() if metrics.is_file() else None,
        tuple(_folders(folder)) if "*" in (*parcel.keep, *parcel.asked) else (),
        left_out,
    )


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _found(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """(path within the folder, bytes) of all files and links below it; links are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        path = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _found(Path(entry.path), f"{path}/")
        elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
            yield path, entry.stat(follow_symlinks=False).st_size


def _folders(folder: Path) -> Iterator[str]:
    for path, names, _ in os.walk(folder):
        below = (Path(path) / name for name in names)
        yield from (p.relative_to(folder).as_posix() for p in below if not p.is_symlink())


def _parts(folder: Path, path: str) -> Iterator[Part]:
    where, first = folder / path, True
    if where.is_symlink():
        yield Part(path, link=os.readlink(where))
        return
    if not stat.S_ISREG(os.lstat(where).st_mode):
        return
    for data in _from(where, 0):
        yield Part(path, data, first)
        first = False
    if first:
        yield Part(path)
