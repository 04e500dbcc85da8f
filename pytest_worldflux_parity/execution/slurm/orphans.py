"""How a job ended an attempt, read from the files that it left: no engine of Slurm has to run for that.

So a run can be gone on with by any engine: what its jobs finished counts, and what a job may still run is
not begun a second time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import wire
from ...errors import ParityError, RecordError, RunFailed
from .. import runner
from ..engine import Execution, failed_execution
from ..retry import LOST
from ..store import translated
from . import job_files
from . import queue as slurm_queue
from .job_files import JOB, NODE, JobDocument

SLURM_FOLDER = ".slurm"
# A file of another node can be this late where attributes are cached.
LATE_SEC = 120.0
LOOK_SEC = 0.5


def note_given(folder: Path, run_dir: Path, *, job: bool) -> None:
    """Write down whether a job is to run a new attempt, where no program within walls writes.

    Raises:
        StoreError: it cannot be written.
    """
    path = _note_file(folder, run_dir)
    with translated(path):
        if job:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            # Of one of the same number, whose folder was removed.
            path.unlink(missing_ok=True)


def is_given(folder: Path, run_dir: Path) -> bool:
    """Whether a session of the run gave an attempt to a job; else no file in its folder is a job's."""
    return _note_file(folder, run_dir).is_file()


def _note_file(folder: Path, run_dir: Path) -> Path:
    """A file for each attempt, by its place in the run, which may be moved."""
    place = folder.resolve().relative_to(run_dir.resolve())
    return run_dir / SLURM_FOLDER / "given" / wire.content_hash([place.as_posix()])


def settle_job(folder: Path, run_dir: Path) -> Execution | None:
    """How an attempt ended that a job of an earlier session was to run, for a session of another engine.

    Returns:
        How it ended; None where it was no job's.

    Raises:
        ParityError: the job may still run it.
    """
    said = job_files.read_job_file(folder, JOB)
    if said is None:
        return None
    job_id = claim_job(folder, said)
    if not job_id:
        return never_submitted_execution(said)
    if (found := _await_outcome(folder, said["adapter"])) is not None:
        return found
    state = _state_of_job(said, job_id, run_dir)
    refresh_folder(folder)
    # It may have come to its end while Slurm was asked.
    if (found := _await_outcome(folder, said["adapter"])) is not None:
        return found
    if state not in slurm_queue.ENDED:
        raise _may_run_error(said, job_id, folder, asked=state is not None)
    return end_silently(folder, said["adapter"], job_id, state)


def end_silently(folder: Path, adapter: str, job_id: str, state: str, log: str = "") -> Execution:
    """How an attempt ended whose job is over and left no outcome: as Slurm says.

    Args:
        log: the last words of the job's own log.
    """
    document = job_files.read_job_file(folder, NODE)
    revoke_ended(folder, document)
    what, kind, hint = slurm_queue.describe_end(state)
    starts = len(document["starts"]) if document else 0
    text = f"{what} (job {job_id}, started {starts} time{'s' * (starts != 1)})"
    return failed_execution(
        RunFailed(f"{text}: {log}" if log else text, where=adapter, hint=hint).line(), kind
    )


def disown_job(folder: Path, request_id: str) -> Execution | None:
    """The loss of an attempt that a job was given for another request than the session's; None: it is its.

    Recipe, program or source have changed since: nobody waits for it, and it does not start any more.
    """
    said = job_files.read_job_file(folder, JOB)
    if said is None or said["request_id"] == request_id:
        return None
    with contextlib.suppress(ParityError):
        job_files.revoke_attempt(folder)
    document, hint = job_files.read_job_file(folder, NODE), ""
    if document is not None and document["job_id"] and document["outcome"] is None:
        hint = f"where it still runs, {_end_command(said, document['job_id'])}"
    return lost_execution(
        "recipe, program or source have changed since the job was submitted", said["adapter"], hint
    )


def lost_execution(what: str, adapter: str, hint: str = "") -> Execution:
    """An attempt that came to nothing by no fault of its program."""
    return failed_execution(RunFailed(what, where=adapter, hint=hint).line(), LOST)


def never_submitted_execution(said: JobDocument) -> Execution:
    """An attempt that no job runs, nor ever will."""
    return lost_execution("no job has been submitted for the attempt", said["adapter"])


def claim_job(folder: Path, said: JobDocument) -> str:
    """The job that runs an attempt; empty: none ever will.

    It may have started, and the session been killed before it could write the job's number down.
    """
    if said["job_id"]:
        return str(said["job_id"])
    document = None if job_files.revoke_attempt(folder) else job_files.read_claim(folder)
    return str(document["job_id"]) if document else ""


