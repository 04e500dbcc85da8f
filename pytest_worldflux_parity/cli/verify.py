"""``verify``: is a bundle what it was when it was built, and does its verdict follow from its data?"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import ParityError, TamperedError
from ..evidence.checking import DOES_NOT_FOLLOW, NOT_A_PASS, TAMPERED, UNREADABLE
from ..evidence.statement import CLAIM_NONE
from ..inputs.lock import read_lock
from ..judgement.gates.fixture import BANNER
from ..judgement.recompute import NOTHING_ASKED, Asked
from ..release import verification
from ..release.expectation import of_checkout
from ..release.rules import Rules, rules_of, rules_of_suite
from ..release.verification import Judge, Reader, Verified, judge_bundle
from ..reporting.card import card_lines
from ..reporting.labels import with_labels
from ..suite import proof_file, suite_file
from .asking import COMMIT_OPTION
from .options import argument, check_key, command, project_of
from .waiting import say

DESCRIPTION = """\
Check an evidence bundle without its programs or a GPU: the signature, the structure, the digest of every
file; make every document again from the raw records and compare; and judge the records under your own suite
and lock (--suite, --lock), or under the checkout that you stand in where it has a suite of the bundle's id.
Exit status: 0 a pass that follows, and vouched for by --key or by a signer of the policy; 1 it follows, and
is not a pass; 2 it does not follow, from the data or from what is expected; 3 the bundle was tampered with;
4 it cannot be read; 5 a pass that follows, and nobody vouches for it (--allow-unsigned makes that 0)."""


def _head_hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no head: 64 of 0-9 and a-f are wanted")
    return text


@command(
    "verify",
    argument("bundle", type=Path, metavar="BUNDLE", help="evidence_bundle.zip"),
    argument(
        "--key", type=Path, metavar="PUB", help="PEM file of the Ed25519 public key that must have signed it"
    ),
    argument("--suite", type=Path, metavar="FILE", help="the suite that you expect"),
    argument("--lock", type=Path, metavar="FILE", help="the lock file that you expect"),
    argument("--policy", type=Path, metavar="FILE", help="the policy that must admit it"),
    COMMIT_OPTION,
    argument(
        "--head", type=_head_hash, metavar="HASH", help="the head of the log, as the session printed it"
    ),
    argument("--allow-unsigned", action="store_true", help="a pass that nobody signed ends with 0"),
    description=DESCRIPTION,
    # Where others end with 2: that says here that a verdict does not follow from its data.
    usage_status=UNREADABLE,
)
def verify_command(options: argparse.Namespace) -> int:
    """Check a bundle and say what was found; the exit status."""
    return report_bundle(options.bundle, lambda: _reader_of(options), judge_bundle)


def report_bundle(bundle: Path, reader: Callable[[], Reader], judge: Judge) -> int:
    """Check a bundle for a reader by what makes its documents again, and print what was found.

    Returns:
        The exit status.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="worldflux-verify-") as folder:
            verified = verification.verify(bundle, Path(folder).resolve(), reader(), judge)
    except TamperedError as error:
        say(f"bundle: {bundle}")
        for finding in error.findings:
            say(f"tampered: {finding}")
        say("result: TAMPERED: this is not the bundle that was built")
        return TAMPERED
    except ParityError as error:
        say(f"bundle: {bundle}")
        say(f"unreadable: {error.line()}")
        say("result: UNREADABLE: nothing was checked")
        return UNREADABLE
    # Under whose expectation the rest is said comes first. Each is one line, whatever the bundle holds.
    for line in (f"judged under: {verified.expectation}", f"bundle: {bundle}", *_lines_of(verified)):
        say(line)
    return verified.exit_code


def _reader_of(options: argparse.Namespace) -> Reader:
    """What the reader brings; a checkout where he names no suite and no lock."""
    asked = Asked(_resolve(options.suite), _resolve(options.lock))
    _check_readable(asked)
    check_key(options)
    checkout = of_checkout(project_of(options).root, policy=options.policy)
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


def _check_readable(asked: Asked) -> None:
    """Make sure that the reader's own files can be read: that they cannot is no fault of the bundle.

    Raises:
        ParityError: one of them cannot.
    """
    if asked.suite is not None:
        (proof_file if suite_file.read(asked.suite).track == "proof" else suite_file).load(asked.suite)
    if asked.lock is not None:
        read_lock(asked.lock)


def _resolve(path: Path | None) -> Path | None:
    return path.resolve() if path is not None else None


def _lines_of(verified: Verified) -> Iterator[str]:
    bundle, checked = verified.checked.bundle, verified.checked
    said, labels = bundle.predicate, verified.facts.labels if verified.facts is not None else {}
    yield f"sha256: {bundle.sha256} ({len(bundle.names)} files)"
    yield f"suite: {said['suite_id']}"
    if said.get("fixture"):
        yield BANNER
    yield f"claim: {_claim_text(said['claim'])}"
    yield with_labels(f"verdict as stated: {checked.verdict}: {said['verdict_reason']}", labels)
    changed = len(said["bundle"]["cleaned"])
    yield f"cleaned: {changed} files, of paths, names and secrets; the statement lists what was taken out"
    if verified.facts is not None:
        yield from (f"  {line}" for line in card_lines(verified.facts, verified.signer))
    yield from (f"does not follow: {finding}" for finding in checked.findings)
    yield from (with_labels(f"not as expected: {f.line()}", labels) for f in verified.findings)
    if not checked.findings:
        yield f"recomputed: {len(checked.recomputed)} reports from the raw records, all equal"
    yield f"signature: {verified.signer}"
    yield f"result: {_result_text(verified)}"


def _claim_text(level: str | None) -> str:
    return "none: whatever the verdict, this is no claim" if level in (None, CLAIM_NONE) else str(level)


def _result_text(verified: Verified) -> str:
    checked = verified.checked
    if checked.findings:
        return "DOES NOT FOLLOW: the data give something else than the bundle says"
    if verified.exit_code == DOES_NOT_FOLLOW:
        return f"DOES NOT FOLLOW: it is no pass under {verified.expectation}"
    made_up = " (FIXTURE)" if checked.bundle.predicate.get("fixture") else ""
    if verified.exit_code == NOT_A_PASS:
        return f"NOT A PASS: {checked.verdict}"
    if not verified.vouched:
        unsigned = "who ran it can sign it: pytest --parity=proof --parity-resume --parity-sign-key=PEM"
        hint = unsigned if checked.bundle.signature == "unsigned" else "give --key PUB"
        return f"PASS{made_up} that follows, and NOBODY VOUCHES for it: {hint}"
    return f"PASS{made_up}"
