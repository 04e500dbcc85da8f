"""What ``validate`` and ``coverage`` share: where a release's expectation comes from, and what they print."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..judgement.gates.fixture import BANNER
from .options import (
    DEFAULT_BACKENDS,
    DEFAULT_POLICY,
    Subparsers,
    add_backends_option,
    add_lock_option,
)

if TYPE_CHECKING:
    from ..release.backing import Asking, Backing
    from ..release.expectation import Expectation
    from ..release.release_checks import Problem
    from ..release.rules import Rules


def add_release_command(commands: Subparsers, name: str, help: str) -> argparse.ArgumentParser:
    """The parser of a command of a release, with what says against what it judges."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help)
    parser.add_argument("--aggregate", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help=f"default: {DEFAULT_POLICY}; `coverage` needs one, and `validate` says so where none is",
    )
    add_lock_option(parser)
    add_backends_option(parser)
    parser.add_argument(
        "--expect-from", type=some, metavar="GITREF",
        help="take suites, lock, policy and official programs from this commit (default: as they are here)",
    )  # fmt: skip
    parser.add_argument("--commit", type=some, metavar="SHA", help="the project's commit that must have run")
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="public key that must have signed all evidence"
    )
    parser.add_argument(
        "--required-suite", action="extend", nargs="+", default=[], metavar="ID",
        help="a suite that must be there and pass, beside those of the policy (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-fixtures", action="store_true", help="a rehearsal: documents of made-up numbers may pass"
    )
    return parser


def some(text: str) -> str:
    """A text that says something; for argparse. A variable of CI that is not set says nothing.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: leave the option out, or name a commit")
    return text


def count(text: str) -> int:
    """A whole number from 0 on; for argparse.

    Raises:
        ArgumentTypeError: anything else.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


@contextmanager
def asking_of(options: argparse.Namespace, root: Path, *, must: bool = False) -> Iterator[Asking]:
    """What a release brings to each document.

    Args:
        must: whether a policy has to be there.

    Raises:
        ParityError: the policy or the lock cannot be read, or there is no such commit.
    """
    from ..inputs.lock import read_lock
    from ..release.backing import Asking
    from ..release.expectation import of_checkout, of_commit
    from ..release.rules import rules_of

    given: dict[str, Any] = {"lock": options.lock, "policy": options.policy}
    given["backends"] = tuple(_within(b, root) for b in options.backends or [root / DEFAULT_BACKENDS])
    with (
        of_commit(root, options.expect_from, **given)
        if options.expect_from is not None
        else _here(of_checkout(root, **given)) as expected
    ):
        with expected.naming():
            locked = read_lock(expected.lock)
            place = expected.lock.resolve()
            if locked.fixture and any(place.is_relative_to(r) for r in (root, expected.root)):
                expected = expected.rehearsed()
            rules = rules_of(expected, must=must or options.policy is not None)
        rules = _named(rules, expected).requiring(options.required_suite)
        yield Asking(expected, locked, rules, options.key, options.commit or "")


def _named(rules: Rules, expected: Expectation) -> Rules:
    """Rules whose texts name the files of a commit, and not the folder of this moment."""
    policy = rules.policy and replace(rules.policy, path=Path(expected.text(str(rules.policy.path))))
    unknown = {name: expected.text(why) for name, why in rules.unknown.items()}
    return replace(rules, policy=policy, unknown=unknown)


def _within(folder: Path, root: Path) -> Path:
    """A folder of the project as its path within it, so that another commit has one too."""
    for place in (Path(os.path.normpath(folder.absolute())), folder.resolve()):
        if place.is_relative_to(root):
            return place.relative_to(root)
    return place


@contextmanager
def _here(expected: Any) -> Iterator[Any]:
    yield expected


def tell_cards(backings: Iterable[Backing], problems: Iterable[Problem]) -> None:
    """The claim card of each document that passes, or that nothing but a document speaks for it."""
    from ..reporting.card import card_lines

    doubted = {problem.where for problem in problems}
    for backing in backings:
        if not backing.passes or str(backing.run.path) in doubted:
            continue
        print(f"{backing.run.path}: {_words(backing)}")
        if backing.facts is not None and backing.kind in ("evidence", "records"):
            for line in card_lines(backing.facts, backing.signer):
                print(f"  {line}")


def _words(backing: Backing) -> str:
    return {
        "evidence": "judged anew from its evidence",
        "records": "judged anew from the records beside it",
        "tables": "documents only, no evidence: judged anew from its two tables",
        "documents": "documents only, no evidence: its tables are not here, so no number was judged anew",
    }[backing.kind]


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
