"""``doctor``: what this machine has and lacks, each line with the command that mends it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import (
    Subparsers,
    add_backends_option,
    add_lock_option,
    backend_folders,
    lock_path,
    project_root,
)

if TYPE_CHECKING:
    from .doctor_checks import Check

DEFAULT_OUTPUT, DEFAULT_SUITES = "reports/parity", "suites/quick"


def add_doctor(commands: Subparsers) -> None:
    """Add the parser of ``doctor``."""
    parser = commands.add_parser("doctor", help="what is missing here, and the command that mends it")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument(
        "--suites", type=Path, metavar="DIR", help=f"that must be able to run (default: {DEFAULT_SUITES})"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder of the run directories (default: {DEFAULT_OUTPUT})",
    )
    add_backends_option(parser)
    add_lock_option(parser)
    parser.set_defaults(run=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    """Print the checks; 0 where all that the suites need is there, else 1.

    Raises:
        ParityError: ``--root`` is not a folder.
    """
    from .. import schemas
    from . import doctor_checks

    root = project_root(options)
    place = doctor_checks.Place(
        root=root,
        backend_folders=backend_folders(options, root),
        lock_path=lock_path(options, root),
        output=(options.output or root / DEFAULT_OUTPUT).absolute(),
        suites=options.suites or root / DEFAULT_SUITES,
    )
    checks = doctor_checks.examine(place)
    ready = doctor_checks.ready(checks)
    if options.json:
        document = doctor_checks.document(checks)
        schemas.check(document, "doctor.v1", lambda at: "doctor")
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(_lines(checks, ready, place.suites)))
    return 0 if ready else 1


def _lines(checks: Sequence[Check], ready: bool, suites: Path) -> Iterator[str]:
    width = max(len(c.name) for c in checks)
    for check in checks:
        # What no suite needs is told, and is not wrong.
        word = check.status if check.status == "ok" or not check.needed else check.status.upper()
        mend = f"; to mend: {check.mend}" if check.mend else ""
        yield f"{word:<6}  {check.area:<8}  {check.name:<{width}}  {check.detail}{mend}"
    lacking = sum(c.needed and c.status != "ok" for c in checks)
    yield (
        f"ready: everything that {suites} needs is here"
        if ready
        else f"not ready: {suites} needs {lacking} things that are not as they must be (in capitals)"
    )
