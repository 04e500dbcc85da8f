"""What a release job asks of documents that exist: that they are true, complete, locked, and a pass.

Each check gives problems, a file and a finding each; no problem means that the release may go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DocumentError, ParityError
from ..inputs.lock import Lock
from ..inputs.scores import RETURN, ScoreTable, load_table
from ..judgement.gates import Finding
from ..judgement.gates.fixture import BANNER, is_fixture_table
from ..reporting.aggregates import aggregate_of_rows, families_of, fixture_mark, row_of_run
from ..suite import suite_file
from ..suite.suite import Suite
from . import run_documents
from .audit import aggregate_findings, is_earlier, missing_results, run_findings
from .release_policy import Policy
from .run_documents import AnyRun, ProofFile, RunFile

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """A finding and the file that it is about."""

    where: str
    finding: Finding

    def line(self) -> str:
        """``file: code (record): detail``."""
        return f"{self.where}: {self.finding.line()}".replace("\n", " ")


def run_problems(run: RunFile, lock: Lock, root: Path, max_missing: int) -> Iterator[Problem]:
    """What is wrong with one document: its own contradictions, its inputs, its lock, its verdict."""
    document = run.document
    lacking = missing_results(document)
    found = [*run_findings(document), *_lock_findings(document, lock), *_suite_findings(document, root)]
    for side in ("upstream", "worldflux"):
        found += _input_findings(document, side, root)
        found += _unmarked_findings(document, side, root)
    if lacking > max_missing:
        found.append(Finding("missing_pairs", f"{lacking} results are missing, {max_missing} may be"))
    if not document["pass"]:
        reason = row_of_run(document, "")["verdict_reason"]
        verdict = document.get("verdict", "fail")
        found.append(Finding("not_passed", f"the verdict is {verdict}: {reason}"))
    yield from (Problem(str(run.path), f) for f in found)


def _lock_findings(run: Document, lock: Lock) -> Iterator[Finding]:
    """The official side is the locked one, and the document speaks of the lock as it is."""
    suite_id = run["suite"]["suite_id"]
    entry = lock.suites.get(suite_id)
    if entry is None:
        yield Finding("not_in_lock", f"{lock.path} does not lock the suite {suite_id!r}")
        return
    reference = run.get("suite_lock_ref", {})
    stated = {
        "the official side is of": reference.get("resolved_upstream_commit")
        or run["sources"]["upstream"].get("commit"),
        "it was judged against a lock of": reference.get("locked_upstream_commit", entry.commit),
    }
    for what, commit in stated.items():
        if commit != entry.commit:
            text = f"{what} commit {commit}, {lock.path.name} locks {entry.commit}"
            yield Finding("lock_mismatch", text)
    if reference.get("matches_lock", True) is not True:
        yield Finding("lock_mismatch", f"suite_lock_ref.matches_lock is {reference['matches_lock']}")
    sha256 = run.get("artifact_integrity", {}).get("upstream_input_sha256")
    locked = entry.oracle_files.get(entry.oracle_path)
    if locked is not None and sha256 is not None and sha256 != locked:
        yield Finding("input_not_locked", f"the official table has sha256 {sha256}, locked is {locked}")


def _suite_findings(run: Document, root: Path) -> Iterator[Finding]:
    """The suite file in the project is the one that was judged."""
    stated = run.get("artifact_integrity", {}).get("suite_sha256")
    if stated is None:
        return
    suite_id = run["suite"]["suite_id"]
    folder = root / "suites"
    # The suite of a fixture stands beside its tables; the published one has the same id.
    if run.get("fixture") and run["sources"]["upstream"]["path"]:
        folder = (root / run["sources"]["upstream"]["path"]).parent
    there = [suite for suite in _suites(folder) if suite.suite_id == suite_id]
    if there and stated not in {suite.sha256 for suite in there}:
        names = ", ".join(str(suite.path) for suite in there)
        yield Finding("suite_changed", f"the suite file is not the one that was judged: {names}")


def _suites(folder: Path) -> Iterator[Suite]:
    """The suites in a folder that can be read; others are for pytest to complain of."""
    for path in sorted(folder.glob("**/*.y*ml")):
        try:
            yield suite_file.load(path)
        except ParityError:
            continue


def _input_findings(run: Document, side: str, root: Path) -> Iterator[Finding]:
    """A table that is there is the one that was judged, and holds the scores that the document has."""
    source = run["sources"][side]
    stated = run.get("artifact_integrity", {}).get(f"{side}_input_sha256")
    path = root / source["path"] if source["path"] else None
    # What the earlier system hashed of a folder is not known.
    if path is None or stated is None or not (path.is_file() or (path.is_dir() and not is_earlier(run))):
        return
    try:
        tables = [load_table(path, source["format"], duplicates=which) for which in ("last", "first")]
    except ParityError as error:
        yield Finding("input_differs", error.line())
        return
    if tables[0].sha256 != stated:
        text = f"{source['path']} has sha256 {tables[0].sha256}, judged was {stated}"
        yield Finding("input_differs", text)
        return
    yield from _score_findings(run, side, tables)


def _unmarked_findings(run: Document, side: str, root: Path) -> Iterator[Finding]:
    """A table that says that it is a fixture makes every document of it one."""
    source = run["sources"][side]
    path = root / source["path"] if source["path"] and source["format"] == "canonical_json" else None
    if path is None or run.get("fixture") is True or not path.is_file():
        return
    try:
        table = load_table(path, source["format"], duplicates="last")
    except ParityError:
        return
    if is_fixture_table(table.provenance):
        text = f"{source['path']} says that it is a fixture, and the document does not"
        yield Finding("fixture_unmarked", text)


def fixture_problems(documents: Mapping[Path, Document]) -> Iterator[Problem]:
    """A problem for every document that is marked as one of made-up numbers."""
    for path, document in documents.items():
        if document.get("fixture") or any(row.get("fixture") for row in document.get("suites", ())):
            mend = "for a rehearsal add --allow-fixtures"
            yield Problem(str(path), Finding("fixture", f"{BANNER}; {mend}"))


def _score_findings(run: Document, side: str, tables: Sequence[ScoreTable]) -> Iterator[Finding]:
    """Every score of the document stands in the table, and every seed of the table in the document.

    Args:
        tables: the table with either of two repeated rows counting; the document does not say which.
    """
    if run["suite"].get("metric", RETURN) != RETURN:
        return
    there = {(p["task"], p["seed"]): p for p in run["pairs"]}
    for (task, seed), pair in there.items():
        score, step = pair[f"{side}_score"], pair.get(f"{side}_step")
        points = [p for table in tables for p in table.curve(task, seed)]
        if not any(p.value == score and step in (None, p.step) for p in points):
            text = f"{side}_score {score!r} at step {step} is not in the table"
            yield Finding("score_differs", text, task, seed)
    if is_earlier(run) or run["evaluation_manifest"]["seed_policy"]["mode"] == "as_in_tables":
        listed = {(m["task"], m["seed"]) for rows in run["missing"].values() for m in rows}
        for task in run["suite"]["tasks"]:
            for seed in tables[0].seeds(task):
                if (task, seed) not in there.keys() | listed:
                    yield Finding("omitted", f"is in the {side} table, and not in the document", task, seed)


def required_problems(
    required: Iterable[str], runs: Sequence[AnyRun], aggregate: Document, aggregate_path: Path
) -> Iterator[Problem]:
    """Every required suite has a document and a row in the aggregate; no suite has two."""
    ids = [run.suite_id for run in runs]
    rows = [row["suite_id"] for row in aggregate["suites"]]
    for suite in dict.fromkeys(required):
        if suite not in ids:
            text = f"no --run is of {suite!r}; there are {', '.join(ids)}"
            yield Problem("--required-suite", Finding("required_suite_missing", text))
        if suite not in rows:
            text = f"no row is of {suite!r}; there are {', '.join(rows)}"
            yield Problem(str(aggregate_path), Finding("required_suite_missing", text))
    for suite in sorted({s for s in ids if ids.count(s) > 1}):
        yield Problem("--run", Finding("suite_twice", f"two documents are of {suite!r}"))


def aggregate_problems(
    aggregate: Document, path: Path, runs: Sequence[AnyRun], root: Path, *, complete: bool
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
        rows.append(run.row(str(row.get("run_path"))) if run else _whole(row))
    yield from (Problem(str(path), f) for f in _against_rows(aggregate, rows))
    yield from _dangling(aggregate, path)


def document_of(row: Document, path: Path, root: Path) -> AnyRun | None:
    """The document that a row names; the earlier system's paths are relative to the project."""
    name = row.get("run_path")
    for folder in (path.parent, root):
        if name and (folder / name).is_file():
            return run_documents.read_any(folder / name)
    return None


