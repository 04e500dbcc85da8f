"""``coverage``: every suite that the policy names is locked and judged, and required ones pass."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..judgement.gates import Finding
from .options import DEFAULT_POLICY, Subparsers, add_lock_option, lock_path, project_root
from .validate import allow_fixtures, count, fixtures_told, told

if TYPE_CHECKING:
    from ..release.release_checks import Problem


def add_coverage(commands: Subparsers) -> None:
    """Add the parser of ``coverage``."""
    parser = commands.add_parser("coverage", help="check that the policy's suites are locked and judged")
    parser.add_argument("--policy", type=Path, metavar="FILE", help=f"default: {DEFAULT_POLICY}")
    add_lock_option(parser)
    parser.add_argument("--aggregate", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--enforce-pass", action="store_true", help="every suite of a required family must pass"
    )
    parser.add_argument(
        "--required-suite", action="extend", nargs="+", default=[], metavar="ID",
        help="a suite that must be in the aggregate, and with --enforce-pass must pass (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--max-missing-pairs", type=count, metavar="N",
        help="how many results each suite may lack, counted in its own documents (default: not counted)",
    )  # fmt: skip
    allow_fixtures(parser)
    parser.set_defaults(run=run_coverage)


def run_coverage(options: argparse.Namespace) -> int:
    """Check; a line for each problem on stderr, and 1 where there is one.

    Raises:
        ParityError: the policy, the lock, the aggregate or a document that it names cannot be read.
    """
    from ..inputs import lock
    from ..release import release_checks, release_policy, run_documents

    root = project_root(options)
    named = release_policy.read_policy(options.policy or root / DEFAULT_POLICY)
    locked = lock.read_lock(lock_path(options, root))
    path: Path = options.aggregate
    aggregate = run_documents.read_aggregate(path)
    enforced: bool = options.enforce_pass
    fixtures = {path: aggregate, locked.path: {"fixture": locked.fixture}}
    problems = [
        *fixtures_told(fixtures, options.allow_fixtures),
        *release_checks.coverage_problems(named, locked, aggregate, path, enforce_pass=enforced),
        *release_checks.missing_problems(
            aggregate, path, root, options.required_suite, options.max_missing_pairs
        ),
        *release_checks.aggregate_problems(aggregate, path, (), root, complete=False),
        *release_checks.contradiction_problems(aggregate, path, root),
        *(_not_passed(aggregate, path, options.required_suite) if enforced else ()),
    ]
    total = sum(len(family.suites) for family in named.families.values())
    passed = ", and those that are required pass" if enforced else ""
    return told(problems, f"all {total} suites of the policy are locked and judged{passed}")


def _not_passed(aggregate: Mapping[str, Any], path: Path, required: Sequence[str]) -> Iterator[Problem]:
    """Suites that the command line requires, and that did not pass."""
    from ..release import release_checks

    for row in aggregate["suites"]:
        if row["suite_id"] in required and not release_checks.passes(row):
            reason = row.get("verdict_reason", "no reason given")
            finding = Finding("not_passed", f"{row['suite_id']}, which --required-suite names: {reason}")
            yield release_checks.Problem(str(path), finding)
