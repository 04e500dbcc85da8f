"""What is asked is sealed before the first run; a resume is held against it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..evidence import expected_names, read_sign_key, refuse_names
from ..execution import bytecode, isolation
from ..execution.around import NOTHING_AROUND, seal_around
from ..execution.attempt_end import note_secret_names
from ..execution.attempts import recover
from ..execution.cleaning import cleaner, words_of_contract
from ..execution.copies import PROGRAM_FOLDER, forget_sealed, forget_starts, large_files, seal_copy
from ..execution.engines import ENGINES
from ..execution.match_program import retire_failed
from ..execution.sessions import SessionEvent
from ..execution.store import SuiteStore, translated, write_document
from ..inputs.command_program import project_state
from ..inputs.context import RETRIED, REUSE, RunContext
from ..inputs.prepare import PreparedFile
from ..inputs.trees import Tree, base_of
from ..judgement.all_gates import case_count
from ..judgement.fingerprint import (
    changes,
    fingerprint,
    overrides_of,
    prepare_sealed,
    programs_of,
    read_session,
)
from ..judgement.foreseen import foresee
from ..judgement.run_log import SEALED
from ..reporting.labels import with_labels
from ..reporting.proof_markdown import plan_summary
from ..schemas.json_text import utc_now
from ..suite import is_suite_name, proof_file
from . import costs
from .bundle import evidence_inputs, refuse_secrets, refuse_unsigning
from .conclude_suite import PROOF_CASES
from .earlier import read_history
from .programs import compare_with_sealed, describe_programs, plugin_files
from .reuse import bring, plan_all, with_choice

SESSION_SCHEMA = "worldflux.parity.session.v1"


def suite_paths(
    root: Path, node_ids: Iterable[str], named: Iterable[Path], broken: Collection[str]
) -> dict[str, Path]:
    """Node id of a suite file -> its path: the suites among the items, then those without an item.

    Args:
        named: suites that were to be collected; one that lost all its pairs is judged as well.
        broken: node ids of files that could not be collected.
    """
    files = dict.fromkeys(n.split("::", 1)[0] for n in node_ids)
    inside = (p.relative_to(root).as_posix() for p in named if p.is_relative_to(root))
    files.update(dict.fromkeys(f for f in inside if f not in broken))
    return {f: (root / f).resolve() for f in files if is_suite_name(Path(f))}


def seal(context: RunContext, paths: dict[str, Path], arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Write the run's ``run.json`` before anything runs; on a resume, check it and recover records.

    Returns:
        How many verdict cases are to be expected, and what already stands against a pass.

    Raises:
        StoreError: two suites share an id, the suite is not of this run, a sealed file changed, or signed
            evidence of the run would become unsigned.
        EvidenceError: what is named here, or has a secret in it, cannot stand in evidence, or
            ``--parity-sign-key`` cannot sign.
    """
    prepared = {node_id: prepare_sealed(path, context) for node_id, path in paths.items()}
    if any(p.proof is not None for p in prepared.values()):
        # What cannot be read is said now, and not after the last run.
        read_history(context, Path())
    _refuse_shared_ids(prepared)
    for one in prepared.values():
        _refuse_names(one, context)
        refuse_secrets(one, context)
        _refuse_needs(one, context)
        refuse_unsigning(one.suite_id, context)
    if context.sign_key is not None:
        read_sign_key(context.sign_key)
    forget_sealed()
    plugin_files()
    asked = {n: describe_programs(fingerprint(p, context), p, context) for n, p in prepared.items()}
    _copy_programs(context, prepared, _check_sealed(context, asked, prepared) if context.resume else asked)
    reuse = plan_all(prepared, asked, context)
    context = with_choice(context, reuse)
    with translated(context.run_dir):
        # A session that settles what this one leaves has to know what could stand in its logs.
        note_secret_names(context.run_dir)
    if context.resume:
        _seal_choice(context)
        _recover_attempts(context, prepared.values())
    event: SessionEvent = "resumed" if context.resume else "started"
    begun = {n: note_session(event, p.suite_id, context, arguments) for n, p in prepared.items()}
    if not context.resume:
        sealed = {n: {**entry, SEALED: begun[n]} for n, entry in asked.items()}
        document = _session_document(context, sealed, arguments)
        write_document(context.run_dir / "run.json", document, "session.v1")
    for plan in reuse:
        bring(plan, context)
    _seal_around(context, prepared.values())
    against = [
        with_labels(text, p.suite.labels)
        for n, p in prepared.items()
        for text in foresee(p, asked[n], context)
    ]
    against += dict.fromkeys(
        text for n, p in prepared.items() for text in _likely_trouble(p, asked[n], context)
    )
    against += [text for plan in reuse for text in plan.told]
    return sum(map(_case_count, prepared.values())), against


