"""``validate``: a release may go on when the documents of its suites are true, complete and a pass."""

from __future__ import annotations

import argparse
from pathlib import Path

from .asking import add_release_command, asking_of, count, fixtures_told, tell_cards, told
from .options import Subparsers, check_key, project_root


def add_validate(commands: Subparsers) -> None:
    """Add the parser of ``validate``."""
    parser = add_release_command(
        commands, "validate", "judge the evidence of a release anew, and check that all suites pass"
    )
    parser.add_argument(
        "--run", action="extend", nargs="+", type=Path, required=True, metavar="FILE", dest="runs",
        help="the run.json of a quick suite, or the equivalence_report.json of a proof (repeatable)",
    )  # fmt: skip
    parser.add_argument("--max-missing-pairs", type=count, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--enforce-pass", action="store_true", help="every suite must pass; so it is without the option too"
    )
    parser.set_defaults(run=run_validate)


def run_validate(options: argparse.Namespace) -> int:
    """Check; a line for each problem on stderr, and 1 where there is one.

    Raises:
        ParityError: a document, the aggregate, the lock or the policy cannot be read.
    """
    from ..release import release_checks, run_documents
    from ..release.backing import backing_of

    root = project_root(options)
    check_key(options)
    with asking_of(options, root) as asking:
        rules = asking.rules
        runs = release_checks.read_runs(options.runs)
        aggregate = run_documents.read_aggregate(options.aggregate)
        of_aggregate = release_checks.runs_of(aggregate, options.aggregate, root)
        runs = release_checks.with_required(runs, of_aggregate, rules)
        fixtures = {run.path: run.document for run in runs}
        fixtures |= {options.aggregate: aggregate, asking.lock.path: {"fixture": asking.lock.fixture}}
        made_up = fixtures_told(fixtures, options.allow_fixtures)
        backings = [backing_of(run, asking) for run in runs]
        problems = [
            *made_up,
            *release_checks.policy_problems(rules),
            *release_checks.backing_problems(backings, options.max_missing_pairs),
            *release_checks.required_problems(
                options.required_suite, runs, aggregate, options.aggregate, rules
            ),
            *release_checks.aggregate_problems(aggregate, options.aggregate, runs, root, complete=True),
        ]
    tell_cards(backings, problems)
    if rules.policy is None:
        print(f"no policy is at {asking.expected.policy}: only what the command line names is required")
    return told(problems, f"{len(runs)} runs and their aggregate are valid, and every suite passes")
