"""``component-match``: compare a backend's components with what the official code computed."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..errors import printable_lines
from ..execution import copies, isolation, launching, match_program
from ..execution.runner import log_tail
from ..inputs import matches
from ..judgement import assemble
from ..reporting import component_report
from ..reporting.components import match_lines
from .options import BACKENDS, LOCK, argument, command, project_of


@command(
    "component-match",
    argument("backend", help="name of the backend's folder, or its adapter id"),
    argument("--golden", type=Path, metavar="DIR", help="the golden folder (default: the backend's)"),
    argument(
        "--output", type=Path, metavar="DIR",
        help="where the program writes and the report stands (default: reports/parity/component_match_NAME)",
    ),
    argument("--version", default="", help="the version of the official program (default: the current one)"),
    argument(
        "--isolate", choices=("auto", "require", "off"), default="off",
        help="keep the program in its folder: where this machine can, always, or never (default)",
    ),
    BACKENDS,
    LOCK,
)  # fmt: skip
def component_match(options: argparse.Namespace) -> int:
    """Run the match program once, print what it comes to; exit status 1 unless all holds.

    Raises:
        ParityError: the backend, the golden folder, or the folder to write into.
    """
    project = project_of(options)
    backend, root = project.backend(options.backend), project.root
    spec = matches.match_spec(backend, project.lock_path, options.golden, version=options.version)
    output = options.output or project.output / f"component_match_{backend.name}"
    golden = Path(spec.golden.folder)
    walls = isolation.Walls(
        options.isolate, hidden=(root, output.resolve(), golden), runs=(output.resolve(),), goldens=(golden,)
    )
    place = output.resolve() / copies.PROGRAM_FOLDER
    sealed = replace(launching.seal_program_now(backend, root, place), walls=walls)
    run = match_program.run_match(spec, output, root, sealed)
    evidence = assemble.evidence_of_run(spec, run)
    report = component_report.write_report(evidence, output, root)
    print("\n".join(match_lines(evidence)))
    if run.error:
        print(f"{printable_lines(log_tail(run.folder))}\n(all of it: {run.folder})", file=sys.stderr)
    print(report)
    return 0 if evidence.passed else 1
