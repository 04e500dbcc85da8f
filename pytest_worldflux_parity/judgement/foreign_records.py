"""Lines of a ``parity_runs.jsonl`` that no run of this plugin sealed -> their judgement under a proof suite.

Nothing is known of such lines but what they say, so no request ties them to a recipe, and nothing but the
first success of each (task, seed, system) counts; which programs they are of is what they state. They are
held to everything else that a proof asks.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import StoreError
from ..execution.records import SUCCESS, StoredLine, unreadable
from ..execution.store import Line
from ..inputs.context import RunContext
from ..inputs.lock_reference import lock_reference
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..inputs.scores import task_key
from ..schemas.json_text import parse_json
from ..suite.commands import value_at
from ..suite.pairs import RunKey
from ..suite.suite import SYSTEMS, BackendSide
from .assemble import make_evidence, stated_trees
from .gates.independence import Origin
from .judge_run import lock_doubts, official_commits
from .judgement_input import Evidence
from .proof_verdict import ProofEvidence, ProofJudgement, judge_proof_suite
from .stats.measurements import FAILED, NOT_RUN

UNSEALED = "these records were not sealed by a run of this plugin, so nothing says that they are as they were"
_COPIED = ("adapter_id", "backend_kind", "recipe_hash")


def read_lines(path: Path) -> list[Line]:
    """The lines of a log as they are; a last line that a crash tore is left out.

    Raises:
        StoreError: the file cannot be read, or another line is not a JSON object; with its number.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from None
    texts = raw.split(b"\n")
    lines = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        where = Path(f"{path}:{number}")
        try:
            line = parse_json(text, where, StoreError)
        except StoreError:
            if number == len(texts):
                continue
            raise
        if not isinstance(line, dict):
            raise StoreError("is not a JSON object", where=str(where))
        lines.append(line)
    if not lines:
        raise StoreError("holds no record", where=str(path), hint="name the parity_runs.jsonl of a run")
    return lines


