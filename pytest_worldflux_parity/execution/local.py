"""Runs an attempt as a subprocess of this machine, with a lease on what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import runner
from .engine import Execution, Launch
from .launching import start_program
from .leases import Pool, hold_lease, make_pool
from .store import set_record_aside

if TYPE_CHECKING:
    from ..inputs.context import RunContext


class LocalEngine:
    """This machine; a session says how many attempts it starts at a time."""

    name = "local"

    def __init__(
        self, context: RunContext, held: Pool | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        """``held``: what runs hold while they run; None: the machine's own, with one slot a GPU.

        ``variables``: more of the environment of programs, where one is tried alone.
        """
        self._context = context
        self._variables = variables or {}
        self._pool = held or make_pool(context.device)

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
        with hold_lease(self._pool, launch.resources, launch.alone) as lease:
            with start_program(launch.program, request, context.root, launch.sealed) as start:
                start = replace(start, env={**start.env, **lease.environment, **self._variables})
                outcome = runner.run(request, start, [launch.present, *lease.descriptors])
            if not outcome.success:
                set_record_aside(launch.folder)
            return Execution(outcome, start.command, lease.gpus)

    def adopt(self, folder: Path) -> None:
        """Nothing of an earlier session runs: the lock on the run directory has waited for its end."""

    def stop(self) -> None:
        runner.end_running()

    def close(self) -> None:
        pass
