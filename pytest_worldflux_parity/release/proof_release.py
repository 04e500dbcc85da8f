"""What a release job asks of a proof: true, complete, locked, a pass, and with the evidence that shows it.

The verdict is not taken from the reports alone: the evidence bundle beside them is opened, every document is
made again from the raw records in it, and the reports must be those of the bundle.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import ParityError, TamperedError
from ..evidence.bundle import OpenedBundle
from ..evidence.checking import check
from ..inputs.lock import Lock
from ..judgement.gates import Finding
from ..reporting import proof_documents
from ..suite import proof_file
from .bundle_reports import recompute
from .release_checks import Problem
from .run_documents import ProofFile

BUNDLE, REPORT = "evidence_bundle.zip", "equivalence_report.md"


def proof_problems(
    run: ProofFile, lock: Lock, root: Path, max_missing: int, key: Path | None = None
) -> Iterator[Problem]:
    """What is wrong with a proof: its contradictions, its evidence, its lock, its verdict.

    Args:
        root: the project, in whose ``suites`` the suite must be the one that was judged, where it is there.
        key: PEM file of the public key that must have signed the evidence; None: no signature is asked for.
    """
    report = run.document
    found = [*run.findings(), *_lock_findings(report, lock), *_evidence(run, root, key)]
    if run.missing > max_missing:
        found.append(Finding("missing_pairs", f"{run.missing} results are missing, {max_missing} may be"))
    if not report["global"]["parity_pass_final"]:
        final = report["global"]
        found.append(Finding("not_passed", f"the verdict is {final['verdict']}: {final['verdict_reason']}"))
    status = run.documents[proof_documents.STABILITY]["status"]
    if status == "unstable":
        found.append(
            Finding("unstable", "the verdict or an effect flips between runs, or two tests disagree")
        )
    yield from (Problem(str(run.path), f) for f in found)


def _lock_findings(report: Mapping[str, Any], lock: Lock) -> Iterator[Finding]:
    """The official programs are of locked commits; a claim cannot do without."""
    stated = report["provenance"]["official"].get("source_commits") or []
    locked = {entry.commit for entry in lock.suites.values()}
    for commit in stated:
        if commit not in locked:
            yield Finding(
                "lock_mismatch", f"the official side is of commit {commit}, {lock.path} locks none such"
            )
    if not stated and (report["config"]["parity_claim_level"] or "none") != "none":
        yield Finding("lock_mismatch", "a claim rests on a locked official program, and no commit is stated")


def _evidence(run: ProofFile, root: Path, key: Path | None) -> Iterator[Finding]:
    """The bundle beside the reports is whole, gives these very reports, and is of the project's suite."""
    path = run.path.with_name(BUNDLE)
    if not path.is_file():
        text = f"{BUNDLE} is not beside the reports, and a proof rests on it"
        yield Finding("evidence_missing", text)
        return
    with tempfile.TemporaryDirectory(prefix="worldflux-validate-") as name:
        try:
            checked = check(path, Path(name).resolve(), key=key, recompute=recompute)
        except TamperedError as error:
            yield from (Finding("evidence_tampered", text) for text in error.findings)
            return
        except ParityError as error:
            yield Finding("evidence_unreadable", error.line())
            return
        yield from (Finding("does_not_follow", text) for text in checked.findings)
        yield from _other_reports(run, checked.bundle)
        yield from _suite_findings(run.suite_id, checked.bundle, root)


def _other_reports(run: ProofFile, bundle: OpenedBundle) -> Iterator[Finding]:
    """The reports beside the bundle are those in it, from before they were cleaned where they were."""
    below = f"run/{run.suite_id}/"
    known: dict[str, set[str]] = {}
    for row in bundle.statement["subject"]:
        known.setdefault(row["name"], set()).add(row["digest"]["sha256"])
    for row in bundle.predicate["bundle"]["cleaned"]:
        known.setdefault(row["name"], set()).add(row["sha256_before"])
    for name in (*run.documents, REPORT):
        own = wire.file_sha256(run.path.with_name(name))
        if own is None:
            yield Finding("evidence_differs", f"{name} is not beside {BUNDLE}")
        elif own not in known.get(below + name, ()):
            yield Finding("evidence_differs", f"{name} is not the one in {BUNDLE}")
    if run.sha256 not in known.get(below + proof_documents.EQUIVALENCE, ()):
        what = f"{run.path.name} is not the {proof_documents.EQUIVALENCE} in {BUNDLE}"
        yield Finding("evidence_differs", what)


def _suite_findings(suite_id: str, bundle: OpenedBundle, root: Path) -> Iterator[Finding]:
    """The suite file in the project is the one that was judged."""
    judged = hashlib.sha256((bundle.folder / "inputs" / "suite.yaml").read_bytes()).hexdigest()
    there = [path for path in sorted((root / "suites").glob("**/*.y*ml")) if _id_of(path) == suite_id]
    if there and judged not in {wire.file_sha256(path) for path in there}:
        names = ", ".join(str(path) for path in there)
        yield Finding("suite_changed", f"the suite file is not the one that was judged: {names}")


def _id_of(path: Path) -> str | None:
    """The id of a proof suite; None of what is none or cannot be read, which pytest complains of."""
    try:
        return proof_file.load(path).suite_id
    except ParityError:
        return None
