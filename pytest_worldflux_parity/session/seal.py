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
from ..execution import isolation
from ..execution.around import NOTHING, seal_around
from ..execution.attempt_end import note_secret_names
from ..execution.attempts import recover
from ..execution.cleaning import cleaner, words_of_contract
from ..execution.copies import FOLDER, forget_sealed, forget_starts, large_files, seal_copy
from ..execution.match_program import retire_failed
from ..execution.sessions import Event
from ..execution.store import SuiteStore, translated, write_document
from ..inputs.command_program import project_state
from ..inputs.context import RETRIED, RunContext
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
from ..judgement.foreseen import foreseen
from ..judgement.run_log import SEALED
from ..schemas.json_text import utc_now
from ..suite.suite import is_suite_name
from .bundle import BUNDLE, evidence_inputs, refuse_secrets, refuse_unsigning
from .programs import described, plugin_files, since_sealed

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
        from .proof_options import read_history

        # What cannot be read is said now, and not after the last run.
        read_history(context, Path())
    _refuse_shared_ids(prepared)
    for one in prepared.values():
        _refuse_names(one, context)
        refuse_secrets(one, context)
        _refuse_needs(one, context)
        refuse_unsigning(context.run_dir / one.suite_id / BUNDLE, context)
    if context.sign_key is not None:
        read_sign_key(context.sign_key)
    forget_sealed()
    plugin_files()
    asked = {n: described(fingerprint(p, context), p, context) for n, p in prepared.items()}
    path = context.run_dir / "run.json"
    if not context.resume:
        _copy_programs(context, prepared, asked)
        _note_secrets(context)
        begun = _note("started", context, prepared, arguments)
        asked = {n: {**entry, SEALED: begun[n]} for n, entry in asked.items()}
        write_document(path, _session_document(context, asked, arguments), "session.v1")
    else:
        _copy_programs(context, prepared, _check_sealed(context, asked, prepared))
        _note_secrets(context)
        _seal_choice(context)
        # Of attempts that were killed; a job of Slurm may still run from its own.
        if context.engine != "slurm":
            forget_starts(context.run_dir / FOLDER)
        for part in (part for one in prepared.values() for part in one.parts):
            recover(part, context)
            if part.match is not None:
                folder = SuiteStore(context.run_dir, part.suite.suite_id).folder
                retire_failed(part.match, folder / part.match_folder)
        _note("resumed", context, prepared, arguments)
    _seal_around(context, prepared.values())
    against = [text for n, p in prepared.items() for text in foreseen(p, asked[n], context)]
    against += dict.fromkeys(
        text for n, one in prepared.items() for text in _told_before(one, asked[n], context)
    )
    return sum(map(_case_count, prepared.values())), against


def _note_secrets(context: RunContext) -> None:
    """A session that settles what this one leaves has to know what could stand in its logs."""
    with translated(context.run_dir):
        note_secret_names(context.run_dir)


def _note(
    event: Event, context: RunContext, prepared: Mapping[str, PreparedFile], arguments: Sequence[str]
) -> dict[str, str]:
    """Write down with every suite that this session begins or goes on; node id -> sha256 of its sessions."""
    command = _command(arguments, context)
    stores = {n: SuiteStore(context.run_dir, one.suite_id) for n, one in prepared.items()}
    about = (event, context.run_id, command, context.retry_failed)
    return {n: store.note_session(*about) for n, store in stores.items()}


def end_session(suite_id: str, context: RunContext, arguments: Sequence[str]) -> None:
    """Write down that this session has ended its attempts at a suite.

    Raises:
        StoreError: it cannot be written.
    """
    SuiteStore(context.run_dir, suite_id).note_session("ended", context.run_id, _command(arguments, context))


def _command(arguments: Sequence[str], context: RunContext) -> list[str]:
    """A command line without secrets, and without what places are called on this machine."""
    clean = cleaner(context.root, context.run_dir, os.environ)
    return ["pytest", *map(clean.text, arguments)]