def judge_lines(prepared: PreparedFile, context: RunContext, lines: Sequence[Line]) -> ProofJudgement:
    """The verdict on lines; components cannot be compared from them.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    assert prepared.proof is not None
    said = (*prepared.proof.warnings, UNSEALED, *_describe_strangers(prepared, lines))
    return judge_proof_suite(
        ProofEvidence(
            proof=replace(prepared.proof, claim="none", warnings=said),
            parts=tuple(_part_evidence(part, context, lines) for part in prepared.parts),
            plan=prepared.plan,
            commits=official_commits(prepared),
            live={},
            doubts=tuple(lock_doubts(prepared, context)),
        )
    )


def _part_evidence(part: PreparedSuite, context: RunContext, lines: Sequence[Line]) -> Evidence:
    known = tuple(_own_lines(part, lines))
    used: dict[RunKey, Line] = {}
    doubts: dict[RunKey, str] = {}
    for line in known:
        key = line["system"], line["task_id"], line["seed"]
        if doubt := _find_contradiction(line):
            doubts[key] = doubt
        elif used.setdefault(key, line) is line and (why := unreadable(line)):
            doubts[key] = f"its line cannot be read: {why}"
    return make_evidence(
        part,
        used,
        lambda key: (FAILED, doubts[key]) if key in doubts else (NOT_RUN, ""),
        all_lines=known,
        origins={s: _stated_origin(s, used) for s in SYSTEMS},
        golden=lock_reference(part, context).golden,
    )


def _find_contradiction(line: Line) -> str:
    """What a line says of itself that contradicts its success; empty where it is one."""
    if line.get("status") != SUCCESS:
        return f"its status is {_quote(line, 'status')}, its error {_quote(line, 'error')}"
    if line.get("success", True) is not True or line.get("error"):
        return f"it says success {_quote(line, 'success')}, error {_quote(line, 'error')}"
    if line.get("return_code") not in (None, 0):
        return f"its return_code is {_quote(line, 'return_code')}"
    metrics = line.get("metrics")
    if not isinstance(metrics, Mapping):
        return "it has no metrics"
    if metrics.get("success", True) is not True:
        return "its record says that it is no success"
    if (metrics.get("task_id"), metrics.get("seed")) != (line["task_id"], line["seed"]):
        return f"its record is of {_quote(metrics, 'task_id')}, seed {_quote(metrics, 'seed')}"
    return ""


def _quote(document: Mapping[str, Any], key: str) -> str:
    return wire.one_line(repr(document.get(key)))


def _describe_strangers(prepared: PreparedFile, lines: Sequence[Line]) -> Iterator[str]:
    """What is to be known of lines that are about nothing of the suite."""
    tasks = {task_key(t.id) for part in prepared.parts for t in part.suite.tasks}
    if odd := [line for line in lines if not _is_of_suite(line, tasks)]:
        shown = ", ".join(f"{key} {_quote(odd[0], key)}" for key in ("task_id", "seed", "system"))
        yield f"{len(odd)} of {len(lines)} lines are of no task, seed and system here; the first: {shown}"


def _is_of_suite(line: Line, tasks: Container[str]) -> bool:
    name, seed, system = line.get("task_id"), line.get("seed"), line.get("system")
    return isinstance(name, str) and task_key(name) in tasks and type(seed) is int and system in SYSTEMS


def _own_lines(part: PreparedSuite, lines: Iterable[Line]) -> Iterator[Line]:
    """The lines about this part's tasks, under the suite's names of them, with the keys that ours have."""
    tasks = {task_key(t.id): t.id for t in part.suite.tasks}
    for line in lines:
        if _is_of_suite(line, tasks):
            yield _complete_line(line, tasks[task_key(line["task_id"])], part)


def _complete_line(line: Line, task: str, part: PreparedSuite) -> Line:
    """A line with what ours always have; nothing that it says is replaced but the name of its task."""
    side = part.suite.sides[line["system"]]
    wanted = part.backends[line["system"]]
    adapter = side.adapter if isinstance(side, BackendSide) else ""
    key = {"system": line["system"], "task_id": task, "seed": line["seed"]}
    return StoredLine(
        {
            "attempt": 1,
            "device": "unknown",
            "adapter": adapter,
            "duration_sec": None,
            "source_commit": None,
            **{k: value_at(line, "metrics", "metadata", k) for k in _COPIED},
            **line,
            # One per (task, seed, system): of two successes with other numbers, whatever they answered, one
            # was chosen, and that is a finding.
            "request_id": wire.content_hash(key),
            "task_id": task,
            "metrics": _rename_task(line, task, part) if isinstance(line.get("metrics"), Mapping) else None,
            "expected_adapter_id": getattr(wanted, "adapter_id", adapter),
            "expected_backend_kind": wanted.kind,
            "artifacts": {},
            "artifacts_sha256": {},
        }
    )


def _rename_task(line: Line, task: str, part: PreparedSuite) -> dict[str, Any]:
    """The record under the suite's name of its task, which its protocol's hash holds too."""
    metrics = dict(line["metrics"])
    if line["task_id"] == task:
        return metrics
    metadata = metrics.get("metadata")
    protocol = part.suite.task(task).eval_protocol
    names = (str(line["task_id"]), task)
    theirs, ours = (wire.eval_protocol_hash(part.suite.family, n, protocol) for n in names)
    if isinstance(metadata, Mapping) and metadata.get("eval_protocol_hash") == theirs:
        metrics["metadata"] = {**metadata, "eval_protocol_hash": ours}
    if metrics.get("task_id") == line["task_id"]:
        metrics["task_id"] = task
    return metrics


def _stated_origin(system: str, used: Mapping[RunKey, Line]) -> Origin:
    """The program that the records name, and the source trees that they state."""
    stated = (value_at(line, "metrics", "adapter") for key, line in used.items() if key[0] == system)
    adapters = {adapter for adapter in stated if isinstance(adapter, str)}
    return Origin(adapter=adapters.pop() if len(adapters) == 1 else "", trees=stated_trees(used, system))
