"""A Slurm of one machine, for tests: what its commands answer, without a cluster behind them.

``install`` writes the commands into a folder for the PATH. They keep the states of jobs in files, start each
task of a job as a process group of its own, and end it by what its processes carry in their environment, as
Slurm does by control groups. Run as a file, this is the program behind each of the commands.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "FAKE_SLURM"
COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")


class FakeSlurm:
    """The cluster whose files are in ``state``."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def jobs(self) -> dict[str, str]:
        """Job -> state, in the order of submission."""
        files = sorted(self.state.glob("*.state"), key=lambda p: [int(n) for n in p.stem.split("_")])
        return {p.stem: p.read_text() for p in files}

    def calls(self, command: str) -> list[list[str]]:
        """The arguments of every call of a command."""
        path = self.state / f"{command}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def say(self, job: str, state: str) -> None:
        partial = self.state / f".{job}.{os.getpid()}"
        partial.write_text(state)
        partial.replace(self.state / f"{job}.state")

    def end(self, job: str, state: str) -> None:
        """End a job as the cluster does: state first, so that nobody sees its processes gone without."""
        self.say(job, state)
        signal_job(job, signal.SIGKILL)

    def start_again(self, job: str) -> None:
        """Queue a job anew, and start it."""
        self.say(job, "PENDING")
        signal_job(job, signal.SIGKILL)
        self.start(job)

    def start(self, job: str) -> None:
        number, _, index = job.partition("_")
        hidden = ("SLURM_", "SUBMITIT_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        env |= {VARIABLE: str(self.state), "SLURM_JOB_ID": number, "FAKE_JOB": job, "SLURM_PROCID": "0"}
        if index:
            env |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
        detached([sys.executable, "-S", __file__, "start", job], env)


def detached(command: list[str], env: dict[str, str]) -> None:
    """Start what outlives the command that starts it, and holds none of its pipes."""
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    os.posix_spawn(command[0], command, env, file_actions=null, setsid=True)


def signal_job(job: str, number: int) -> None:
    """Signal every process of a job."""
    signal_marked(f"FAKE_JOB={job}", number)


def signal_marked(variable: str, number: int) -> None:
    """Signal every process that began with a variable (``NAME=value``) in its environment."""
    mark = variable.encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), number)


def install(folder: Path) -> FakeSlurm:
    """Write the commands into ``folder / "bin"``."""
    state, commands = folder / "state", folder / "bin"
    state.mkdir(parents=True)
    commands.mkdir()
    for name in COMMANDS:
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" {name} "$@"\n')
        path.chmod(0o755)
    return FakeSlurm(state)


def sbatch(cluster: FakeSlurm, arguments: list[str]) -> str:
    script = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, re.MULTILINE))
    if options.get("partition") == "nowhere":
        print("sbatch: error: invalid partition specified: nowhere", file=sys.stderr)
        sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified")
    busy = cluster.state / "busy"
    if busy.exists():
        busy.unlink()
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    number = 1 + max((int(job.partition("_")[0]) for job in cluster.jobs()), default=100)
    (cluster.state / f"{number}.sh").write_text(script)
    tasks = re.match(r"0-(\d+)%", options.get("array", ""))
    jobs = [f"{number}_{i}" for i in range(int(tasks[1]) + 1)] if tasks else [str(number)]
    for job in jobs:
        cluster.say(job, "PENDING")
    for job in jobs:
        cluster.start(job)
    return f"Submitted batch job {number}"


def start(cluster: FakeSlurm, arguments: list[str]) -> str:
    """What Slurm does on the node, in the process group of the job."""
    job = arguments[0]
    cluster.say(job, "RUNNING")
    script = cluster.state / f"{job.partition('_')[0]}.sh"
    files = dict(re.findall(r"^#SBATCH --(output|error)=(.*)$", script.read_text(), re.MULTILINE))
    with open(named(files["output"]), "ab") as out, open(named(files["error"]), "ab") as error:
        done = subprocess.run(["bash", str(script)], stdout=out, stderr=error, check=False)
    if cluster.jobs()[job] == "RUNNING":
        cluster.say(job, "FAILED" if done.returncode else "COMPLETED")
    return ""


def srun(cluster: FakeSlurm, arguments: list[str]) -> str:
    files = {}
    while arguments[0].startswith("--"):
        name, equals, _ = arguments.pop(0).partition("=")
        if name in ("--output", "--error") and not equals:
            files[name] = arguments.pop(0)
    for name, number in (("--output", 1), ("--error", 2)):
        os.dup2(os.open(named(files[name]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), number)
    os.execvp(arguments[0], arguments)


def named(pattern: str) -> str:
    """The name of a file of this job."""
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_PROCID")
    values = dict(zip(("%A", "%a", "%j", "%t"), names, strict=True))
    return re.sub("%[Aajt]", lambda found: os.environ[values[found[0]]], pattern)


def squeue(cluster: FakeSlurm, arguments: list[str]) -> str:
    if (cluster.state / "down").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    forgotten = cluster.state / "forgotten"
    gone = forgotten.read_text().split() if forgotten.exists() else []
    return listed(cluster, arguments, [job for job in cluster.jobs() if job not in gone], complain=True)


def sacct(cluster: FakeSlurm, arguments: list[str]) -> str:
    return listed(cluster, arguments, list(cluster.jobs()), complain=False)


def listed(cluster: FakeSlurm, arguments: list[str], known: list[str], *, complain: bool) -> str:
    numbers = arguments[-1].removeprefix("--jobs=").split(",")
    asked = [job for job in known if job.partition("_")[0] in numbers]
    rows = [f"{job}|{cluster.jobs()[job]}" for job in asked]
    if complain and not rows and len(numbers) == 1:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    return "\n".join(rows)


def scancel(cluster: FakeSlurm, arguments: list[str]) -> str:
    for job in arguments:
        cluster.say(job, "CANCELLED by 1000")
        signal_job(job, signal.SIGTERM)
    time.sleep(0.2)
    for job in arguments:
        signal_job(job, signal.SIGKILL)
    return ""


def scontrol(cluster: FakeSlurm, arguments: list[str]) -> str:
    """``scontrol requeue JOB``: by another process, since this one belongs to the job that it ends."""
    job = arguments[1]
    cluster.say(job, "PENDING")
    env = {k: v for k, v in os.environ.items() if k != "FAKE_JOB"}
    detached([sys.executable, "-S", __file__, "again", job], env)
    return ""


def again(cluster: FakeSlurm, arguments: list[str]) -> str:
    time.sleep(0.2)
    cluster.start_again(arguments[0])
    return ""


if __name__ == "__main__":
    fake = FakeSlurm(Path(os.environ[VARIABLE]))
    called = sys.argv[1]
    with open(fake.state / f"{called}.calls", "a") as calls:
        calls.write(json.dumps(sys.argv[2:]) + "\n")
    answer = globals()[called](fake, sys.argv[2:])
    if answer:
        print(answer)
