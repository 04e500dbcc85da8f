"""What is done for one run, whichever engine executes it: attempts, retries, and a stored line for each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import RecordError, RunFailed
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import Isolate, RunContext
from ..inputs.prepare import PreparedSuite
from ..inputs.trees import Tree
from ..schemas.json_text import utc_now
from ..suite import pairs
from ..suite.pairs import Pair
from ..suite.suite import BackendSide
from . import retention, retry, runner
from .attempt_end import clean_attempt, cleaner_of, withhold_logs
from .copies import sealed_mode
from .engine import Engine, Execution, Launch, import_job_attempts
from .engines import ENGINES
from .isolation import believe_walls, read_walls_left, why_no_walls
from .launching import sealed_program
from .leases import Alone
from .left_files import MOST_RECORD, read_left
from .records import log_path, record_line
from .store import Line, Stored, SuiteStore, answer_in, hold_presence, never_began, translated


class AttemptsFailed(RunFailed):
    """Every attempt at a run failed; ``logs`` has the folder of the last one, by system."""

    def __init__(self, what: str, *, logs: Mapping[str, Path] | None = None, **fields: Any) -> None:
        super().__init__(what, **fields)
        self.logs = dict(logs or {})


def run_pair(
    prepared: PreparedSuite, pair: Pair, context: RunContext, stored: Stored, engine: Engine
) -> dict[str, Line]:
    """Bring a line for every live system of the pair, one after the other: kept from the store, or run now.

    A system that fails does not keep the other from running.

    Returns:
        system -> the line of the successful attempt.

    Raises:
        AttemptsFailed: a system delivered nothing in as many attempts as :mod:`.retry` allows.
        StoreError: the run directory cannot be written.
    """
    lines = kept_lines(prepared, pair, context, stored)
    store = SuiteStore(context.run_dir, prepared.suite.suite_id)
    failures: list[AttemptsFailed] = []
    for system in systems_to_run(prepared, pair, context, lines):
        # Another worker of this session may have begun it since, and died.
        now = store.read() if store.started(pair.task.id, pair.seed, system) else stored
        try:
            with hold_presence(context.run_dir) as present:
                lines[system] = run_system(prepared, pair, system, context, now, engine, present)
        except AttemptsFailed as failure:
            failures.append(failure)
    raise_together(failures)
    return lines


def kept_lines(prepared: PreparedSuite, pair: Pair, context: RunContext, stored: Stored) -> dict[str, Line]:
    """What an earlier session of the run finished of a pair, by system."""
    found = {
        system: stored.successes.get(request_id(prepared, pair, system, context))
        for system in prepared.suite.live_systems
        if system in pair.systems and system in prepared.backends
    }
    return {system: line for system, line in found.items() if line is not None}


def systems_to_run(
    prepared: PreparedSuite, pair: Pair, context: RunContext, kept: Mapping[str, Line]
) -> list[str]:
    """The live systems of a pair that this session has to run."""
    return [
        system
        for system in prepared.suite.live_systems
        if system in pair.systems
        and system in prepared.backends
        and system in context.systems
        and system not in kept
    ]


def raise_together(failures: Sequence[AttemptsFailed]) -> None:
    """Raise the failures of a pair's systems as one, where there are any."""
    if failures:
        logs = {system: folder for f in failures for system, folder in f.logs.items()}
        raise AttemptsFailed("; ".join(f.what for f in failures), logs=logs)


def request_id(prepared: PreparedSuite, pair: Pair, system: str, context: RunContext) -> str:
    """The id of the request that this session would make."""
    key = (pair.task.id, pair.seed, system, context.device)
    if key not in prepared.request_ids:
        side, source = prepared.suite.sides[system], prepared.sources[system]
        assert isinstance(side, BackendSide)
        found = pairs.request_id(prepared.suite, pair, system, side.adapter, context.device, source)
        prepared.request_ids[key] = found
    return prepared.request_ids[key]


@dataclass(frozen=True)
class _Run:
    """One run: a live system of a pair, as a session asks for it."""

    prepared: PreparedSuite
    pair: Pair
    system: str
    context: RunContext

    @property
    def store(self) -> SuiteStore:
        return SuiteStore(self.context.run_dir, self.prepared.suite.suite_id)

    @property
    def program(self) -> Backend | CommandProgram:
        return self.prepared.backends[self.system]

    @property
    def keep(self) -> tuple[str, ...]:
        """What must stay of an attempt: all of the official run whose checkpoint a live match begins from."""
        of_match = self.prepared.live and self.system == "official" and self.pair == self.prepared.pairs[0]
        return ("*",) if of_match else ()

    def request(self, attempt: int, folder: Path) -> wire.RunRequest:
        return request_of(self.prepared, self.pair, self.system, self.context, attempt, folder)


def request_of(
    prepared: PreparedSuite, pair: Pair, system: str, context: RunContext, attempt: int, folder: Path
) -> wire.RunRequest:
    """What a program is asked in an attempt, which writes into ``folder``."""
    return pairs.request(
        prepared.suite,
        pair,
        system,
        adapter=prepared.backends[system].adapter,
        device=context.device,
        source=prepared.sources[system],
        run_id=context.run_id,
        out_dir=str(folder.resolve()),
        attempt=attempt,
    )


