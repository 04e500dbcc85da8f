"""``doctor``: what is missing for the suites that everyone runs first, and the command that mends it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import schemas
from . import doctor_checks
from .doctor_checks import Check
from .options import BACKENDS, LOCK, RUNS_IN, argument, command, project_of

DEFAULT_SUITES = "suites/quick"


@command(
    "doctor",
    argument("--json", action="store_true", help="for machines"),
    argument(
        "--suites", type=Path, metavar="DIR", help=f"that must be able to run (default: {DEFAULT_SUITES})"
    ),
    argument(
        "--output", type=Path, metavar="DIR", help=f"folder of the run directories (default: {RUNS_IN})"
    ),
    BACKENDS,
    LOCK,
)
def doctor(options: argparse.Namespace) -> int:
    """Print the checks; 0 where all that the suites need is there, else 1.

    Raises:
        ParityError: ``--root`` is not a folder.
    """
    project = project_of(options)
    suites = options.suites or project.root / DEFAULT_SUITES
    checks = doctor_checks.examine(project, (options.output or project.output).absolute(), suites)
    if options.json:
        document = doctor_checks.checks_document(checks)
        schemas.check(document, "doctor.v1", lambda at: "doctor")
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(_lines_for_people(checks, suites)))
    return 0 if doctor_checks.is_ready(checks) else 1


def _lines_for_people(checks: Sequence[Check], suites: Path) -> Iterator[str]:
    width = max(len(c.name) for c in checks)
    for check in checks:
        # What no suite needs is told, and is not wrong.
        word = check.status if check.status == "ok" or not check.needed else check.status.upper()
        hint = f"; to mend: {check.hint}" if check.hint else ""
        yield f"{word:<6}  {check.area:<8}  {check.name:<{width}}  {check.detail}{hint}"
    missing = sum(c.needed and c.status != "ok" for c in checks)
    yield (
        f"not ready: {suites} needs {missing} things that are not as they must be (in capitals)"
        if missing
        else f"ready: everything that {suites} needs is here"
    )
