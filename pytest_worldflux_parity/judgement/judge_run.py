"""A run's folder -> its judgement, from the run itself or from an evidence bundle.

Both ways meet here, so what ``verify`` computes from a bundle is what the run computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..execution.attempt_files import AttemptFiles, AttemptFolders
from ..execution.records import REUSED
from ..execution.store import Stored, relative
from ..inputs import lock
from ..inputs.context import RunContext
from ..inputs.golden import hold_to_lock, read_golden
from ..inputs.matches import MatchSpec, find_version
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..suite.proof import CANONICAL_PROFILES
from .assemble import assemble, evidence_of
from .circumstances import Circumstances
from .gates import Finding
from .gates.components import ComponentEvidence
from .judgement_input import Evidence
from .proof_verdict import ProofEvidence, ProofJudgement, judge_proof_suite
from .quick import Judgement, judge
from .reuse import FOR_CLAIM, ONLY_WITHOUT_CLAIM
from .run_log import RunLog, run_log, sealed_log
from .stored_lines import unlisted_attempts

RUNS = "parity_runs.jsonl"
LIVE_MATCH = "component_match_live"


def judge_quick(
    prepared: PreparedSuite,
    context: RunContext,
    stored: Stored,
    circumstances: Circumstances,
    entry: Mapping[str, Any],
    files: AttemptFiles | None = None,
) -> Judgement:
    """The verdict on a quick suite; arguments and errors as of :func:`judge_run`."""
    run = _JudgedRun(context, stored, circumstances, entry, files or AttemptFolders(context.run_dir))
    found = run.gather(prepared)
    doubts = (*run.find_doubts(prepared.suite.suite_id, claim=False), *found.doubts)
    return judge(replace(found, doubts=doubts, noted=circumstances.noted))


def judge_run(
    prepared: PreparedFile,
    context: RunContext,
    stored: Stored,
    circumstances: Circumstances,
    entry: Mapping[str, Any],
    files: AttemptFiles | None = None,
) -> ProofJudgement:
    """The verdict on what stands in the run directory of a proof.

    Args:
        entry: what the session sealed of the suite.
        files: those of the run's attempts; None: they stand in its folder as the store made them.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    assert prepared.proof is not None
    run = _JudgedRun(context, stored, circumstances, entry, files or AttemptFolders(context.run_dir))
    doubts = run.find_doubts(prepared.suite_id, claim=prepared.proof.is_claim)
    return judge_proof_suite(
        ProofEvidence(
            proof=prepared.proof,
            parts=tuple(map(run.gather, prepared.parts)),
            plan=prepared.plan,
            commits=official_commits(prepared),
            live=dict(_read_live_matches(prepared, context.run_dir / prepared.suite_id, context.lock_path)),
            doubts=(*doubts, *lock_doubts(prepared, context)),
            noted=circumstances.noted,
        )
    )


@dataclass(frozen=True)
class _JudgedRun:
    """A run's records, and what they are judged with."""

    context: RunContext
    stored: Stored
    circumstances: Circumstances
    entry: Mapping[str, Any]
    files: AttemptFiles

    @cached_property
    def log(self) -> RunLog:
        return run_log(self.stored, sealed_log(self.entry), self.circumstances.log)

    def gather(self, part: PreparedSuite) -> Evidence:
        """What was found for one part of the suite."""
        selected = self.circumstances.selected
        return assemble(part, self.context, self.stored, selected, self.files, self.entry, self.log)

    def find_doubts(self, suite_id: str, *, claim: bool) -> Iterator[Finding]:
        """Findings about the run as a whole; what explains the others comes first."""
        yield from self.log.findings(claim=claim)
        if claim and any(REUSED in line for line in self.stored.lines):
            yield Finding(FOR_CLAIM, ONLY_WITHOUT_CLAIM)
        yield from self.circumstances.findings
        yield from self.circumstances.change_findings
        yield from unlisted_attempts(self.files, suite_id, self.stored)


def official_commits(prepared: PreparedFile) -> dict[str, str | None]:
    """Family -> the locked commit of its official program, None where none is locked."""
    return {p.suite.family: p.sources["official"].get("commit") for p in prepared.parts}


def lock_doubts(prepared: PreparedFile, context: RunContext) -> Iterator[Finding]:
    """That every official program is of a commit that the lock names."""
    assert prepared.proof is not None
    locked = lock.read_lock(context.lock_path) if context.lock_path.exists() else None
    for part in prepared.parts:
        source = part.sources["official"]
        commit = source.get("commit")
        if prepared.proof.is_claim and part.suite.family not in CANONICAL_PROFILES:
            what = f"a claim is of {' or '.join(CANONICAL_PROFILES)}, and this is {part.suite.family}"
            yield Finding("unknown_family", what)
        if commit is None:
            if prepared.proof.is_claim:
                what = f"a claim rests on a locked official program, and {part.suite.family} names no commit"
                yield Finding("lock_mismatch", what, system="official")
        elif commit not in _locked_commits(locked, part.suite.family, source.get("repo")):
            what = f"commit {commit} of {part.suite.family} is not in {context.lock_path.name}"
            yield Finding("lock_mismatch", what, system="official")


def _locked_commits(locked: lock.Lock | None, family: str, repo: str | None) -> set[str]:
    """The commits that the official program of a family may be of; a manifest names no repository."""
    if locked is None:
        return set()
    pin = locked.goldens.get(family)
    if pin is not None and repo is None:
        return {e.commit for e in locked.entries if e.suite_id.partition("@")[0] == pin.suite}
    return {e.commit for e in locked.entries if repo is None or e.repo == repo}


def live_folder(part: PreparedSuite, suite_folder: Path) -> Path:
    """Where the match with a recording of the run's own official checkpoint stands."""
    return suite_folder / f"{LIVE_MATCH}_{part.suite.family}"


def _read_live_matches(
    prepared: PreparedFile, suite_folder: Path, lock_path: Path
) -> Iterator[tuple[str, ComponentEvidence]]:
    """family -> the live match that stands in the run directory."""
    for part in prepared.parts:
        folder = live_folder(part, suite_folder)
        if part.match is not None and (folder / "golden" / "manifest.json").exists():
            version = find_version(part.match.backend, lock_path, part.suite)
            found = read_golden(folder / "golden", part.suite.family)
            golden = hold_to_lock(found, lock_path, own=False, version=version)
            golden = replace(golden, declared=part.suite.components)
            yield part.suite.family, evidence_of(MatchSpec(part.match.backend, golden), folder)


def golden_paths(prepared: PreparedFile, root: Path) -> dict[str, str]:
    """Where each golden stands, as the documents of a run name it."""
    paths = {part.label: golden_path(part, root) for part in prepared.parts if part.match is not None}
    return {**paths, **live_paths(prepared)}


def golden_path(part: PreparedSuite, root: Path) -> str:
    """Where the golden of a part stands, as documents name it; empty where there is none."""
    return relative(Path(part.match.golden.folder), root) if part.match is not None else ""


def live_paths(prepared: PreparedFile) -> dict[str, str]:
    """As :func:`golden_paths`, of what the run itself recorded."""
    return {f"live/{p.suite.family}": f"{LIVE_MATCH}_{p.suite.family}/golden" for p in prepared.parts}
