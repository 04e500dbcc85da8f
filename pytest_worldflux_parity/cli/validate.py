"""``validate``: a release may go on when the documents of its suites are true, complete and a pass."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..judgement.gates.fixture import BANNER
from .options import Subparsers, add_lock_option, lock_path, project_root

if TYPE_CHECKING:
    from ..inputs.lock import Lock
    from ..release.release_checks import Problem
    from ..release.run_documents import AnyRun


def add_validate(commands: Subparsers) -> None:
    """Add the parser of ``validate``."""
    parser = commands.add_parser("validate", help="check the documents of a release, and that all pass")
    parser.add_argument(
        "--run", action="extend", nargs="+", type=Path, required=True, metavar="FILE", dest="runs",
        help="the run.json of a quick suite, or the equivalence_report.json of a proof (repeatable)",
    )  # fmt: skip
    parser.add_argument("--aggregate", type=Path, required=True, metavar="FILE")
    add_lock_option(parser)
    parser.add_argument(
        "--required-suite", action="extend", nargs="+", default=[], metavar="ID",
        help="a suite that must be there (repeatable)",
    )  # fmt: skip
    parser.add_argument("--max-missing-pairs", type=count, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--enforce-pass", action="store_true", help="every suite must pass; so it is without the option too"
    )
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="public key that must have signed the evidence of proofs"
    )
    allow_fixtures(parser)
    parser.set_defaults(run=run_validate)


def allow_fixtures(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-fixtures``."""
    parser.add_argument(
        "--allow-fixtures", action="store_true", help="a rehearsal: documents of made-up numbers may pass"
    )


def count(text: str) -> int:
    """A whole number from 0 on; for argparse.

    Raises:
        ArgumentTypeError: anything else.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def run_validate(options: argparse.Namespace) -> int:
    """Check; a line for each problem on stderr, and 1 where there is one.

    Raises:
        ParityError: a document, the aggregate or the lock cannot be read.
    """
    from ..inputs import lock
    from ..release import release_checks, run_documents

    root = project_root(options)
    locked = lock.read_lock(lock_path(options, root))
    runs = release_checks.read_runs(options.runs)
    aggregate = run_documents.read_aggregate(options.aggregate)
    fixtures = {run.path: run.document for run in runs}
    fixtures |= {options.aggregate: aggregate, locked.path: {"fixture": locked.fixture}}
    problems = [
        *fixtures_told(fixtures, options.allow_fixtures),
        *(p for run in runs for p in _problems(run, locked, root, options)),
        *release_checks.required_problems(options.required_suite, runs, aggregate, options.aggregate),
        *release_checks.aggregate_problems(aggregate, options.aggregate, runs, root, complete=True),
    ]
    _tell_of_proofs(runs, options.key)
    return told(problems, f"{len(runs)} runs and their aggregate are valid, and every suite passes")


def _problems(run: AnyRun, locked: Lock, root: Path, options: argparse.Namespace) -> Iterator[Problem]:
    """What is wrong with one document."""
    from ..release import proof_release, release_checks, run_documents

    if isinstance(run, run_documents.ProofFile):
        yield from proof_release.proof_problems(run, locked, root, options.max_missing_pairs, options.key)
    else:
        yield from release_checks.run_problems(run, locked, root, options.max_missing_pairs)


def _tell_of_proofs(runs: Sequence[AnyRun], key: Path | None) -> None:
    """On stderr: what a proof that passes does not say."""
    from ..release import run_documents

    for run in runs:
        if not isinstance(run, run_documents.ProofFile):
            continue
        if (run.document["config"]["parity_claim_level"] or "none") == "none":
            print(f"{run.path}: no claim: this proof is not evidence for a public claim", file=sys.stderr)
        if key is None:
            print(f"{run.path}: no --key, so who made its evidence was not checked", file=sys.stderr)


def fixtures_told(documents: Mapping[Path, Mapping[str, Any]], allowed: bool) -> list[Problem]:
    """Problems for the fixtures among documents; where they are allowed none, but a line on stdout each."""
    from ..release import release_checks

    problems = list(release_checks.fixture_problems(documents))
    if not allowed:
        return problems
    for problem in problems:
        print(f"{problem.where}: {BANNER}")
    return []


def told(problems: Sequence[Problem], held: str) -> int:
    """Print what was found, a line each, or that all held; the exit status."""
    for line in dict.fromkeys(problem.line() for problem in problems):
        print(f"worldflux-parity: {line}", file=sys.stderr)
    if not problems:
        print(held)
    return 1 if problems else 0
