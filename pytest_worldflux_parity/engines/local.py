"""Runs the live sides of one pair on this machine, one after the other, and stores every attempt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import plan, retention, retry, runner, wire
from ..backends import Backend
from ..command_program import CommandProgram
from ..errors import RecordError, RunFailed
from ..leases import Alone, Lease, Pool, leased, pool
from ..plan import Pair
from ..prepare import PreparedSuite, RunContext
from ..records import record_line
from ..store import Line, Stored, SuiteStore, answer_in, presence, translated
from ..suite import BackendSide


class AttemptsFailed(RunFailed):
    """Every attempt at a run failed; ``logs`` has the folder of the last one, by system."""

    def __init__(self, what: str, *, logs: Mapping[str, Path] | None = None, **fields: Any) -> None:
        super().__init__(what, **fields)
        self.logs = dict(logs or {})


def run_pair(prepared: PreparedSuite, pair: Pair, context: RunContext, stored: Stored) -> dict[str, Line]:
    """Bring a line for every live system of the pair: kept from the store, or run now.

    A system that fails does not keep the other from running.

    Returns:
        system -> the line of the successful attempt.

    Raises:
        AttemptsFailed: a system delivered nothing in as many attempts as :mod:`..retry` allows.
        StoreError: the run directory cannot be written.
    """
    kept = stored.successes
    lines: dict[str, Line] = {}
    failures: list[AttemptsFailed] = []
    for system in prepared.suite.live_systems:
        if system not in pair.systems or system not in prepared.backends:
            continue
        line = kept.get(request_id(prepared, pair, system, context))
        if line is None and system in context.systems:
            try:
                line = _run_system(prepared, pair, system, context)
            except AttemptsFailed as failure:
                failures.append(failure)
        if line is not None:
            lines[system] = line
    if failures:
        logs = {system: folder for f in failures for system, folder in f.logs.items()}
        raise AttemptsFailed("; ".join(f.what for f in failures), logs=logs)
    return lines


def request_id(prepared: PreparedSuite, pair: Pair, system: str, context: RunContext) -> str:
    """The id of the request that this session would make."""
    side = prepared.suite.sides[system]
    assert isinstance(side, BackendSide)
    return plan.request_id(
        prepared.suite, pair, system, side.adapter, context.device, prepared.sources[system]
    )


def _run_system(prepared: PreparedSuite, pair: Pair, system: str, context: RunContext) -> Line:
    store = SuiteStore(context.run_dir, prepared.suite.suite_id)
    with presence(context.run_dir) as present:
        kept = _settle(prepared, pair, system, context, store)
        failures: list[retry.Failure] = []
        how: retry.How = "again"
        while kept is None and how != "never":
            attempt, folder = store.new_attempt(pair.task.id, pair.seed, system)
            with leased(_pool(context), pair.task.resources, _alone(how, failures)) as lease:
                line = _attempt(prepared, pair, system, context, attempt, folder, lease, present)
                failures.append(_failure(line, lease))
            store.append(line)
            retention.apply(context.retention, folder, line, _wanted_later(prepared, pair, system))
            if line["success"]:
                return line
            how = retry.next_try(failures, prepared.suite.retries)
    if kept is None:
        raise AttemptsFailed(str(line["error"]), logs={system: folder})
    return kept


def _pool(context: RunContext) -> Pool:
    return context.pool or pool(context.device)


def _alone(how: retry.How, failures: Sequence[retry.Failure]) -> Alone:
    if how != "alone":
        return ""
    return "gpus" if failures[-1].kind == "out_of_gpu_memory" else "machine"


def _failure(line: Line, lease: Lease) -> retry.Failure:
    on_gpus = line["error_kind"] == "out_of_gpu_memory"
    return retry.Failure(line["error_kind"], lease.gpus_alone if on_gpus else lease.machine_alone)


def _settle(
    prepared: PreparedSuite, pair: Pair, system: str, context: RunContext, store: SuiteStore
) -> Line | None:
    """Give a line to each earlier attempt at a run whose process was killed before it wrote one.

    Returns:
        The first success, or None: what succeeded is not run again, whoever was killed.
    """
    started = store.started(pair.task.id, pair.seed, system)
    if not started:
        return None
    wanted = request_id(prepared, pair, system, context)
    written = {x["attempt"] for x in store.read().attempts(pair.task.id, pair.seed, system)}
    for attempt, folder in started:
        if attempt not in written:
            line = _unseen_line(prepared, pair, system, context, attempt, folder)
            store.append(line)
            retention.apply(context.retention, folder, line, _wanted_later(prepared, pair, system))
    return store.read().successes.get(wanted)


def _unseen_line(
    prepared: PreparedSuite, pair: Pair, system: str, context: RunContext, attempt: int, folder: Path
) -> dict[str, Any]:
    """The line of an attempt whose end nobody saw: its record where it left one, else that it is lost."""
    backend, found = prepared.backends[system], answer_in(folder)
    request = _request(prepared, pair, system, context, attempt, folder)
    if found is not None and found[0].request_id == request.request_id and _answers(*found):
        return _recovered_line(prepared, *found, backend, folder, context)
    return record_line(
        prepared.suite,
        request,
        None,
        adapter_id=_adapter_id(backend),
        backend_kind=backend.kind,
        error="the process that ran it ended before it did",
        kind=retry.LOST,
        return_code=None,
        duration_sec=None,
        timestamp=_now(),
        command=[],
        artifacts=_artifacts(folder, context),
    )


def _request(
    prepared: PreparedSuite, pair: Pair, system: str, context: RunContext, attempt: int, folder: Path
) -> wire.RunRequest:
    return plan.request(
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


def _attempt(
    prepared: PreparedSuite,
    pair: Pair,
    system: str,
    context: RunContext,
    attempt: int,
    folder: Path,
    lease: Lease,
    present: int,
) -> Line:
    backend = prepared.backends[system]
    request = _request(prepared, pair, system, context, attempt, folder)
    with translated(folder):
        command, env, cwd = _launch(backend, request, context)
        outcome = runner.run(
            request, command, {**env, **lease.environment}, cwd, keep_open=[present, *lease.descriptors]
        )
    return record_line(
        prepared.suite,
        request,
        outcome.record,
        adapter_id=_adapter_id(backend),
        backend_kind=backend.kind,
        error=outcome.error,
        kind=outcome.kind,
        gpus=lease.gpus,
        return_code=outcome.return_code,
        duration_sec=round(outcome.duration_sec, 3),
        timestamp=_now(),
        command=command,
        artifacts=_artifacts(folder, context),
        artifacts_sha256=_artifacts_sha256(folder) if outcome.success else None,
    )


def _wanted_later(prepared: PreparedSuite, pair: Pair, system: str) -> tuple[str, ...]:
    """What must stay of an attempt: all of the official run whose checkpoint a live match begins from."""
    return ("*",) if prepared.live and system == "official" and pair == prepared.pairs[0] else ()


def _launch(
    program: Backend | CommandProgram, request: wire.RunRequest, context: RunContext
) -> tuple[list[str], dict[str, str], Path | None]:
    """Command, environment and, where it is not the folder of the attempt, the folder that it starts in."""
    shim = context.run_dir.resolve() / ".wire"
    if isinstance(program, CommandProgram):
        base = runner.environment(os.environ, [runner.install_wire(shim)], request.threads, True)
        return (
            program.command(request, context.root),
            {**base, **program.environment_of(request, context.root)},
            program.working_folder(request, context.root),
        )
    command = program.command(program.interpreter(context.root), Path(request.out_dir) / "request.json")
    return command, runner.backend_environment(program, shim, request.threads), None


def _adapter_id(program: Backend | CommandProgram) -> str:
    return program.adapter_id if isinstance(program, CommandProgram) else program.adapter


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _artifacts(folder: Path, context: RunContext) -> dict[str, str]:
    """Paths relative to the run directory, so that it can be moved."""
    names = {"metrics": "metrics.json", "stdout": "stdout.log", "stderr": "stderr.log"}
    return {
        key: str((folder / name).relative_to(context.run_dir))
        for key, name in names.items()
        if (folder / name).exists()
    }


def _artifacts_sha256(folder: Path) -> dict[str, str]:
    """What ties a line to the record that it was made of."""
    with translated(folder):
        return {"metrics": hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()}


def recover(prepared: PreparedSuite, context: RunContext) -> int:
    """Store the finished attempts whose worker was killed before it wrote their line; how many."""
    store = SuiteStore(context.run_dir, prepared.suite.suite_id)
    count = 0
    for request, record, folder in list(store.unrecorded()):
        backend = prepared.backends.get(request.system)
        # Of the parts of a proof suite, each recovers its own tasks.
        own = request.task_id in {t.id for t in prepared.suite.tasks}
        if backend is None or not own or not _answers(request, record):
            continue
        line = _recovered_line(prepared, request, record, backend, folder, context)
        store.append(line)
        for pair in prepared.pairs:
            if (pair.task.id, pair.seed) == (request.task_id, request.seed):
                keep = _wanted_later(prepared, pair, request.system)
                retention.apply(context.retention, folder, line, keep)
        count += 1
    return count


def _answers(request: wire.RunRequest, record: wire.RunRecord) -> bool:
    try:
        runner.check_answer(request, record)
    except RecordError:
        return False
    return True


def _recovered_line(
    prepared: PreparedSuite,
    request: wire.RunRequest,
    record: wire.RunRecord,
    backend: Backend | CommandProgram,
    folder: Path,
    context: RunContext,
) -> dict[str, Any]:
    return record_line(
        prepared.suite,
        request,
        record,
        adapter_id=_adapter_id(backend),
        backend_kind=backend.kind,
        error="",
        return_code=None,
        duration_sec=None,
        timestamp=_now(),
        command=[],
        artifacts=_artifacts(folder, context),
        artifacts_sha256=_artifacts_sha256(folder),
        recovered=True,
    )
