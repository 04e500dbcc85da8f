"""``verify``: is a bundle what it was when it was built, and does its verdict follow from its data?"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import EvidenceError, TamperedError
from ..judgement.gates.fixture import BANNER
from .options import Subparsers

if TYPE_CHECKING:
    from ..evidence.bundle import OpenedBundle
    from ..evidence.checking import Checked, Recompute

DESCRIPTION = """\
Check an evidence bundle without its project, its programs or a GPU: the signature, the structure, the
digest of every file; then make every document again from the raw records and compare. Exit status: 0 the
verdict is pass and follows from the data; 1 it follows, and is not a pass; 2 it does not follow from the
data; 3 the bundle was tampered with; 4 it cannot be read."""


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
    parser.set_defaults(run=run_verify)
    # argparse ends with 2, which here says that a verdict does not follow from its data.
    parser.error = lambda message: _usage(parser, message)


def _usage(parser: Any, message: str) -> NoReturn:
    from ..evidence.checking import UNREADABLE

    parser.print_usage(sys.stderr)
    parser.exit(UNREADABLE, f"{parser.prog}: error: {message}\n")
    raise AssertionError("argparse has ended the process")


def run_verify(options: argparse.Namespace) -> int:
    """Check a bundle and say what was found; the exit status."""
    from ..release.bundle_reports import recompute

    return report(options.bundle, options.key, recompute)


def report(bundle: Path, key: Path | None, recompute: Recompute) -> int:
    """Check a bundle by what makes its documents again, and print a line for everything found."""
    from ..evidence.checking import TAMPERED, UNREADABLE, check

    _say(f"bundle: {bundle}")
    try:
        with tempfile.TemporaryDirectory(prefix="worldflux-verify-") as folder:
            checked = check(bundle, Path(folder).resolve(), key=key, recompute=recompute)
    except TamperedError as error:
        for finding in error.findings:
            _say(f"tampered: {finding}")
        _say("result: TAMPERED: this is not the bundle that was built")
        return TAMPERED
    except EvidenceError as error:
        _say(f"unreadable: {error.line()}")
        _say("result: UNREADABLE: nothing was checked")
        return UNREADABLE
    for line in _lines(checked):
        _say(line)
    return checked.exit_code


def _say(line: str) -> None:
    """One line, whatever the bundle holds: a line break in it must not forge another."""
    print("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


def _lines(checked: Checked) -> Iterator[str]:
    bundle = checked.bundle
    said = bundle.predicate
    yield f"sha256: {bundle.sha256} ({len(bundle.names)} files)"
    yield f"signature: {_signature(bundle)}"
    yield f"suite: {said['suite_id']}"
    if said.get("fixture"):
        yield BANNER
    yield f"claim: {_claim(said['claim'])}"
    yield f"verdict as stated: {checked.verdict}: {said['verdict_reason']}"
    changed = len(said["bundle"]["cleaned"])
    yield f"cleaned: {changed} files, of absolute paths and secrets; the statement has the hashes from before"
    yield from (f"does not follow: {finding}" for finding in checked.findings)
    if not checked.findings:
        yield f"recomputed: {len(checked.recomputed)} reports from the raw records, all equal"
    yield f"result: {_result(checked)}"


def _signature(bundle: OpenedBundle) -> str:
    if bundle.signature == "valid":
        return f"valid, by the key {bundle.keyid}"
    if bundle.signature == "not checked":
        return f"NOT CHECKED (it names the key {bundle.keyid}): give --key PUB; {_UNTOLD}"
    return f"NONE, the bundle is unsigned: {_UNTOLD}"


_UNTOLD = "whether someone made the whole bundle anew cannot be told"


def _claim(level: str | None) -> str:
    from ..evidence.statement import CLAIM_NONE

    return "none: whatever the verdict, this is no claim" if level in (None, CLAIM_NONE) else str(level)


def _result(checked: Checked) -> str:
    if checked.findings:
        return "DOES NOT FOLLOW: the data give something else than the bundle says"
    made_up = " (FIXTURE)" if checked.bundle.predicate.get("fixture") else ""
    return f"PASS{made_up}" if checked.exit_code == 0 else f"NOT A PASS: {checked.verdict}"
