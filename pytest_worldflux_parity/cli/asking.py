"""What ``validate`` and ``coverage`` share: where a release's expectation comes from, and what they print."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..inputs.lock import read_lock
from ..judgement.gates.fixture import BANNER
from ..release import release_checks
from ..release.backing import Asking, Backing, backing_of
from ..release.expectation import Expectation, of_checkout, of_commit
from ..release.release_checks import Problem
from ..release.rules import Rules, rules_of
from ..release.run_documents import RunFile
from ..reporting.card import card_lines
from .options import BACKENDS, DEFAULT_BACKENDS, DEFAULT_POLICY, LOCK, argument


def parse_nonempty(text: str) -> str:
    """A text that says something; for argparse. A variable of CI that is not set says nothing.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: leave the option out, or name a commit")
    return text


def parse_count(text: str) -> int:
    """A whole number from 0 on; for argparse.

    Raises:
        ArgumentTypeError: anything else.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


COMMIT_OPTION = argument(
    "--commit", type=parse_nonempty, metavar="SHA", help="the project's commit that must have run"
)
# Of both commands of a release: what they judge, and what says against it.
RELEASE = (
    argument("--aggregate", type=Path, required=True, metavar="FILE"),
    argument(
        "--policy", type=Path, metavar="FILE",
        help=f"default: {DEFAULT_POLICY}; `coverage` needs one, and `validate` says so where none is",
    ),
    LOCK,
    BACKENDS,
    argument(
        "--expect-from", type=parse_nonempty, metavar="GITREF",
        help="take suites, lock, policy and official programs from this commit (default: as they are here)",
    ),
    COMMIT_OPTION,
    argument("--key", type=Path, metavar="PUB", help="public key that must have signed all evidence"),
    argument(
        "--required-suite", action="extend", nargs="+", default=[], metavar="ID",
        help="a suite that must be there and pass, beside those of the policy (repeatable)",
    ),
    argument(
        "--allow-fixtures", action="store_true", help="a rehearsal: documents of made-up numbers may pass"
    ),
)  # fmt: skip


@contextmanager
def open_asking(options: argparse.Namespace, root: Path, *, must: bool = False) -> Iterator[Asking]:
    """What a release brings to each document.

    Args:
        must: whether a policy has to be there.

    Raises:
        ParityError: the policy or the lock cannot be read, or there is no such commit.
    """
    given: dict[str, Any] = {"lock": options.lock, "policy": options.policy}
    given["backends"] = tuple(_path_within(b, root) for b in options.backends or [root / DEFAULT_BACKENDS])
    with (
        of_commit(root, options.expect_from, **given)
        if options.expect_from is not None
        else nullcontext(of_checkout(root, **given)) as expected
    ):
        with expected.naming():
            locked = read_lock(expected.lock)
            place = expected.lock.resolve()
            if locked.fixture and any(place.is_relative_to(r) for r in (root, expected.root)):
                expected = expected.rehearsed()
            rules = rules_of(expected, must=must or options.policy is not None)
        rules = _name_files(rules, expected).requiring(options.required_suite)
        yield Asking(expected, locked, rules, options.key, options.commit or "")


def _name_files(rules: Rules, expected: Expectation) -> Rules:
    """Rules whose texts name the files of a commit, and not the folder of this moment."""
    policy = rules.policy and replace(rules.policy, path=Path(expected.text(str(rules.policy.path))))
    unknown = {name: expected.text(why) for name, why in rules.unknown.items()}
    return replace(rules, policy=policy, unknown=unknown)


def _path_within(folder: Path, root: Path) -> Path:
    """A folder of the project as its path within it, so that another commit has one too."""
    for place in (Path(os.path.normpath(folder.absolute())), folder.resolve()):
        if place.is_relative_to(root):
            return place.relative_to(root)
    return place


def judge_release(
    runs: Iterable[RunFile], aggregate: Mapping[str, Any], asking: Asking, options: argparse.Namespace
) -> tuple[list[Backing], list[Problem]]:
    """What stands behind each document, and the problems of made-up numbers and of unknown suites.

    Where fixtures are allowed, each is a line on stdout.
    """
    documents = {run.path: run.document for run in runs}
    documents |= {options.aggregate: aggregate, asking.lock.path: {"fixture": asking.lock.fixture}}
    made_up = list(release_checks.fixture_problems(documents))
    if options.allow_fixtures:
        for problem in made_up:
            print(f"{problem.where}: {BANNER}")
        made_up = []
    unknown = release_checks.policy_problems(asking.rules)
    return [backing_of(run, asking) for run in runs], [*made_up, *unknown]


def tell_cards(backings: Iterable[Backing], problems: Iterable[Problem]) -> None:
    """The claim card of each document that passes, or that nothing but a document speaks for it."""
    doubted = {problem.where for problem in problems}
    for backing in backings:
        if not backing.passes or str(backing.run.path) in doubted:
            continue
        print(f"{backing.run.path}: {_BACKING_WORDS[backing.kind]}")
        if backing.facts is not None and backing.kind in ("evidence", "records"):
            for line in card_lines(backing.facts, backing.signer):
                print(f"  {line}")


_BACKING_WORDS = {
    "evidence": "judged anew from its evidence",
    "records": "judged anew from the records beside it",
    "tables": "documents only, no evidence: judged anew from its two tables",
    "documents": "documents only, no evidence: its tables are not here, so no number was judged anew",
}


def tell_problems(problems: Sequence[Problem], held: str) -> int:
    """Print what was found, a line each, or that all held; the exit status."""
    for line in dict.fromkeys(problem.line() for problem in problems):
        print(f"worldflux-parity: {line}", file=sys.stderr)
    if not problems:
        print(held)
    return 1 if problems else 0
