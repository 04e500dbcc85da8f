"""``plan``: seeds, margins and hours of a proof suite, before anything is spent."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ScoreTableError
from ..inputs.scores.guessing import Guess, guess
from ..reporting.labels import with_labels
from ..reporting.proof_markdown import plan_markdown
from ..session import costs
from ..suite import proof_file
from .options import LOCK, SUITE, argument, command, project_of


@command(
    "plan",
    SUITE,
    argument(
        "--official", action="append", type=Path, default=[], metavar="TABLE",
        help="official scores, or a run of ours (repeatable; default: the locked tables that were fetched)",
    ),
    argument("--format", metavar="FORMAT", help="of the tables (default: by what stands in them)"),
    argument(
        "--runs", action="append", type=Path, metavar="FILE",
        help="parity_runs.jsonl that tells durations (repeatable; default: those in reports/parity)",
    ),
    LOCK,
)  # fmt: skip
def plan(options: argparse.Namespace) -> int:
    """Print the plan; 1 where nothing is known that it could be made from.

    Raises:
        ParityError: the suite or a table cannot be read.
    """
    project = project_of(options)
    proof = proof_file.load(options.suite)
    form = options.format
    named = [(path, Guess(form) if form else guess(path, "official")) for path in options.official]
    runs = options.runs or sorted(project.output.glob("*/*/parity_runs.jsonl"))
    tables = named or costs.locked_tables(proof, project.root, project.lock_path)
    found = costs.plan_of(proof, tables, runs)
    if found is None and named:
        what = "the tables hold no score of the suite's tasks at half of their budgets or later"
        raise ScoreTableError(what, where=str(options.official[0]))
    if found is None:
        print(costs.advice(options.suite))
        return 1
    print(with_labels(plan_markdown(found), proof.labels), end="")
    return 0