def _whole(row: Document) -> dict[str, Any]:
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
    return _whole(row)["pass"] is True


def _against_rows(aggregate: Document, rows: Sequence[dict[str, Any]]) -> list[Finding]:
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
    found = aggregate_findings(aggregate, again, ignored)
    if again.get("fixture") and not _marked(aggregate, rows):
        text = "a document that it is made of is a fixture, and it does not say so"
        found.append(Finding("fixture_unmarked", text))
    ids = [row["suite_id"] for row in rows]
    found += [Finding("suite_twice", f"{s!r} has two rows") for s in sorted(set(ids)) if ids.count(s) > 1]
    for row in rows:
        if row["pass"] is not (row["verdict"] == "pass"):
            text = f"{row['suite_id']}: pass is {row['pass']}, verdict is {row['verdict']}"
            found.append(Finding("verdict_differs", text))
    return found + [Finding("not_judged", f"{suite}: {why}") for suite, why in not_judged.items()]


def _marked(aggregate: Document, rows: Sequence[Document]) -> bool:
    """Whether an aggregate says of itself and of each of its fixtures that they are fixtures."""
    own = [row.get("fixture") is True for row in aggregate["suites"]]
    wanted = [row.get("fixture") is True for row in rows]
    return aggregate.get("fixture") is True and own == wanted


