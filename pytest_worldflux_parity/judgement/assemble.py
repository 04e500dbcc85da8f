"""Store and tables -> :class:`Evidence`: everything that a verdict may rest on, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import ParityError
from ..execution.attempt_files import AttemptFiles
from ..execution.attempts import request_id
from ..execution.match_program import MatchRun, last_run, read_match
from ..execution.records import REUSED, SUCCESS, failure_text, is_readable, record_of
from ..execution.retry import UNSEEN
from ..execution.store import Line, Stored
from ..inputs.backends import Backend
from ..inputs.context import RunContext
from ..inputs.lock_reference import lock_reference
from ..inputs.matches import MatchSpec
from ..inputs.prepare import PreparedSuite, found_seeds, stated
from ..inputs.scores import task_key
from ..inputs.scores.absence import absence
from ..inputs.scores.curves import Result
from ..inputs.trees import Tree, only_beside
from ..suite.commands import value_at
from ..suite.pairs import RunKey, expected_seeds
from ..suite.suite import SYSTEMS, BackendSide
from .gates import Finding
from .gates.components import ComponentEvidence, compare
from .gates.environments import environment_findings
from .gates.fixture import is_fixture_table
from .gates.independence import Origin
from .gates.programs import Named, named_programs, repositories
from .gates.repeats import find_repeats
from .gates.validity import sealed_findings
from .judgement_input import Evidence
from .reuse import judge_reuse
from .run_log import RunLog, attempts_of, hidden_choices
from .stats.measurements import DESELECTED, FAILED, NOT_IN_TABLE, NOT_RUN, observe
from .stored_lines import line_findings


def assemble(
    prepared: PreparedSuite,
    context: RunContext,
    stored: Stored,
    selected: frozenset[str],
    files: AttemptFiles,
    entry: Mapping[str, Any],
    log: RunLog,
) -> Evidence:
    """What was found for one suite.

    Args:
        selected: names of the test items that this session was to run.
        files: those of the run's attempts.
        entry: what the session sealed of the suite. log: what the run's log says of itself.
    """
    found = _used_lines(prepared, context, stored)
    used = {key: line for key, line in found.items() if is_readable(line)}
    requests = {line["request_id"] for line in used.values()}
    reference = lock_reference(prepared, context)
    reuse = judge_reuse(prepared, context, used, entry, files)
    return make_evidence(
        prepared,
        used,
        lambda key: _explain_absence(key, prepared, stored, selected),
        rows=_selected_rows(prepared, used, selected),
        origins={s: _find_origin(prepared, s, used) for s in SYSTEMS},
        all_lines=tuple(
            line for line in (*stored.lines, *reuse.others) if line.get("request_id") in requests
        ),
        doubts=(
            *_doubt_lines(prepared, context, stored, found, files),
            *sealed_findings(used.values(), _sealed_trees(entry, prepared.key)),
            *hidden_choices(stored.sessions, context.choices),
            *reuse.findings,
        ),
        components=_find_components(prepared.match, prepared, context, selected) if prepared.match else None,
        torn_lines=stored.torn,
        log=log,
        attempts={
            s: attempts_of(x for x in (*stored.lines, *reuse.others) if x["system"] == s) for s in SYSTEMS
        },
        reused=reuse.sentence,
        repeated_rows=tuple(w for s in prepared.tables for w in _describe_repeated_rows(prepared, s)),
        lock_mismatch=reference.mismatch,
        table=reference.table,
        golden=reference.golden,
        versions=reference.versions,
        choices=tuple(context.choices.values()),
        named=named_sides(prepared, entry, context),
        packages=tuple(environment_findings(entry, prepared.key)),
        fixture_tables=tuple(s for s, t in prepared.tables.items() if is_fixture_table(t.provenance)),
    )


def make_evidence(
    prepared: PreparedSuite,
    used: Mapping[RunKey, Line],
    absence: Callable[[RunKey], tuple[str, str]],
    rows: Mapping[RunKey, Result] | None = None,
    **others: Any,
) -> Evidence:
    """The evidence of one suite from the lines that count.

    Args:
        absence: why there is no result: (reason, detail).
        rows: results of tables.
        others: fields of :class:`Evidence` that are not made here.
    """
    records = {key: r for key, line in used.items() if is_readable(line) and (r := record_of(line))}
    results = {**(rows or {}), **{key: Result.of(record) for key, record in records.items()}}
    expected = tuple(_expected_results(prepared))
    keys = [(system, task, seed) for task, seed, system in expected]
    alike = find_repeats(prepared.suite, results, keys)
    absent = {key: absence(key) for key in keys if key not in results}
    unused = {s: sum(k[0] == s for k in prepared.results.keys() - set(keys)) for s in prepared.tables}
    return Evidence(
        suite=prepared.suite,
        pairs=prepared.pairs,
        expected=expected,
        observed=observe(prepared.suite, expected, results, absent, unused, alike.keys),
        lines=tuple(used.values()),
        recipes=stated(prepared, prepared.pairs, records, "effective_recipe"),
        protocols=stated(prepared, prepared.pairs, records, "eval_protocol"),
        repeats=alike,
        label=prepared.label,
        **others,
    )


def _sealed_trees(entry: Mapping[str, Any], part: str) -> dict[str, str]:
    """System -> sha256 of the files that were sealed for its program."""
    trees = entry.get("trees") or {}
    return {s: Tree(trees[f"{part}.{s}"]).sha256 for s in SYSTEMS if f"{part}.{s}" in trees}


def named_sides(
    prepared: PreparedSuite, entry: Mapping[str, Any], context: RunContext
) -> dict[str, Named | None]:
    """What each side names as its program."""
    found = named_programs(entry, prepared.key)
    for system, program in prepared.backends.items():
        named = found.get(system)
        if named is not None and isinstance(program, Backend):
            found[system] = replace(named, beside=only_beside(program, context.root))
    for system, table in prepared.tables.items():
        stated = (table.provenance.get("repo"), getattr(prepared.suite.sides[system], "repo", None))
        found[system] = Named(repositories(stated))
    return found


def _find_components(
    spec: MatchSpec, prepared: PreparedSuite, context: RunContext, selected: frozenset[str]
) -> ComponentEvidence:
    """The match that stands in the run directory.

    One that an earlier session of the run finished counts, as records of pairs do.
    """
    names = [prepared.component_case(c) for c in spec.golden.compared]
    left_out = [n for n in names if n not in selected]
    not_run = f"{len(left_out)} of {len(names)} components were deselected" if left_out else ""
    folder = context.run_dir / prepared.suite.suite_id / prepared.match_folder
    return evidence_of(spec, folder, "" if context.resume and last_run(spec, folder) else not_run)


def _expected_results(prepared: PreparedSuite) -> Iterable[tuple[str, int, str]]:
    found = found_seeds(prepared.results)
    for task in prepared.suite.tasks:
        for system in SYSTEMS:
            for seed in sorted(expected_seeds(prepared.suite, system, task.id, found)):
                yield task.id, seed, system


def _used_lines(prepared: PreparedSuite, context: RunContext, stored: Stored) -> dict[RunKey, Line]:
    """The first success of every request that this session makes."""
    kept = stored.successes
    used: dict[RunKey, Line] = {}
    for pair in prepared.pairs:
        for system in prepared.suite.live_systems:
            line = kept.get(request_id(prepared, pair, system, context))
            if line is not None:
                used[system, pair.task.id, pair.seed] = line
    return used


def _doubt_lines(
    prepared: PreparedSuite,
    context: RunContext,
    stored: Stored,
    found: Mapping[RunKey, Line],
    files: AttemptFiles,
) -> Iterable[Finding]:
    """Why stored lines may not be what the programs wrote."""
    for number in stored.unreadable:
        yield Finding("unreadable_record", f"line {number} of parity_runs.jsonl is not one of this plugin's")
    for number, what in stored.repeated.items():
        yield Finding("unreadable_record", f"line {number} of parity_runs.jsonl: {what}")
    for key, line in found.items():
        side = prepared.suite.sides[key[0]]
        adapter = side.adapter if isinstance(side, BackendSide) else ""
        # What an earlier run made is held against that run.
        if REUSED not in line or not is_readable(line):
            yield from line_findings(line, key, adapter, context.device, files, context.run_id)


def _selected_rows(
    prepared: PreparedSuite, used: Mapping[RunKey, Line], selected: frozenset[str]
) -> dict[RunKey, Result]:
    """The tables' results without those of pairs that were deselected and have no record of a run."""
    ran = {(task, seed) for _, task, seed in used}
    open_pairs = {
        (p.task.id, p.seed)
        for p in prepared.pairs
        if str(p.key) not in selected and (p.task.id, p.seed) not in ran
    }
    return {k: r for k, r in prepared.results.items() if (k[1], k[2]) not in open_pairs}


