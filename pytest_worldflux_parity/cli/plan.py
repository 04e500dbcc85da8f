"""``plan``: seeds, margins and hours of a proof suite, before anything is spent."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import Subparsers, add_lock_option, lock_path, project_root


def add_plan(commands: Subparsers) -> None:
    """Add the parser of ``plan``."""
    parser = commands.add_parser("plan", help="what a proof suite needs and costs, from official scores")
    parser.add_argument("suite", type=Path, metavar="SUITE", help="the suite, or a parity.suite.v2 manifest")
    parser.add_argument(
        "--official", action="append", type=Path, default=[], metavar="TABLE",
        help="official scores (repeatable; default: the locked tables that were fetched)",
    )  # fmt: skip
    parser.add_argument("--format", metavar="FORMAT", help="of the tables (default: by what stands in them)")
    parser.add_argument(
        "--runs", action="append", type=Path, metavar="FILE",
        help="parity_runs.jsonl that tells durations (repeatable; default: those in reports/parity)",
    )  # fmt: skip
    add_lock_option(parser)
    parser.set_defaults(run=run_plan)


def run_plan(options: argparse.Namespace) -> int:
    """Print the plan; 1 where nothing is known that it could be made from.

    Raises:
        ParityError: the suite or a table cannot be read.
    """
    from ..errors import ScoreTableError
    from ..inputs.scores.guessing import Guess, guess
    from ..reporting.proof_markdown import plan_markdown
    from ..session import costs
    from ..suite import proof_file

    root = project_root(options)
    proof = proof_file.load(options.suite)
    form = options.format
    named = [(path, Guess(form) if form else guess(path)) for path in options.official]
    runs = options.runs or sorted((root / "reports" / "parity").glob("*/*/parity_runs.jsonl"))
    plan = costs.plan_of(proof, named or costs.locked_tables(proof, root, lock_path(options, root)), runs)
    if plan is None and named:
        what = "the tables hold no score of the suite's tasks at half of their budgets or later"
        raise ScoreTableError(what, where=str(options.official[0]))
    if plan is None:
        print(costs.advice(options.suite))
        return 1
    print(plan_markdown(plan), end="")
    return 0