def _seal_choice(context: RunContext) -> None:
    """Keep with what was asked that a resume tries anew what had failed: its verdict says so from here on;
    and that its programs run open: what one of them leaves says nothing of its walls."""
    if not context.retry_failed and context.isolate != "off":
        return
    session = read_session(context.run_dir)
    changed = {**session, **({"isolate": "off"} if context.isolate == "off" else {})}
    if context.retry_failed:
        choices = session.get("choices", {})
        told = [choices.get(RETRIED), f"failed runs tried again: {context.retry_failed}"]
        changed["choices"] = {**choices, RETRIED: "; ".join(filter(None, told))}
    if changed != session:
        write_document(context.run_dir / "run.json", changed, "session.v1")


def isolation_line(context: RunContext) -> Iterable[str]:
    """That programs run open on this machine though they were to be isolated, and what mends it.

    Programs of a cluster run elsewhere: each node tries for itself.

    Raises:
        IsolationError: isolation is required, and cannot be had here.
    """
    if context.isolate == "off" or context.engine != "local":
        return []
    if isolation.in_force(isolation.walls_of(context), "this machine"):
        return []
    why = isolation.tried()
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
            seal_copy(context.run_dir.resolve() / FOLDER, Tree(entries[node_id]["trees"][key]), base)


def plans(context: RunContext, paths: dict[str, Path]) -> Iterable[str]:
    """What each proof suite needs and costs, as far as that is known before anything is run.

    Raises:
        ParityError: a suite or a table cannot be read.
    """
    if context.track != "proof":
        return
    from ..reporting.proof_markdown import plan_summary
    from ..suite import proof_file
    from . import costs

    runs = sorted(context.run_dir.parent.glob("*/*/parity_runs.jsonl"))
    for node_id, path in paths.items():
        proof = proof_file.load(path)
        tables = costs.locked_tables(proof, context.root, context.lock_path)
        plan = costs.plan_of(proof, tables, runs)
        yield f"plan of {node_id}, task by task: worldflux-parity plan {node_id}"
        yield from [costs.advice(Path(node_id))] if plan is None else plan_summary(plan)


def _case_count(prepared: PreparedFile) -> int:
    if prepared.proof is not None:
        from .proof_options import CASES

        return len(CASES)
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
    path = context.run_dir / "run.json"
    session = read_session(context.run_dir)
    if session["run_id"] != context.run_id:
        raise StoreError(
            f"the run is {session['run_id']!r}, and its folder is named {context.run_id!r}",
            where=str(path),
            mend="give the folder its name back",
        )
    sealed: dict[str, Any] = session["suites"]
    for node_id, now in asked.items():
        if node_id not in sealed:
            raise StoreError(
                f"the suite {node_id} is not part of this run",
                where=str(path),
                valid=sorted(sealed),
                got=node_id,
                mend="name its suites only, or leave --parity-resume out",
            )
        others, _ = since_sealed(sealed[node_id], now)
        changed = ", ".join([*changes(sealed[node_id], now, prepared[node_id]), *others])
        if changed:
            raise StoreError(
                f"{changed} changed since the run was sealed",
                where=node_id,
                mend="start a new run: leave --parity-resume out",
            )
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
    if context.engine != "local" or context.isolate == "off":
        return
    for part in prepared.parts:
        for system, program in isolation.sides_of(part):
            walls = isolation.walls_of(context, part, system)
            if isolation.in_force(walls, program.adapter):
                isolation.needs_of(program, context.root, walls)


def _seal_around(context: RunContext, files: Iterable[PreparedFile]) -> None:
    """Keep what stands around the project before its first program within walls runs.

    Raises:
        StoreError: it cannot be written.
    """
    if context.isolate != "off":
        parts = [(part, system) for file in files for part in file.parts for system in part.backends]
        found = [isolation.walls_of(context, part, system).around for part, system in parts]
        seal_around(context.run_dir, reduce(or_, found, NOTHING))


def _told_before(prepared: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> Iterator[str]:
    """What is no mistake and may not be meant: what each start copies, and what is to be read and absent.

    Args:
        entry: what the session seals of the suite.
    """
    mend = "move it elsewhere, or leave it out by program.ignore, and name its place in needs.read"
    for key, program in programs_of(prepared):
        tree, base = Tree(entry["trees"][key]), base_of(program, context.root.resolve())
        for name, size in large_files(tree, base):
            yield f"{program.adapter}: each start copies {name} ({size / 1e6:.0f} MB); to mend: {mend}"
        # A node of a cluster has folders of its own.
        if context.engine == "local" and context.isolate != "off":
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
    }