def _explain_absence(
    key: RunKey, prepared: PreparedSuite, stored: Stored, selected: frozenset[str]
) -> tuple[str, str]:
    """Why there is no result: (reason, detail)."""
    system, task_id, seed = key
    if system in prepared.tables and (system, task_id, seed) in prepared.results:
        return DESELECTED, "the pair was deselected"
    if system in prepared.tables:
        return NOT_IN_TABLE, absence(prepared.tables[system], prepared.suite.task(task_id).name_in(system))
    # An attempt that was cut off says nothing of the program.
    attempts = [x for x in stored.attempts(task_id, seed, system) if x.get("error_kind") not in UNSEEN]
    if attempts and not attempts[-1].get("success"):
        return FAILED, failure_text(attempts[-1])
    if any(line["status"] == SUCCESS and not is_readable(line) for line in attempts):
        return FAILED, "its stored line cannot be read"
    if f"{task_id}[seed={seed}]" not in selected:
        return DESELECTED, "the pair was deselected"
    return NOT_RUN, "the run ended before it, or --parity-systems left it out"


def _describe_repeated_rows(prepared: PreparedSuite, system: str) -> Iterator[str]:
    """What became of rows of the suite's tasks that are no points of their own."""
    table = prepared.tables[system]
    tasks = {task_key(t.name_in(system)) for t in prepared.suite.tasks}
    equal, other, mixed = (
        sum(n for task, n in counted.items() if task_key(task) in tasks)
        for counted in (table.merged, table.left_out, table.mixed)
    )
    if equal:
        yield f"{equal} rows of the {system} table repeat another with its score, and count once"
    if other and table.duplicates != "last_point":
        yield (
            f"{other} rows of the {system} table are of second runs of a (task, seed): "
            f"the {table.duplicates} run counts"
        )
    elif other:
        yield f"{other} rows of the {system} table repeat a (task, seed, step); the last of them counts"
    if mixed:
        yield (
            f"{mixed} points of the {system} table are of earlier runs than others of their curve, as the "
            "earlier system has it; `duplicates: first` of worldflux.parity.suite.v1 takes one run"
        )


