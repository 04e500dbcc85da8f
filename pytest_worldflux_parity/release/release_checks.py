"""What a release job asks of documents that exist: that they are true, complete, locked, and a pass.

Each check gives problems, a file and a finding each; no problem means that the release may go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DocumentError, printable
from ..evidence.checking import differences
from ..inputs.lock import Lock
from ..judgement.gates import Finding
from ..judgement.gates.fixture import BANNER
from ..reporting.aggregates import aggregate_of_rows, families_of, fixture_mark
from ..reporting.documents import Document
from ..reporting.proof_documents import STABILITY
from . import run_documents
from .backing import Backing
from .rules import Rules
from .run_documents import RunFile


@dataclass(frozen=True)
class Problem:
    """A finding and the file that it is about."""

    where: str
    finding: Finding

    def line(self) -> str:
        """``file: code (record): detail``."""
        return printable(f"{self.where}: {self.finding.line()}".replace("\n", " "))


def backing_problems(backings: Iterable[Backing], max_missing: int | None) -> Iterator[Problem]:
    """What speaks against each document, by what stands behind it and by what it lacks."""
    for backing in backings:
        run, found = backing.run, list(backing.findings)
        if max_missing is not None and run.missing > max_missing:
            found.append(Finding("missing_pairs", f"{run.missing} results are missing, {max_missing} may be"))
        if run.track == "proof" and run.documents[STABILITY]["status"] == "unstable":
            text = "the verdict or an effect flips between runs, or two tests disagree"
            found.append(Finding("unstable", text))
        yield from (Problem(str(run.path), finding) for finding in found)


def fixture_problems(documents: Mapping[Path, Document]) -> Iterator[Problem]:
    """A problem for every document that is marked as one of made-up numbers."""
    for path, document in documents.items():
        if document.get("fixture") or any(row.get("fixture") for row in document.get("suites", ())):
            hint = "for a rehearsal add --allow-fixtures"
            yield Problem(str(path), Finding("fixture", f"{BANNER}; {hint}"))


def required_by(rules: Rules) -> list[str]:
    """The suites that a policy requires, whatever a command line does."""
    return [suite for suite, rule in rules.by_id.items() if rule.required and rule.family]


def with_required(runs: Sequence[RunFile], of_aggregate: Iterable[RunFile], rules: Rules) -> list[RunFile]:
    """The documents, and of suites that the policy requires and none is of, those that an aggregate names."""
    ids = {run.suite_id for run in runs}
    return [*runs, *(r for r in of_aggregate if r.suite_id in required_by(rules) and r.suite_id not in ids)]


def required_problems(
    required: Iterable[str], runs: Sequence[RunFile], aggregate: Document, aggregate_path: Path, rules: Rules
) -> Iterator[Problem]:
    """Every required suite has a document and a row in the aggregate; no suite has two.

    Args:
        required: by the command line, beside those of the policy of ``rules``.
    """
    required = [*required]
    ids = [run.suite_id for run in runs]
    rows = [row["suite_id"] for row in aggregate["suites"]]
    for suite in dict.fromkeys(required):
        if suite not in ids:
            text = f"no --run is of {suite!r}; there are {', '.join(ids)}"
            yield Problem("--required-suite", Finding("required_suite_missing", text))
        if suite not in rows:
            text = f"no row is of {suite!r}; there are {', '.join(rows)}"
            yield Problem(str(aggregate_path), Finding("required_suite_missing", text))
    for suite in required_by(rules):
        if suite not in ids and suite not in required:
            assert rules.policy is not None
            text = f"no --run and no row of the aggregate is of {suite!r}; there are {', '.join(ids)}"
            yield Problem(str(rules.policy.path), Finding("required_suite_missing", text))
    for suite in sorted({s for s in ids if ids.count(s) > 1}):
        yield Problem("--run", Finding("suite_twice", f"two documents are of {suite!r}"))


def aggregate_problems(
    aggregate: Document, path: Path, runs: Sequence[RunFile], root: Path, *, complete: bool
) -> Iterator[Problem]:
    """What is wrong with an aggregate, by itself and against the documents that it is made of.

    Args:
        runs: documents that are known to be meant.
        complete: whether every row's document must be there; if not, those that are there count.
    """
    known = {run.suite_id: run for run in runs}
    rows: list[dict[str, Any]] = []
    for row in aggregate["suites"]:
        suite_id = row["suite_id"]
        found = document_of(row, path, root)
        if found is None and (complete or suite_id in known):
            text = f"{suite_id}: run_path {row.get('run_path')!r} is not there"
            yield Problem(str(path), Finding("dangling_path", text))
        if found and suite_id in known and found.sha256 != known[suite_id].sha256:
            text = f"{suite_id}: run_path is another document than {known[suite_id].path}"
            yield Problem(str(path), Finding("aggregate_differs", text))
        run = known.get(suite_id, found)
        rows.append(run.row(str(row.get("run_path"))) if run else _completed_row(row))
    yield from (Problem(str(path), f) for f in _row_findings(aggregate, rows))
    yield from _dangling_problems(aggregate, path)


def document_of(row: Document, path: Path, root: Path) -> RunFile | None:
    """The document that a row names; the earlier system's paths are relative to the project."""
    name = row.get("run_path")
    for place in (folder / name for folder in (path.parent, root) if name):
        if _is_file(place):
            plain = Path(os.path.normpath(place))
            return run_documents.read_any(plain if _is_file(plain) and plain.samefile(place) else place)
    return None


