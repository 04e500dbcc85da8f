"""What a job does on its node: one attempt, by the same runner as everywhere, in the attempt's own folder.

Slurm may start a job more than once: what it runs was preempted, or its node failed. Then the attempt begins
again in an emptied folder, :attr:`Work.requeues` times at the most; each start is written down. A job that
another one has come before, or that was revoked before it started, does nothing.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ... import wire
from ...errors import IsolationError, ParityError, RunFailed, StoreError
from ...schemas.json_text import utc_now
from ...suite.suite import Resources
from .. import devices, launching, retention, runner
from ..attempt_end import clean_attempt, cleaner_of
from ..leases import Alone, Lease, Pool, hold_lease
from ..retry import LEAK, LOST
from ..store import set_record_aside, translated
from . import job_files
from .job_files import JOB, NODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...inputs.backends import Backend
    from ...inputs.command_program import CommandProgram

# NFS keeps a removed file that somebody has open under such a name.
_NFS = ".nfs"


class Interrupted(SystemExit):
    """Slurm ended the program with the job: whether the job starts anew is Slurm's to say."""


@dataclass(frozen=True)
class Work:
    """One attempt, as it is pickled for the node; all paths are on the shared file system.

    Attributes:
        root: the project. sealed: the program as it was sealed.
        requeues: how often it may start anew.
        pool: what is leased while it runs, where the session's own machine is the cluster; else None.
    """

    request: wire.RunRequest
    program: Backend | CommandProgram
    root: Path
    sealed: launching.Sealed
    resources: Resources
    alone: Alone
    requeues: int
    pool: Pool | None = None

    @property
    def folder(self) -> Path:
        """The attempt's folder."""
        return Path(self.request.out_dir)

    def __call__(self) -> str:
        """Run the attempt, unless it is another's; one word for the log.

        Raises:
            StoreError: the folder cannot be written.
            Interrupted: the job was told to end, and the program did not end well.
        """
        signal.signal(signal.SIGINT, _interrupted_once)
        document = _enter_attempt(self.folder, _own_job_id())
        if document is None:
            return "not ours"
        if document["outcome"] is not None:
            return "ran before"
        if len(document["starts"]) > self.requeues + 1:
            ended = self._given_up(len(document["starts"]))
        else:
            _clear_folder(self.folder)
            ended = self._ended(len(document["starts"]))
        job_files.write_node(self.folder, {**document, "outcome": ended})
        return "ended"

    def checkpoint(self) -> Any:
        """What submitit is to queue when the job gets its signal: the same from the beginning, or nothing."""
        from submitit.helpers import DelayedSubmission

        document = job_files.read_job_file(self.folder, NODE)
        again = document is not None and len(document["starts"]) <= self.requeues
        return DelayedSubmission(self) if again else None

    def _given_up(self, starts: int) -> dict[str, Any]:
        problem = RunFailed(
            f"Slurm has started the job {starts} times and ended it each time",
            where=self.request.adapter,
            hint="raise requeues in parity_slurm, or name another partition or qos",
        )
        return _ended_as(problem.line(), LOST)

    def _ended(self, starts: int) -> dict[str, Any]:
        from submitit.core.utils import UncompletedJobError

        try:
            return self._run()
        except UncompletedJobError:
            # submitit's handler of the signal, where there is nothing to queue anew.
            return self._given_up(starts)
        except IsolationError as error:
            # Another node may have what this one lacks.
            return _ended_as(error.line(), "failed")
        except ParityError as error:
            return _ended_as("", None, refusal={"what": error.what, "where": error.where, "hint": error.hint})

    def _run(self) -> dict[str, Any]:
        with self._held() as lease, _told_to_end() as told, translated(self.folder):
            self._check_memory()
            with launching.start_program(self.program, self.request, self.root, self.sealed) as start:
                start = replace(start, env={**start.env, **lease.environment})
                outcome = runner.run(self.request, start, lease.descriptors)
            if told and not outcome.success:
                raise Interrupted(128 + signal.SIGTERM)
            if not outcome.success:
                set_record_aside(self.folder)
            outcome = self._cleaned(outcome)
            digest = hashlib.sha256((self.folder / "metrics.json").read_bytes()) if outcome.success else None
            return _ended_as(outcome.error, outcome.kind) | {
                "return_code": outcome.return_code,
                "duration_sec": round(outcome.duration_sec, 3),
                "command": [*start.command],
                "gpus": [*(lease.gpus or visible_gpus(self.request.device))],
                "metrics_sha256": digest and digest.hexdigest(),
                "isolation": outcome.isolation,
            }

    def _cleaned(self, outcome: runner.Outcome) -> runner.Outcome:
        """The outcome once what was left is clean: the session holds the record against its hash."""
        clean = cleaner_of(self.request, self.program, self.folder, self.root, self.folder.parents[4])
        record, leak = clean_attempt(self.folder, outcome.record, self.request.adapter, clean)
        if leak:
            return replace(outcome, record=None, error=leak, kind=LEAK)
        return replace(outcome, record=record, error=clean.text(outcome.error))

    @contextmanager
    def _held(self) -> Iterator[Lease]:
        """What the run holds: Slurm gives a job its GPUs and cores; this machine has leases."""
        if self.pool is None:
            yield Lease()
        else:
            with hold_lease(self.pool, self.resources, self.alone) as lease:
                yield lease

    def _check_memory(self) -> None:
        """Refuse GPUs that are too small: Slurm cannot be asked for a GPU's memory."""
        wanted = self.resources.gpu_memory_gb
        if self.pool is not None or self.request.device != "cuda" or wanted is None:
            return
        small = [g.memory_gb for g in devices.gpus() if g.memory_gb is not None and g.memory_gb < wanted]
        if small:
            raise RunFailed(
                f"the job was given a GPU of {small[0]:.0f} GB, and the suite asks for {wanted:g}",
                where=socket.gethostname(),
                hint="name gpu_type or constraint in parity_slurm",
            )


