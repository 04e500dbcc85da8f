"""How a program is started, asked where it is to run: on this machine or on a node of a cluster."""

from __future__ import annotations

import os
from pathlib import Path

from .. import wire
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from . import runner


def command_of(
    program: Backend | CommandProgram, request: wire.RunRequest, root: Path, shim: Path
) -> tuple[list[str], dict[str, str], Path | None]:
    """Command, environment and, where it is not the folder of the attempt, the folder that it starts in.

    Args:
        request: ``out_dir`` is where the program runs, and so are the paths of its source.
        root: the project there. shim: a folder into which ``wire`` is installed for the program.

    Raises:
        BackendError: the program's own environment is absent there.
        SuiteError: a placeholder of a manifest's command has no value.
    """
    if isinstance(program, CommandProgram):
        base = runner.environment(os.environ, [runner.install_wire(shim)], request.threads, True)
        return (
            program.command(request, root),
            {**base, **program.environment_of(request, root)},
            program.working_folder(request, root),
        )
    command = program.command(program.interpreter(root), Path(request.out_dir) / "request.json")
    return command, runner.backend_environment(program, shim, request.threads), None
