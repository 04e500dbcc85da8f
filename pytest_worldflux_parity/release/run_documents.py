"""Documents of runs, proofs and aggregates, read back: ours, and those of the earlier system."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from .. import schemas
from ..errors import DocumentError
from ..judgement.metric_rules import STATISTICS
from ..reporting import proof_documents
from ..reporting.aggregates import AGGREGATE_SCHEMA, row_of_proof, row_of_run
from ..reporting.documents import RUN, RUN_SCHEMA
from ..reporting.proof_documents import EQUIVALENCE_SCHEMA
from ..schemas.json_text import read_json

# What stands beside an equivalence report -> its schema.
PROOF_SCHEMAS = {
    proof_documents.COVERAGE: "coverage.v1",
    proof_documents.VALIDITY: "validity.v1",
    proof_documents.COMPONENTS: "component_match_set.v1",
    proof_documents.STABILITY: "stability.v1",
}


@dataclass(frozen=True)
class RunFile:
    """What a run says of one suite, and the file that says its verdict.

    Attributes:
        documents: file name -> document, that of the verdict first; of a proof all five reports.
        missing: how many expected results are not there, by the lists or the counts, whichever say more.
    """

    path: Path
    sha256: str
    track: Literal["quick", "proof"]
    suite_id: str
    generated_at: object
    documents: Mapping[str, Mapping[str, Any]]
    missing: int

    @property
    def document(self) -> Mapping[str, Any]:
        """That of the verdict."""
        return next(iter(self.documents.values()))

    def row(self, run_path: str) -> dict[str, Any]:
        """Its row of an aggregate."""
        return (row_of_proof if self.track == "proof" else row_of_run)(self.document, run_path)


def read_any(path: Path) -> RunFile:
    """The document of one suite, quick or proof, valid by its schema; what it says is not computed again.

    Raises:
        DocumentError: it cannot be read, is neither, or has no statistics.
    """
    raw, document = read_json(path, DocumentError)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version == EQUIVALENCE_SCHEMA:
        return _read_proof(path, raw, document)
    also = f"{EQUIVALENCE_SCHEMA} (an {proof_documents.EQUIVALENCE})"
    _check_schema_version(document, RUN_SCHEMA, path, also=also)
    return _read_quick(path, raw, document)


def _read_quick(path: Path, raw: bytes, document: dict[str, Any]) -> RunFile:
    earlier = is_earlier(document)
    schemas.check(document, "run.v1_earlier" if earlier else "run.v1", _locate_in(path), DocumentError)
    if not earlier and not _has_statistics(document):
        _refuse_empty(path, document["verdict_reason"])
    sha256, suite_id = hashlib.sha256(raw).hexdigest(), str(document["suite"]["suite_id"])
    time, missing = document.get("generated_at_utc"), _count_missing(document)
    return RunFile(path, sha256, "quick", suite_id, time, {RUN: document}, missing)


def _refuse_empty(path: Path, reason: str) -> None:
    hint = "bring the suite's data first (--parity-resume), or leave the document out"
    raise DocumentError(f"holds no statistics: {reason}", where=str(path), hint=hint)


def _read_proof(path: Path, raw: bytes, document: dict[str, Any]) -> RunFile:
    """A proof run by its equivalence report; the reports that belong to it have to stand beside it."""
    if "global" not in document:
        what = "is not the document with the verdict of a proof"
        raise DocumentError(what, where=str(path), hint=f"name the {proof_documents.EQUIVALENCE} beside it")
    schemas.check(document, "equivalence.v1", _locate_in(path), DocumentError)
    documents = {proof_documents.EQUIVALENCE: document}
    for name, schema in PROOF_SCHEMAS.items():
        hint = f"keep it beside {path.name}, or make all reports again: worldflux-parity proof-report"
        _, own = read_json(path.with_name(name), DocumentError, hint=hint)
        schemas.check(own, schema, _locate_in(path.with_name(name)), DocumentError)
        documents[name] = own
    cells = [cell for task in document["tasks"] for cell in task["metrics"].values()]
    if all(cell["mean_effect"] is None for cell in cells):
        _refuse_empty(path, document["global"]["verdict_reason"])
    lists = (documents[proof_documents.COVERAGE], document["completeness"])
    counts = (documents[proof_documents.COVERAGE], document["global"])
    missing = max(*(len(x["missing_entries"]) for x in lists), *(int(x["missing_pairs"]) for x in counts))
    sha256, suite_id = hashlib.sha256(raw).hexdigest(), str(document["suite_id"])
    return RunFile(path, sha256, "proof", suite_id, document["generated_at"], documents, missing)


def is_earlier(run: Mapping[str, Any]) -> bool:
    """Whether a ``worldflux.parity.run.v1`` document has only the keys of the earlier system."""
    return "verdict" not in run and "gates" not in run and "metrics" not in run


def _count_missing(run: Mapping[str, Any]) -> int:
    """How many expected results a document lacks, by its lists or by its counts, whichever says more."""
    listed = sum(len(rows) for rows in run["missing"].values())
    counts = run["counts"]
    if not is_earlier(run):
        return max(listed, int(counts["missing"]))
    # What is expected comes from the suite, and not from what is there.
    empty = set(run["suite"]["tasks"]) - {p["task"] for p in run["pairs"]}
    return max(listed, int(counts["upstream_only"] + counts["worldflux_only"]), len(empty))


def _has_statistics(document: Mapping[str, Any]) -> bool:
    return any(metric[name] is not None for metric in document["metrics"].values() for name in STATISTICS)


def read_aggregate(path: Path) -> dict[str, Any]:
    """A document over several suites, valid by its schema.

    Raises:
        DocumentError: it cannot be read or is no aggregate.
    """
    _, document = read_json(path, DocumentError)
    _check_schema_version(document, AGGREGATE_SCHEMA, path)
    earlier = "not_judged" not in document
    schemas.check(
        document, "aggregate.v1_earlier" if earlier else "aggregate.v1", _locate_in(path), DocumentError
    )
    aggregate: dict[str, Any] = document
    return aggregate


def read_equivalence(path: Path) -> dict[str, Any]:
    """An ``equivalence_report.json``, valid by its schema.

    Raises:
        DocumentError: it cannot be read or is none.
    """
    _, document = read_json(path, DocumentError)
    _check_schema_version(document, EQUIVALENCE_SCHEMA, path)
    schemas.check(document, "equivalence.v1", _locate_in(path), DocumentError)
    report: dict[str, Any] = document
    return report


def _check_schema_version(document: object, wanted: str, path: Path, also: str = "") -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != wanted:
        what = f"schema_version is {version!r}" if isinstance(document, dict) else "is no JSON object"
        raise DocumentError(what, where=str(path), valid=[wanted, *([also] if also else [])], got=version)


def _locate_in(path: Path) -> Any:
    return lambda at: f"{path}: {'.'.join(map(str, at))}" if at else str(path)


def one_per_suite(runs: Iterable[RunFile], *, newest: bool) -> list[RunFile]:
    """The documents, one for each suite, by suite id.

    Args:
        newest: of several documents of a suite take the one that was made last.

    Raises:
        DocumentError: there is none, or two of one suite and no newest is asked for or can be told.
    """
    chosen: dict[str, RunFile] = {}
    for run in runs:
        other = chosen.setdefault(run.suite_id, run)
        if other is not run:
            chosen[run.suite_id] = _newer_of(other, run) if newest else _refuse_second(other, run)
    if not chosen:
        raise DocumentError("no document of a run is there to aggregate")
    return [chosen[suite] for suite in sorted(chosen)]


def _refuse_second(one: RunFile, other: RunFile) -> RunFile:
    raise DocumentError(
        f"the suite {one.suite_id!r} has two documents, {one.path} and {other.path}",
        hint="name one run in --runs-glob, or add --newest",
    )


def _newer_of(one: RunFile, other: RunFile) -> RunFile:
    times = [_time_of(one), _time_of(other)]
    if times[0] == times[1]:
        raise DocumentError(
            f"{one.path} and {other.path} were made at the same time, so neither is the newest",
            hint="name one run in --runs-glob",
        )
    return one if times[0] > times[1] else other


def _time_of(run: RunFile) -> datetime:
    text = run.generated_at
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        raise DocumentError(
            f"generated_at_utc is {text!r}, so it cannot be told whether it is the newest",
            where=str(run.path),
            hint="name one run in --runs-glob",
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
