"""``--parity-engine=slurm``: each attempt is a job of a Slurm cluster, submitted through submitit.

The run directory, the project and the interpreters are on a file system that all nodes share, so records,
logs and heartbeats of a job are where those of a run on this machine are. Attempts that are ready together
and ask for the same go out as one job array. What a job does is in :mod:`.job`; how it and the
session know of each other in :mod:`.job_files`.

submitit writes the submission scripts, submits them and starts the work on the node. Its own way of telling
that a job is over is not used: it asks ``sacct`` alone, up to ten minutes apart, and waits for ever for a job
that was preempted and is not queued anew.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from ...errors import ParityError
from ..engine import Execution, Launch
from ..leases import make_pool
from . import job_files, orphans, submission
from . import options as slurm_options
from . import queue as slurm_queue
from .job import Work
from .job_files import JOB, NODE
from .options import SlurmOptions

if TYPE_CHECKING:
    from ...inputs.context import RunContext

# Slurm's own limit (MaxArraySize) is 1001 unless the cluster says otherwise.
LARGEST_ARRAY = 1000
# How often files are looked at, on this machine and on a file system that nodes share.
LOOK_SEC, LOOK_SHARED_SEC = 0.1, 2.0
# So often asked without an outcome, an ended job is over: it may be queued anew, or its files may be late.
CONFIRMED = 2
STOP_SEC = 15.0
# Attempts are collected until none has come for a while, and for so many times that while at the most.
LONGEST_COLLECT = 10


@dataclass(eq=False)
class _JobFlight:
    """An attempt whose job has not ended, as far as is known.

    Attributes:
        work: None where an earlier session submitted it.
        state: what Slurm said last. ended: how often in a row it has said that the job is over.
        seen: when its outcome was first seen (monotonic).
        result: what is returned or raised where the attempt is waited for.
    """

    folder: Path
    adapter: str
    cluster: str
    work: Work | None = None
    job_id: str = ""
    job: submitit.Job[str] | None = None
    state: str = "PENDING"
    ended: int = 0
    seen: float | None = None
    result: Execution | BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def settle(self, result: Execution | BaseException) -> None:
        self.result = result
        self.over.set()


class SlurmEngine:
    """Runs attempts as jobs; one thread of its own submits them and watches them.

    Raises:
        ParityError: the settings are not what they may be, or this is no machine of a cluster.
    """

    name = "slurm"

    def __init__(self, context: RunContext) -> None:
        said = context.engine_settings
        options = slurm_options.parse_options(
            str(said["parity_slurm_cluster"]), str(said["parity_slurm_jobs"]), said["parity_slurm"]
        )
        if options.cluster == "slurm":
            slurm_queue.check_commands()
        self._context, self._options = context, options
        # Of this machine: only where it is the cluster do runs need to find their places by themselves.
        slots = int(said["parity_slots_per_gpu"])
        self._pool = make_pool(context.device, slots) if options.cluster == "local" else None
        self._folder = context.run_dir.resolve() / orphans.SLURM_FOLDER
        self._look_sec = LOOK_SEC if options.cluster == "local" else min(LOOK_SHARED_SEC, options.poll_sec)
        self._inbox: queue.SimpleQueue[_JobFlight | None] = queue.SimpleQueue()
        self._flights: list[_JobFlight] = []
        self._own: list[submitit.Job[str]] = []
        self._stopping, self._stopped, self._closing = (threading.Event() for _ in range(3))
        self._broken: BaseException = KeyboardInterrupt()
        self._thread = threading.Thread(target=self._keep, name="parity-slurm", daemon=True)
        self._thread.start()

    def width(self) -> int:
        """How many attempts may be in flight at a time."""
        if self._options.cluster == "slurm":
            return self._options.jobs
        return min(self._options.jobs, os.cpu_count() or 1)

    def execute(self, launch: Launch) -> Execution:
        """Submit an attempt and wait for its end.

        Raises:
            ParityError: sbatch refuses it, or the run directory cannot be written.
            KeyboardInterrupt: the engine was stopped.
        """
        adapter, cluster = launch.request.adapter, self._options.cluster
        job_files.write_job(launch.folder, cluster, adapter, None, launch.request.request_id)
        return self._awaited(_JobFlight(launch.folder, adapter, cluster, self._work(launch)))

    def adopt(self, folder: Path) -> Execution | None:
        """Wait for the job of an earlier session that still runs an attempt, or waits to run it.

        Returns:
            How the attempt ended; None where it was no job's.

        Raises:
            KeyboardInterrupt: the engine was stopped.
            ParityError: it is a job of a cluster, and this is no machine of one, or a process of another one.
        """
        said = job_files.read_job_file(folder, JOB)
        if said is None:
            return None
        if said["cluster"] == "slurm":
            slurm_queue.check_commands()
        if not (job_id := orphans.claim_job(folder, said)):
            return orphans.never_submitted_execution(said)
        if not _has_job_ended(folder):
            orphans.check_host(said)
        return self._awaited(_JobFlight(folder, said["adapter"], said["cluster"], job_id=job_id))

    def stop(self) -> None:
        """Cancel every job in flight; whoever waits for one gets a KeyboardInterrupt."""
        self._stopping.set()
        self._inbox.put(None)
        self._stopped.wait(STOP_SEC)

    def close(self) -> None:
        """Let go of the thread, and of processes of this machine that have ended."""
        self._closing.set()
        self._inbox.put(None)
        self._thread.join(STOP_SEC)

    def _work(self, launch: Launch) -> Work:
        context = self._context
        return Work(
            request=launch.request,
            program=launch.program,
            root=context.root,
            sealed=launch.sealed,
            resources=launch.resources,
            alone=launch.alone,
            requeues=self._options.requeues,
            pool=self._pool,
        )

    def _awaited(self, flight: _JobFlight) -> Execution:
        self._inbox.put(flight)
        while not flight.over.wait(1.0):
            if not self._thread.is_alive():
                raise self._broken
        assert flight.result is not None
        if isinstance(flight.result, BaseException):
            raise flight.result
        return flight.result

    # What follows runs in the thread of the engine.

    def _keep(self) -> None:
        asked = 0.0
        try:
            while not self._closing.is_set():
                self._enter(self._arrived())
                if self._stopping.is_set():
                    self._cancel()
                    continue
                if time.monotonic() - asked >= self._options.poll_sec:
                    self._ask()
                    asked = time.monotonic()
                self._look()
        except BaseException as error:
            self._broken = error
            for flight in self._flights:
                flight.settle(error)
        finally:
            self._stopped.set()
            self._reap()

    def _arrived(self) -> list[_JobFlight]:
        """The attempts that came in; who comes a moment after another goes out with it."""
        arrived: list[_JobFlight] = []
        end = last = time.monotonic() + self._look_sec
        with contextlib.suppress(queue.Empty):
            # None: somebody wants the thread's attention.
            while flight := self._inbox.get(timeout=max(0.0, end - time.monotonic())):
                # A session begins with hundreds, each with files to write before it is here.
                last = last if arrived else time.monotonic() + LONGEST_COLLECT * self._options.collect_sec
                end = min(last, time.monotonic() + self._options.collect_sec)
                arrived.append(flight)
                if len(arrived) == LARGEST_ARRAY:
                    break
        return arrived

    def _enter(self, arrived: Sequence[_JobFlight]) -> None:
        self._flights += arrived
        if not self._stopping.is_set():
            for group in _group_alike(arrived, self._options):
                self._submit(group)

    def _submit(self, group: Sequence[_JobFlight]) -> None:
        try:
            works = [flight.work for flight in group if flight.work is not None]
            jobs = submission.submit_jobs(self._folder, self._options, works)
        except ParityError as error:
            for flight in group:
                # sbatch may fail for us and submit the job all the same.
                orphans.revoke_ended(flight.folder, None)
                self._settle(flight, error)
            return
        self._own += jobs if self._options.cluster == "local" else []
        for flight, job in zip(group, jobs, strict=True):
            flight.job, flight.job_id = job, job.job_id
            try:
                asked = flight.work.request.request_id if flight.work else ""
                job_files.write_job(flight.folder, flight.cluster, flight.adapter, job.job_id, asked)
            except ParityError as error:
                job.cancel(check=False)
                self._settle(flight, error)

    def _settle(self, flight: _JobFlight, result: Execution | BaseException) -> None:
        self._flights.remove(flight)
        flight.settle(result)

    def _ask(self) -> None:
        """Learn the states of all jobs in flight, with one question."""
        queued = [f for f in self._flights if f.cluster == "slurm"]
        said: dict[str, str] = {}
        if queued:
            with contextlib.suppress(slurm_queue.Unreachable):
                said = slurm_queue.ask_states([f.job_id for f in queued])
        here = [f for f in self._flights if f.cluster == "local"]
        said |= {f.job_id: slurm_queue.FORGOTTEN if self._gone(f) else "RUNNING" for f in here}
        for flight in self._flights:
            if flight.job_id in said:
                flight.state = said[flight.job_id]
                flight.ended = flight.ended + 1 if flight.state in slurm_queue.ENDED else 0
                if flight.ended:
                    orphans.refresh_folder(flight.folder)

    def _look(self) -> None:
        for flight in [*self._flights]:
            result: Execution | BaseException | None
            try:
                result = self._result(flight)
            except ParityError as error:
                result = error
            if result is not None:
                self._settle(flight, result)

    def _result(self, flight: _JobFlight) -> Execution | None:
        """How the attempt ended; None where it has not, as far as is known.

        Raises:
            ParityError: its job could not use the run directory, or the program.
        """
        document = job_files.read_job_file(flight.folder, NODE)
        if document is not None and document["job_id"]:
            # One that was submitted twice has the number of the job that came first.
            flight.job_id = document["job_id"]
        if document is not None and document["outcome"] is not None:
            flight.seen = flight.seen or time.monotonic()
            late = time.monotonic() - flight.seen > orphans.LATE_SEC
            if self._may_be_memory(flight, document["outcome"]):
                return None
            own = flight.work is not None
            return orphans.read_execution(
                flight.folder, flight.adapter, document["outcome"], late=late, own=own
            )
        if flight.ended < CONFIRMED:
            return None
        log = submission.last_log_line(self._folder, flight.job_id)
        return orphans.end_silently(flight.folder, flight.adapter, flight.job_id, flight.state, log)

    def _may_be_memory(self, flight: _JobFlight, said: dict[str, Any]) -> bool:
        """Whether a killed program's job is still to say that it ran out of memory.

        A node counts that for the whole job, and a program's own group may not show it.
        """
        if said["kind"] != "killed" or flight.cluster == "local":
            return False
        if flight.state == "OUT_OF_MEMORY":
            said["kind"] = "out_of_memory"
        assert flight.seen is not None
        return not flight.ended and time.monotonic() - flight.seen < min(
            orphans.LATE_SEC, 3 * self._options.poll_sec
        )

    def _cancel(self) -> None:
        """End all jobs in flight, and say where that could not be done."""
        jobs = sorted({f.job_id for f in self._flights if f.cluster == "slurm" and f.job_id})
        reason = slurm_queue.cancel_jobs(jobs)
        if reason:
            print(f"scancel: {reason}; to mend: scancel {' '.join(jobs)}", file=sys.stderr)
        here = [f for f in self._flights if f.cluster == "local" and f.job_id]
        for flight in here:
            # What has ended, or is not allowed to us, is somebody else's process by now.
            if not self._gone(flight):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(flight.job_id), signal.SIGINT)
        end = time.monotonic() + STOP_SEC
        while any(not self._gone(f) for f in here) and time.monotonic() < end:
            time.sleep(LOOK_SEC)
        for flight in [*self._flights]:
            self._settle(flight, KeyboardInterrupt())
        self._stopped.set()

    def _gone(self, flight: _JobFlight) -> bool:
        """Whether a process of this machine that runs a job has ended."""
        if flight.job is not None:
            return bool(flight.job.done())
        return not orphans.is_running_here(flight.job_id, self._context.run_dir)

    def _reap(self) -> None:
        """Collect the exit statuses of this machine's processes, which end a moment after their outcome."""
        end = time.monotonic() + STOP_SEC
        while any(not job.done() for job in self._own) and time.monotonic() < end:
            time.sleep(LOOK_SEC)


def _group_alike(arrived: Sequence[_JobFlight], options: SlurmOptions) -> list[list[_JobFlight]]:
    """Attempts to submit, together where they ask for the same."""
    groups: dict[str, list[_JobFlight]] = {}
    for flight in arrived:
        if flight.work is not None:
            groups.setdefault(repr(submission.sbatch_parameters(options, flight.work)), []).append(flight)
    return [*groups.values()]


def _has_job_ended(folder: Path) -> bool:
    document = job_files.read_job_file(folder, NODE)
    return document is not None and document["outcome"] is not None