def check_host(said: JobDocument) -> None:
    """Make sure that a process which stood for a job can be seen from here.

    Raises:
        ParityError: it is another machine's.
    """
    if said["cluster"] == "local" and said["host"] != socket.gethostname():
        raise ParityError(
            f"process {said['job_id']} of {said['host']} may still run the attempt",
            where=said["adapter"],
            hint=f"go on with the run on {said['host']}, or choose another --parity-run-id",
        )


def is_running_here(job_id: str, run_dir: Path) -> bool:
    """Whether a process of this machine runs a job of this run: its number may be another's by now."""
    if not (job_id.isascii() and job_id.isdigit()):
        return False
    try:
        command = Path(f"/proc/{job_id}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"submitit.local._local" in command and os.fsencode(run_dir.resolve() / SLURM_FOLDER) in command


def refresh_folder(folder: Path) -> None:
    """Have a network file system look anew at a folder whose files another node has written."""
    with contextlib.suppress(OSError):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode))


def revoke_ended(folder: Path, document: JobDocument | None) -> None:
    """Keep a job that is over from running again when somebody queues it anew later."""
    with contextlib.suppress(ParityError):
        if document is None:
            job_files.revoke_attempt(folder)
        else:
            job_files.write_node(folder, {**document, "revoked": True})


def read_execution(
    folder: Path, adapter: str, said: Mapping[str, Any], *, late: bool, own: bool
) -> Execution | None:
    """How an attempt ended, as its job says; None where something of it is still to come.

    Args:
        said: the outcome in ``slurm_node.json``.
        late: wait no longer for a file.
        own: this session has submitted the job.

    Raises:
        ParityError: the job could not use the run directory, or the program.
    """
    record, error, kind = None, said["error"], said["kind"]
    if said["refusal"] is not None:
        problem = ParityError(**said["refusal"])
        if own:
            raise problem
        # Of an earlier session: it may have been mended since.
        error, kind = problem.line(), LOST
    if said["metrics_sha256"] is not None:
        try:
            record = _read_record(folder, adapter, said["metrics_sha256"], late)
        except (RecordError, wire.WireError) as wrong:
            error, kind = f"{wrong}", "failed"
        if record is None and not error:
            return None
    how = (said["return_code"], said["duration_sec"], kind, said.get("isolation"))
    outcome = runner.Outcome(record, error, *how)
    return Execution(outcome, tuple(said["command"]), tuple(said["gpus"]))


def _read_record(folder: Path, adapter: str, digest: str, late: bool) -> wire.RunRecord | None:
    """The record that the node has read; None where it is not here yet.

    Raises:
        RecordError: it does not come, or does not answer the request.
    """
    path = folder / "metrics.json"
    with contextlib.suppress(OSError):
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            record = wire.read_record(path)
            runner.check_answer(wire.read_request(str(folder / "request.json")), record)
            return record
    if late:
        raise RecordError("metrics.json is not what its job has read", where=adapter)
    return None


def _await_outcome(folder: Path, adapter: str) -> Execution | None:
    """How the job says that the attempt ended; None where it has not said it."""
    document = job_files.read_job_file(folder, NODE)
    if document is None or document["outcome"] is None:
        return None
    end = time.monotonic() + LATE_SEC
    while True:
        late = time.monotonic() > end
        if (found := read_execution(folder, adapter, document["outcome"], late=late, own=False)) is not None:
            return found
        time.sleep(LOOK_SEC)


def _state_of_job(said: JobDocument, job_id: str, run_dir: Path) -> str | None:
    """What becomes of a job, as Slurm's commands say it; None where nobody here can tell."""
    if said["cluster"] == "local":
        check_host(said)
        return "RUNNING" if is_running_here(job_id, run_dir) else slurm_queue.FORGOTTEN
    if shutil.which("squeue") is None:
        return None
    with contextlib.suppress(slurm_queue.Unreachable):
        return slurm_queue.ask_states([job_id])[job_id]
    return None


def _may_run_error(said: JobDocument, job_id: str, folder: Path, *, asked: bool) -> ParityError:
    name = "process" if said["cluster"] == "local" else "job"
    hint = f"resume with --parity-engine=slurm, or {_end_command(said, job_id)}"
    # Where Slurm answers, it says by itself that the job has been cancelled.
    hint += "" if asked else f" on the cluster and rm -r {shlex.quote(str(folder))}"
    verb = "still runs or waits to run" if asked else "may still run"
    return ParityError(f"{name} {job_id} {verb} the attempt", where=said["adapter"], hint=hint)


def _end_command(said: JobDocument, job_id: str) -> str:
    return f"kill -INT {job_id}" if said["cluster"] == "local" else f"scancel {job_id}"
