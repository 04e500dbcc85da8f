"""``coverage``: every suite that the policy names is locked and judged anew, and required ones pass."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..judgement.gates import Finding
from ..release import release_checks, run_documents
from ..release.backing import Backing
from ..release.release_checks import Problem
from ..release.rules import Rules
from .asking import RELEASE, judge_release, open_asking, parse_count, tell_cards, tell_problems
from .options import argument, check_key, command, project_of


@command(
    "coverage",
    *RELEASE,
    argument("--enforce-pass", action="store_true", help="every required suite must pass"),
    argument(
        "--max-missing-pairs", type=parse_count, metavar="N",
        help="how many results each suite may lack, counted in its own documents (default: not counted)",
    ),
)  # fmt: skip
def coverage_command(options: argparse.Namespace) -> int:
    """Check; a line for each problem on stderr, and 1 where there is one.

    Raises:
        ParityError: the policy, the lock, the aggregate or a document that it names cannot be read.
    """
    root, path, enforced = project_of(options).root, options.aggregate, options.enforce_pass
    check_key(options)
    with open_asking(options, root, must=True) as asking:
        aggregate = run_documents.read_aggregate(path)
        runs = release_checks.runs_of(aggregate, path, root)
        backings, problems = judge_release(runs, aggregate, asking, options)
        rules = asking.rules
        against = release_checks.backing_problems(backings, options.max_missing_pairs)
        problems += [
            *release_checks.coverage_problems(rules, asking.lock, aggregate, path, enforce_pass=enforced),
            *_without_row(options.required_suite, aggregate, path),
            *release_checks.aggregate_problems(aggregate, path, (), root, complete=True),
            *_without_admitted(against, backings, rules, enforced),
        ]
    tell_cards(backings, problems)
    for suite in sorted(rules.without_table):
        print(f"{suite}: its worldflux table is not here, so it is not required")
    passed = ", and those that are required pass" if enforced else ""
    named = [suite for suite, rule in rules.by_id.items() if rule.family]
    judged = sum(suite not in rules.without_table for suite in named)
    number = f"all {judged}" if judged == len(named) else f"{judged} of {len(named)}"
    return tell_problems(problems, f"{number} suites of the policy are locked and judged{passed}")


def _without_row(required: Sequence[str], aggregate: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Suites that the command line requires have a row."""
    rows = [row["suite_id"] for row in aggregate["suites"]]
    for suite in dict.fromkeys(required):
        if suite not in rows:
            text = f"no row is of {suite!r}; there are {', '.join(rows)}"
            yield Problem(str(path), Finding("required_suite_missing", text))


def _without_admitted(
    problems: Iterator[Problem], backings: Sequence[Backing], rules: Rules, enforced: bool
) -> Iterator[Problem]:
    """Without the verdicts of suites that may fail, and of those whose row says already that they do."""
    required = {
        str(b.run.path) for b in backings if rules.of(b.run.suite_id).required and b.run.row("")["pass"]
    }
    for problem in problems:
        if problem.finding.code != "not_passed" or (enforced and problem.where in required):
            yield problem
