"""One request -> one subprocess -> one outcome.

The program gets a session (process group) of its own, so that ending it ends its children too; a
deadline; its output in files; and an environment in which it can import ``wire`` and nothing else
of ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import RecordError, RunFailed
from .guardian import MARK, end_marked, guardian
from .isolation import WALLS_FILE, Room, return_code, wrap_command
from .last_words import last_words
from .left_files import LARGEST_BYTES, left_record, open_left, read_left, take_away_odd
from .retry import DISK_FULL, Kind, failure_kind

# A disk with less is full.
ROOM_BYTES = 1 << 20
FULL_DISK = "the disk is full: free some space, then go on with --parity-resume"
LOG_TAIL_BYTES = 4000
# An allocator's report follows the line that names the reason.
REASON_BYTES = 65536
TERM_GRACE_SEC = 3.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_RUNNING: set[subprocess.Popen[bytes]] = set()
_INTERRUPTED: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        error: one line, empty on success.
        kind: of the error, as :mod:`.retry` tells them apart; None on success.
        return_code: as the process gave it (negative: a signal); None when it could not be started or
            was ended at its deadline.
        isolation: what kept it in its folder (:func:`.isolation.describe_walls`).
    """

    record: wire.RunRecord | None
    error: str
    return_code: int | None
    duration_sec: float
    kind: Kind | None = None
    isolation: Mapping[str, Any] | None = None

    @property
    def success(self) -> bool:
        return self.record is not None


def program_environment(base: Mapping[str, str], python_path: Sequence[Path], threads: int) -> dict[str, str]:
    """The environment of a program: the caller's, but for what changes how Python starts.

    Args:
        python_path: folders of PYTHONPATH, for programs that are no Python and start some.
    """
    env = {k: v for k, v in base.items() if not k.startswith(("PYTEST_", "PYTHON"))}
    env["PYTHONPATH"] = os.pathsep.join(map(str, python_path))
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONNOUSERSITE"] = "1"
    env.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    return env


def wire_files() -> list[Path]:
    """The files of ``wire``."""
    return sorted(Path(wire.__file__).parent.glob("*.py"))


def install_wire(folder: Path) -> Path:
    """Put a package that holds only ``wire`` into the new ``folder`` and return the folder.

    A foreign interpreter can then import the contract without our other dependencies, and our own
    backends cannot import more than the contract by accident.
    """
    package = folder / "pytest_worldflux_parity"
    (package / "wire").mkdir(parents=True)
    (package / "__init__.py").touch()
    for path in wire_files():
        # With its time, which bytecode has to fit.
        shutil.copy2(path, package / "wire" / path.name)
    return folder


@dataclass(frozen=True)
class Start:
    """A program that is ready to be started.

    Attributes:
        cwd: the folder that it starts in; None: that of its results.
        room: the walls around it; None: it runs open. isolation: the same in a record's words.
    """

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    room: Room | None = None
    isolation: Mapping[str, Any] | None = None


class DeadlinePassed(RunFailed):
    """The program was ended at its deadline."""


def run(request: wire.RunRequest, start: Start, keep_open: Sequence[int] = ()) -> Outcome:
    """Run a program for ``request`` and read what it found.

    ``request.out_dir`` must exist and be empty; ``request.json`` is written into it. Never raises
    for what the program does; a KeyboardInterrupt ends the program and passes on.

    Args:
        keep_open: descriptors that an open program inherits: a lock on them is held until it has ended too.
            One within walls inherits none: it ends with whoever holds them.

    Raises:
        OSError: the request or the logs cannot be written.
    """
    folder = Path(request.out_dir)
    asked = {"request.json": wire.request_to_json(request)}
    if start.isolation is not None:
        # Whoever finds the attempt without having seen its end knows by this how it ran.
        asked[WALLS_FILE] = wire.canonical_json(start.isolation)
    _write_asked(folder, asked)
    begun, kills = time.monotonic(), oom_kills()
    return_code: int | None = None
    record, error = None, ""
    kind: Kind | None = None
    hint = "raise deadline_sec in the suite, or look at progress.jsonl"
    try:
        return_code = execute(
            start, folder, request.deadline_sec, where=request.adapter, hint=hint, keep_open=keep_open
        )
        _restore_asked(folder, asked)
        check_exit(return_code, folder, request.adapter)
        record = _accept_record(request, folder)
    except DeadlinePassed as problem:
        error, kind = problem.line(), "deadline"
    except (RunFailed, RecordError) as problem:
        error = problem.line()
        kind = failure_kind(return_code, _end_of_logs(folder), request.device, oom_kills() > kills)
        # Looked for before the program's copy goes, which makes room.
        if kind == "failed" and is_full(folder):
            error, kind = f"{error}; {FULL_DISK}", DISK_FULL
    return Outcome(record, error, return_code, time.monotonic() - begun, kind, start.isolation)


