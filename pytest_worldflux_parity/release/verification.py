"""A bundle -> whether it is whole, follows from its records, passes as a reader expects, and who vouches.

The reader's expectation is his own suite and lock, or the checkout that he stands in; else the bundle's own,
which its author chose, and then the first line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ParityError
from ..evidence.attempts import PackedAttempts
from ..evidence.bundle import OpenedBundle
from ..evidence.checking import DOES_NOT_FOLLOW, NOT_A_PASS, PASS, Checked, check
from ..evidence.signing import PublicKey
from ..judgement.facts import Facts
from ..judgement.gates import Finding
from ..judgement.recompute import NOTHING_ASKED, Asked, Rejudged, rejudge
from .bundle_reports import reports_of
from .expectation import Expectation
from .judged_anew import is_sealed_lock, judge_expected, records_of, verdict_findings

VOUCHED_BY_NOBODY = 5
OWN = (
    "the bundle's own suite and lock, which its author chose: give --suite and --lock, or stand in a checkout"
)
UNTOLD = "whether someone made the whole bundle anew cannot be told"
NOBODY = f"NONE, the bundle is unsigned: {UNTOLD}"


@dataclass(frozen=True)
class Reader:
    """What a reader brings.

    Attributes:
        key: PEM file of the public key that must have signed. signers: keys that his policy knows.
        asked: his own suite and lock. checkout: the checkout that he stands in.
        commit: of the project, that must have run; empty: any. head: that the log must have; empty: any.
        admit: facts -> what his policy does not admit.
    """

    key: Path | None = None
    signers: Sequence[PublicKey] = ()
    asked: Asked = NOTHING_ASKED
    checkout: Expectation | None = None
    commit: str = ""
    head: str = ""
    admit: Callable[[Facts], Sequence[Finding]] = lambda facts: ()
    allow_unsigned: bool = False


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        expectation: under whose the verdict is, in words.
        findings: how it is no pass under that, empty where it is.
        facts: None where nothing could be judged.
    """

    checked: Checked
    expectation: str
    findings: tuple[Finding, ...]
    facts: Facts | None
    signer: str
    vouched: bool
    allow_unsigned: bool = False

    @property
    def exit_code(self) -> int:
        """0 to 5, as ``worldflux-parity verify --help`` lists them; 3 and 4 are errors of :func:`verify`."""
        code = self.checked.exit_code
        if code == DOES_NOT_FOLLOW or self.findings:
            return NOT_A_PASS if code == NOT_A_PASS else DOES_NOT_FOLLOW
        if code != PASS or self.vouched or self.allow_unsigned:
            return code
        return VOUCHED_BY_NOBODY


Reports = Mapping[str, dict[str, Any] | str]
Judge = Callable[[Path], tuple[Rejudged | None, Reports]]


def judge_bundle(folder: Path) -> tuple[Rejudged | None, Reports]:
    """The judgement of an unpacked bundle's records under its own inputs, and every report that it gives.

    Raises:
        ParityError: something that is needed is absent or broken.
    """
    judged = rejudge(folder, PackedAttempts(folder / "run"))
    return judged, reports_of(judged, folder)


def verify(path: Path, into: Path, reader: Reader, judge: Judge = judge_bundle) -> Verified:
    """Open a bundle, hold its documents against its records, and judge these as the reader expects.

    Args:
        into: an empty folder to unpack into.
        judge: what makes the documents again.

    Raises:
        EvidenceError, TamperedError: the bundle cannot be read, or is not what was built.
    """
    found: list[Rejudged | None] = []

    def recompute(folder: Path) -> Reports:
        judged, reports = judge(folder)
        found.append(judged)
        return reports

    checked = check(path, into, key=reader.key, recompute=recompute, signers=reader.signers)
    bundle, own = checked.bundle, found[0] if found else None
    facts = own.facts if own is not None else None
    words, findings, expected = _judge_as_expected(bundle, reader, own)
    shown = expected or facts
    admitted = (*reader.admit(shown), *commit_findings(shown, reader.commit)) if shown else ()
    admitted += tuple(_head_findings(bundle, own, reader.head))
    signer, vouched = signed_by(bundle)
    every = (*findings, *admitted, *signer_findings(bundle, reader.signers))
    return Verified(checked, words, every, shown, signer, vouched, reader.allow_unsigned)


