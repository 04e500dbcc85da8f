"""``coverage``: every suite that the policy names is locked and judged, and required ones pass."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import DEFAULT_LOCK, DEFAULT_POLICY, Subparsers, project_root
from .validate import allow_fixtures, fixtures_told, told


def add_coverage(commands: Subparsers) -> None:
    """Add the parser of ``coverage``."""
    parser = commands.add_parser("coverage", help="check that the policy's suites are locked and judged")
    parser.add_argument("--policy", type=Path, metavar="FILE", help=f"default: {DEFAULT_POLICY}")
    parser.add_argument("--lock", type=Path, metavar="FILE", help=f"default: {DEFAULT_LOCK}")
    parser.add_argument("--aggregate", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--enforce-pass", action="store_true", help="every suite of a required family must pass"
    )
    allow_fixtures(parser)
    parser.set_defaults(run=run_coverage)


def run_coverage(options: argparse.Namespace) -> int:
    """Check; a line for each problem on stderr, and 1 where there is one.

    Raises:
        ParityError: the policy, the lock or the aggregate cannot be read.
    """
    from .. import lock, policy, release_checks, run_documents

    root = project_root(options)
    named = policy.read_policy(options.policy or root / DEFAULT_POLICY)
    locked = lock.read_lock(options.lock or root / DEFAULT_LOCK)
    path: Path = options.aggregate
    aggregate = run_documents.read_aggregate(path)
    enforced: bool = options.enforce_pass
    fixtures = {path: aggregate, locked.path: {"fixture": locked.fixture}}
    problems = [
        *fixtures_told(fixtures, options.allow_fixtures),
        *release_checks.coverage_problems(named, locked, aggregate, path, enforce_pass=enforced),
        *release_checks.aggregate_problems(aggregate, path, (), root, complete=False),
    ]
    total = sum(len(family.suites) for family in named.families.values())
    passed = ", and those that are required pass" if enforced else ""
    return told(problems, f"all {total} suites of the policy are locked and judged{passed}")
