"""Documents of runs, proofs and aggregates, read back: ours, and those of the earlier system."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import DocumentError
from ..reporting import proof_documents
from ..reporting.aggregates import row_of_proof, row_of_run
from ..schemas.json_text import read_json

RUN_SCHEMA = "worldflux.parity.run.v1"
AGGREGATE_SCHEMA = "worldflux.parity.aggregate.v1"
EQUIVALENCE_SCHEMA = "parity.v1"
# What stands beside an equivalence report -> its schema.
PROOF_SCHEMAS = {
    proof_documents.COVERAGE: "coverage.v1",
    proof_documents.VALIDITY: "validity.v1",
    proof_documents.COMPONENTS: "component_match_set.v1",
    proof_documents.STABILITY: "stability.v1",
}


@dataclass(frozen=True)
class RunFile:
    """A ``worldflux.parity.run.v1`` document and the file that it was read from."""

    path: Path
    sha256: str
    document: Mapping[str, Any]

    @property
    def suite_id(self) -> str:
        return str(self.document["suite"]["suite_id"])

    @property
    def generated_at(self) -> object:
        return self.document.get("generated_at_utc")

    @property
    def missing(self) -> int:
        """How many expected results are not there."""
        return _missing_results(self.document)

    def row(self, run_path: str) -> dict[str, Any]:
        """Its row of an aggregate."""
        return row_of_run(self.document, run_path)


@dataclass(frozen=True)
class ProofFile:
    """An ``equivalence_report.json``, the file that it was read from, and the reports beside it.

    Attributes:
        documents: file name -> document of all five, that of ``document`` among them.
    """

    path: Path
    sha256: str
    document: Mapping[str, Any]
    documents: Mapping[str, Mapping[str, Any]]

    @property
    def suite_id(self) -> str:
        return str(self.document["suite_id"])

    @property
    def generated_at(self) -> object:
        return self.document["generated_at"]

    @property
    def missing(self) -> int:
        """How many expected results are not there, by the lists or the counts, whichever say more."""
        coverage, report = self.documents[proof_documents.COVERAGE], self.document
        listed = max(len(d["missing_entries"]) for d in (coverage, report["completeness"]))
        return max(listed, int(coverage["missing_pairs"]), int(report["global"]["missing_pairs"]))

    def row(self, run_path: str) -> dict[str, Any]:
        """Its row of an aggregate."""
        return row_of_proof(self.document, run_path)


AnyRun = RunFile | ProofFile


def read_any(path: Path) -> AnyRun:
    """The document of one suite, quick or proof, valid by its schema; what it says is not computed again.

    Raises:
        DocumentError: it cannot be read, is neither, or has no statistics.
    """
    raw, document = read_json(path, DocumentError)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version == EQUIVALENCE_SCHEMA:
        return _proof(path, raw, document)
    also = f"{EQUIVALENCE_SCHEMA} (an {proof_documents.EQUIVALENCE})"
    _check_version(document, RUN_SCHEMA, path, also=also)
    return _run(path, raw, document)


def _run(path: Path, raw: bytes, document: dict[str, Any]) -> RunFile:
    earlier = is_earlier(document)
    schemas.check(document, "run.v1_earlier" if earlier else "run.v1", _at(path), DocumentError)
    if not earlier and not _has_statistics(document):
        raise DocumentError(
            f"holds no statistics: {document['verdict_reason']}",
            where=str(path),
            mend="bring the suite's data first (--parity-resume), or leave the document out",
        )
    return RunFile(path, hashlib.sha256(raw).hexdigest(), document)


def _proof(path: Path, raw: bytes, document: dict[str, Any]) -> ProofFile:
    """A proof run by its equivalence report; the reports that belong to it have to stand beside it."""
    if "global" not in document:
        what = "is not the document with the verdict of a proof"
        raise DocumentError(what, where=str(path), mend=f"name the {proof_documents.EQUIVALENCE} beside it")
    schemas.check(document, "equivalence.v1", _at(path), DocumentError)
    documents = {proof_documents.EQUIVALENCE: document}
    for name, schema in PROOF_SCHEMAS.items():
        mend = f"keep it beside {path.name}, or make all reports again: worldflux-parity proof-report"
        _, own = read_json(path.with_name(name), DocumentError, mend=mend)
        schemas.check(own, schema, _at(path.with_name(name)), DocumentError)
        documents[name] = own
    cells = [cell for task in document["tasks"] for cell in task["metrics"].values()]
    if all(cell["mean_effect"] is None for cell in cells):
        what = f"holds no statistics: {document['global']['verdict_reason']}"
        mend = "bring the suite's data first (--parity-resume), or leave the document out"
        raise DocumentError(what, where=str(path), mend=mend)
    return ProofFile(path, hashlib.sha256(raw).hexdigest(), document, documents)


def is_earlier(run: Mapping[str, Any]) -> bool:
    """Whether a ``worldflux.parity.run.v1`` document has only the keys of the earlier system."""
    return "verdict" not in run and "gates" not in run and "metrics" not in run


def _missing_results(run: Mapping[str, Any]) -> int:
    """How many expected results a document lacks, by its lists or by its counts, whichever says more."""
    listed = sum(len(rows) for rows in run["missing"].values())
    counts = run["counts"]
    if not is_earlier(run):
        return max(listed, int(counts["missing"]))
    # What is expected comes from the suite, and not from what is there.
    empty = set(run["suite"]["tasks"]) - {p["task"] for p in run["pairs"]}
    return max(listed, int(counts["upstream_only"] + counts["worldflux_only"]), len(empty))


def _has_statistics(document: Mapping[str, Any]) -> bool:
    results = ("drop_ratio", "calibrated", "equivalence")
    return any(own[key] is not None for own in document["metrics"].values() for key in results)


def read_aggregate(path: Path) -> dict[str, Any]:
    """A document over several suites, valid by its schema.

    Raises:
        DocumentError: it cannot be read or is no aggregate.
    """
    _, document = read_json(path, DocumentError)
    _check_version(document, AGGREGATE_SCHEMA, path)
    earlier = "not_judged" not in document
    schemas.check(document, "aggregate.v1_earlier" if earlier else "aggregate.v1", _at(path), DocumentError)
    aggregate: dict[str, Any] = document
    return aggregate


def read_equivalence(path: Path) -> dict[str, Any]:
    """An ``equivalence_report.json``, valid by its schema.

    Raises:
        DocumentError: it cannot be read or is none.
    """
    _, document = read_json(path, DocumentError)
    _check_version(document, EQUIVALENCE_SCHEMA, path)
    schemas.check(document, "equivalence.v1", _at(path), DocumentError)
    report: dict[str, Any] = document
    return report


def _check_version(document: object, wanted: str, path: Path, also: str = "") -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != wanted:
        what = f"schema_version is {version!r}" if isinstance(document, dict) else "is no JSON object"
        raise DocumentError(what, where=str(path), valid=[wanted, *([also] if also else [])], got=version)


def _at(path: Path) -> Any:
    return lambda at: f"{path}: {'.'.join(map(str, at))}" if at else str(path)


def one_per_suite(runs: Iterable[AnyRun], *, newest: bool) -> list[AnyRun]:
    """The documents, one for each suite, by suite id.

    Args:
        newest: of several documents of a suite take the one that was made last.

    Raises:
        DocumentError: there is none, or two of one suite and no newest is asked for or can be told.
    """
    chosen: dict[str, AnyRun] = {}
    for run in runs:
        other = chosen.setdefault(run.suite_id, run)
        if other is not run:
            chosen[run.suite_id] = _newer(other, run) if newest else _refuse_two(other, run)
    if not chosen:
        raise DocumentError("no document of a run is there to aggregate")
    return [chosen[suite] for suite in sorted(chosen)]


def _refuse_two(one: AnyRun, other: AnyRun) -> AnyRun:
    raise DocumentError(
        f"the suite {one.suite_id!r} has two documents, {one.path} and {other.path}",
        mend="name one run in --runs-glob, or add --newest",
    )


def _newer(one: AnyRun, other: AnyRun) -> AnyRun:
    times = [_time(one), _time(other)]
    if times[0] == times[1]:
        raise DocumentError(
            f"{one.path} and {other.path} were made at the same time, so neither is the newest",
            mend="name one run in --runs-glob",
        )
    return one if times[0] > times[1] else other


def _time(run: AnyRun) -> datetime:
    text = run.generated_at
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        raise DocumentError(
            f"generated_at_utc is {text!r}, so it cannot be told whether it is the newest",
            where=str(run.path),
            mend="name one run in --runs-glob",
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
