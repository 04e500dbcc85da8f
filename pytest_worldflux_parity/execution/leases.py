"""What a run holds while it runs: slots on GPUs, by file locks that all sessions of a user on a host share.

A slot is a lock on a file named by the GPU's UUID, not by the number of an xdist worker: a crashed
worker is replaced under a new number, and two pytest runs on one host know nothing of each other. The
program inherits the descriptor, so the slot is free only once both pytest and the program are gone; one
within walls goes with pytest and inherits nothing.

Whoever wants slots first takes the turnstile and keeps it until it has all of them, so nobody waits
for a slot while holding another one, and what asks for much is not overtaken for ever by what asks for
little. All sessions on a host are to name the same number of slots a GPU.
"""

from __future__ import annotations

import fcntl
import math
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ParityError, StoreError
from ..suite.suite import Resources
from . import devices
from .devices import Gpu

FOLDER_VARIABLE = "WORLDFLUX_PARITY_LOCKS"
RETRY_SEC = 0.05
# Of a GPU's memory XLA takes its share at once; some must stay for the driver and its libraries.
XLA_SHARE = 0.9

Alone = Literal["", "gpus", "machine"]


def count_slots(resources: Resources, memory_gb: float | None, slots: int) -> int:
    """How many of its slots a run takes of a GPU; more than there are where it never fits."""
    if resources.gpu_memory_gb is None or memory_gb is None:
        return 1
    if resources.gpu_memory_gb > memory_gb:
        return slots + 1
    return max(1, math.ceil(resources.gpu_memory_gb * slots / memory_gb))


@dataclass(frozen=True)
class Pool:
    """What there is to hold: nothing but the machine on a CPU."""

    folder: Path
    gpus: tuple[Gpu, ...] = ()
    slots: int = 1

    def slots_wanted(self, gpu: Gpu, resources: Resources) -> int:
        """How many slots of a GPU a run takes; more than there are where it never fits."""
        return count_slots(resources, gpu.memory_gb, self.slots)

    def check(self, resources: Resources, where: str) -> None:
        """Refuse what could never be had.

        Raises:
            ParityError: no such GPUs are there.
        """
        fitting = [g for g in self.gpus if self.slots_wanted(g, resources) <= self.slots]
        if self.gpus and len(fitting) < resources.gpus:
            memory = f" of {resources.gpu_memory_gb:g} GB" if resources.gpu_memory_gb else ""
            raise ParityError(
                f"{resources.gpus} GPU(s){memory} are asked for, and there are {len(fitting)}",
                where=where,
                hint="ask for less in `resources`, or run it on another machine",
            )


@dataclass(frozen=True)
class Lease:
    """What one run holds.

    Attributes:
        gpus: UUIDs. descriptors: what an open program has to inherit. environment: what it has to see.
    """

    gpus: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def make_pool(device: str, slots: int = 1, folder: str = "") -> Pool:
    """The pool of this machine.

    Args:
        folder: of the locks; by default one of the user's own in ``/tmp``, whatever TMPDIR says, since
            all sessions of a host have to meet there.
    """
    path = os.environ.get(FOLDER_VARIABLE) or folder or f"/tmp/worldflux-parity-{os.getuid()}"
    return Pool(Path(path), tuple(devices.gpus()) if device == "cuda" else (), slots)


@contextmanager
def hold_lease(pool: Pool, resources: Resources, alone: Alone = "") -> Iterator[Lease]:
    """Wait for what a run needs, and hold it for the block.

    Args:
        alone: ``gpus``: with all slots of its GPUs; ``machine``: with no other run of ours beside it.

    Raises:
        StoreError: the folder of the locks cannot be made, or is not the user's own.
    """
    with ExitStack() as held:
        folder = _own_folder(pool.folder)
        # What cleans /tmp leaves a folder alone that somebody holds.
        descriptors = [_take_lock(held, folder, fcntl.LOCK_SH)]
        with ExitStack() as turnstile:
            _take_lock(turnstile, folder / "turnstile", fcntl.LOCK_EX)
            kind = fcntl.LOCK_EX if alone == "machine" else fcntl.LOCK_SH
            descriptors.append(_take_lock(held, folder / "machine", kind))
            taken = _wait_for_gpus(held, pool, resources, alone == "gpus") if pool.gpus else {}
        yield Lease(
            gpus=tuple(gpu.uuid for gpu in taken),
            descriptors=(*descriptors, *(d for ds in taken.values() for d in ds)),
            environment=_lease_environment(pool, taken),
        )


def _own_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise StoreError(
            f"the folder of locks cannot be made: {error.strerror}",
            where=str(folder),
            hint=f"name another in the ini setting parity_lock_folder or in {FOLDER_VARIABLE}",
        ) from None
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or others:
        raise StoreError(
            "the folder of locks is not a folder that its user alone can write",
            where=str(folder),
            hint=f"chmod 700 it, or name another in parity_lock_folder or in {FOLDER_VARIABLE}",
        )
    return folder


def _wait_for_gpus(
    held: ExitStack, pool: Pool, resources: Resources, alone: bool
) -> dict[Gpu, tuple[int, ...]]:
    """GPU -> descriptors of the slots that a run has of it; the emptiest GPUs are taken."""
    slots = {
        gpu: [_open_lock(held, pool.folder / name) for name in _slots_of(gpu, pool)] for gpu in pool.gpus
    }
    wanted = {g: pool.slots if alone else pool.slots_wanted(g, resources) for g in pool.gpus}
    while True:
        free = {gpu: [d for d in ds if try_lock(d, fcntl.LOCK_EX)] for gpu, ds in slots.items()}
        fitting = [g for g in pool.gpus if len(free[g]) >= wanted[g]]
        chosen = sorted(fitting, key=lambda g: -len(free[g]))[: resources.gpus]
        enough = len(chosen) == resources.gpus
        taken = {g: tuple(free[g][: wanted[g]]) for g in chosen if enough}
        kept = {d for descriptors in taken.values() for d in descriptors}
        for descriptor in (d for descriptors in free.values() for d in descriptors if d not in kept):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        if enough:
            return taken
        # Nobody else can enter, so what becomes free stays so.
        time.sleep(RETRY_SEC)


def _slots_of(gpu: Gpu, pool: Pool) -> list[str]:
    return [f"{gpu.uuid.replace('/', '_')}.{slot}" for slot in range(pool.slots)]


def _lease_environment(pool: Pool, taken: Mapping[Gpu, tuple[int, ...]]) -> dict[str, str]:
    if not taken:
        return {}
    share = min(len(descriptors) for descriptors in taken.values()) / pool.slots
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in taken),
        **limit_memory(share, os.environ),
    }


def limit_memory(share: float, env: Mapping[str, str]) -> dict[str, str]:
    """XLA takes its share of a GPU's memory at once: what it may have where several runs are on one."""
    if share >= 1 or "XLA_PYTHON_CLIENT_MEM_FRACTION" in env:
        return {}
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{XLA_SHARE * share:.3f}"}


def _take_lock(stack: ExitStack, path: Path, kind: int) -> int:
    descriptor = _open_lock(stack, path)
    fcntl.flock(descriptor, kind)
    return descriptor


def _open_lock(stack: ExitStack, path: Path) -> int:
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise StoreError(f"cannot be locked: {error.strerror}", where=str(path)) from None
    stack.callback(os.close, descriptor)
    return descriptor


def try_lock(descriptor: int, kind: int) -> bool:
    """Take a lock on an open file (``fcntl.LOCK_EX`` or ``LOCK_SH``) if nobody holds one that forbids it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