def _recover_attempts(context: RunContext, files: Iterable[PreparedFile]) -> None:
    """Give every attempt that was killed its line, and let failed match programs run again."""
    # Of a run that was copied the times are others.
    bytecode.forget_layers(context.run_dir / PROGRAM_FOLDER)
    # What outlives its session may still run from its own.
    if not ENGINES[context.engine].outlives:
        forget_starts(context.run_dir / PROGRAM_FOLDER)
    for part in (part for file in files for part in file.parts):
        recover(part, context)
        if part.match is not None:
            folder = SuiteStore(context.run_dir, part.suite.suite_id).folder
            retire_failed(part.match, folder / part.match_folder)


def note_session(event: SessionEvent, suite_id: str, context: RunContext, arguments: Sequence[str]) -> str:
    """Write down with a suite that this session begins, goes on, or has ended its attempts.

    Args:
        arguments: its command line, which loses secrets and what places are called on this machine.

    Returns:
        The sha256 of the suite's sessions.

    Raises:
        StoreError: it cannot be written.
    """
    clean = cleaner(context.root, context.run_dir, os.environ)
    command = ["pytest", *map(clean.text, arguments)]
    retried = "" if event == "ended" else context.retry_failed
    return SuiteStore(context.run_dir, suite_id).note_session(event, context.run_id, command, retried)


def _seal_choice(context: RunContext) -> None:
    """Keep with what was asked what a resume chooses, so that its verdict says so from here on.

    That is that it tries anew what had failed, and which results of earlier runs count; and that its programs
    run open: what one of them leaves says nothing of its walls.
    """
    session = read_session(context.run_dir)
    changed = {**session, **({"isolate": "off"} if context.isolate == "off" else {})}
    failed = f"failed runs tried again: {context.retry_failed}" if context.retry_failed else ""
    choices = dict(session.get("choices", {}))
    for what, text in ((RETRIED, failed), (REUSE, context.choices.get(REUSE, ""))):
        if text:
            choices[what] = "; ".join(filter(None, [choices.get(what), text]))
            changed["choices"] = choices
    if changed != session:
        write_document(context.run_dir / "run.json", changed, "session.v1")


def isolation_line(context: RunContext) -> Iterable[str]:
    """That programs run open on this machine though they were to be isolated, and what mends it.

    Programs of a cluster run elsewhere: each node tries for itself.

    Raises:
        IsolationError: isolation is required, and cannot be had here.
    """
    if context.isolate == "off" or not ENGINES[context.engine].is_here:
        return []
    if isolation.are_walls_in_force(isolation.walls_of(context), "this machine"):
        return []
    why = isolation.why_no_walls()
    assert why is not None
    return [f"parity: programs are not isolated: {why.line()}"]


def unsearched_lines() -> Iterable[str]:
    """Secrets that nobody can look for: all records hold that word."""
    for name in words_of_contract(os.environ):
        yield f"parity: the value of {name} is a word of every record, and is taken out of none"


def _copy_programs(
    context: RunContext, prepared: Mapping[str, PreparedFile], entries: Mapping[str, Any]
) -> None:
    """Make the copies that programs run from; on a resume those that are gone, or no longer whole.

    Args:
        entries: node id -> what is sealed of a suite.

    Raises:
        BackendError: a file changes now. StoreError: a copy cannot be written.
    """
    for node_id, file in prepared.items():
        for key, program in programs_of(file):
            base = base_of(program, context.root.resolve())
            seal_copy(context.run_dir.resolve() / PROGRAM_FOLDER, Tree(entries[node_id]["trees"][key]), base)


def plans(context: RunContext, paths: dict[str, Path]) -> Iterable[str]:
    """What each proof suite needs and costs, as far as that is known before anything is run.

    Raises:
        ParityError: a suite or a table cannot be read.
    """
    if context.track != "proof":
        return
    runs = sorted(context.run_dir.parent.glob("*/*/parity_runs.jsonl"))
    for node_id, path in paths.items():
        proof = proof_file.load(path)
        tables = costs.locked_tables(proof, context.root, context.lock_path)
        plan = costs.plan_of(proof, tables, runs)
        yield f"plan of {node_id}, task by task: worldflux-parity plan {node_id}"
        lines = [costs.advice(Path(node_id))] if plan is None else plan_summary(plan)
        yield from (with_labels(line, proof.labels) for line in lines)


def _case_count(prepared: PreparedFile) -> int:
    if prepared.proof is not None:
        return len(PROOF_CASES)
    if prepared.campaign is not None:
        return len(prepared.parts)
    return case_count(prepared.suite, prepared.parts[0].match is not None)


