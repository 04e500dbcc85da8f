"""Why an attempt failed, and whether the run is tried again.

======================  ==========================================================  ====================
kind (``error_kind``)   how it is told                                              tried again
======================  ==========================================================  ====================
``failed``              any other exit status, or no valid record                   ``retries`` times
``deadline``            ended by us when its deadline passed                        ``retries`` times
``killed``              died of a signal by which one process ends another, or its  ``retries`` times
                        job was cancelled
``out_of_gpu_memory``   it failed, and its log has an allocator's words for a GPU   once, alone on its
                                                                                    GPUs
``out_of_memory``       it failed with a MemoryError or the like in its log, or     once, alone on the
                        died of SIGKILL while the kernel counted an OOM kill        machine
``lost``                the process that ran it was killed, so nobody saw its end   max(1, ``retries``)
                                                                                    times in a session
``node_lost``           its engine says that the node went down, or lacked what     as ``lost``
                        any program needs there
``preempted``           its engine says that it took the node back                  as ``lost``
``disk_full``           as ``failed``, and our own look at the disk found no room   ``retries`` times in a
                                                                                    session
``leak``                its record holds a password, a token or a key               never
======================  ==========================================================  ====================

``retries`` is the suite's, and counts over all
sessions of a run, by its log; a full disk uses up none. The kernel's count of OOM kills is that of the
control group where it has one, else of the machine, so that it can be another process's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

Kind = Literal[
    "failed", "deadline", "killed", "out_of_gpu_memory", "out_of_memory",
    "lost", "node_lost", "preempted", "disk_full", "leak",
]  # fmt: skip
How = Literal["again", "alone", "never"]
KILLED: Kind = "killed"
LOST: Kind = "lost"
NODE_LOST: Kind = "node_lost"
PREEMPTED: Kind = "preempted"
DISK_FULL: Kind = "disk_full"
LEAK: Kind = "leak"
# Of these nobody saw an end of the program.
UNSEEN: tuple[Kind, ...] = (LOST, NODE_LOST, PREEMPTED)
_OF_MEMORY: tuple[Kind, ...] = ("out_of_gpu_memory", "out_of_memory")

# Of a program that dies of these somebody else made an end; SIGSEGV and its like are its own.
# SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM, SIGXCPU: numbers, since the core knows no system.
_ENDING_SIGNALS = (1, 2, 3, 9, 15, 24)
_SIGKILL = 9
# As the programs and their allocators write it: torch, CUDA, cuBLAS, XLA.
_GPU_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED: .*[Oo]ut of memory"
)
_MEMORY = re.compile(
    r"^(\w+\.)*(_Array)?MemoryError\b|std::bad_alloc|Cannot allocate memory|can't allocate memory"
    r"|RESOURCE_EXHAUSTED: .*[Oo]ut of memory",
    re.MULTILINE,
)


def failure_kind(return_code: int | None, log: str, device: str, oom_killed: bool) -> Kind:
    """Why a program failed that was not ended at its deadline.

    Args:
        return_code: as :mod:`subprocess` gives it; None where it was not started.
        log: the end of what it wrote.
        oom_killed: whether the kernel ended processes for their memory meanwhile.
    """
    if return_code is None or return_code == 0:
        return "failed"
    # A shell gives 128 + n for what died of signal n.
    number = -return_code if return_code < 0 else return_code - 128
    if number == _SIGKILL and oom_killed:
        return "out_of_memory"
    if device == "cuda" and _GPU_MEMORY.search(log):
        return "out_of_gpu_memory"
    if _MEMORY.search(log):
        return "out_of_memory"
    return "killed" if number in _ENDING_SIGNALS else "failed"


def next_try(earlier: Sequence[Kind], now: Sequence[Kind], retries: int) -> How:
    """Whether a run is tried again after these failures, of which the last is that of the last attempt.

    Args:
        earlier: those of other sessions. now: those of this one.
    """
    every = [*earlier, *now]
    last = every[-1]
    if last == LEAK:
        return "never"
    if last in _OF_MEMORY:
        return "never" if last in every[:-1] else "alone"
    if last in UNSEEN:
        # A session that is lost again and again comes to its end all the same.
        return "again" if sum(kind in UNSEEN for kind in now) <= max(1, retries) else "never"
    if last == DISK_FULL:
        return "again" if now.count(DISK_FULL) <= retries else "never"
    failed = sum(kind not in (*UNSEEN, *_OF_MEMORY, DISK_FULL) for kind in every)
    return "again" if failed <= retries else "never"


def is_excused(kind: object, isolation: object) -> bool:
    """Whether a program cannot have caused that its attempt was cut off.

    Its engine says so, or walls kept it from the process that ran it.

    Args:
        kind, isolation: as its line has them.
    """
    walled = isinstance(isolation, Mapping) and isolation.get("by") not in (None, "none")
    return kind in (NODE_LOST, PREEMPTED) or (kind == LOST and walled)
