"""Runs an attempt as a subprocess of this machine, with a lease on what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import runner
from .engine import Execution, Launch
from .launching import started
from .leases import Lease, Pool, leased, pool
from .store import set_record_aside

if TYPE_CHECKING:
    from ..inputs.context import RunContext


class LocalEngine:
    """This machine. One attempt a process: pytest-xdist brings the others."""

    name = "local"

    def __init__(self, context: RunContext, held: Pool | None = None) -> None:
        """``held``: what runs hold while they run; None: the machine's own, with one slot a GPU."""
        self._context = context
        self._pool = held or pool(context.device)

    def width(self) -> int:
        return 1

    def execute(self, launch: Launch) -> Execution:
        """Wait for a lease, and run the program under it.

        Raises:
            BackendError: the program's copy is not what was sealed.
            OSError: the folder cannot be written.
            StoreError: the folder of the locks, or of the program's copy, cannot be used.
            SuiteError: a placeholder of a manifest's command has no value.
        """
        context, request = self._context, launch.request
        with leased(self._pool, launch.resources, launch.alone) as lease:
            with started(launch.program, request, context.root, launch.sealed) as start:
                held = [launch.present, *lease.descriptors]
                env = {**start.env, **lease.environment}
                within = (start.room, start.isolation)
                outcome = runner.run(request, start.command, env, start.cwd, held, *within)
                if outcome.success:
                    start.ended_well()
            if not outcome.success:
                set_record_aside(launch.folder)
            # Asked for while the lease still stands.
            return Execution(outcome, start.command, lease.gpus, _alone(outcome, lease))

    def adopt(self, folder: Path) -> None:
        """Nothing of an earlier session runs: the lock on the run directory has waited for its end."""

    def stop(self) -> None:
        runner.end_running()

    def close(self) -> None:
        pass


def _alone(outcome: runner.Outcome, lease: Lease) -> bool:
    return lease.gpus_alone if outcome.kind == "out_of_gpu_memory" else lease.machine_alone