def _check_sealed(
    context: RunContext, asked: dict[str, Any], prepared: Mapping[str, PreparedFile]
) -> dict[str, Any]:
    """What the run sealed, by node id.

    Raises:
        StoreError: what is asked now is not that.
    """
    where, session = str(context.run_dir / "run.json"), read_session(context.run_dir)
    if session["run_id"] != context.run_id:
        what = f"the run is {session['run_id']!r}, and its folder is named {context.run_id!r}"
        raise StoreError(what, where=where, hint="give the folder its name back")
    sealed: dict[str, Any] = session["suites"]
    for node_id, now in asked.items():
        if node_id not in sealed:
            what, hint = (
                f"the suite {node_id} is not part of this run",
                "name its suites only, or leave --parity-resume out",
            )
            raise StoreError(what, where=where, valid=sorted(sealed), got=node_id, hint=hint)
        others, _ = compare_with_sealed(sealed[node_id], now)
        changed = ", ".join([*changes(sealed[node_id], now, prepared[node_id]), *others])
        if changed:
            what, hint = (
                f"{changed} changed since the run was sealed",
                "start a new run: leave --parity-resume out",
            )
            raise StoreError(what, where=node_id, hint=hint)
    return sealed


def _refuse_shared_ids(prepared: dict[str, PreparedFile]) -> None:
    """Upper and lower case are one: a suite has a folder, and some file systems make no difference."""
    owners: dict[str, str] = {}
    for node_id, one in prepared.items():
        other = owners.setdefault(one.suite_id.casefold(), node_id)
        if other != node_id:
            raise StoreError(f"suite_id {one.suite_id!r} is also that of {other}", where=node_id)


def _refuse_needs(prepared: PreparedFile, context: RunContext) -> None:
    """Refuse what a program declares and cannot have. A node of a cluster has folders of its own, and looks.

    Raises:
        BackendError: one of them.
    """
    if not ENGINES[context.engine].is_here or context.isolate == "off":
        return
    for part in prepared.parts:
        for system, program in isolation.sides_of(part):
            walls = isolation.walls_of(context, part, system)
            if isolation.are_walls_in_force(walls, program.adapter):
                isolation.needs_of(program, context.root, walls)


def _seal_around(context: RunContext, files: Iterable[PreparedFile]) -> None:
    """Keep what stands around the project before its first program within walls runs.

    Raises:
        StoreError: it cannot be written.
    """
    if context.isolate != "off":
        parts = [(part, system) for file in files for part in file.parts for system in part.backends]
        found = [isolation.walls_of(context, part, system).around for part, system in parts]
        seal_around(context.run_dir, reduce(or_, found, NOTHING_AROUND))


def _likely_trouble(prepared: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> Iterator[str]:
    """What is no mistake and may not be meant: what each start copies, and what is to be read and absent.

    Args:
        entry: what the session seals of the suite.
    """
    hint = "move it elsewhere, or leave it out by program.ignore, and name its place in needs.read"
    for key, program in programs_of(prepared):
        tree, base = Tree(entry["trees"][key]), base_of(program, context.root.resolve())
        for name, size in large_files(tree, base):
            yield f"{program.adapter}: each start copies {name} ({size / 1e6:.0f} MB); to mend: {hint}"
        # A node of a cluster has folders of its own.
        if ENGINES[context.engine].is_here and context.isolate != "off":
            for path in isolation.absent_reads(program, context.root):
                yield f"{program.adapter}: needs.read names {path}, which is absent: its programs lack it"


def _refuse_names(prepared: PreparedFile, context: RunContext) -> None:
    """Refuse ids of a suite, and names of what it names, that its evidence could not hold.

    Raises:
        EvidenceError: one of them.
    """
    tasks = dict.fromkeys(t.id for part in prepared.parts for t in part.suite.tasks)
    matches = [part.match_folder for part in prepared.parts if part.match is not None]
    inputs = evidence_inputs(prepared, context, {}) if prepared.campaign is None else ()
    names = (*expected_names(prepared.suite_id, tasks, matches), *dict(inputs))
    refuse_names(names, str(prepared.suite.path))


def _session_document(context: RunContext, asked: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    # What people type holds folders of their own, and at times a password.
    clean = cleaner(context.root, context.run_dir, os.environ)
    return {
        "schema_version": SESSION_SCHEMA,
        "run_id": context.run_id,
        "generated_at_utc": utc_now(),
        "track": context.track,
        "device": context.device,
        "arguments": [clean.text(argument) for argument in arguments],
        "seeds_override": list(context.seeds) if context.seeds is not None else None,
        "overrides": overrides_of(context),
        "choices": clean.document(context.choices),
        "project": project_state(context.root),
        "retention": context.retention,
        "isolate": context.isolate,
        "suites": asked,
        "plugin_sha256": plugin_files(),
    }
