"""The end of a campaign: per source a ``canonical_json`` table with its provenance. No verdict.

A table is complete when every (task, seed) that was asked for has a score. One that is not names what
it lacks, and never takes the place of one that is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import ParityError, RecordError, RunFailed, ScoreTableError, StoreError
from ..execution.attempt_files import AttemptFolders
from ..execution.attempts import request_id
from ..execution.records import failure_text, record_of
from ..execution.store import Stored, SuiteStore, relative, translated
from ..inputs import lock
from ..inputs.command_program import CommandProgram, project_commit
from ..inputs.context import RunContext
from ..inputs.lock_reference import official_table
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..inputs.scores import ScoreRow, load_table, task_key
from ..inputs.scores.absence import absence
from ..inputs.scores.canonical import write_canonical_json
from ..inputs.scores.curves import Result
from ..inputs.table_pins import PIN_TABLE
from ..judgement.all_gates import noted_warnings
from ..judgement.gates.validity import conflicting_successes, record_findings
from ..judgement.run_log import AttemptCounts, RunLog, attempts_of, run_log, sealed_log
from ..judgement.stats.measurements import measure
from ..judgement.stored_lines import line_findings
from ..schemas.json_text import utc_now
from ..suite.campaign import SCORE, Campaign, Source
from ..suite.pairs import Pair
from ..wire import RunRecord
from .conclude_suite import Case, Conclusion, SuiteEnd

TABLE_SCHEMA = "worldflux.parity.campaign_table.v1"
MOST_MISSING = 5


@dataclass(frozen=True)
class SourceScores:
    """What there is of one source.

    Attributes:
        rows: one for each (task, seed) that has a score.
        absent: of the others, why.
        records: of runs, those that the rows are taken from.
        attempts: how those at the runs of the source ended; None of a table.
        torn: what is worth knowing of the file of records; not of the rows, so not in their provenance.
    """

    rows: tuple[ScoreRow, ...]
    absent: Mapping[tuple[str, int], str]
    records: tuple[RunRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    attempts: AttemptCounts | None = None
    torn: str = ""


def conclude_campaign(end: SuiteEnd) -> Conclusion:
    """Write the table of each source of a campaign.

    Raises:
        ParityError: the records cannot be read.
    """
    sealed = sealed_log(end.entry)
    done = [
        conclude_source(end.file, part, end.context, end.names, end.changed, sealed)
        for part in end.file.parts
    ]
    return Conclusion(
        end.node_id,
        tuple(case for d in done for case in d.cases),
        notes=(*(n for d in done for n in d.notes), *(f"  warning: {t}" for t in noted_warnings(end.noted))),
        paths=tuple(path for d in done for path in d.paths),
    )


def conclude_source(
    file: PreparedFile,
    part: PreparedSuite,
    context: RunContext,
    names: Collection[str] | None = None,
    changed: Sequence[str] = (),
    sealed: RunLog | None = None,
    output: Path | None = None,
) -> Conclusion:
    """Gather the scores of one source of a campaign and write its table.

    Args:
        part: the source's, of ``file``.
        names: of the items that were selected; None: all of them.
        changed: what is no longer as it was when the run began; then nothing is written.
        sealed: the log as the run was sealed with it. Nothing is written of one that is not whole.
        output: in place of the campaign's ``output_path``.

    Returns:
        What became of it: it has passed where every score that was asked for is there, and was written.

    Raises:
        ParityError: the records cannot be read.
    """
    assert file.campaign is not None
    source = file.campaign.sources[part.label]
    warnings = file.campaign.warnings
    stored = SuiteStore(context.run_dir, part.suite.suite_id).read() if part.backends else Stored(())
    for refusal in _refusals(file.campaign, part, context, changed, run_log(stored, sealed)):
        return _concluded(source, False, f"nothing is written: {refusal}", warnings)
    scores = gather_scores(part, context, stored, names)
    warnings += (*scores.warnings, *([scores.torn] if scores.torn else []))
    path = Path(os.path.normpath(output or source.output_path))
    where = relative(path, context.root)
    complete = not scores.absent
    if any(path.exists() and path.samefile(t.path) for t in part.tables.values()):
        text = _count_text(scores, f"{where} is the input, too, and stays as it is", len(scores.absent))
        return _concluded(source, complete, text, warnings, path)
    try:
        write_table(path, scores, provenance_of(file.campaign, source, part, context, scores))
    except ParityError as error:
        # No table has the list then.
        return _concluded(source, False, _count_text(scores, error.line(), len(scores.absent)), warnings)
    text = _count_text(scores, f"{'table' if complete else 'partial table'}: {where}")
    return _concluded(source, complete, text, warnings, path)


def _concluded(
    source: Source, complete: bool, text: str, warnings: tuple[str, ...], path: Path | None = None
) -> Conclusion:
    lines = [f"campaign {source.name}: {text}", *(f"  warning: {w}" for w in warnings)]
    if complete and source.name == "oracle":
        lines.append(f"  where it is the official table of a suite, pin it: {PIN_TABLE} SUITE")
    case = Case(source.name, "passed" if complete else "failed", text, warnings, "campaign")
    return Conclusion(source.name, (case,), notes=tuple(lines), paths=(path,) if path else ())


def _refusals(
    campaign: Campaign, part: PreparedSuite, context: RunContext, changed: Sequence[str], log: RunLog
) -> Iterator[str]:
    """Why nothing may be written of a source."""
    if changed:
        yield f"{', '.join(changed)} changed since the run was sealed"
    if mismatch := official_table(part, context, _lock_entry(campaign, context)).mismatch:
        yield mismatch
    if part.backends:
        yield from (finding.line() for finding in log.findings(claim=False))


def _count_text(scores: SourceScores, end: str, most: int = MOST_MISSING) -> str:
    count = f"{len(scores.rows)} of {len(scores.rows) + len(scores.absent)} (task, seed) have a score"
    lines = [f"{task} seed {seed} ({why})" for (task, seed), why in scores.absent.items()]
    more = len(lines[most:])
    missing = f"; missing: {', '.join(lines[:most])}" if lines[:most] else ""
    return f"{count}{missing}{f', and {more} more in its provenance' if more else ''}; {end}"


def gather_scores(
    part: PreparedSuite, context: RunContext, stored: Stored, names: Collection[str] | None
) -> SourceScores:
    """The score of every (task, seed) of a source that has one, and why the others have none."""
    rows: list[ScoreRow] = []
    absent: dict[tuple[str, int], str] = {}
    records: list[RunRecord] = []
    for pair in part.pairs:
        selected = names is None or str(pair.key) in names
        try:
            found = find_score(part, pair, context, stored, selected=selected)
            result = Result.of(found) if isinstance(found, RunRecord) else found
            value = measure(result, SCORE.name, pair.task)
        except ParityError as error:
            absent[pair.task.id, pair.seed] = error.what
            continue
        assert value.step is not None
        rows.append(ScoreRow(pair.task.id, pair.seed, value.step, value.value))
        records += [found] if isinstance(found, RunRecord) else []
    warnings = tuple(_find_warnings(part, stored, records))
    warnings += (*run_log(stored).warnings,)
    torn = f"{stored.torn} torn lines of parity_runs.jsonl were passed over" if stored.torn else ""
    own = attempts_of(line for line in stored.lines if line["system"] in part.backends)
    attempts = own if part.backends else None
    return SourceScores(tuple(rows), absent, tuple(records), warnings, attempts, torn)


def find_score(
    part: PreparedSuite, pair: Pair, context: RunContext, stored: Stored, *, selected: bool = True
) -> Result | RunRecord:
    """What there is for a (task, seed): rows of the table, or the record of the run.

    Raises:
        ParityError: there is nothing, or nothing that counts; ``what`` says why.
    """
    system, task, seed = pair.systems[0], pair.task.id, pair.seed
    if not part.backends:
        if not selected:
            raise ScoreTableError("deselected")
        if (system, task, seed) not in part.results:
            raise ScoreTableError(absence(part.tables[system], task))
        return part.results[system, task, seed]
    line = stored.successes.get(request_id(part, pair, system, context))
    if line is None:
        attempts = stored.attempts(task, seed, system)
        failed = attempts and not attempts[-1].get("success")
        raise RunFailed(failure_text(attempts[-1]) if failed else "not run" if selected else "deselected")
    adapter = part.backends[system].adapter
    files = AttemptFolders(context.run_dir)
    findings = line_findings(line, (system, task, seed), adapter, context.device, files, context.run_id)
    findings = findings or record_findings(part.suite, line)
    record = record_of(line)
    if findings or record is None:
        raise RecordError(findings[0].line() if findings else "its stored line cannot be read")
    return record


def _find_warnings(part: PreparedSuite, stored: Stored, records: Sequence[RunRecord]) -> Iterator[str]:
    yield from (f.line() for f in conflicting_successes(stored.lines) if f.system in part.backends)
    for what in ("packages", "python", "source"):
        if isinstance(_one_value(r.metadata.get(what) for r in records), Several):
            yield f"not all runs state the same {what}"
    for task, stated in stated_by_task(records).items():
        if isinstance(stated["effective_recipe"], Several):
            yield f"not all runs of {task} state the same effective_recipe"


class Several(list[Any]):
    """Values that are not one and the same."""


def _one_value(values: Iterable[Any]) -> Any:
    """The one value that all have, or each that there is."""
    distinct = Several()
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct if len(distinct) > 1 else (distinct[0] if distinct else None)


def stated_by(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What records state of their program: the one value of each key, or :class:`Several`."""
    sources = [r.metadata["source"] for r in records if isinstance(r.metadata.get("source"), dict)]
    keys = ("repo", "commit", "changes", "changes_sha256", "tree_sha256")
    return {
        **{key: _one_value(source.get(key) for source in sources) for key in keys},
        **{
            key: _one_value(r.metadata.get(key) for r in records) for key in ("packages", "python", "threads")
        },
    }


