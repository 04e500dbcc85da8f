"""One attempt -> one ``parity.v1`` line of ``parity_runs.jsonl`` (field names as in FORMATS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..suite.suite import Suite
from ..wire import (
    RECORD_SCHEMA,
    RunRecord,
    RunRequest,
    WireError,
    content_hash,
    one_line,
    record_from_dict,
    record_to_dict,
)
from .retry import Kind

SUCCESS, FAILED = "success", "failed"

# What is read by name from the line of a success -> the types that it may have.
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("request_id", "task_id", "system", "adapter", "device", "status"), (str,)),
    **dict.fromkeys(("expected_adapter_id", "expected_backend_kind"), (str,)),
    **dict.fromkeys(("adapter_id", "backend_kind", "recipe_hash", "source_commit"), (str, type(None))),
    **dict.fromkeys(("seed", "attempt"), (int,)),
    **dict.fromkeys(("metrics", "artifacts"), (dict,)),
    "duration_sec": (int, float, type(None)),
}


def record_line(
    suite: Suite,
    request: RunRequest,
    record: RunRecord | None,
    *,
    adapter_id: str,
    backend_kind: str,
    error: str,
    return_code: int | None,
    duration_sec: float | None,
    timestamp: str,
    command: Sequence[str],
    artifacts: Mapping[str, str],
    artifacts_sha256: Mapping[str, str] | None = None,
    recovered: bool = False,
    kind: Kind | None = None,
    gpus: Sequence[str] = (),
    isolation: Mapping[str, Any] | None = None,
    program_sha256: str | None = None,
) -> dict[str, Any]:
    """The line for one attempt; ``record`` is None when it failed.

    ``adapter_id`` and ``backend_kind`` are what the program states in its metadata, None where it
    states none: it need not, since its record names the adapter.

    Args:
        kind: of the error; ``error_kind`` in the line.
        gpus: UUIDs of the GPUs that the program could see; none on a CPU.
        isolation: what kept it in its folder (:func:`.isolation.told`); None where nobody knows.
        program_sha256: of the files that it ran from; None of an attempt whose end nobody saw.
    """
    metadata = record.metadata if record else {}
    source = metadata.get("source")
    primary = suite.primary
    return {
        "schema_version": RECORD_SCHEMA,
        "request_id": request.request_id,
        "run_id": request.run_id,
        "suite_id": suite.suite_id,
        "timestamp": timestamp,
        "task_id": request.task_id,
        "family": request.family,
        "seed": request.seed,
        "system": request.system,
        "device": request.device,
        "adapter": record.adapter if record else request.adapter,
        "adapter_id": _text(metadata, "adapter_id"),
        "backend_kind": _text(metadata, "backend_kind"),
        "expected_adapter_id": adapter_id,
        "expected_backend_kind": backend_kind,
        "status": SUCCESS if record else FAILED,
        "success": record is not None,
        "return_code": return_code,
        "duration_sec": duration_sec,
        "attempt": request.attempt,
        "max_retries": suite.retries,
        "metrics": record_to_dict(record) if record else None,
        "primary_metric": primary.name,
        "secondary_metrics": [m.name for m in suite.metrics[1:]],
        "higher_is_better": primary.higher_is_better,
        "recipe": request.recipe,
        "eval_protocol": request.eval_protocol,
        "eval_protocol_hash": metadata.get("eval_protocol_hash"),
        "recipe_hash": _text(metadata, "recipe_hash"),
        "policy_mode": metadata.get("policy_mode"),
        "policy_impl": metadata.get("policy_impl"),
        "train_budget": metadata.get("train_budget"),
        "source": request.source,
        "source_commit": _text(source, "commit") or _text(request.source, "commit"),
        "artifact_manifest": metadata.get("artifact_manifest"),
        "command": list(command),
        "artifacts": dict(artifacts),
        "artifacts_sha256": dict(artifacts_sha256 or {}),
        "recovered": recovered,
        "error": error or None,
        "error_kind": kind,
        "gpus": list(gpus),
        "isolation": dict(isolation) if isolation is not None else None,
        "program_sha256": program_sha256,
    }


def _text(stated: object, key: str) -> str | None:
    """A text that a program states, or None where it states none: metadata is the program's own."""
    value = stated.get(key) if isinstance(stated, dict) else None
    return value if isinstance(value, str) else None


class StoredLine(dict[str, Any]):
    """A line as it was read, and never changed after: its record is taken from it once.

    A proof asks for the records of thousands of lines at every gate.
    """

    @cached_property
    def unreadable(self) -> str:
        return _unreadable(self)

    @cached_property
    def record(self) -> RunRecord | None:
        return _record_of(self)


def log_path(line: Mapping[str, Any]) -> str:
    """Which log says why an attempt failed, from the run directory; nothing where none does."""
    found = (line.get("artifacts") or {}).get("log")
    return found if isinstance(found, str) else ""


def failure_text(line: Mapping[str, Any]) -> str:
    """Why an attempt failed, and which log says so."""
    log = log_path(line)
    return f"{line.get('error')}; log: {log}" if log else str(line.get("error"))


def line_sha256(line: Mapping[str, Any]) -> str:
    """sha256 of a line's content, whoever wrote it down and however."""
    return content_hash(dict(line))


def is_readable(line: Mapping[str, Any]) -> bool:
    """Whether the line of a success has what a verdict reads of it, and a valid record."""
    return not unreadable(line)


def unreadable(line: Mapping[str, Any]) -> str:
    """Why the line of a success is not :func:`is_readable`; empty where it is."""
    return line.unreadable if isinstance(line, StoredLine) else _unreadable(line)


def _unreadable(line: Mapping[str, Any]) -> str:
    for key, types in _TYPES.items():
        if key not in line:
            return f"{key} is missing"
        if not isinstance(line[key], types) or isinstance(line[key], bool):
            return f"{key} is {one_line(repr(line[key]))}, not {' or '.join(t.__name__ for t in types)}"
    if line.get("schema_version") != RECORD_SCHEMA:
        return f"schema_version is {one_line(repr(line.get('schema_version')))}, not {RECORD_SCHEMA!r}"
    if not (_texts(line["artifacts"]) and _texts(line.get("artifacts_sha256", {}))):
        return "artifacts are not texts by name"
    return "" if record_of(line) else _why_no_record(line)


def _why_no_record(line: Mapping[str, Any]) -> str:
    if line["status"] != SUCCESS:
        return f"its status is {one_line(repr(line['status']))}"
    try:
        record_from_dict(line["metrics"], "its record")
    except WireError as error:
        return str(error)
    return ""


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def record_of(line: Mapping[str, Any]) -> RunRecord | None:
    """The record in a line, or None when the attempt failed or the line does not hold a valid one."""
    return line.record if isinstance(line, StoredLine) else _record_of(line)


def _record_of(line: Mapping[str, Any]) -> RunRecord | None:
    if line.get("status") != SUCCESS or not isinstance(line.get("metrics"), dict):
        return None
    try:
        return record_from_dict(line["metrics"])
    except WireError:
        return None