def commit_findings(facts: Facts, commit: str) -> Iterator[Finding]:
    """That what ran is the commit that is asked for, and nothing beside it."""
    project = facts.project
    if not commit:
        return
    if project is None:
        yield Finding("other_commit", f"the run says of no commit, and {commit} is asked for")
    elif len(commit) < 7 or not project["commit"].startswith(commit.lower()):
        yield Finding("other_commit", f"the run is of the commit {project['commit']}, not of {commit}")
    elif project["changed"]:
        yield Finding("other_commit", f"the run is of {project['commit']} with changes that it does not hold")


def _head_findings(bundle: OpenedBundle, judged: Rejudged | None, head: str) -> Iterator[Finding]:
    """That the log is, to its last line, the one whose head somebody has published."""
    if not head or judged is None:
        return
    log = judged.judgement.evidence.log
    if head == log.head:
        return
    known = {event["log_sha256"] for event in judged.stored.sessions.events} | judged.stored.chain.heads
    grown = ", which is that of an earlier state of this log" if head in known else ""
    text = f"the head of the log is {log.head}, and {head} is asked for{grown}"
    yield Finding("other_head", text)


def signed_by(bundle: OpenedBundle) -> tuple[str, bool]:
    """Who vouches for a bundle, in words, and whether that was checked."""
    if bundle.signature == "valid":
        return f"valid, by the key {bundle.keyid}", True
    if bundle.signature == "not checked":
        return f"NOT CHECKED (it names the key {bundle.keyid}): give --key PUB; {UNTOLD}", False
    return NOBODY, False


def signer_findings(bundle: OpenedBundle, signers: Sequence[PublicKey]) -> Iterator[Finding]:
    """That the key by which a bundle is signed is one that a policy knows, where it knows any."""
    if bundle.keyid and signers and bundle.keyid not in {s.keyid for s in signers}:
        yield Finding("unknown_signer", f"the policy names no signer with the key {bundle.keyid}")


def _judge_as_expected(
    bundle: OpenedBundle, reader: Reader, own: Rejudged | None
) -> tuple[str, tuple[Finding, ...], Facts | None]:
    """Under whose expectation, how it is no pass under it, and the facts as it has them."""
    if own is None:
        return OWN, (), None
    if reader.asked != NOTHING_ASKED:
        return _judge_as_asked(bundle, reader.asked)
    checkout = reader.checkout
    suite_id, track = own.prepared.suite_id, str(own.session["track"])
    if checkout is None:
        return OWN, (), None
    if checkout.suite_path(suite_id, track) is None:
        other = "quick" if track == "proof" else "proof"
        if checkout.suite_path(suite_id, other) is None:
            return OWN, (), None
        text = (
            f"{checkout.name} has a {other} suite with the id {suite_id!r}, the bundle is of a {track} suite"
        )
        return f"the suites of {checkout.name}", (Finding("unknown_suite", text),), None
    records = records_of(bundle.folder / "run", suite_id, PackedAttempts(bundle.folder / "run"))
    anew = judge_expected(records, checkout)
    return f"the suite, lock and programs of {checkout.name}", anew.findings, anew.facts


def _judge_as_asked(bundle: OpenedBundle, asked: Asked) -> tuple[str, tuple[Finding, ...], Facts | None]:
    suite = f"the suite {asked.suite}" if asked.suite else "the bundle's own suite"
    no_lock = "no lock of yours: nothing says that the official side is what it should be, give --lock"
    words = f"{suite} and {f'the lock {asked.lock}' if asked.lock else no_lock}"
    try:
        judged = rejudge(bundle.folder, PackedAttempts(bundle.folder / "run"), asked)
    except ParityError as error:
        text = error.line().replace(f"{bundle.folder}/", "")
        return words, (Finding("cannot_be_expected", text),), None
    facts = judged.facts
    if asked.lock is None:
        # That of the bundle is its author's, and pins what he likes.
        facts = replace(facts, programs=tuple(replace(p, pinned=False) for p in facts.programs))
    facts = replace(facts, same_lock=is_sealed_lock(asked.lock, judged.entry))
    return words, (*_unpinned_table_findings(facts, asked.lock), *verdict_findings(judged, "")), facts


def _unpinned_table_findings(facts: Facts, lock: Path | None) -> Iterator[Finding]:
    """Official tables of a bundle that a reader's lock does not pin: they are what the author made them."""
    who = "the lock does not pin" if lock else "no lock of yours pins"
    for program in facts.programs:
        if program.system == "official" and program.is_table and not program.pinned:
            text = f"{who} the official table {program.adapter}"
            yield Finding("table_not_pinned", text, system="official")