def provenance_of(
    campaign: Campaign, source: Source, part: PreparedSuite, context: RunContext, scores: SourceScores
) -> dict[str, Any]:
    """Where the rows come from: equal for equal rows and attempts, but for ``generated_at`` and paths."""
    locked = _lock_entry(campaign, context)
    stated = stated_by(scores.records)
    named = {"repo": source.repo, "commit": source.commit}
    origin = {**part.sources.get(source.system, {}), **{k: v for k, v in named.items() if v}}
    return {
        "schema_version": TABLE_SCHEMA,
        "suite_id": campaign.suite_id,
        "family": campaign.family,
        "source": source.name,
        "kind": source.kind,
        "adapter": source.adapter,
        "repo": origin.get("repo") or stated["repo"],
        "commit": origin.get("commit") or stated["commit"] or _project_commit(part, context),
        "source_tree_sha256": stated["tree_sha256"],
        "locked_commit": locked.commit if locked and source.name == "oracle" else None,
        "command": _command_words(source, part),
        "device": context.device if part.backends else None,
        "packages": stated["packages"],
        "python": stated["python"],
        "generated_at": utc_now(),
        "inputs": _inputs_of(campaign, source, part, context),
        "score": {
            "step": campaign.step,
            "step_tolerance": campaign.tolerance,
            "eval_window": part.pairs[0].task.eval_window,
        },
        "tasks": stated_by_task(scores.records),
        "attempts": scores.attempts.to_dict() if scores.attempts else None,
        "choices": dict(context.choices),
        "complete": not scores.absent,
        "missing": [{"task": t, "seed": s, "reason": why} for (t, s), why in scores.absent.items()],
        "warnings": [*campaign.warnings, *scores.warnings],
    }


