"""Where a run is executed. ``local``: a subprocess of this machine; ``ray``, ``slurm``: other machines.

An engine executes one attempt and knows nothing else: :mod:`.attempts` retries and stores, the same for
all of them, and neither suite nor verdict knows which one ran. :mod:`.fleet` keeps many attempts in flight
from one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .. import wire
from ..errors import BackendError
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..suite.suite import Resources
from .engines import ENGINES
from .launching import Sealed
from .leases import Alone
from .retry import Kind
from .runner import Outcome

if TYPE_CHECKING:
    from ..inputs.context import RunContext
    from .leases import Pool


@dataclass(frozen=True)
class Launch:
    """One attempt, ready to be executed.

    Attributes:
        request: its ``out_dir`` is ``folder``.
        folder: of the attempt in the run directory, new and empty.
        alone: what it is to have for itself, after it ran out of memory.
        sealed: the program as it was sealed.
        keep: patterns of what must be left in the folder beside record, request, logs and progress.
        present: descriptor that a program on this machine inherits (:func:`.store.hold_presence`).
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
    """

    outcome: Outcome
    command: Sequence[str]
    gpus: tuple[str, ...] = ()


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


def open_engine(context: RunContext, pool: Pool | None) -> Engine:
    """The engine that a session asks for; ``pool``: what runs on this machine hold while they run.

    Raises:
        BackendError: the package that it needs is not installed.
        ParityError: what it runs on cannot be reached.
    """
    entry = ENGINES[context.engine]
    module, _, class_name = entry.place.rpartition(".")
    try:
        make = getattr(import_module(f".{module}", __package__), class_name)
        engine: Engine = make(context, pool) if entry.is_here else make(context)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != entry.package:
            raise
        raise BackendError(
            f"--parity-engine={context.engine} needs {error.name}",
            hint=f'pip install "pytest-worldflux-parity[{context.engine}]"',
        ) from None
    return engine


def failed_execution(line: str, kind: Kind, gpus: Sequence[str] = ()) -> Execution:
    """An attempt whose program was not seen to end, and why, in one line."""
    return Execution(Outcome(None, line, None, 0.0, kind), (), tuple(gpus))


def import_job_attempts() -> Any:
    """Slurm's :mod:`.slurm.orphans`, of what its jobs did that outlived their session, whatever runs now."""
    return import_module(".slurm.orphans", __package__)
