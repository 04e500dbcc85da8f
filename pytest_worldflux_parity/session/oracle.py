"""An oracle table: the official program's scores on a suite's tasks, measured here and committed.

The runs go through the same engine and store as those of a parity run, so an interrupted
measurement goes on where it stopped, and what is exported is what was recorded.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ParityError, SuiteError
from ..execution import attempts, devices
from ..execution.copies import FOLDER, seal_copy
from ..execution.fleet import Fleet, Job
from ..execution.local import LocalEngine
from ..execution.records import record_of
from ..execution.request_checks import check_requests
from ..execution.store import Line, SuiteStore, run_lock
from ..inputs.backends import Backend
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite, prepare_suite
from ..inputs.scores import ScoreRow, ScoreTable
from ..inputs.scores.canonical import write_canonical_json
from ..inputs.trees import backend_tree, base_of
from ..judgement.gates.validity import record_findings
from ..suite import suite_file
from ..suite.pairs import Pair
from ..suite.suite import DEFAULT_ADAPTERS, BackendSide, Suite
from ..wire import RunRecord, content_hash

SYSTEM = "official"


def measure(
    suite_path: Path, context: RunContext, seeds: Sequence[int], jobs: int, told: Callable[[str], None]
) -> list[Line]:
    """Run the official program for every task and seed that has no record yet.

    Args:
        jobs: runs at the same time. told: is given a line for each run that has ended.

    Returns:
        The line of each run, tasks in the suite's order and seeds ascending.

    Raises:
        ParityError: the suite, the backend or a run; runs that finished are kept.
    """
    # Whoever asks again wants what failed tried again; no candidate gains by it.
    context = replace(context, retry_failed="asked for again")
    prepared = _official_only(suite_path, context, seeds)
    store = SuiteStore(context.run_dir, prepared.suite.suite_id)
    with run_lock(context.run_dir):
        prepared = _copied(prepared, context)
        attempts.recover(prepared, context)
        stored = store.read()
        runs = [Job(pair.key, prepared, pair, stored) for pair in prepared.pairs]
        adapter = prepared.backends[SYSTEM].adapter
        told(f"{len(runs)} runs of {adapter}, {jobs} at a time, in {context.run_dir}")
        # The first error, or Ctrl-C, ends what runs and what is queued.
        lines: dict[Hashable, Line] = {}
        with Fleet(LocalEngine(context), context, runs, width=jobs) as fleet:
            for key in fleet.finished():
                lines[key] = fleet.lines_of(key)[SYSTEM]
                told(f"{len(lines)} of {len(runs)}: {key}{_took(lines[key])}")
    return [lines[run.key] for run in runs]


def _took(line: Line) -> str:
    seconds = line.get("duration_sec")
    return f", {seconds:.0f} s" if isinstance(seconds, (int, float)) else ""


def _copied(prepared: PreparedSuite, context: RunContext) -> PreparedSuite:
    """The suite with a copy of its program as it is now: a request says of which folder it is."""
    program = prepared.backends[SYSTEM]
    assert isinstance(program, Backend)
    tree = backend_tree(program, context.root)
    seal_copy(context.run_dir.resolve() / FOLDER, tree, base_of(program, context.root.resolve()))
    return replace(prepared, trees={SYSTEM: tree})


def _official_only(suite_path: Path, context: RunContext, seeds: Sequence[int]) -> PreparedSuite:
    """The suite with a live official side and the given seeds, whatever its sides are."""
    suite = suite_file.load(suite_path)
    adapter = DEFAULT_ADAPTERS.get((suite.family, SYSTEM))
    side = suite.sides[SYSTEM]
    if isinstance(side, BackendSide):
        adapter = side.adapter
    if adapter is None:
        raise SuiteError(f"the family {suite.family!r} has no official backend", where=str(suite_path))
    suite = replace(
        suite,
        sides={**suite.sides, SYSTEM: BackendSide(adapter)},
        seeds={**suite.seeds, SYSTEM: tuple(seeds)},
    )
    prepared = prepare_suite(suite, replace(context, systems=(SYSTEM,)), only=(SYSTEM,))
    own = replace(prepared, pairs=tuple(Pair(t, s, (SYSTEM,)) for t in suite.tasks for s in seeds))
    check_requests(own, context)
    return own


def export(lines: Iterable[Mapping[str, Any]], path: Path, suite: Suite, command: str) -> ScoreTable:
    """Write the records of ``lines`` as a ``canonical_json`` table with their provenance.

    Raises:
        ParityError: a line holds no record or one that a parity run would not accept, or records of
            one task were made by different recipes, protocols or commits.
    """
    records = [_record(suite, line) for line in lines]
    document = {
        "suite_id": suite.suite_id,
        "command": command,
        "adapter": _same(records, "adapter", lambda r: r.adapter),
        "device": _same(records, "device", lambda r: r.device),
        "repo": _same(records, "repo", lambda r: r.metadata["source"].get("repo")),
        "commit": _same(records, "commit", lambda r: r.metadata["source"].get("commit")),
        "changes": _same(records, "changes", lambda r: r.metadata["source"].get("changes")),
        "changes_sha256": _same(
            records, "changes_sha256", lambda r: r.metadata["source"].get("changes_sha256")
        ),
        "source_tree_sha256": _same(
            records, "source tree", lambda r: r.metadata["source"].get("tree_sha256")
        ),
        "packages": _same(records, "packages", lambda r: r.metadata.get("packages")),
        "python": _same(records, "python", lambda r: r.metadata.get("python")),
        "threads": _same(records, "threads", lambda r: r.metadata.get("threads")),
        "machine": machine(),
        "tasks": {task: _task(own) for task, own in _by_task(records).items()},
    }
    return write_canonical_json(path, [row for r in records for row in _rows(r)], document)


def _record(suite: Suite, line: Mapping[str, Any]) -> RunRecord:
    """The record of a line, fit for an oracle: valid, and stating all that the provenance repeats."""
    run = f"{line.get('task_id')} seed {line.get('seed')}"
    record = record_of(line)
    if record is None:
        raise ParityError(f"no record for {run}", where=SYSTEM)
    for finding in record_findings(suite, line):
        raise ParityError(finding.line(), where=SYSTEM)
    for key in ("source", "effective_recipe", "eval_protocol"):
        if not isinstance(record.metadata.get(key), dict):
            raise ParityError(f"the record of {run} states no metadata.{key}", where=SYSTEM)
    if not record.curve:
        raise ParityError(f"the record of {run} has an empty curve", where=SYSTEM)
    return record


def _by_task(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.task_id, []).append(record)
    return groups


def _task(records: Sequence[RunRecord]) -> dict[str, Any]:
    recipe = _same(records, "effective_recipe", lambda r: r.metadata["effective_recipe"])
    return {
        "seeds": sorted(r.seed for r in records),
        "effective_recipe": recipe,
        "recipe_hash": content_hash(recipe),
        "eval_protocol": _same(records, "eval_protocol", lambda r: r.metadata["eval_protocol"]),
    }


def _same(records: Sequence[RunRecord], what: str, get: Any) -> Any:
    """The one value that all records have: a table of mixed origins would be no oracle."""
    first = get(records[0])
    for record in records:
        if get(record) != first:
            raise ParityError(
                f"{what} differs between {records[0].task_id} seed {records[0].seed} and "
                f"{record.task_id} seed {record.seed}",
                where=SYSTEM,
                mend="measure all of them again in a new --run-id",
            )
    return first


def _rows(record: RunRecord) -> Iterable[ScoreRow]:
    last = record.curve[-1].step
    for point in record.curve:
        yield ScoreRow(record.task_id, record.seed, point.step, point.value)
    for name, value in sorted(record.scalars.items()):
        yield ScoreRow(record.task_id, record.seed, last, value, name)


def machine() -> dict[str, Any]:
    """Processor, core count and operating system: enough to judge a timing by, no name of a host."""
    return {
        "processor": devices.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
