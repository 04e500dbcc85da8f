"""A document without records: what two tables give in its place, and what is left to check where none is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ParityError
from ..execution.store import relative
from ..inputs.checkouts import FETCH, checkout_path
from ..inputs.lock import Lock
from ..inputs.prepare import PreparedSuite
from ..inputs.scores import load_table
from ..judgement.circumstances import Circumstances
from ..judgement.facts import Facts
from ..judgement.gates import Finding
from ..judgement.recompute import Rejudged, judge_records, session_of_tables
from ..reporting.aggregates import row_of_run
from ..reporting.documents import RUN, Document, suite_fields
from ..suite import suite_file
from ..suite.suite import ArtifactSide, Suite
from .admission import provenance_findings
from .bundle_reports import documents_anew
from .expectation import Expectation
from .judged_anew import NOT_PASSED, Anew, verdict_findings
from .release_policy import SuiteRule
from .run_documents import RunFile
from .statements import document_findings, field_findings


def table_judgement(run: RunFile, expected: Expectation, rule: SuiteRule, lock: Lock) -> Anew:
    """The verdict on the tables that the expected suite names, and how the document differs from it.

    Args:
        rule: of the suite; one that a release needs is judged, so that its tables have to be there.
    """
    try:
        path = expected.suite_path(run.suite_id, "quick")
        if path is None:
            text = f"{expected.name} has no quick suite with the id {run.suite_id!r}"
            return Anew((Finding("unknown_suite", text),))
        suite = suite_file.load(path)
        if not _are_tables_there(suite, expected):
            own = run.document["suite"]
            found = list(field_findings(own, suite_fields(suite), "suite", expected.name))
            found += _table_findings(suite, expected, rule, lock)
            return Anew(tuple(found))
        with tempfile.TemporaryDirectory(prefix="worldflux-tables-") as name:
            judged = _judge_tables(run, path, expected, Path(name))
        made = documents_anew(judged, {})
    except ParityError as error:
        text = f"under {expected.name}: {error.line()}"
        return Anew((Finding("cannot_be_expected", text),))
    found = [
        *document_findings(run.document, made[RUN], run.path.name),
        *verdict_findings(judged, "by the tables"),
    ]
    return Anew(tuple(found), judged, judged.facts)


def _are_tables_there(suite: Suite, expected: Expectation) -> bool:
    sides = [side for side in suite.sides.values() if isinstance(side, ArtifactSide)]
    return len(sides) == len(suite.sides) and all(expected.has(side.path) for side in sides)


def _table_findings(suite: Suite, expected: Expectation, rule: SuiteRule, lock: Lock) -> Iterator[Finding]:
    """Of tables that cannot be judged together: which are absent, and what the candidate's says of itself."""
    if not rule.required:
        return
    for system, side in suite.sides.items():
        if not isinstance(side, ArtifactSide):
            continue
        path = there = Path(os.path.normpath(side.path))
        if system == "worldflux" and there.is_relative_to(expected.root):
            path = expected.code / there.relative_to(expected.root)
        if not path.exists():
            name = relative(there, expected.root)
            hint = _way_to_bring(there, lock)
            text = f"the {system} table {name} is not here, and the suite is required: {hint}"
            yield Finding("table_missing", text, system=system)
        elif system == "worldflux":
            table = load_table(path, side.format, **side.reading)
            yield from provenance_findings(rule, path.name, table.provenance)


def _way_to_bring(path: Path, lock: Lock) -> str:
    """What brings a table that is absent."""
    for entry in lock.suites.values():
        checkout = checkout_path(Path(), entry.repo, entry.commit)
        if f"/{checkout.as_posix()}/" in path.as_posix():
            return f"{FETCH} --suite {entry.suite_id}"
    return "bring the table that the suite names"


def _judge_tables(run: RunFile, path: Path, expected: Expectation, run_dir: Path) -> Rejudged:
    """The tables judged as if a session had read them, with what only its document can know."""
    manifest, session = (
        run.document.get("evaluation_manifest", {}),
        session_of_tables(run.suite_id, run.path.stem, str(run.generated_at or "")),
    )
    prepared, context = expected.prepared(path, run.suite_id, session, run_dir, Circumstances())
    part = prepared.parts[0]
    circumstances = Circumstances(
        selected=frozenset(str(pair.key) for pair in part.pairs),
        names=_names_in_document(run.document, part, expected),
        machine={k: v for k, v in manifest.items() if k not in ("seed_policy", "generated_at_utc")},
    )
    return judge_records(prepared, context, session, session["suites"][run.suite_id], circumstances)


def _names_in_document(document: Document, part: PreparedSuite, expected: Expectation) -> dict[str, Any]:
    """The paths that a document is to name: of the tables those of the suite."""
    lock = document.get("suite_lock_ref", {}).get("lock_path", "")
    places = {s: Path(os.path.normpath(table.path)) for s, table in part.tables.items()}
    tables = {s: {"path": relative(place, expected.root)} for s, place in places.items()}
    return {"lock": lock, "tables": tables}


def lock_findings(run: Document, lock: Lock) -> Iterator[Finding]:
    """The official side is the locked one, and the document speaks of the lock as it is."""
    entry = lock.suites.get(run["suite"]["suite_id"])
    if entry is None:
        yield from unlocked_findings(run["suite"]["suite_id"], lock)
        return
    reference = run.get("suite_lock_ref", {})
    stated = {
        "the official side is of": reference.get("resolved_upstream_commit")
        or run["sources"]["upstream"].get("commit"),
        "it was judged against a lock of": reference.get("locked_upstream_commit", entry.commit),
    }
    for what, commit in stated.items():
        if commit != entry.commit:
            yield Finding("lock_mismatch", f"{what} commit {commit}, {lock.path.name} locks {entry.commit}")
    if reference.get("matches_lock", True) is not True:
        yield Finding("lock_mismatch", f"suite_lock_ref.matches_lock is {reference['matches_lock']}")
    sha256 = run.get("artifact_integrity", {}).get("upstream_input_sha256")
    locked = entry.oracle_files.get(entry.oracle_path)
    if locked is not None and sha256 is not None and sha256 != locked:
        yield Finding("table_not_pinned", f"the official table has sha256 {sha256}, locked is {locked}")


def unlocked_findings(suite_id: str, lock: Lock) -> Iterator[Finding]:
    """That a suite has an entry in the lock."""
    if suite_id not in lock.suites:
        yield Finding("not_in_lock", f"{lock.path} does not lock the suite {suite_id!r}")


def table_commit_findings(facts: Facts | None, commit: str) -> Iterator[Finding]:
    """That a candidate's table is of the commit that is asked for, by its own word."""
    programs = facts.programs if facts is not None else ()
    stated = next((p.provenance.get("commit") for p in programs if p.system == "worldflux"), None)
    if commit and not (isinstance(stated, str) and len(commit) >= 7 and stated.startswith(commit.lower())):
        said = f"is of commit {stated}" if stated else "is of no commit that is known"
        yield Finding("other_commit", f"documents only: the candidate's table {said}, {commit} is asked for")


def stated_findings(run: RunFile) -> Iterator[Finding]:
    """Of a document behind which nothing could be judged: that it says no pass, and says two things."""
    if run.track == "proof":
        final = run.document["global"]
        if not final["parity_pass_final"]:
            yield Finding(NOT_PASSED, f"the verdict is {final['verdict']}: {final['verdict_reason']}")
        return
    if not run.document["pass"]:
        verdict = run.document.get("verdict", "fail")
        reason = row_of_run(run.document, "")["verdict_reason"]
        yield Finding(NOT_PASSED, f"the verdict is {verdict}: {reason}")
