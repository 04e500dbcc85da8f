"""What a cluster wants of a job, as the ini settings ``parity_slurm*`` say it.

``parity_slurm`` holds one ``key=value`` a line. Keys are submitit's names of sbatch options, ``sbatch.NAME``
for options that submitit has no name for, and those of :data:`OWN`. What the suite decides (time, CPUs,
GPUs) cannot be said here: a setting that nobody sees in a report must not change what a run is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import ParityError
from ...suite.suite import Resources

SETTING = "parity_slurm"
CLUSTERS = ("slurm", "local")
Cluster = Literal["slurm", "local"]

# Slurm sends a job's signal up to a minute early (man sbatch, --signal); the rest is for what a node does
# before and after the program: submitit waits up to a minute for its files, an interpreter starts.
EARLY_SEC, AROUND_SEC = 60, 150

TEXT_KEYS = frozenset(
    [
        "account", "comment", "constraint", "dependency", "exclude", "exclusive", "gres", "job_name",
        "mail_type", "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist", "partition",
        "qos", "wckey",
    ]
)  # fmt: skip
WHOLE_KEYS = frozenset(["array_parallelism", "signal_delay_s"])
# Shell lines of the submission script before and after the run; each may stand more than once.
LINE_KEYS = frozenset(["setup", "teardown"])
OUR_KEYS = frozenset(["gpu_type", "requeues", "poll_sec", "collect_sec"])
# submitit's names for what is not to be said here, and who says it.
DECIDED = {
    "time": "deadline_sec of the suite",
    "cpus_per_task": "threads of the suite",
    "gpus_per_node": "resources of the suite (of which kind: gpu_type)",
    "gpus_per_task": "resources of the suite (of which kind: gpu_type)",
    "num_gpus": "resources of the suite (of which kind: gpu_type)",
    "cpus_per_gpu": "threads of the suite",
    "nodes": "the plugin: a run is one task on one node",
    "ntasks_per_node": "the plugin: a run is one task on one node",
    "stderr_to_stdout": "the plugin",
    "srun_args": "the plugin",
    "use_srun": "the plugin",
    "additional_parameters": "lines sbatch.NAME=value",
}
# Long options of sbatch that change where and when a job runs, and neither what it is given nor how it is
# followed.
SBATCH = frozenset(
    [
        "acctg-freq", "batch", "bb", "bbf", "begin", "cluster-constraint", "container", "container-id",
        "contiguous", "core-spec", "cores-per-socket", "cpu-freq", "deadline", "delay-boot",
        "distribution", "export", "extra", "extra-node-info", "gpu-bind", "gpu-freq", "gres-flags", "hint",
        "hold", "ignore-pbs", "kill-on-invalid-dep", "licenses", "mcs-label", "mem-bind", "mincpus",
        "network", "nice", "nodefile", "oom-kill-step", "overcommit", "oversubscribe", "power", "prefer",
        "priority", "profile", "propagate", "reboot", "reservation", "segment", "sockets-per-node",
        "spread-job", "stepmgr", "switches", "thread-spec", "threads-per-core", "tmp", "tres-bind",
        "use-min-nodes", "wait-all-nodes",
    ]
)  # fmt: skip


@dataclass(frozen=True)
class SlurmOptions:
    """The settings, checked.

    Attributes:
        cluster: ``local``: submitit's own executor, which starts processes of this machine.
        jobs: how many may be in the queue at a time.
        parameters: submitit name -> value. extra: long option of sbatch -> value, True for a flag.
        gpu_type: as ``--gpus-per-node=<type>:<n>`` takes it.
        requeues: how often a job that was preempted or whose node failed may start anew.
        poll_sec: how often Slurm is asked for the states of jobs.
        collect_sec: how long the next attempt is waited for that goes out in the same job array.
    """

    cluster: Cluster = "slurm"
    jobs: int = 200
    parameters: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, str | bool] = field(default_factory=dict)
    gpu_type: str = ""
    requeues: int = 5
    poll_sec: float = 30.0
    collect_sec: float = 1.0

    def minutes(self, deadline_sec: float) -> int:
        """The time limit of a job: longer than our own deadline, so that ours ends the run and says so."""
        around: int = self.parameters["signal_delay_s"] + EARLY_SEC + AROUND_SEC
        return math.ceil((deadline_sec + around) / 60)

    def gpus(self, resources: Resources) -> int | str:
        """The value of ``--gpus-per-node``."""
        return f"{self.gpu_type}:{resources.gpus}" if self.gpu_type else resources.gpus


def parse_options(cluster: str, jobs: str, lines: Iterable[str]) -> SlurmOptions:
    """The settings ``parity_slurm_cluster``, ``parity_slurm_jobs`` and ``parity_slurm``.

    Raises:
        ParityError: one of them is not what it may be; the text has the valid values and the nearest.
    """
    if cluster not in CLUSTERS:
        raise ParityError(f"{SETTING}_cluster is {cluster!r}", valid=CLUSTERS, got=cluster)
    said = _parse_lines(lines)
    own = {key: said.pop(key) for key in OUR_KEYS & said.keys()}
    extra = {key.removeprefix("sbatch."): said.pop(key) for key in [*said] if key.startswith("sbatch.")}
    parameters: dict[str, Any] = {"signal_delay_s": 90, "array_parallelism": 256}
    for key, value in said.items():
        parameters[key] = _parse_whole(key, value) if key in WHOLE_KEYS else value
    if parameters.get("exclusive") == "true":
        parameters["exclusive"] = True
    return SlurmOptions(
        cluster="local" if cluster == "local" else "slurm",
        jobs=_parse_whole(f"{SETTING}_jobs", jobs),
        parameters=parameters,
        extra=extra,
        gpu_type=str(own.get("gpu_type", "")),
        requeues=_parse_whole("requeues", own.get("requeues", "5"), least=0),
        # A process of this machine is seen at once, and nobody is asked.
        poll_sec=_parse_seconds("poll_sec", own.get("poll_sec", "1" if cluster == "local" else "30")),
        collect_sec=_parse_seconds("collect_sec", own.get("collect_sec", "0" if cluster == "local" else "1")),
    )


def _parse_lines(lines: Iterable[str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for line in lines:
        key, equals, value = (part.strip() for part in line.partition("="))
        _check_key(key)
        if not (equals and value) and not key.startswith("sbatch."):
            raise ParityError(f"{key!r} has no value", where=SETTING, hint=f"write {key}=value")
        if "\n" in value or "\r" in value:
            raise ParityError(f"the value of {key} has more than one line", where=SETTING)
        if key in LINE_KEYS:
            said.setdefault(key, []).append(value)
        elif key in said:
            raise ParityError(f"{key!r} stands twice", where=SETTING)
        else:
            said[key] = _parse_value(key, value)
    return said


def _check_key(key: str) -> None:
    if key in DECIDED:
        raise ParityError(f"{key!r} is said by {DECIDED[key]}", where=SETTING, hint="leave it out")
    prefix, dot, name = key.partition(".")
    if prefix == "sbatch" and dot:
        if name in SBATCH:
            return
        if (known := name.replace("-", "_")) in TEXT_KEYS | WHOLE_KEYS:
            raise ParityError(f"{key!r} has a name of its own", where=SETTING, hint=f"write {known}=value")
        raise ParityError(f"unknown option {name!r} of sbatch", where=SETTING, valid=sorted(SBATCH), got=name)
    valid = sorted(TEXT_KEYS | WHOLE_KEYS | LINE_KEYS | OUR_KEYS)
    if key not in valid:
        raise ParityError(f"unknown key {key!r}", where=SETTING, valid=[*valid, "sbatch.NAME"], got=key)


def _parse_value(key: str, value: str) -> str | bool:
    if key == "gres" and any(re.match(r"(gres[:/])?gpu\b", part.strip()) for part in value.split(",")):
        raise ParityError(
            "the number of GPUs is said by resources of the suite",
            where=f"{SETTING}: gres",
            hint="gpu_type=...",
        )
    return True if key.startswith("sbatch.") and value in ("", "true") else value


def _parse_whole(name: str, text: str, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and least <= int(text) <= 65535):
        raise ParityError(
            f"{name} is {text!r}: a whole number from {least} to 65535 is wanted", where=SETTING
        )
    return int(text)


def _parse_seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 3600:
        raise ParityError(f"{name} is {text!r}: seconds from 0 to 3600 are wanted", where=SETTING)
    return value