def _find_origin(prepared: PreparedSuite, system: str, used: Mapping[RunKey, Line]) -> Origin:
    """Where a side comes from: of a table also the program that it says made it."""
    side = prepared.suite.sides[system]
    if isinstance(side, BackendSide):
        trees = {_identify_tree(prepared, system)} | stated_trees(used, system)
        return Origin(adapter=side.adapter, trees=frozenset(t for t in trees if isinstance(t, str)))
    table = prepared.tables[system]
    adapter, tree = (table.provenance.get(k) for k in ("adapter", "source_tree_sha256"))
    return Origin(
        path=str(table.path.resolve()),
        sha256=table.sha256,
        adapter=adapter if isinstance(adapter, str) else "",
        trees=frozenset([tree] if isinstance(tree, str) else []),
    )


def _identify_tree(prepared: PreparedSuite, system: str) -> Any:
    """The sha256 of a program's folder; of versions, which one folder may start, with the commit it runs."""
    source = prepared.sources[system]
    tree, commit = source["backend_tree_sha256"], source.get("commit")
    if prepared.suite.comparison == "versions" and commit:
        return wire.content_hash({"backend_tree_sha256": tree, "commit": commit})
    return tree


def stated_trees(used: Mapping[RunKey, Line], system: str) -> frozenset[str]:
    """The sha256 of the source trees that the records of a side state."""
    keys = ("metrics", "metadata", "source", "tree_sha256")
    found = (value_at(line, *keys) for key, line in used.items() if key[0] == system)
    return frozenset(tree for tree in found if isinstance(tree, str))


def evidence_of(spec: MatchSpec, folder: Path, not_run: str = "") -> ComponentEvidence:
    """What stands in ``folder`` for ``spec``, compared.

    Args:
        not_run: why this session has no complete match even if there is one; empty where it may.
    """
    run = last_run(spec, folder)
    if run is None:
        return ComponentEvidence(spec.golden, not_run=not_run or "the match program was not run")
    return evidence_of_run(spec, run, not_run)


def evidence_of_run(spec: MatchSpec, run: MatchRun, not_run: str = "") -> ComponentEvidence:
    """As :func:`evidence_of`, of one run."""
    about = {
        "adapter": spec.backend.adapter,
        "request_id": spec.request_id,
        "folder": f"{run.folder.parent.name}/{run.folder.name}",
        "duration_sec": run.duration_sec,
    }
    within = run.isolation
    if run.error:
        return ComponentEvidence(spec.golden, error=run.error, about=about, isolation=within)
    try:
        match = read_match(run, spec)
    except ParityError as error:
        return ComponentEvidence(spec.golden, error=error.line(), about=about, isolation=within)
    about.update(packages=match.packages, tree_sha256=match.tree_sha256)
    result = compare(spec.golden, match)
    return ComponentEvidence(spec.golden, result, not_run=not_run, about=about, isolation=within)