def _write_asked(folder: Path, files: Mapping[str, str]) -> None:
    """Write what the program is asked, or nothing: then its attempt has not begun."""
    try:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError:
        for name in files:
            (folder / name).unlink(missing_ok=True)
        raise


def _restore_asked(folder: Path, files: Mapping[str, str]) -> None:
    """Put back what was asked, where the program has emptied its folder, taken it away or written over it.

    Where that cannot be, what is missed at the end says so: the attempt has ended, and gets its line.
    """
    for name, text in files.items():
        with contextlib.suppress(OSError):
            if read_left(folder / name, LARGEST_BYTES[name]) == text.encode():
                continue
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            wire.write_atomic(folder / name, text)


def is_full(folder: Path) -> bool:
    """Whether a disk has no room for what an attempt leaves, whatever the program says of it."""
    # A name that no program can have put there, and nothing is written through a link.
    probe = folder / f".room-{secrets.token_hex(8)}"
    try:
        found = os.statvfs(folder)
        blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
        if found.f_blocks and blocks * found.f_frsize < ROOM_BYTES:
            return True
        # A quota, or that there may be no more files, shows in nothing else.
        with open(probe, "xb") as handle:
            handle.write(b"\0")
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return False


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processes the kernel has ended for their memory: of our control group, else of the machine."""
    for path in (*_memory_groups(proc, cgroups), proc / "vmstat"):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def _memory_groups(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Where a control group counts, in both versions of them."""
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers == "":
                yield cgroups / own.strip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield cgroups / "memory" / own.strip("/") / "memory.oom_control"
                # A container sees its own group as the root.
                yield cgroups / "memory" / "memory.oom_control"


def _end_of_logs(folder: Path) -> str:
    return "\n".join(_tail_of(folder / name, REASON_BYTES) for name in ("stderr.log", "stdout.log"))


def log_tail(folder: Path) -> str:
    """The last lines of the program's stderr, or of its stdout when stderr is empty."""
    return log_written(folder, LOG_TAIL_BYTES)[1]


def log_written(folder: Path, size: int) -> tuple[str, str]:
    """Which of a program's logs it wrote into, stderr before stdout, and its last ``size`` bytes, as text."""
    texts = ((name, _tail_of(folder / name, size)) for name in ("stderr.log", "stdout.log"))
    return next(((name, text) for name, text in texts if text), ("", ""))


def _tail_of(path: Path, size: int) -> str:
    with contextlib.suppress(OSError), os.fdopen(open_left(path), "rb") as handle:
        handle.seek(max(0, handle.seek(0, os.SEEK_END) - size))
        return handle.read().decode("utf-8", "replace").strip()
    return ""