def run_system(
    prepared: PreparedSuite,
    pair: Pair,
    system: str,
    context: RunContext,
    stored: Stored,
    engine: Engine,
    present: int,
) -> Line:
    """Run one system of a pair until an attempt succeeds; every attempt's line is stored.

    Args:
        stored: the lines that others than this process have written of the run.
        present: descriptor that says that something runs in the run directory (:func:`.store.hold_presence`).

    Raises:
        AttemptsFailed: no attempt succeeded.
        StoreError: the run directory cannot be written.
    """
    run = _Run(prepared, pair, system, context)
    lines = [*stored.attempts(pair.task.id, pair.seed, system)]
    lines += _settle_unwritten(run, lines, engine)
    # What succeeded is not run again, whoever was killed.
    asked = request_id(prepared, pair, system, context)
    if (kept := Stored(tuple(lines)).successes.get(asked)) is not None:
        return kept
    earlier = _counted_failures(lines, asked, context)
    failures: list[retry.Kind] = []
    how = retry.next_try(earlier, (), prepared.suite.retries) if earlier else "again"
    if how == "never":
        raise _used_up_failure(lines[-1], run.store)
    while how != "never":
        attempt, folder = run.store.new_attempt(pair.task.id, pair.seed, system)
        launch = Launch(
            request=run.request(attempt, folder),
            folder=folder,
            program=run.program,
            sealed=sealed_program(context, prepared, system, f"{prepared.key}.{system}"),
            resources=pair.task.resources,
            alone=_what_alone(how, [*earlier, *failures]),
            keep=run.keep,
            present=present,
        )
        import_job_attempts().note_given(folder, context.run_dir, job=ENGINES[engine.name].outlives)
        with translated(folder):
            execution = engine.execute(launch)
        line = _store_line(run, launch.request, folder, execution, context.isolate, launch.sealed.tree)
        failures.append(line["error_kind"])
        lines.append(line)
        if line["success"]:
            # Of this session, too: a worker died before it had asked anything, and another went past it.
            _settle_unwritten(run, lines, engine)
            return line
        how = retry.next_try(earlier, failures, prepared.suite.retries)
    raise _failure_of(line, folder)


def _what_alone(how: retry.How, failures: Sequence[retry.Kind]) -> Alone:
    if how != "alone":
        return ""
    return "gpus" if failures[-1] == "out_of_gpu_memory" else "machine"


def _counted_failures(lines: Sequence[Line], asked: str, context: RunContext) -> list[retry.Kind]:
    """The attempts at a request that count against its retries, oldest first."""
    if context.retry_failed:
        return []
    return [x["error_kind"] for x in lines if x["request_id"] == asked and x.get("error_kind")]


def _used_up_failure(line: Line, store: SuiteStore) -> AttemptsFailed:
    folder = store.attempt_folder(line["task_id"], line["seed"], line["system"], line["attempt"])
    used = "the retries of the suite are used up, in earlier sessions of the run"
    hint = "to mend: --parity-retry-failed REASON, which the verdict then names"
    return _failure_of(line, folder, f"; {used}; {hint}")


def _failure_of(line: Line, folder: Path, more: str = "") -> AttemptsFailed:
    """The failure of a side: which one, why, and where its log is, from where the session was started."""
    log = f"; log: {os.path.relpath(folder / Path(path).name)}" if (path := log_path(line)) else ""
    return AttemptsFailed(f"{line['system']}: {line['error']}{log}{more}", logs={line["system"]: folder})


def _settle_unwritten(run: _Run, lines: Sequence[Line], engine: Engine | None) -> list[Line]:
    """Give a line to each attempt at a run whose process was killed before it wrote one.

    Args:
        lines: those that attempts at the run have.
        engine: that of the session; None: what a job may still run is left to it.
    """
    written = {x["attempt"] for x in lines}
    settled: list[Line] = []
    for attempt, folder in run.store.started(run.pair.task.id, run.pair.seed, run.system):
        job = import_job_attempts().is_given(folder, run.context.run_dir)
        if attempt in written or (engine is None and job):
            continue
        # Nobody went past it: its process waited, and once pairs run it may be one that has just made it.
        if not any(folder.iterdir()) and attempt > max(written, default=0):
            if engine is None:
                never_began(folder)
            continue
        request = run.request(attempt, folder)
        seen = _find_end(engine, request, folder, run.context) if engine is not None and job else None
        if seen is not None:
            line = _store_line(run, request, folder, seen, _possible_mode(run.context, job=True))
        else:
            line = _store_unseen(run, request, folder, job)
        settled.append(line)
    return settled


def _find_end(
    engine: Engine, request: wire.RunRequest, folder: Path, context: RunContext
) -> Execution | None:
    """How an attempt went that an earlier session gave to a job, where that has left word.

    A job of Slurm outlives its session, whatever the engine of the next one is.

    Raises:
        ParityError: a job may still run it, and this engine cannot wait for it.
    """
    seen: Execution | None = import_job_attempts().disown_job(folder, request.request_id)
    if seen is None and ENGINES[engine.name].outlives:
        return engine.adopt(folder)
    return seen or import_job_attempts().settle_job(folder, context.run_dir)


