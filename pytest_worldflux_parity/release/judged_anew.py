"""Evidence that exists -> its verdict under what a judge expects, from the raw records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import DocumentError, ParityError
from ..execution.attempt_files import AttemptFiles, AttemptFolders
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile
from ..inputs.trees import base_of
from ..judgement.circumstances import CIRCUMSTANCES, Circumstances
from ..judgement.facts import Facts
from ..judgement.fingerprint import (
    CHANGED,
    GONE,
    NEW,
    changes,
    entry_of,
    find_differing,
    fingerprint,
    programs_of,
    read_session,
)
from ..judgement.gates import Finding
from ..judgement.recompute import Rejudged, judge_records
from .expectation import Expectation

NOT_PASSED = "not_passed"


@dataclass(frozen=True)
class Records:
    """The records of one suite of a run, in a run's own folder or in an unpacked bundle.

    Attributes:
        session: the run's ``run.json``. entry: what that says of the suite.
    """

    run_dir: Path
    suite_id: str
    session: Mapping[str, Any]
    entry: Mapping[str, Any]
    circumstances: Circumstances
    files: AttemptFiles


@dataclass(frozen=True)
class Anew:
    """Records judged under an expectation.

    Attributes:
        findings: how what was asked of the run is not what is expected, and why it is no pass under it.
        judged: None where it cannot be judged under it; a finding says why.
        facts: as the expectation has them, with what its lock file pins.
    """

    findings: tuple[Finding, ...]
    judged: Rejudged | None = None
    facts: Facts | None = None


def records_of(run_dir: Path, suite_id: str, files: AttemptFiles | None = None) -> Records:
    """The records of a suite in a run directory.

    Args:
        files: those of its attempts; None: they stand as the store makes them.

    Raises:
        ParityError: the session or the circumstances cannot be read, or have no such suite.
    """
    session = read_session(run_dir)
    entry = entry_of(session, suite_id, str(run_dir / "run.json"))
    path = run_dir / suite_id / CIRCUMSTANCES
    try:
        document = wire.load_object(path)
    except (OSError, wire.WireError) as error:
        raise DocumentError(f"cannot be read: {error}", where=str(path)) from None
    schemas.check(document, "circumstances.v1", lambda at: str(path), DocumentError)
    circumstances = Circumstances.from_dict(document)
    files = files or AttemptFolders(run_dir)
    return Records(run_dir, suite_id, session, entry, circumstances, files)


def judge_expected(records: Records, expected: Expectation, *, chosen: bool = False) -> Anew:
    """The verdict that records give under an expectation, and how they were asked otherwise.

    Args:
        chosen: whether what the run's command line gave in place of the suite's counts.
    """
    try:
        suite = expected.suite_path(records.suite_id, str(records.session["track"]))
        if suite is None:
            text = f"{expected.name} has no {records.session['track']} suite with the id {records.suite_id!r}"
            return Anew((Finding("unknown_suite", text),))
        about = (records.suite_id, records.session, records.run_dir, records.circumstances)
        prepared, context = expected.prepared(suite, *about, chosen=chosen)
        prepared = _with_sealed_commit(prepared, records.entry)
        found = tuple(differences_to(records, prepared, context, expected))
        sealed = (records.session, records.entry, records.circumstances)
        judged = judge_records(prepared, context, *sealed, records.files)
    except ParityError as error:
        return Anew((Finding("cannot_be_expected", f"under {expected.name}: {error.line()}"),))
    found = (*found, *verdict_findings(judged, f"under {expected.name}"))
    facts = replace(judged.facts, same_lock=is_sealed_lock(expected.lock, records.entry))
    return Anew(found, judged, facts)


def verdict_findings(judged: Rejudged, under: str) -> Iterator[Finding]:
    """That the verdict is no pass, and under what."""
    verdict = judged.judgement
    if verdict.verdict != "pass":
        yield Finding(NOT_PASSED, f"{under} the verdict is {verdict.verdict}: {verdict.reason}".strip())


def _with_sealed_commit(prepared: PreparedFile, entry: Mapping[str, Any]) -> PreparedFile:
    """The programs of manifests at the commit that a run's requests state: it is their files that decide."""
    parts = []
    for part in prepared.parts:
        sources = dict(part.sources)
        for system in (s for s, source in part.sources.items() if "worldflux_sha" in source):
            sealed = (entry.get("sources") or {}).get(f"{part.key}.{system}", {})
            own = {k: v for k, v in sealed.items() if k == "worldflux_sha"}
            sources[system] = {**part.sources[system], **own}
        parts.append(replace(part, sources=sources))
    return replace(prepared, parts=tuple(parts))


def is_sealed_lock(lock: Path | None, entry: Mapping[str, Any]) -> bool:
    """Whether a judge's lock file is, by its bytes, the one that a run was sealed with."""
    sha256 = wire.file_sha256(lock) if lock is not None else None
    return sha256 is not None and sha256 == entry.get("upstream_lock_sha256")


def differences_to(
    records: Records, prepared: PreparedFile, context: RunContext, expected: Expectation
) -> Iterator[Finding]:
    """How what was asked of a run is not what is expected of it, by name and by path."""
    now = fingerprint(prepared, context)
    yield from _file_findings(records.entry, now, expected, dict(programs_of(prepared)), context.root)
    skipped = {"suite_sha256", "suite_policy_sha256", "upstream_lock_sha256", "trees", "seeds", "overrides"}
    before, after = ({k: v for k, v in x.items() if k not in skipped} for x in (dict(records.entry), now))
    for name in changes(before, after, prepared):
        yield Finding("not_as_expected", f"{name} is not that of {expected.name}")


_CHANGE_WORDS = {GONE: "absent from", NEW: "new in", CHANGED: "changed in"}


def _file_findings(
    entry: Mapping[str, Any],
    now: Mapping[str, Any],
    expected: Expectation,
    programs: Mapping[str, Backend | CommandProgram],
    root: Path,
) -> Iterator[Finding]:
    """Files of programs that are others than those that were sealed, by path.

    What ran had projects in its environment that are not installed for the judge: their files are looked for.
    """
    before, after = entry.get("trees") or {}, now.get("trees") or {}
    for key in sorted(before.keys() | after.keys()):
        program = programs.get(key)
        base = base_of(program, root.resolve()) if program else root
        for path, how in find_differing(before.get(key) or {}, after.get(key) or {}, program):
            if how == GONE and wire.file_sha256(base / path) == (before.get(key) or {}).get(path):
                continue
            text = f"{path} is {_CHANGE_WORDS[how]} {expected.name}, compared with what ran"
            system = program.system if program else None
            yield Finding("program_differs", text, system=system)
