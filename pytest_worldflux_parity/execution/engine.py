"""Where a run is executed. ``local``: a subprocess of this machine; ``ray``, ``slurm``: other machines.

An engine executes one attempt and knows nothing else: :mod:`.attempts` retries and stores, the same for
all of them, and neither suite nor verdict knows which one ran. pytest-xdist gives the local engine its
parallelism; for the others :mod:`.fleet` keeps many attempts in flight from one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from .. import wire
from ..errors import BackendError
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..suite.suite import Resources
from .launching import Sealed
from .leases import Alone
from .runner import Outcome

if TYPE_CHECKING:
    from ..inputs.context import RunContext

_CLASSES = {"local": "local.LocalEngine", "ray": "ray.engine.RayEngine", "slurm": "slurm.engine.SlurmEngine"}
_PACKAGES = {"ray": "ray", "slurm": "submitit"}


@dataclass(frozen=True)
class Launch:
    """One attempt, ready to be executed.

    Attributes:
        request: its ``out_dir`` is ``folder``.
        folder: of the attempt in the run directory, new and empty.
        alone: what it is to have for itself, after it ran out of memory.
        sealed: the program as it was sealed.
        keep: patterns of what must be left in the folder beside record, request, logs and progress.
        present: descriptor that a program on this machine inherits (:func:`.store.presence`).
    """

    request: wire.RunRequest
    folder: Path
    program: Backend | CommandProgram
    sealed: Sealed
    resources: Resources
    alone: Alone
    keep: tuple[str, ...]
    present: int


@dataclass(frozen=True)
class Execution:
    """How an attempt went.

    Attributes:
        gpus: names that tell the GPUs apart wherever the engine runs.
        alone: nothing else of ours ran where it could have taken the memory that was short.
    """

    outcome: Outcome
    command: Sequence[str]
    gpus: tuple[str, ...] = ()
    alone: bool = False


class Engine(Protocol):
    """What executes attempts. ``execute`` is called from as many threads at a time as ``width`` says."""

    name: str

    def width(self) -> int:
        """How many attempts may be in flight at a time; at least 1."""

    def execute(self, launch: Launch) -> Execution:
        """Execute an attempt; its files are in ``launch.folder`` when this returns.

        Raises:
            KeyboardInterrupt: :meth:`stop` was called.
            OSError: the folder cannot be written.
            ParityError: the engine itself can go on no more.
        """

    def adopt(self, folder: Path) -> Execution | None:
        """Wait for an attempt of an earlier session that has no line, where something still runs it.

        Returns:
            How it went, where what ran it has left word; None: its folder is all that is known.
        """

    def stop(self) -> None:
        """End all that is in flight, from another thread than those that wait for it."""

    def close(self) -> None:
        """Let go of what the engine holds."""


class Orphans(Protocol):
    """What tells of jobs that outlive their session, whatever the engine of the next one is."""

    def note(self, folder: Path, run_dir: Path, *, job: bool) -> None:
        """Write down whether a job is to run a new attempt.

        Raises:
            StoreError: it cannot be written.
        """

    def given(self, folder: Path, run_dir: Path) -> bool:
        """Whether a session of the run gave an attempt to a job; else no file in its folder is a job's."""

    def disowned(self, folder: Path, request_id: str) -> Execution | None:
        """How a job's attempt is to be counted that was asked for something else; None: it was not."""

    def settled(self, folder: Path, run_dir: Path) -> Execution | None:
        """How a job's attempt ended; None where it was no job's.

        Raises:
            ParityError: the job may still run it.
        """


def orphans() -> Orphans:
    """Slurm's: the one engine whose jobs go on without their session."""
    return cast(Orphans, import_module(".slurm.orphans", __package__))


def open_engine(context: RunContext) -> Engine:
    """The engine that a session asks for.

    Raises:
        BackendError: the package that it needs is not installed.
        ParityError: what it runs on cannot be reached.
    """
    name = context.engine
    try:
        module, _, class_name = _CLASSES[name].rpartition(".")
        engine: Engine = getattr(import_module(f".{module}", __package__), class_name)(context)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _PACKAGES.get(name):
            raise
        raise BackendError(
            f"--parity-engine={name} needs {error.name}",
            mend=f'pip install "pytest-worldflux-parity[{name}]"',
        ) from None
    return engine