def _store_unseen(run: _Run, request: wire.RunRequest, folder: Path, job: bool) -> Line:
    """Store an attempt whose end nobody saw: by its record where it left one, else as lost.

    Args:
        job: a job was to run it. What is there may be of an earlier start, or of a program that failed
            after all.
    """
    with translated(folder):
        withhold_logs(folder, run.context.run_dir)
    found = None if job else answer_in(folder)
    if found is not None and found[0].request_id == request.request_id and _is_answered_by(*found):
        return _store(run, *found, folder, recovered=True)
    lost = "the process that ran it ended before it did"
    return _store(run, request, None, folder, error=lost, kind=retry.LOST)


def _store_line(
    run: _Run,
    request: wire.RunRequest,
    folder: Path,
    execution: Execution,
    walls: Isolate,
    tree: Tree | None = None,
) -> Line:
    """Store an attempt whose end was seen; ``walls``: those that it can have run within."""
    outcome = execution.outcome
    return _store(
        run,
        request,
        outcome.record,
        folder,
        error=outcome.error,
        kind=outcome.kind,
        gpus=execution.gpus,
        return_code=outcome.return_code,
        duration_sec=round(outcome.duration_sec, 3),
        isolation=believe_walls(outcome.isolation, walls),
        program_sha256=tree.sha256 if tree is not None else None,
        command=list(execution.command),
    )


def _store(
    run: _Run, request: wire.RunRequest, record: wire.RunRecord | None, folder: Path, **seen: Any
) -> Line:
    """Clean what an attempt left, store its line, and let go of what nobody needs.

    Args:
        seen: what was seen of its end, which is nothing where it is left out.
    """
    program, context = run.program, run.context
    clean = cleaner_of(request, program, folder, context.root, context.run_dir)
    with translated(folder):
        record, leak = clean_attempt(folder, record, request.adapter, clean)
    if leak:
        seen = {**seen, "error": leak, "kind": retry.LEAK}
    unseen: dict[str, Any] = {"error": "", "return_code": None, "duration_sec": None, "command": []}
    unseen["isolation"] = read_walls_left(folder, _possible_mode(context))
    line = record_line(
        run.prepared.suite,
        request,
        record,
        adapter_id=program.adapter_id if isinstance(program, CommandProgram) else program.adapter,
        backend_kind=program.kind,
        timestamp=utc_now(),
        artifacts=_artifact_paths(folder, context, failed=record is None),
        artifacts_sha256=_artifacts_sha256(folder) if record is not None else None,
        **{**unseen, **seen},
    )
    # What names places of this machine; the rest was asked, or stands in the record.
    places = {name: clean.document(line[name]) for name in ("command", "source", "isolation")}
    line = run.store.append({**line, **places, "error": line["error"] and clean.text(line["error"])})
    retention.apply_retention(context.retention, folder, line, run.keep)
    return line


def _possible_mode(context: RunContext, *, job: bool = False) -> Isolate:
    """The walls that were asked for; none where the run was sealed without, or where this machine has none.

    Programs of a job, and of other engines, run elsewhere.
    """
    can_be = job or not ENGINES[context.engine].is_here or why_no_walls() is None
    return context.isolate if can_be and sealed_mode(context.run_dir) != "off" else "off"


def _artifact_paths(folder: Path, context: RunContext, *, failed: bool) -> dict[str, str]:
    """Paths relative to the run directory, so that it can be moved; ``log``: which one says why it failed."""
    names = {"metrics": "metrics.json", "stdout": "stdout.log", "stderr": "stderr.log"}
    if failed and (log := runner.log_written(folder, runner.LOG_TAIL_BYTES)[0]):
        names["log"] = log
    return {
        key: str((folder / name).relative_to(context.run_dir))
        for key, name in names.items()
        if (folder / name).exists()
    }


def _artifacts_sha256(folder: Path) -> dict[str, str]:
    """What ties a line to the record that it was made of."""
    with translated(folder):
        return {"metrics": hashlib.sha256(read_left(folder / "metrics.json", MOST_RECORD)).hexdigest()}


def recover(prepared: PreparedSuite, context: RunContext) -> None:
    """Give a line to every attempt that has none, but those that a job may still run.

    From here on a line is absent for one reason alone: that it was taken away.

    Raises:
        StoreError: the log cannot be read or written.
    """
    stored = SuiteStore(context.run_dir, prepared.suite.suite_id).read()
    for pair in prepared.pairs:
        for system in pair.systems:
            if system in prepared.backends:
                lines = stored.attempts(pair.task.id, pair.seed, system)
                _settle_unwritten(_Run(prepared, pair, system, context), lines, None)


def _is_answered_by(request: wire.RunRequest, record: wire.RunRecord) -> bool:
    try:
        runner.check_answer(request, record)
    except RecordError:
        return False
    return True
