"""A document of a run -> what stands behind it, and what that gives under a judge's expectation.

Evidence, records in a run's own folder, or two tables are judged anew. Of a document behind which nothing
stands no number is believed: it counts where the policy says so, and then every output does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .. import wire
from ..errors import ParityError, TamperedError
from ..evidence.attempts import PackedAttempts
from ..evidence.bundle import OpenedBundle
from ..evidence.checking import BROKEN, Checked, check
from ..evidence.members import BUNDLE, LINES
from ..inputs.lock import Lock
from ..judgement.circumstances import CIRCUMSTANCES
from ..judgement.facts import Facts
from ..judgement.gates import Finding
from ..judgement.recompute import Rejudged, read_object
from ..reporting.documents import RUN
from ..reporting.documents import SCHEMAS as QUICK
from ..reporting.proof_documents import REPORT
from .admission import admission_findings
from .bundle_reports import documents_anew, history_of, recompute
from .documents_alone import (
    lock_findings,
    stated_findings,
    table_commit_findings,
    table_judgement,
    unlocked_findings,
)
from .expectation import Expectation
from .judged_anew import Records, judge_expected, records_of
from .release_policy import DOCUMENTS
from .rules import Rules
from .run_documents import RunFile
from .statements import document_findings
from .verification import NOBODY, commit_findings, signed_by, signer_findings

Kind = Literal["evidence", "records", "tables", "documents"]


@dataclass(frozen=True)
class Asking:
    """What a release brings to every document.

    Attributes:
        key: PEM file of the public key that must have signed. commit: of the project, that must have run.
    """

    expected: Expectation
    lock: Lock
    rules: Rules
    key: Path | None = None
    commit: str = ""


@dataclass(frozen=True)
class Backing:
    """What stands behind a document.

    Attributes:
        facts: of what was judged anew, where something was; of tables there is no card.
        signer: who vouches for it, in words.
    """

    run: RunFile
    kind: Kind
    findings: tuple[Finding, ...]
    facts: Facts | None = None
    signer: str = NOBODY

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.findings


def stands_beside(path: Path) -> str:
    """What stands beside the document of a run, in words."""
    if path.with_name(BUNDLE).is_file():
        return BUNDLE
    return "its records" if _has_records(path) else "no evidence"


def _has_records(path: Path) -> bool:
    folder = path.absolute().parent
    return (folder / CIRCUMSTANCES).is_file() and (folder.parent / RUN).is_file()


def backing_of(run: RunFile, asking: Asking) -> Backing:
    """What stands behind a document, judged anew, and everything that speaks against it."""
    backing = _judge_backing(run, asking)
    return replace(backing, findings=(*_other_track_findings(run, asking), *backing.findings))


def _other_track_findings(run: RunFile, asking: Asking) -> Iterator[Finding]:
    """That a document is of the suite that is meant by its id: suites of two tracks may share one."""
    own, other = run.track, "quick" if run.track == "proof" else "proof"
    if run.suite_id in asking.rules.tracks:
        yield from asking.rules.of_other_track(run.suite_id, own)
    elif asking.rules.of(run.suite_id).required and _has_suite(asking.expected, run.suite_id, other):
        text = (
            f"{asking.expected.name} has a {other} suite with the id {run.suite_id!r} too: which is required"
        )
        yield Finding("unknown_suite", f"{text}, nothing says")


def _has_suite(expected: Expectation, suite_id: str, track: str) -> bool:
    try:
        return expected.suite_path(suite_id, track) is not None
    except ParityError:
        # There are two, at least.
        return True


def _judge_backing(run: RunFile, asking: Asking) -> Backing:
    with tempfile.TemporaryDirectory(prefix="worldflux-release-") as name:
        checked, found = _open_evidence(run, Path(name).resolve(), asking)
        if checked is None and found:
            return Backing(run, "evidence", tuple(found))
        beside = _has_records(run.path) and run.path.absolute().parent.name == run.suite_id
        bundle = checked.bundle if checked is not None else None
        try:
            if checked is None and not beside:
                return _back_without_records(run, asking)
            return _back_with_records(run, asking, bundle, beside, found)
        except BROKEN as error:
            text = f"{type(error).__name__}: {error}".partition("\n")[0]
            kind: Kind = "records" if beside else "documents"
            return Backing(run, kind, (*found, Finding("records_unreadable", text)))


def _open_evidence(run: RunFile, into: Path, asking: Asking) -> tuple[Checked | None, list[Finding]]:
    """The bundle beside a document, whole and following from its records; the document is one in it."""
    path = run.path.with_name(BUNDLE)
    if not path.is_file():
        return None, []
    try:
        checked = check(path, into, key=asking.key, recompute=recompute, signers=asking.rules.signers)
    except TamperedError as error:
        return None, [Finding("evidence_tampered", text) for text in error.findings]
    except ParityError as error:
        return None, [Finding("evidence_unreadable", error.line())]
    found = [Finding("does_not_follow", text) for text in checked.findings]
    return checked, [*found, *_document_findings_beside(run, checked.bundle)]


def _document_findings_beside(run: RunFile, bundle: OpenedBundle) -> Iterator[Finding]:
    """The documents and records beside a bundle are those in it."""
    below = f"run/{run.suite_id}/"
    known = {row["name"]: row["digest"]["sha256"] for row in bundle.statement["subject"]}
    first, *others = _document_names(run)
    for name in (*others, *([REPORT] if run.track == "proof" else [])):
        own = wire.file_sha256(run.path.with_name(name))
        if own is None:
            yield Finding("evidence_differs", f"{name} is not beside {BUNDLE}")
        elif own != known.get(below + name):
            yield Finding("evidence_differs", f"{name} is not the one in {BUNDLE}")
    if _has_records(run.path):
        folder = run.path.absolute().parent
        for name, place in {
            f"run/{RUN}": folder.parent / RUN,
            below + CIRCUMSTANCES: folder / CIRCUMSTANCES,
            below + LINES: folder / LINES,
        }.items():
            # Of a run in which no attempt was made there is no log.
            if wire.file_sha256(place) != known.get(name):
                yield Finding(
                    "evidence_differs", f"{name} of the records beside {BUNDLE} is not the one in it"
                )
    if run.sha256 != known.get(below + first):
        yield Finding("evidence_differs", f"{run.path.name} is not the {first} in {BUNDLE}")


def _document_names(run: RunFile) -> list[str]:
    """The JSON documents of a suite, that of the verdict first."""
    beside = [name for name in QUICK if name != RUN and run.path.with_name(name).is_file()]
    return [*run.documents, *(beside if run.track == "quick" else ())]


def _back_with_records(
    run: RunFile, asking: Asking, bundle: OpenedBundle | None, beside: bool, found: list[Finding]
) -> Backing:
    """The records that a document rests on, judged: those of signed evidence, else those beside it."""
    signer, vouched = signed_by(bundle) if bundle is not None else (NOBODY, False)
    kind: Kind = "evidence" if bundle is not None else "records"
    own = bundle if bundle is not None and (vouched or not beside) else None
    if not vouched and (not beside or asking.key is not None):
        hint = "" if "--key" in signer else "; sign it, and give --key PUB or name the signer in the policy"
        found.append(Finding("unsigned", f"nobody who is known vouches for it: {signer}{hint}"))
    if bundle is not None:
        found += signer_findings(bundle, asking.rules.signers)
    try:
        folder = run.path.absolute().parents[1] if own is None else own.folder / "run"
        records = records_of(folder, run.suite_id, None if own is None else PackedAttempts(folder))
        # Beside its records a document may stand under another name.
        given = run.documents if own is None else {}
        left = [name for name in _document_names(run) if name not in given]
        stated = {**{name: read_object(folder / run.suite_id / name) for name in left}, **given}
        history = _read_history(records, bundle, asking.expected)
    except ParityError as error:
        return Backing(run, kind, (*found, Finding("records_unreadable", error.line())), signer=signer)
    if run.track == "quick":
        # Of which commit the official side is, its records say, and not the document.
        found += unlocked_findings(run.suite_id, asking.lock)
    rule = asking.rules.of(run.suite_id)
    anew = judge_expected(records, asking.expected, chosen="overrides" in rule.admit)
    found += anew.findings
    if anew.judged is not None and anew.facts is not None:
        found += _stated_documents_findings(anew.judged, stated, history)
        found += admission_findings(rule, anew.facts)
        found += commit_findings(anew.facts, asking.commit)
    return Backing(run, kind, tuple(found), anew.facts, signer)


def _read_history(
    records: Records, bundle: OpenedBundle | None, expected: Expectation
) -> dict[str, dict[str, Any]]:
    """The earlier reports that a run was held against."""
    names = records.circumstances.history
    if bundle is not None:
        return history_of(names, bundle.folder)
    return {name: read_object(expected.code / name) for name in names}


def _stated_documents_findings(
    judged: Rejudged, stated: Mapping[str, Mapping[str, Any]], history: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    try:
        made = documents_anew(judged, history)
    except ParityError as error:
        yield Finding("cannot_be_expected", error.line())
        return
    for name, document in stated.items():
        if name in made:
            yield from document_findings(document, made[name], name)
        else:
            yield Finding("document_differs", f"{name}: the records give no such document")


def _back_without_records(run: RunFile, asking: Asking) -> Backing:
    """A document without records: what its tables give, where they are there."""
    rule = asking.rules.of(run.suite_id)
    found = []
    if rule.evidence != DOCUMENTS:
        row = "`evidence: documents` in the policy's row of the suite"
        text = f"documents only: bring {BUNDLE} beside it; as it is, only {row} admits it"
        found.append(Finding("evidence_missing", text))
    if run.track == "proof":
        return Backing(run, "documents", (*found, *stated_findings(run)))
    found += lock_findings(run.document, asking.lock)
    judged = table_judgement(run, asking.expected, rule, asking.lock)
    found += judged.findings
    found += table_commit_findings(judged.facts, asking.commit)
    if judged.facts is None:
        return Backing(run, "documents", (*found, *stated_findings(run)))
    return Backing(run, "tables", (*found, *admission_findings(rule, judged.facts)), judged.facts)
