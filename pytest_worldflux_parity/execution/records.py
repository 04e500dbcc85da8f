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
    eval_protocol_hash,
    one_line,
    record_from_dict,
    record_to_dict,
)
from .retry import Kind

SUCCESS, FAILED = "success", "failed"
# In the line of a run that an earlier run made: which one, and where its record stands in this one.
REUSED = "reused"
# In the folder of a suite: what it keeps of earlier runs, a run directory of each log.
REUSED_FOLDER = "reused"
# Who fills in what a program does not state, and what that can be.
BY = "pytest_worldflux_parity"
FILLED = ("adapter_id", "backend_kind", "recipe_hash", "eval_protocol_hash", "artifact_manifest", "source")

# What is read by name from the line of a success -> the types that it may have.
_LINE_TYPES: Mapping[str, tuple[type, ...]] = {
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
        isolation: what kept it in its folder (:func:`.isolation.describe_walls`); None where nobody knows.
        program_sha256: of the files that it ran from; None of an attempt whose end nobody saw.
    """
    metadata = record.metadata if record else {}
    line = {
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
        "adapter_id": _stated_text(metadata, "adapter_id"),
        "backend_kind": _stated_text(metadata, "backend_kind"),
        "expected_adapter_id": adapter_id,
        "expected_backend_kind": backend_kind,
        "status": SUCCESS if record else FAILED,
        "success": record is not None,
        "return_code": return_code,
        "duration_sec": duration_sec,
        "attempt": request.attempt,
        "max_retries": suite.retries,
        "metrics": record_to_dict(record) if record else None,
        "primary_metric": suite.primary.name,
        "secondary_metrics": [m.name for m in suite.metrics[1:]],
        "higher_is_better": suite.primary.higher_is_better,
        "recipe": request.recipe,
        "eval_protocol": request.eval_protocol,
        "eval_protocol_hash": metadata.get("eval_protocol_hash"),
        "recipe_hash": _stated_text(metadata, "recipe_hash"),
        "policy_mode": metadata.get("policy_mode"),
        "policy_impl": metadata.get("policy_impl"),
        "train_budget": metadata.get("train_budget"),
        "source": request.source,
        "source_commit": _stated_text(metadata.get("source"), "commit")
        or _stated_text(request.source, "commit"),
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
    return _add_filled_in(line) if record else line


def _add_filled_in(line: dict[str, Any]) -> dict[str, Any]:
    filled = fill_in(line)
    return {**line, "filled_in": {"by": BY, "metadata": filled}} if filled else line


def fill_in(line: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a line does not state of its metadata, and the plugin knows as well as its program.

    It ran the program that it had sealed, so it knows which one that was, and what it had asked. What a
    program states is never replaced, and has to hold.
    """
    metadata = line["metrics"].get("metadata") or {}
    recipe, source = metadata.get("effective_recipe"), metadata.get("source") or {}
    known = {
        "adapter_id": line["expected_adapter_id"],
        "backend_kind": line["expected_backend_kind"],
        "recipe_hash": content_hash(recipe) if isinstance(recipe, dict) and recipe else None,
        "eval_protocol_hash": eval_protocol_hash(line["family"], line["task_id"], line["eval_protocol"]),
        "artifact_manifest": line["artifacts_sha256"],
    }
    filled = {key: value for key, value in known.items() if value and not metadata.get(key)}
    tree = line["source"].get("backend_tree_sha256")
    if tree and isinstance(source, dict) and not (source.get("tree_sha256") or source.get("commit")):
        filled["source"] = {**source, "tree_sha256": tree}
    return filled


def known_metadata(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of a line's record, with what the plugin filled in where that states nothing."""
    stated = line["metrics"].get("metadata")
    return {**stated, **filled_of(line)} if isinstance(stated, Mapping) else {}


def filled_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says that the plugin filled in; of a line of somebody else no more than that can be."""
    own = line.get("filled_in")
    filled = own.get("metadata") if isinstance(own, Mapping) else None
    return {key: filled[key] for key in FILLED if key in filled} if isinstance(filled, Mapping) else {}


def reused_line(
    line: Mapping[str, Any], run_id: str, suite_id: str, reused: Mapping[str, Any]
) -> dict[str, Any]:
    """The line by which a run counts what an earlier one made: the earlier line, and where it is from.

    Args:
        line: as the earlier log has it. run_id, suite_id: those of the run that counts it.
        reused: as ``schemas/run_line.v1.json`` has it.
    """
    return {**line, "run_id": run_id, "suite_id": suite_id, REUSED: dict(reused)}


def reused_from(line: Mapping[str, Any]) -> str | None:
    """The id of the earlier run that made a result; None of a run's own."""
    said = line.get(REUSED)
    return str(said.get("run_id")) if isinstance(said, Mapping) else None


def reused_place(line: Mapping[str, Any]) -> str:
    """Where a run keeps the earlier run that made a line, within its directory; empty of its own lines."""
    said = line.get(REUSED)
    kept = said.get("kept") if isinstance(said, Mapping) else None
    return f"{line.get('suite_id')}/{REUSED_FOLDER}/{kept}" if REUSED in line else ""


def _stated_text(stated: object, key: str) -> str | None:
    """A text that a program states, or None where it states none: metadata is the program's own."""
    value = stated.get(key) if isinstance(stated, dict) else None
    return value if isinstance(value, str) else None


class StoredLine(dict[str, Any]):
    """A line as it was read, and never changed after: its record is taken from it once.

    A proof asks for the records of thousands of lines at every gate.
    """

    @cached_property
    def unreadable(self) -> str:
        """Why it has not what a verdict reads of the line of a success; empty where it has."""
        for key, types in _LINE_TYPES.items():
            if key not in self:
                return f"{key} is missing"
            if not isinstance(self[key], types) or isinstance(self[key], bool):
                return f"{key} is {one_line(repr(self[key]))}, not {' or '.join(t.__name__ for t in types)}"
        if self.get("schema_version") != RECORD_SCHEMA:
            return f"schema_version is {one_line(repr(self.get('schema_version')))}, not {RECORD_SCHEMA!r}"
        if not (_are_texts(self["artifacts"]) and _are_texts(self.get("artifacts_sha256", {}))):
            return "artifacts are not texts by name"
        if self["status"] != SUCCESS:
            return f"its status is {one_line(repr(self['status']))}"
        return self._read[1]

    @property
    def record(self) -> RunRecord | None:
        """Its record, or None when the attempt failed or the line does not hold a valid one."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[RunRecord | None, str]:
        """Its record, or why there is none."""
        if self.get("status") != SUCCESS or not isinstance(self.get("metrics"), dict):
            return None, "it has no record"
        try:
            return record_from_dict(self["metrics"], "its record"), ""
        except WireError as error:
            return None, str(error)


def _as_stored_line(line: Mapping[str, Any]) -> StoredLine:
    return line if isinstance(line, StoredLine) else StoredLine(line)


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
    return _as_stored_line(line).unreadable


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def record_of(line: Mapping[str, Any]) -> RunRecord | None:
    """The record in a line, or None when the attempt failed or the line does not hold a valid one."""
    return _as_stored_line(line).record
