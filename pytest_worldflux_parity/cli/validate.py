"""``validate``: a release may go on when the documents of its suites are true, complete and a pass."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..release import release_checks, run_documents
from .asking import RELEASE, judge_release, open_asking, parse_count, tell_cards, tell_problems
from .options import argument, check_key, command, project_of


@command(
    "validate",
    *RELEASE,
    argument(
        "--run", action="extend", nargs="+", type=Path, required=True, metavar="FILE", dest="runs",
        help="the run.json of a quick suite, or the equivalence_report.json of a proof (repeatable)",
    ),
    argument("--max-missing-pairs", type=parse_count, default=0, metavar="N", help="default: 0"),
    argument(
        "--enforce-pass", action="store_true", help="every suite must pass; so it is without the option too"
    ),
)  # fmt: skip
def validate(options: argparse.Namespace) -> int:
    """Check; a line for each problem on stderr, and 1 where there is one.

    Raises:
        ParityError: a document, the aggregate, the lock or the policy cannot be read.
    """
    root = project_of(options).root
    check_key(options)
    with open_asking(options, root) as asking:
        rules = asking.rules
        runs = release_checks.read_runs(options.runs)
        aggregate = run_documents.read_aggregate(options.aggregate)
        of_aggregate = release_checks.runs_of(aggregate, options.aggregate, root)
        runs = release_checks.with_required(runs, of_aggregate, rules)
        backings, problems = judge_release(runs, aggregate, asking, options)
        problems += [
            *release_checks.backing_problems(backings, options.max_missing_pairs),
            *release_checks.required_problems(
                options.required_suite, runs, aggregate, options.aggregate, rules
            ),
            *release_checks.aggregate_problems(aggregate, options.aggregate, runs, root, complete=True),
        ]
    tell_cards(backings, problems)
    if rules.policy is None:
        print(f"no policy is at {asking.expected.policy}: only what the command line names is required")
    return tell_problems(problems, f"{len(runs)} runs and their aggregate are valid, and every suite passes")