def _dangling(aggregate: Document, path: Path) -> Iterator[Problem]:
    """Files that ours names beside itself and that are not there."""
    artifacts = aggregate["evidence_bundle"]["artifacts"] if "not_judged" in aggregate else {}
    for key in ("dashboard_html", "report_md"):
        name = artifacts.get(key)
        if name is not None and not (path.parent / name).is_file():
            yield Problem(str(path), Finding("dangling_path", f"{key} {name!r} is not there"))


def coverage_problems(
    policy: Policy, lock: Lock, aggregate: Document, aggregate_path: Path, *, enforce_pass: bool
) -> Iterator[Problem]:
    """Every suite of the policy is locked and has a row; with ``enforce_pass`` required ones pass.

    A proof suite is locked where an official program of its family is.
    """
    rows = {row["suite_id"]: row for row in aggregate["suites"]}
    for family in policy.families.values():
        for suite in family.suites:
            row = rows.get(suite)
            proven = row is not None and row.get("track") == "proof" and family.family in lock.goldens
            if suite not in lock.suites and not proven:
                yield Problem(str(lock.path), Finding("not_in_lock", f"{suite} of {family.family}"))
            if row is None:
                yield Problem(str(aggregate_path), Finding("not_in_aggregate", f"{suite} of {family.family}"))
                continue
            if family.family not in families_of(row):
                text = f"{suite} is of {row['family']!r}, the policy says {family.family!r}"
                yield Problem(str(aggregate_path), Finding("family_differs", text))
            if enforce_pass and family.required and not passes(row):
                reason = row.get("verdict_reason", "no reason given")
                text = f"{suite}, which {family.family} requires: {reason}"
                yield Problem(str(aggregate_path), Finding("not_passed", text))
    if enforce_pass and not any(family.required for family in policy.families.values()):
        text = "no family has the stage 'required', so there is nothing to enforce"
        yield Problem(str(policy.path), Finding("nothing_required", text))


def missing_problems(
    aggregate: Document, path: Path, root: Path, required: Sequence[str], max_missing: int | None
) -> Iterator[Problem]:
    """Required suites have a row, and no suite lacks more results than it may.

    Args:
        max_missing: how many results each suite may lack, by its own documents, which must be there: the run
            document of a quick suite, the coverage report of a proof suite. None: nothing is counted.
    """
    rows = {row["suite_id"]: row for row in aggregate["suites"]}
    for suite in dict.fromkeys(required):
        if suite not in rows:
            text = f"no row is of {suite!r}; there are {', '.join(rows)}"
            yield Problem(str(path), Finding("required_suite_missing", text))
    if max_missing is None:
        return
    for suite, row in rows.items():
        run = document_of(row, path, root)
        if run is None:
            text = f"{suite}: run_path {row.get('run_path')!r} is not there, so nothing can be counted"
            yield Problem(str(path), Finding("dangling_path", text))
        elif run.missing > max_missing:
            text = f"{suite}: {run.missing} results are missing, {max_missing} may be"
            yield Problem(str(run.path), Finding("missing_pairs", text))


def contradiction_problems(aggregate: Document, path: Path, root: Path) -> Iterator[Problem]:
    """Proofs of an aggregate whose documents, where they are there, contradict themselves or each other."""
    for row in aggregate["suites"]:
        run = document_of(row, path, root)
        if isinstance(run, ProofFile):
            yield from (Problem(str(run.path), finding) for finding in run.findings())


def read_runs(paths: Iterable[Path]) -> list[AnyRun]:
    """The documents of runs, quick or proof.

    Raises:
        DocumentError: one cannot be read, is none, or there is none at all.
    """
    runs = [run_documents.read_any(path) for path in paths]
    if not runs:
        raise DocumentError("no document of a run is named", mend="--run FILE")
    return runs