def _is_file(path: Path) -> bool:
    """Whether a name that anybody wrote leads to a file; one that is too long, or holds a null, does not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _completed_row(row: Document) -> dict[str, Any]:
    """A row with every key, of which the earlier system has some."""
    passed = row.get("pass", row["pass_non_inferiority"])
    keys = ("suite_id", "family", "sample_size", "margin_ratio", "confidence", "mean_drop_ratio",
            "ci_upper_ratio", "pass_non_inferiority", "verdict_reason", "run_path")  # fmt: skip
    verdict = row.get("verdict", "pass" if passed else "fail")
    mark = fixture_mark(row.get("fixture") is True)
    proof = {k: row[k] for k in ("track", "families", "missing_pairs", "claim") if k in row}
    return {**{k: row.get(k) for k in keys}, **proof, "verdict": verdict, "pass": passed, **mark}


def passes(row: Document) -> bool:
    """Whether a row of an aggregate, ours or of the earlier system, says pass."""
    return _completed_row(row)["pass"] is True


def _row_findings(aggregate: Document, rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """How an aggregate differs from the one that its rows give."""
    not_judged = {r["suite"]: r["reason"] for r in aggregate.get("not_judged", ())}
    again = aggregate_of_rows(
        rows,
        not_judged=not_judged,
        time="",
        aggregate_json="",
        report_md=None,
        dashboard_html=None,
    )
    again["suites"] = [
        {k: v for k, v in row.items() if k in own}
        for row, own in zip(rows, aggregate["suites"], strict=True)
    ]  # fmt: skip
    ignored = {"generated_at_utc", "evidence_bundle"}
    if "not_judged" not in aggregate:
        ignored |= {"global_non_inferiority", "run_paths"}
    found = [
        Finding("aggregate_differs", text)
        for key in again
        if key in aggregate and key not in ignored
        for text in differences(_without_reasons(aggregate[key]), _without_reasons(again[key]), key)
    ]
    if again.get("fixture") and not _is_marked(aggregate, rows):
        text = "a document that it is made of is a fixture, and it does not say so"
        found.append(Finding("fixture_unmarked", text))
    ids = [row["suite_id"] for row in rows]
    found += [Finding("suite_twice", f"{s!r} has two rows") for s in sorted(set(ids)) if ids.count(s) > 1]
    for row in rows:
        if row["pass"] is not (row["verdict"] == "pass"):
            text = f"{row['suite_id']}: pass is {row['pass']}, verdict is {row['verdict']}"
            found.append(Finding("verdict_differs", text))
    return found + [Finding("not_judged", f"{suite}: {why}") for suite, why in not_judged.items()]


def _without_reasons(value: Any) -> Any:
    """Without reasons, which the earlier system has not and which are sentences of their own."""
    if isinstance(value, list):
        return [_without_reasons(item) for item in value]
    return {k: v for k, v in value.items() if k != "verdict_reason"} if isinstance(value, dict) else value


def _is_marked(aggregate: Document, rows: Sequence[Document]) -> bool:
    """Whether an aggregate says of itself and of each of its fixtures that they are fixtures."""
    own = [row.get("fixture") is True for row in aggregate["suites"]]
    wanted = [row.get("fixture") is True for row in rows]
    return aggregate.get("fixture") is True and own == wanted


def _dangling_problems(aggregate: Document, path: Path) -> Iterator[Problem]:
    """Files that ours names beside itself and that are not there."""
    artifacts = aggregate["evidence_bundle"]["artifacts"] if "not_judged" in aggregate else {}
    for key in ("dashboard_html", "report_md"):
        name = artifacts.get(key)
        if name is not None and not (path.parent / name).is_file():
            yield Problem(str(path), Finding("dangling_path", f"{key} {name!r} is not there"))


def policy_problems(rules: Rules) -> Iterator[Problem]:
    """Suites that a policy names and that are not there."""
    for name, why in rules.unknown.items():
        assert rules.policy is not None
        yield Problem(str(rules.policy.path), Finding("unknown_suite", f"{name}: {why}"))


def coverage_problems(
    rules: Rules, lock: Lock, aggregate: Document, aggregate_path: Path, *, enforce_pass: bool
) -> Iterator[Problem]:
    """Every suite of the policy is locked and has a row; with ``enforce_pass`` required ones pass.

    A proof suite is locked where an official program of its family is.
    """
    rows = {row["suite_id"]: row for row in aggregate["suites"]}
    where = str(aggregate_path)
    for suite, rule in rules.by_id.items():
        row = rows.get(suite)
        proof = rules.tracks.get(suite, (row or {}).get("track")) == "proof"
        if suite not in lock.suites and not (proof and rule.family in lock.goldens):
            yield Problem(str(lock.path), Finding("not_in_lock", f"{suite} of {rule.family}"))
        if row is None:
            # One that the command line names has its own line.
            if rule.family and suite not in rules.without_table:
                yield Problem(where, Finding("not_in_aggregate", f"{suite} of {rule.family}"))
            continue
        if rule.family and rule.family not in families_of(row):
            text = f"{suite} is of {row['family']!r}, the policy says {rule.family!r}"
            yield Problem(where, Finding("family_differs", text))
        if enforce_pass and rule.required and not passes(row):
            reason = row.get("verdict_reason", "no reason given")
            yield Problem(where, Finding("not_passed", f"{suite}, which is required: {reason}"))
    if enforce_pass and rules.policy and not any(rule.required for rule in rules.policy.rules.values()):
        text = "no suite has the stage 'required', so there is nothing to enforce"
        yield Problem(str(rules.policy.path), Finding("nothing_required", text))


def runs_of(aggregate: Document, path: Path, root: Path) -> list[RunFile]:
    """The documents that the rows of an aggregate name, of those that are there.

    Raises:
        DocumentError: one is no document of a run.
    """
    found = [document_of(row, path, root) for row in aggregate["suites"]]
    return [run for run in found if run is not None]


def read_runs(paths: Iterable[Path]) -> list[RunFile]:
    """The documents of runs, quick or proof.

    Raises:
        DocumentError: one cannot be read, is none, or there is none at all.
    """
    runs = [run_documents.read_any(path) for path in paths]
    if not runs:
        raise DocumentError("no document of a run is named", hint="--run FILE")
    return runs