def execute(
    start: Start,
    folder: Path,
    deadline_sec: float,
    *,
    where: str,
    hint: str,
    keep_open: Sequence[int] = (),
) -> int:
    """Run one program in ``folder`` until it ends; its exit status. Its output goes into log files there.

    Args:
        where: whose program it is, for errors. mend: what to do when the deadline passes.
        keep_open: descriptors that the program inherits where it runs open. Walls fall with this thread.

    Raises:
        RunFailed: it could not be started, or was ended at its deadline.
        OSError: the logs cannot be written.
    """
    mark, room, cwd = secrets.token_hex(8), start.room, start.cwd or folder
    command, env = (
        (start.command, start.env) if room is None else wrap_command(start.command, start.env, cwd, room)
    )
    with (
        open(folder / "stdout.log", "wb") as out,
        open(folder / "stderr.log", "wb") as err,
        guardian().watching(mark),
    ):
        try:
            _check_program(start.command[0], start.env)
            process = subprocess.Popen(
                [*command],
                cwd=cwd,
                env={**env, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                # A folder's descriptor leads out of the walls, and who has a lock's can let it go.
                pass_fds=() if room is not None else tuple(keep_open),
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunFailed(f"{start.command[0]} cannot be started: {reason}", where=where) from None
        guardian().started(mark, process.pid)
        with _ending_at_exit(process, mark), _ending_from_outside(process):
            if not _has_ended_within(process, deadline_sec):
                raise DeadlinePassed(f"deadline of {deadline_sec:g} s passed", where=where, hint=hint)
        _refuse_odd_files(folder, where)
        return process.returncode if room is None else return_code(process.returncode)


def _refuse_odd_files(folder: Path, where: str) -> None:
    """Take away what is read by name and is no file, and refuse what nobody could read.

    Raises:
        RunFailed: there was such a thing.
    """
    if said := take_away_odd(folder):
        hint = "let it write the file itself, and no more than that"
        raise RunFailed(f"the program {said}", where=where, hint=hint)


def _check_program(name: str, env: Mapping[str, str]) -> None:
    """Say of a program that is not there what the system would: within walls nobody else does.

    Raises:
        OSError: it is not there.
    """
    relative = os.path.dirname(name) and not os.path.isabs(name)
    if not relative and shutil.which(name, path=env.get("PATH")) is None:
        number = errno.EACCES if os.path.exists(name) else errno.ENOENT
        raise OSError(number, os.strerror(number))


def end_running() -> None:
    """End the programs that run in other threads of this process; there a KeyboardInterrupt follows.

    A thread gets no Ctrl-C of its own. What it ran is then no failed attempt, and is not tried again.
    """
    ended = list(_RUNNING)
    for process in ended:
        _INTERRUPTED.add(process)
        _signal_group(process, signal.SIGTERM)
    for process in ended:
        if not _has_ended_within(process, TERM_GRACE_SEC):
            _signal_group(process, signal.SIGKILL)


@contextlib.contextmanager
def _ending_from_outside(process: subprocess.Popen[bytes]) -> Iterator[None]:
    _RUNNING.add(process)
    try:
        yield
        if process in _INTERRUPTED:
            raise KeyboardInterrupt
    finally:
        _RUNNING.discard(process)
        _INTERRUPTED.discard(process)


@contextlib.contextmanager
def _ending_at_exit(process: subprocess.Popen[bytes], mark: str) -> Iterator[None]:
    """End the program and all that it started, however the block is left."""
    try:
        yield
    finally:
        try:
            if process.poll() is None:
                _signal_group(process, signal.SIGTERM)
                _has_ended_within(process, TERM_GRACE_SEC)
        finally:
            # The group outlives its leader when the program left children behind.
            _signal_group(process, signal.SIGKILL)
            process.wait()
            # A child may have made a group of its own.
            end_marked([mark])


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _has_ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a program ends within a time; that it has is seen at once, as ``Popen.wait`` does not."""
    end = time.monotonic() + seconds
    if process.poll() is not None:
        return True
    watched = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        while process.poll() is None and (left := end - time.monotonic()) > 0:
            poll.poll(min(left, 3600) * 1000)
    finally:
        os.close(watched)
    return process.returncode is not None


def check_exit(return_code: int, folder: Path, where: str) -> None:
    """Check that a program ended well.

    Raises:
        RunFailed: its exit status is not 0; the text has why, in the words of its log.
    """
    if return_code != 0:
        raise RunFailed(_exit_text(return_code) + _reason_text(return_code, folder), where=where)


def _accept_record(request: wire.RunRequest, folder: Path) -> wire.RunRecord:
    """The record of a program that ended well, when it answers this request.

    Raises:
        RecordError: metrics.json is absent, broken, reports a failure, or answers something else.
    """
    path = folder / "metrics.json"
    try:
        record = left_record(folder)
        # 1e400 is JSON, but no number that could be stored; nor is what is nested too deep in a line.
        wire.canonical_json({"metrics": wire.record_to_dict(record)})
    except FileNotFoundError:
        raise RecordError("exit status 0 but no metrics.json", where=request.adapter) from None
    except (OSError, wire.WireError) as error:
        raise RecordError(f"metrics.json: {error}".replace(f"{path}: ", ""), where=request.adapter) from None
    check_answer(request, record)
    return record


def check_answer(request: wire.RunRequest, record: wire.RunRecord) -> None:
    """Check that a record is the successful answer to this request and to no other.

    Raises:
        RecordError: it reports a failure, or answers something else.
    """
    if not record.success:
        raise RecordError("metrics.json says success: false", where=request.adapter)
    for name in ("adapter", "task_id", "seed", "device"):
        got, wanted = getattr(record, name), getattr(request, name)
        if got != wanted:
            raise RecordError(f"metrics.json has {name} {got!r}, not {wanted!r}", where=request.adapter)
    if record.request_id not in ("", request.request_id):
        raise RecordError("metrics.json answers another request", where=request.adapter)


def _exit_text(return_code: int) -> str:
    if return_code < 0:
        try:
            return f"killed by {signal.Signals(-return_code).name}"
        except ValueError:
            return f"killed by signal {-return_code}"
    return f"exit status {return_code}"


_NO_MODULE = re.compile(r"No module named '\w+'")
_NOT_SEALED = (
    "; to mend: a program imports from its own folder and its environment alone: name the module's folder "
    "under program.files, put a checkout on the path by source.checkout, or install it"
)


def _reason_text(return_code: int, folder: Path) -> str:
    said = last_words(log_written(folder, REASON_BYTES)[1], killed=return_code < 0)
    return f": {said}{_NOT_SEALED if _NO_MODULE.search(said) else ''}" if said else ""
