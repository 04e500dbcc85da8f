"""What a node does with an attempt: runs it as a machine of its own would, and tells of it while it runs.

No cluster is named here. Paths of the controller are exchanged for those of the node; the program is
started by :func:`..runner.run`, so that a failure has the words and the kind that it has everywhere; and
what it writes is told in pieces, which :mod:`.delivery` puts together in the run directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
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
from ..devices import gpus
from ..guardian import detach
from ..isolation import OPEN, Walls
from ..launching import Sealed, start_program
from ..leases import limit_memory
from ..retry import NODE_LOST
from ..runner import Start
from .bootstrap import own_folder, session_folder

EVERY_SEC = 1.0
PIECE_BYTES = 4 * 2**20
# What grows while a program runs and is told at once.
LIVE = ("progress.jsonl", "stdout.log", "stderr.log")
# Written by the controller in its own words, or told at the end.
OUR_FILES = ("request.json", "metrics.json")
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
    """The attempt has reached a node, where it has these GPUs."""

    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class FilePart:
    """A piece of a file: what begins it, or with ``first`` False goes on with it; or the target of a link."""

    path: str
    data: bytes = b""
    first: bool = True
    link: str | None = None


@dataclass(frozen=True)
class Ended:
    """How it ended; the last that is told.

    Attributes:
        metrics: the bytes of metrics.json, where there is one.
        left_out: path -> bytes of what was too large to come back.
        unfit: the program was not begun, for something that this node lacks: for any, or for this one.
    """

    outcome: runner.Outcome
    command: tuple[str, ...] = ()
    metrics: bytes | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    unfit: Unfit = ""


NodeEvent = Started | FilePart | Ended


def run_on_node(parcel: Parcel, places: Mapping[Path, Path], cache: Path, host: Host) -> Iterator[NodeEvent]:
    """Run an attempt on this machine. However the generator is left, nothing of it runs on.

    Args:
        places: folder on the controller -> where it was unpacked here.
        cache: where environments are built and attempts write.
    """
    yield Started(host.identified())
    # A Ray worker that exits ends its children first: the guardian must outlive it.
    detach()
    ran = False
    try:
        with session_folder(cache, parcel.session) as own, _new_folder(own) as name:
            folder = Path(name)
            request, program, root = move_paths(parcel, places, cache, folder)
            if isinstance(program, Backend) and program.environment == "own":
                _build_environment(program, root)
            base = base_of(parcel.program, parcel.root)
            # What was shipped is compared with what was sealed while it is copied.
            sealed = Sealed(parcel.tree, _place_here(base, places), own, _walls_here(parcel, cache))
            with start_program(program, request, root, sealed) as start:
                share = limit_memory(parcel.share, start.env)
                outcome = yield from _run_and_tell(request, replace(start, env={**start.env, **share}))
            ran = True
            yield from _tell_left(folder, outcome, start.command, parcel)
    except (ParityError, OSError) as problem:
        unfit = "" if ran else _unfit_for(problem)
        error = f"node {host.name}: {_problem_line(problem)}"
        yield Ended(runner.Outcome(None, error, None, 0.0, NODE_LOST if unfit else "failed"), unfit=unfit)


def smallest_memory() -> float | None:
    """The memory of the smallest GPU of this machine, in 10^9 bytes; None where nothing tells."""
    # Whatever Ray shows to the task that asks.
    return min((g.memory_gb for g in gpus({}) if g.memory_gb is not None), default=None)


def _unfit_for(problem: ParityError | OSError) -> Unfit:
    if isinstance(problem, (OSError, IsolationError)):
        return "node"
    # A placeholder without a value is the suite's mistake, on any node.
    return "" if isinstance(problem, SuiteError) else "program"


def _problem_line(problem: ParityError | OSError) -> str:
    if isinstance(problem, ParityError):
        return problem.line()
    return f"{problem.filename}: {problem.strerror}; to mend: make room there, or give permission"


def _run_and_tell(request: wire.RunRequest, start: Start) -> Generator[NodeEvent, None, runner.Outcome]:
    """Run a program, and tell about once a second what it writes into its logs."""
    folder, told = Path(request.out_dir), dict.fromkeys(LIVE, 0)
    with ThreadPoolExecutor(1, "parity-run") as pool:
        running = pool.submit(runner.run, request, start)
        try:
            while wait([running], EVERY_SEC).not_done:
                yield from _tell_growth(folder, told)
        finally:
            # The program may not have been started yet when this is left early.
            while wait([running], 0.05).not_done:
                runner.end_running()
    yield from _tell_growth(folder, told)
    return running.result()


def _tell_growth(folder: Path, told: dict[str, int]) -> Iterator[NodeEvent]:
    for name in LIVE:
        # The program may not have made it, and may have taken it away.
        with contextlib.suppress(OSError):
            for data in _read_from(folder / name, told[name]):
                told[name] += len(data)
                yield FilePart(name, data, first=False)


def _read_from(path: Path, offset: int) -> Iterator[bytes]:
    with open(path, "rb") as handle:
        handle.seek(offset)
        while data := handle.read(PIECE_BYTES):
            yield data


def move_paths(
    parcel: Parcel, places: Mapping[Path, Path], cache: Path, folder: Path
) -> tuple[wire.RunRequest, Backend | CommandProgram, Path]:
    """Request, program and the project's root with the paths of this machine.

    The root of a backend with an environment of its own is a folder of the cache, one for each list of
    requirements: a later version of the project must not rebuild what an earlier one still uses.
    """
    request, program = parcel.request, parcel.program
    source = dict(request.source)
    if "checkout" in source:
        source["checkout"] = str(_place_here(Path(source["checkout"]), places))
    request = replace(request, out_dir=str(folder), source=source)
    program = replace(program, folder=_place_here(program.folder, places))
    root = _place_here(parcel.root, places)
    if isinstance(program, Backend) and program.environment == "own":
        root = cache / "environments" / f"{program.name}-{program.requirements_sha256[:16]}"
    return request, program, root


def _walls_here(parcel: Parcel, cache: Path) -> Walls:
    """The walls with the folders of this machine: its cache holds other attempts and what they run from.

    It may be the controller's machine, or share its files; what is absent here is left out.
    """
    asked = parcel.walls
    hidden, runs = (cache, *asked.hidden), (cache / "sessions", *asked.runs)
    return replace(asked, hidden=hidden, runs=runs, compiled=cache / "compiled")


def _place_here(path: Path, places: Mapping[Path, Path]) -> Path:
    """Where a path of the controller is here; as it is where it was not shipped."""
    for folder, place in places.items():
        if path.is_relative_to(folder):
            return place / path.relative_to(folder)
    return path


def _build_environment(program: Backend, root: Path) -> None:
    if not program.missing_of_environment(root):
        return
    try:
        venvs.create(program, root)
    except ParityError as error:
        raise ParityError(
            f"the environment of backend {program.name} cannot be built: {error.what}",
            where=error.where,
            hint=f"on the node, put python{program.python} on the PATH that `ray start` has, with what pip "
            "needs to reach its packages",
        ) from None


def _new_folder(own: Path) -> tempfile.TemporaryDirectory[str]:
    """A new folder for an attempt, removed at the end; what a killed one leaves goes with its session."""
    return tempfile.TemporaryDirectory(dir=own_folder(own / "attempts"), ignore_cleanup_errors=True)


def _tell_left(
    folder: Path, outcome: runner.Outcome, command: Sequence[str], parcel: Parcel
) -> Iterator[NodeEvent]:
    """What the program left, the smallest first, and its end."""
    manifest = outcome.record.metadata.get("artifact_manifest") if outcome.record else None
    patterns = (*parcel.keep, *parcel.asked, *retention.listed_patterns(manifest))
    left, left_out = parcel.largest, {}
    for path, size in sorted(_left_entries(folder), key=lambda f: (f[1], f[0])):
        if path in (*LIVE, *OUR_FILES) or not _matches_any(path, patterns):
            continue
        if not _matches_any(path, parcel.asked):
            if size > left:
                left_out[path] = size
                continue
            left -= size
        yield from _parts_of(folder, path)
    metrics = folder / "metrics.json"
    yield Ended(outcome, tuple(command), metrics.read_bytes() if metrics.is_file() else None, left_out)


def _matches_any(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _left_entries(folder: Path) -> Iterator[tuple[str, int]]:
    """(path within the folder, bytes) of all files and links below it; links are not followed."""
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in (*names, *folders)):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield path.relative_to(folder).as_posix(), status.st_size


def _parts_of(folder: Path, path: str) -> Iterator[FilePart]:
    where = folder / path
    if where.is_symlink():
        yield FilePart(path, link=os.readlink(where))
        return
    yield FilePart(path)
    for data in _read_from(where, 0):
        yield FilePart(path, data, first=False)