def _own_job_id() -> str:
    """The number of this job, as the session knows it."""
    from submitit import JobEnvironment

    return str(JobEnvironment().job_id)


def _enter_attempt(folder: Path, job_id: str) -> job_files.JobDocument | None:
    """Write down this start of the job; None where the attempt is another job's, or nobody's any more."""
    if job_files.read_job_file(folder, JOB) is None:
        return None
    document = job_files.node_document(job_id)
    if not job_files.claim_attempt(folder, document):
        # Empty: we, or who revoked it, died in the midst of making it.
        document = job_files.read_claim(folder) or document
    if document["revoked"] or document["job_id"] != job_id:
        return None
    start = {"host": socket.gethostname(), "pid": os.getpid(), "started_at_utc": utc_now()}
    document["starts"].append(start)
    job_files.write_node(folder, document)
    return document


def _clear_folder(folder: Path) -> None:
    """Remove what an earlier start left: its metrics.json must never count as this one's.

    Raises:
        StoreError: something cannot be removed.
    """
    retention.prune(folder, (JOB, NODE))
    with translated(folder):
        left = [p.name for p in folder.iterdir() if p.name not in (JOB, NODE) and not p.name.startswith(_NFS)]
    if left:
        raise StoreError(f"{left[0]} of an earlier start cannot be removed", where=str(folder))


def _ended_as(error: str, kind: str | None, refusal: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "error": error,
        "kind": kind,
        "return_code": None,
        "duration_sec": 0.0,
        "command": [],
        "gpus": [],
        "metrics_sha256": None,
        "isolation": None,
        "refusal": refusal,
    }


def _interrupted_once(number: int, frame: FrameType | None) -> None:
    """A KeyboardInterrupt that no other follows: a second could break off what the first has begun to end.

    A job on the session's own machine gets several, from the terminal, from submitit and from the engine.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _told_to_end() -> Iterator[list[int]]:
    """Note a SIGTERM: Slurm's word before it ends a job that is cancelled, preempted or queued anew.

    It ends nothing by itself: a job that leaves before Slurm has ended it is not queued anew. But how a
    program ends after it is Slurm's doing, and no outcome of the attempt.
    """
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


def visible_gpus(device: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs of this job: their UUIDs where nvidia-smi tells them, else ``<host>:<number>``."""
    if device != "cuda":
        return ()
    if found := devices.gpus(environment):
        return tuple(gpu.uuid for gpu in found)
    # CUDA's numbers begin at 0 where the job sees no other GPU; Slurm's own are the node's.
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"):
        numbers = [n.strip() for n in environment.get(name, "").split(",") if n.strip()]
        if numbers:
            return tuple(f"{socket.gethostname()}:{n}" for n in numbers)
    return ()
