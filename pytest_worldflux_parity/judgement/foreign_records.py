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
from ..execution.records import SUCCESS, StoredLine, is_readable, record_of, unreadable
from ..execution.store import Line
from ..inputs.context import RunContext
from ..inputs.lock_reference import lock_reference
from ..inputs.prepare import PreparedFile, PreparedSuite, stated
from ..inputs.scores import task_key
from ..inputs.scores.curves import Result
from ..schemas.json_text import parse_json
from ..suite.pairs import RunKey, expected_seeds
from ..suite.suite import SYSTEMS, BackendSide
from ..wire import RunRecord
from .gates.independence import Origin
from .gates.repeats import repeats
from .judge_proof import lock_doubts
from .judgement_input import Evidence
from .proof_verdict import ProofEvidence, ProofJudgement, judge_proof_suite
from .stats.measurements import FAILED, NOT_RUN, observe

UNSEALED = "these records were not sealed by a run of this plugin, so nothing says that they are as they were"
_TEXTS = ("adapter_id", "backend_kind", "recipe_hash")


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
        raise StoreError("holds no record", where=str(path), mend="name the parity_runs.jsonl of a run")
    return lines


def judge_lines(prepared: PreparedFile, context: RunContext, lines: Sequence[Line]) -> ProofJudgement:
    """The verdict on lines; components cannot be compared from them.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    assert prepared.proof is not None
    said = (*prepared.proof.warnings, UNSEALED, *_strangers(prepared, lines))
    unsealed = replace(prepared.proof, claim="none", warnings=said)
    parts = tuple(
        replace(_part_evidence(part, lines), golden=lock_reference(part, context).golden)
        for part in prepared.parts
    )
    return judge_proof_suite(
        ProofEvidence(
            proof=unsealed,
            parts=parts,
            plan=prepared.plan,
            commits={p.suite.family: p.sources["official"].get("commit") for p in prepared.parts},
            live={},
            doubts=tuple(lock_doubts(prepared, context)),
        )
    )


def _part_evidence(part: PreparedSuite, lines: Sequence[Line]) -> Evidence:
    own = list(_own_lines(part, lines))
    used: dict[RunKey, Line] = {}
    doubts: dict[RunKey, str] = {}
    for line in own:
        key = line["system"], line["task_id"], line["seed"]
        if doubt := _doubt(line):
            doubts[key] = doubt
        elif used.setdefault(key, line) is line and (why := unreadable(line)):
            doubts[key] = f"its line cannot be read: {why}"
    readable = {key: line for key, line in used.items() if is_readable(line)}
    records = {k: record for k, line in readable.items() if (record := record_of(line)) is not None}
    expected = tuple(_expected(part))
    absent = {
        key: (FAILED, doubts[key]) if key in doubts else (NOT_RUN, "")
        for key in ((system, task, seed) for task, seed, system in expected)
        if key not in records
    }
    results = {key: Result.of(record) for key, record in records.items()}
    alike = repeats(part.suite, results, [(system, task, seed) for task, seed, system in expected])
    return Evidence(
        suite=part.suite,
        pairs=part.pairs,
        expected=expected,
        observed=observe(part.suite, expected, results, absent, {}, alike.keys),
        lines=tuple(used.values()),
        all_lines=tuple(own),
        origins={s: _origin(part, s, records) for s in SYSTEMS},
        recipes=stated(part, part.pairs, records, "effective_recipe"),
        protocols=stated(part, part.pairs, records, "eval_protocol"),
        repeats=alike,
        label=part.label,
    )


def _doubt(line: Line) -> str:
    """What a line says of itself that contradicts its success; empty where it is one."""
    if line.get("status") != SUCCESS:
        return f"its status is {_said(line, 'status')}, its error {_said(line, 'error')}"
    if line.get("success", True) is not True or line.get("error"):
        return f"it says success {_said(line, 'success')}, error {_said(line, 'error')}"
    if line.get("return_code") not in (None, 0):
        return f"its return_code is {_said(line, 'return_code')}"
    metrics = line.get("metrics")
    if not isinstance(metrics, Mapping):
        return "it has no metrics"
    if metrics.get("success", True) is not True:
        return "its record says that it is no success"
    if (metrics.get("task_id"), metrics.get("seed")) != (line["task_id"], line["seed"]):
        return f"its record is of {_said(metrics, 'task_id')}, seed {_said(metrics, 'seed')}"
    return ""


def _said(document: Mapping[str, Any], key: str) -> str:
    return wire.one_line(repr(document.get(key)))


def _expected(part: PreparedSuite) -> Iterator[tuple[str, int, str]]:
    for task in part.suite.tasks:
        for system in SYSTEMS:
            for seed in sorted(expected_seeds(part.suite, system, task.id, {})):
                yield task.id, seed, system


def _strangers(prepared: PreparedFile, lines: Sequence[Line]) -> Iterator[str]:
    """What is to be known of lines that are about nothing of the suite."""
    tasks = {task_key(t.id) for part in prepared.parts for t in part.suite.tasks}
    if odd := [line for line in lines if not _is_of(line, tasks)]:
        shown = ", ".join(f"{key} {_said(odd[0], key)}" for key in ("task_id", "seed", "system"))
        yield f"{len(odd)} of {len(lines)} lines are of no task, seed and system here; the first: {shown}"


def _is_of(line: Line, tasks: Container[str]) -> bool:
    name, seed, system = line.get("task_id"), line.get("seed"), line.get("system")
    return isinstance(name, str) and task_key(name) in tasks and type(seed) is int and system in SYSTEMS


def _own_lines(part: PreparedSuite, lines: Iterable[Line]) -> Iterator[Line]:
    """The lines about this part's tasks, under the suite's names of them, with the keys that ours have."""
    tasks = {task_key(t.id): t.id for t in part.suite.tasks}
    for line in lines:
        if _is_of(line, tasks):
            yield _completed(line, tasks[task_key(line["task_id"])], part)


def _completed(line: Line, task: str, part: PreparedSuite) -> Line:
    """A line with what ours always have; nothing that it says is replaced but the name of its task."""
    side = part.suite.sides[line["system"]]
    wanted = part.backends[line["system"]]
    adapter = side.adapter if isinstance(side, BackendSide) else ""
    metrics = line.get("metrics")
    metadata = metrics.get("metadata") if isinstance(metrics, Mapping) else None
    metadata = metadata if isinstance(metadata, Mapping) else {}
    key = {"system": line["system"], "task_id": task, "seed": line["seed"]}
    return StoredLine(
        {
            "attempt": 1,
            "device": "unknown",
            "adapter": adapter,
            "duration_sec": None,
            "source_commit": None,
            **{k: metadata.get(k) for k in _TEXTS},
            **line,
            # One per (task, seed, system): of two successes with other numbers, whatever they answered, one
            # was chosen, and that is a finding.
            "request_id": wire.content_hash(key),
            "task_id": task,
            "metrics": _renamed(line, task, part) if isinstance(metrics, Mapping) else None,
            "expected_adapter_id": getattr(wanted, "adapter_id", adapter),
            "expected_backend_kind": wanted.kind,
            "artifacts": {},
            "artifacts_sha256": {},
        }
    )


def _renamed(line: Line, task: str, part: PreparedSuite) -> dict[str, Any]:
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


def _origin(part: PreparedSuite, system: str, records: Mapping[RunKey, RunRecord]) -> Origin:
    """The program that the records name, and the source trees that they state."""
    own = [r for (owner, _, _), r in records.items() if owner == system]
    sources: list[Any] = [r.metadata.get("source") for r in own]
    trees = [s.get("tree_sha256") for s in sources if isinstance(s, Mapping)]
    adapters = sorted({r.adapter for r in own})
    return Origin(
        adapter=adapters[0] if len(adapters) == 1 else "",
        trees=frozenset(t for t in trees if isinstance(t, str)),
    )