def _project_commit(part: PreparedSuite, context: RunContext) -> str | None:
    """The commit of the project, whose program the worldflux one is where nobody says otherwise."""
    found = project_commit(context.root) if "worldflux" in part.backends else "unknown"
    return None if found == "unknown" else found


def _lock_entry(campaign: Campaign, context: RunContext) -> lock.LockEntry | None:
    found = lock.read_lock(context.lock_path) if context.lock_path.exists() else None
    return found.suites.get(campaign.suite_id) if found else None


def _command_words(source: Source, part: PreparedSuite) -> list[str] | None:
    """The words that start a run, with their placeholders."""
    program = part.backends.get(source.system)
    if program is None:
        return None
    return list(source.command if isinstance(program, CommandProgram) else program.argv)


def _inputs_of(
    campaign: Campaign, source: Source, part: PreparedSuite, context: RunContext
) -> dict[str, Any]:
    table = part.tables.get(source.system)
    program = part.backends.get(source.system)
    return {
        "suite_path": relative(campaign.path, context.root),
        "suite_sha256": campaign.sha256,
        "upstream_lock_sha256": wire.file_sha256(context.lock_path),
        "program_sha256": program.tree_sha256 if program else None,
        "input_path": relative(table.path, context.root) if table else None,
        "input_format": table.format if table else None,
        "input_sha256": table.sha256 if table else None,
        "input_provenance": dict(table.provenance) if table else None,
        "dropped_rows": table.dropped_rows if table else None,
        "merged_rows": table.merged_rows if table else None,
    }


def stated_by_task(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Per task what its runs state of recipe and protocol."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.task_id, []).append(record)
    return {
        task: {
            "seeds": sorted(r.seed for r in own),
            **{k: _one_value(r.metadata.get(k) for r in own) for k in ("effective_recipe", "eval_protocol")},
        }
        for task, own in found.items()
    }


def write_table(path: Path, scores: SourceScores, provenance: Mapping[str, Any]) -> None:
    """Write a table, atomically, where it takes nothing away from one that is there.

    Raises:
        ScoreTableError: what is there is complete and this is not, or has scores that this has not, or is
            no table; or there is no score.
        StoreError: it cannot be written.
    """
    schemas.check(provenance, "campaign_table.v1", lambda at: f"{path}: {'.'.join(map(str, at))}", StoreError)
    if path.exists():
        _refuse_loss(path, scores)
    try:
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_canonical_json(path, scores.rows, provenance)
    except StoreError as error:
        hint = "make room or give permission, and go on with --parity-resume"
        raise StoreError(error.what, where=error.where, hint=hint) from None


def _refuse_loss(path: Path, scores: SourceScores) -> None:
    elsewhere = f"move {path} away, or name another output"
    try:
        there = load_table(path, "canonical_json", duplicates="last")
    except ScoreTableError as error:
        raise ScoreTableError(error.what, where=error.where, hint=elsewhere) from None
    if there.provenance.get("complete") is False:
        return
    if scores.absent:
        raise ScoreTableError("the complete table that is there stays as it is", where=str(path))
    ours = {(task_key(r.task), r.seed) for r in scores.rows}
    lost = {(t, s) for t, s, _ in there.points} - ours
    if lost:
        task, seed = min(lost)
        raise ScoreTableError(
            f"the complete table that is there stays: it has {len(lost)} (task, seed) that this one lacks, "
            f"such as {task} seed {seed}",
            where=str(path),
            hint=elsewhere,
        )
