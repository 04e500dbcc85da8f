"""What Slurm says of jobs, by its own commands.

``squeue`` knows every job that waits or runs, also one that is queued anew after it was preempted or its node
failed (of which ``sacct`` still says PREEMPTED or NODE_FAIL); it forgets an ended job after some minutes
(MinJobAge). ``sacct`` remembers it, where the cluster keeps accounts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ...errors import ParityError
from ..devices import ask_command
from ..retry import KILLED, LOST, NODE_LOST, PREEMPTED, Kind

SLURM_COMMANDS = ("sbatch", "srun", "squeue", "scancel")
ASK_SEC = 120.0
# One command line takes some hundreds of numbers.
AT_ONCE = 500
FORGOTTEN = ""

# States that a job ends in (man squeue, JOB STATE CODES). What is queued anew is PENDING or REQUEUED.
ENDED = frozenset(
    [
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "TIMEOUT", "REVOKED", FORGOTTEN,
    ]
)  # fmt: skip
_KINDS: Mapping[str, Kind] = {
    "OUT_OF_MEMORY": "out_of_memory",
    "TIMEOUT": "deadline",
    "DEADLINE": "deadline",
    "CANCELLED": KILLED,
    "PREEMPTED": PREEMPTED,
    "FAILED": "failed",
    "NODE_FAIL": NODE_LOST,
    "BOOT_FAIL": NODE_LOST,
}
_MENDS = {
    "OUT_OF_MEMORY": "raise mem in parity_slurm",
    "TIMEOUT": "raise deadline_sec in the suite, or name a partition with a longer limit in parity_slurm",
}


class Unreachable(Exception):
    """Slurm could not be asked; it can be asked again later."""


def check_commands() -> None:
    """Make sure that this is a machine of a cluster.

    Raises:
        ParityError: a command of Slurm is not on the PATH.
    """
    missing = [name for name in SLURM_COMMANDS if shutil.which(name) is None]
    if missing:
        raise ParityError(
            f"--parity-engine=slurm: {', '.join(missing)} not found on the PATH",
            hint="run it on a login node of the cluster, or try it on one machine with the ini setting "
            "parity_slurm_cluster = local",
        )


def ask_states(jobs: Collection[str]) -> dict[str, str]:
    """Job -> its state in capitals; :data:`FORGOTTEN` of a job that Slurm does not know any more.

    Raises:
        Unreachable: Slurm does not answer, which says nothing of the jobs.
    """
    found = dict(_ask_squeue(jobs))
    rest = [job for job in jobs if job not in found]
    if rest:
        told = dict(_ask_sacct(rest))
        # What squeue does not know is over, whatever a record says that was never closed.
        found.update({job: told[job] if told.get(job) in ENDED else FORGOTTEN for job in rest})
    return {job: found[job] for job in jobs}


def _ask_squeue(jobs: Iterable[str]) -> Iterator[tuple[str, str]]:
    for numbers in _job_numbers(jobs):
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={numbers}"]
        done = _ask_slurm(command)
        # Of a single job that it has forgotten it says so, of one among several it says nothing.
        if done.returncode and "Invalid job id" not in done.stderr:
            raise Unreachable(done.stderr.strip())
        yield from _state_rows(done.stdout)


def _ask_sacct(jobs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Nothing where the cluster keeps no accounts."""
    if shutil.which("sacct") is None:
        return
    for numbers in _job_numbers(jobs):
        columns = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State"]
        yield from _state_rows(_ask_slurm(["sacct", *columns, f"--jobs={numbers}"]).stdout)


def _job_numbers(jobs: Iterable[str]) -> Iterator[str]:
    """Numbers of jobs and of whole arrays, comma separated."""
    numbers = sorted({job.partition("_")[0] for job in jobs})
    for first in range(0, len(numbers), AT_ONCE):
        yield ",".join(numbers[first : first + AT_ONCE])


def _state_rows(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        job, bar, state = line.strip().partition("|")
        # "CANCELLED by 1000"
        if bar and re.fullmatch(r"\d+(_\d+)?", job) and state.split():
            yield job, state.split()[0].upper()


def _ask_slurm(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        # A second Ctrl-C must not end the command that cancels.
        return ask_command(command, ASK_SEC)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(str(error)) from None


def cancel_jobs(jobs: Sequence[str]) -> str:
    """Cancel jobs, also those that still wait; why some could not be, or nothing."""
    reasons = []
    for first in range(0, len(jobs), AT_ONCE):
        try:
            done = _ask_slurm(["scancel", *jobs[first : first + AT_ONCE]])
            # It complains of jobs that have ended, and cancels the others.
            said = [x for x in done.stderr.splitlines() if "Invalid job id" not in x and "already" not in x]
            reasons += said if done.returncode else []
        except Unreachable as error:
            reasons.append(str(error))
    return " ".join(reasons)


def describe_end(state: str) -> tuple[str, Kind, str]:
    """(what happened, kind of failure, mend) of a job that ended without a word of its own."""
    if state == FORGOTTEN:
        return "the job is gone, and has left no outcome", LOST, ""
    return f"Slurm ended the job: {state}", _KINDS.get(state, LOST), _MENDS.get(state, "")
