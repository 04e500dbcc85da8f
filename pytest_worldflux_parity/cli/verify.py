"""``verify``: is a bundle what it was when it was built, and does its verdict follow from its data?"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ParityError, TamperedError, printable
from ..judgement.gates.fixture import BANNER
from .asking import some
from .options import Subparsers, check_key, project_root

if TYPE_CHECKING:
    from ..judgement.recompute import Asked
    from ..release.verification import Judge, Reader, Verified

DESCRIPTION = """\
Check an evidence bundle without its programs or a GPU: the signature, the structure, the digest of every
file; make every document again from the raw records and compare; and judge the records under your own suite
and lock (--suite, --lock), or under the checkout that you stand in where it has a suite of the bundle's id.
Exit status: 0 a pass that follows, and vouched for by --key or by a signer of the policy; 1 it follows, and
is not a pass; 2 it does not follow, from the data or from what is expected; 3 the bundle was tampered with;
4 it cannot be read; 5 a pass that follows, and nobody vouches for it (--allow-unsigned makes that 0)."""


def add_verify(commands: Subparsers) -> None:
    """``verify``: check an evidence bundle."""
    parser = commands.add_parser(
        "verify", help="check an evidence bundle, and that its verdict follows from its data",
        description=DESCRIPTION,
    )  # fmt: skip
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="evidence_bundle.zip")
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="PEM file of the Ed25519 public key that must have signed it"
    )
    parser.add_argument("--suite", type=Path, metavar="FILE", help="the suite that you expect")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="the lock file that you expect")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the policy that must admit it")
    parser.add_argument("--commit", type=some, metavar="SHA", help="the project's commit that must have run")
    parser.add_argument(
        "--head", type=_head, metavar="HASH", help="the head of the log, as the session printed it"
    )
    parser.add_argument("--allow-unsigned", action="store_true", help="a pass that nobody signed ends with 0")
    parser.set_defaults(run=run_verify)
    # argparse ends with 2, which here says that a verdict does not follow from its data.
    parser.error = lambda message: _usage(parser, message)


def _head(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no head: 64 of 0-9 and a-f are wanted")
    return text


def _usage(parser: Any, message: str) -> NoReturn:
    from ..evidence.checking import UNREADABLE

    parser.print_usage(sys.stderr)
    parser.exit(UNREADABLE, f"{parser.prog}: error: {message}\n")
    raise AssertionError("argparse has ended the process")


def run_verify(options: argparse.Namespace) -> int:
    """Check a bundle and say what was found; the exit status."""
    from ..release.verification import judge_bundle

    return report(options.bundle, lambda: _reader(options), judge_bundle)


def report(bundle: Path, reader: Callable[[], Reader], judge: Judge) -> int:
    """Check a bundle for a reader by what makes its documents again, and print what was found.

    Returns:
        The exit status.
    """
    from ..evidence.checking import TAMPERED, UNREADABLE
    from ..release.verification import verify

    try:
        with tempfile.TemporaryDirectory(prefix="worldflux-verify-") as folder:
            verified = verify(bundle, Path(folder).resolve(), reader(), judge)
    except TamperedError as error:
        _say(f"bundle: {bundle}")
        for finding in error.findings:
            _say(f"tampered: {finding}")
        _say("result: TAMPERED: this is not the bundle that was built")
        return TAMPERED
    except ParityError as error:
        _say(f"bundle: {bundle}")
        _say(f"unreadable: {error.line()}")
        _say("result: UNREADABLE: nothing was checked")
        return UNREADABLE
    # Under whose expectation the rest is said comes first.
    for line in (f"judged under: {verified.expectation}", f"bundle: {bundle}", *_lines(verified)):
        _say(line)
    return verified.exit_code


def _reader(options: argparse.Namespace) -> Reader:
    """What the reader brings; a checkout where he names no suite and no lock."""
    from ..judgement.recompute import NOTHING_ASKED, Asked
    from ..release.expectation import of_checkout
    from ..release.rules import Rules, rules_of, rules_of_suite
    from ..release.verification import Reader

    asked = Asked(_given(options.suite), _given(options.lock))
    _check(asked)
    check_key(options)
    checkout = of_checkout(project_root(options), policy=options.policy)
    if options.suite and options.policy:
        rules = rules_of_suite(options.policy, options.suite)
    elif options.suite or options.lock:
        rules = Rules()
    else:
        rules = rules_of(checkout, must=options.policy is not None)
    return Reader(
        key=options.key, signers=rules.signers, asked=asked,
        checkout=checkout if asked == NOTHING_ASKED else None, commit=options.commit or "",
        head=options.head or "",
        admit=rules.admit(must=options.policy is not None), allow_unsigned=options.allow_unsigned,
    )  # fmt: skip


def _check(asked: Asked) -> None:
    """Make sure that the reader's own files can be read: that they cannot is no fault of the bundle.

    Raises:
        ParityError: one of them cannot.
    """
    from ..inputs.lock import read_lock
    from ..suite import proof_file, suite_file

    if asked.suite is not None:
        (proof_file if suite_file.read(asked.suite).track == "proof" else suite_file).load(asked.suite)
    if asked.lock is not None:
        read_lock(asked.lock)


def _given(path: Path | None) -> Path | None:
    return path.resolve() if path is not None else None


def _say(line: str) -> None:
    """One line, whatever the bundle holds: a line break in it must not forge another."""
    print(printable(line))


def _lines(verified: Verified) -> Iterator[str]:
    from ..reporting.card import card_lines

    bundle, checked = verified.checked.bundle, verified.checked
    said = bundle.predicate
    yield f"sha256: {bundle.sha256} ({len(bundle.names)} files)"
    yield f"suite: {said['suite_id']}"
    if said.get("fixture"):
        yield BANNER
    yield f"claim: {_claim(said['claim'])}"
    yield f"verdict as stated: {checked.verdict}: {said['verdict_reason']}"
    changed = len(said["bundle"]["cleaned"])
    yield f"cleaned: {changed} files, of paths, names and secrets; the statement lists what was taken out"
    if verified.facts is not None:
        yield from (f"  {line}" for line in card_lines(verified.facts, verified.signer))
    yield from (f"does not follow: {finding}" for finding in checked.findings)
    yield from (f"not as expected: {finding.line()}" for finding in verified.findings)
    if not checked.findings:
        yield f"recomputed: {len(checked.recomputed)} reports from the raw records, all equal"
    yield f"signature: {verified.signer}"
    yield f"result: {_result(verified)}"


def _claim(level: str | None) -> str:
    from ..evidence.statement import CLAIM_NONE

    return "none: whatever the verdict, this is no claim" if level in (None, CLAIM_NONE) else str(level)


def _result(verified: Verified) -> str:
    from ..evidence.checking import DOES_NOT_FOLLOW, NOT_A_PASS

    checked = verified.checked
    if checked.findings:
        return "DOES NOT FOLLOW: the data give something else than the bundle says"
    if verified.exit_code == DOES_NOT_FOLLOW:
        return f"DOES NOT FOLLOW: it is no pass under {verified.expectation}"
    made_up = " (FIXTURE)" if checked.bundle.predicate.get("fixture") else ""
    if verified.exit_code == NOT_A_PASS:
        return f"NOT A PASS: {checked.verdict}"
    if not verified.vouched:
        return f"PASS{made_up} that follows, and NOBODY VOUCHES for it: give --key PUB"
    return f"PASS{made_up}"
