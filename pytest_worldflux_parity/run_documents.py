"""Documents of runs and aggregates, read back: ours, and those of the earlier system."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import audit, schemas
from .errors import DocumentError
from .json_file import read_json

RUN_SCHEMA = "worldflux.parity.run.v1"
AGGREGATE_SCHEMA = "worldflux.parity.aggregate.v1"
EQUIVALENCE_SCHEMA = "parity.v1"


@dataclass(frozen=True)
class RunFile:
    """A ``worldflux.parity.run.v1`` document and the file that it was read from."""

    path: Path
    sha256: str
    document: Mapping[str, Any]

    @property
    def suite_id(self) -> str:
        return str(self.document["suite"]["suite_id"])


def read_run(path: Path) -> RunFile:
    """The document of one suite, valid by its schema; what it says is not computed again.

    Raises:
        DocumentError: it cannot be read, is no run document, or has no statistics.
    """
    raw, document = read_json(path, DocumentError)
    _check_version(document, RUN_SCHEMA, path)
    earlier = audit.is_earlier(document)
    schemas.check(document, "run.v1_earlier" if earlier else "run.v1", _at(path), DocumentError)
    if not earlier and not _has_statistics(document):
        raise DocumentError(
            f"holds no statistics: {document['verdict_reason']}",
            where=str(path),
            mend="bring the suite's data first (--parity-resume), or leave the document out",
        )
    return RunFile(path, hashlib.sha256(raw).hexdigest(), document)


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


def _check_version(document: object, wanted: str, path: Path) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != wanted:
        what = f"schema_version is {version!r}" if isinstance(document, dict) else "is no JSON object"
        raise DocumentError(what, where=str(path), valid=[wanted], got=version)


def _at(path: Path) -> Any:
    return lambda at: f"{path}: {'.'.join(map(str, at))}" if at else str(path)


def refuse_contradictions(runs: Iterable[RunFile]) -> None:
    """Refuse documents whose numbers or verdicts do not follow from their own data.

    Raises:
        DocumentError: the first finding, and how many more there are.
    """
    for run in runs:
        findings = audit.run_findings(run.document)
        if findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            raise DocumentError(f"contradicts itself: {findings[0].line()}{more}", where=str(run.path))


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
            chosen[run.suite_id] = _newer(other, run) if newest else _refuse_two(other, run)
    if not chosen:
        raise DocumentError("no document of a run is there to aggregate")
    return [chosen[suite] for suite in sorted(chosen)]


def _refuse_two(one: RunFile, other: RunFile) -> RunFile:
    raise DocumentError(
        f"the suite {one.suite_id!r} has two documents, {one.path} and {other.path}",
        mend="name one run in --runs-glob, or add --newest",
    )


def _newer(one: RunFile, other: RunFile) -> RunFile:
    times = [_time(one), _time(other)]
    if times[0] == times[1]:
        raise DocumentError(
            f"{one.path} and {other.path} were made at the same time, so neither is the newest",
            mend="name one run in --runs-glob",
        )
    return one if times[0] > times[1] else other


def _time(run: RunFile) -> datetime:
    text = run.document.get("generated_at_utc")
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        raise DocumentError(
            f"generated_at_utc is {text!r}, so it cannot be told whether it is the newest",
            where=str(run.path),
            mend="name one run in --runs-glob",
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
