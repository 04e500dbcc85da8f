"""From attempts to jobs in the queue: the options of a submission script, and what sbatch says to it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import submitit

from ...errors import ParityError
from .job import Work
from .options import SETTING, SlurmOptions

# sbatch gives up although the controller of the cluster is only busy, or being restarted.
_BUSY = ("Socket timed out", "Unable to contact slurm controller", "Zero Bytes were transmitted")
TRIES, PAUSE_SEC = 3, 10.0
# Of what a shell may have set for sbatch, what says whose a job is and where it runs. All else would override
# the submission script.
_DEFAULTS = ("ACCOUNT", "PARTITION", "QOS", "CONSTRAINT", "RESERVATION", "WCKEY")
_OF_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS", "SUBMITIT_PREEMPT_SIGNAL")
_HIDDEN = ("SBATCH_", "SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")


def sbatch_parameters(options: SlurmOptions, work: Work) -> dict[str, Any]:
    """What submitit is to ask sbatch for. What the suite decides comes last and cannot be overridden.

    Args:
        work: ``alone`` on the machine: it asks for a whole node with all of its memory.
    """
    request = work.request
    asked: dict[str, Any] = {"job_name": f"parity-{request.run_id}", "wckey": None, **options.parameters}
    if work.alone == "machine":
        asked = {k: v for k, v in asked.items() if not k.startswith("mem")}
        asked |= {"mem": "0", "exclusive": True}
    if request.device == "cuda":
        asked["gpus_per_node"] = options.gpus(work.resources)
    return asked | {
        "time": options.minutes(request.deadline_sec),
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": request.threads,
        # Since Slurm 22.05 srun does not take it over from sbatch, and would bind the task to one core.
        "srun_args": [f"--cpus-per-task={request.threads}"],
        "additional_parameters": {**options.extra, "requeue" if options.requeues else "no-requeue": True},
    }


def submit_jobs(folder: Path, options: SlurmOptions, works: Sequence[Work]) -> list[submitit.Job[str]]:
    """Submit attempts that ask for the same: several as one job array.

    Args:
        folder: where submitit keeps its files.

    Raises:
        ParityError: sbatch refuses them; none of them will run.
    """
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            with _plain_environment(options):
                jobs: list[submitit.Job[str]] = _make_executor(folder, options, works[0]).submit_array(works)
                return jobs
        # A submission that fails is a RuntimeError of submitit; without a program there is an OSError.
        except (RuntimeError, ValueError, OSError) as error:
            if last or not any(words in str(error) for words in _BUSY):
                raise _refusal_of(error) from None
        time.sleep(PAUSE_SEC)
    raise AssertionError("the last try returns or raises")


def _make_executor(folder: Path, options: SlurmOptions, work: Work) -> submitit.Executor:
    executor: submitit.Executor
    if options.cluster == "local":
        executor = submitit.LocalExecutor(folder, max_num_timeout=options.requeues)
        executor.update_parameters(
            timeout_min=options.minutes(work.request.deadline_sec),
            signal_delay_s=options.parameters["signal_delay_s"],
        )
    else:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=options.requeues)
        executor.update_parameters(**sbatch_parameters(options, work))
    return executor


def _refusal_of(error: Exception) -> ParityError:
    said = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in str(error).splitlines()]
    reason = "; ".join(line.strip() for line in said if line.strip()) or type(error).__name__
    hint = f"change {SETTING} in the ini file"
    if "limit" in reason.lower() and "submit" in reason.lower():
        hint = f"lower {SETTING}_jobs in the ini file, or {hint}"
    script = getattr(error.__cause__, "cmd", None)
    if script:
        hint += f"; then try it: sbatch --test-only {script[-1]}"
    return ParityError(f"sbatch refuses the job: {reason}", hint=hint)


@contextlib.contextmanager
def _plain_environment(options: SlurmOptions) -> Iterator[None]:
    """Hide what a job that this session runs in, or the user's shell, would say to sbatch over our heads."""
    said = {*options.parameters, *options.extra}
    kept = {f"SBATCH_{name}" for name in _DEFAULTS if name.lower() not in said}
    hidden = {
        name: os.environ.pop(name)
        for name in [*os.environ]
        if name.startswith(_HIDDEN) and not name.startswith(_OF_CLUSTER) and name not in kept
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def last_log_line(folder: Path, job_id: str) -> str:
    """The last line that submitit's log of a job has, where there is one."""
    for name in (f"{job_id}_0_log.err", f"{job_id}_0_log.out"):
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text(encoding="utf-8", errors="replace")[-4000:].split("\n")
            if words := [line.strip() for line in lines if line.strip()]:
                return words[-1][:300]
    return ""
