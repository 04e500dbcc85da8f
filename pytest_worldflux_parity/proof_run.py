"""A proof run's folder -> its judgement and documents, from the run itself or from an evidence bundle.

Both ways meet in :func:`judge_run` and :func:`documents_of`, so what ``verify`` computes from a bundle is
what the run computed. What a run knew and its records do not hold (which items were selected, what changed
since it was sealed) stands in ``circumstances.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import lock, proof_file, schemas, wire
from .assemble import assemble
from .attempt_files import Attempt, AttemptFiles, AttemptFolders
from .backends import FILE as BACKEND_FILE
from .backends import Backend, read_backend
from .errors import StoreError
from .gates import Finding
from .gates.components import ComponentEvidence
from .golden import held, read_golden
from .json_file import parse_json
from .matching import MatchSpec, evidence_of
from .plan import pairs
from .prepare import SEED_PLAN, PreparedFile, PreparedSuite, RunContext, labelled, read_plan
from .proof.results import ProofDecision
from .proof.stability import Stability, stability
from .proof.suite import CANONICAL_PROFILES
from .proof_audit import COMPONENTS, COVERAGE, EQUIVALENCE, STABILITY, VALIDITY
from .proof_verdict import ProofEvidence, ProofJudgement, begin, judge_proof_suite
from .render import proof_documents, proof_gates
from .render.aggregates import fixture_mark
from .render.proof_markdown import equivalence_markdown
from .store import Stored, SuiteStore, relative
from .suite import SYSTEMS, BackendSide

RUNS = "parity_runs.jsonl"
REPORT = "equivalence_report.md"
CIRCUMSTANCES = "circumstances.json"
CIRCUMSTANCES_SCHEMA = "worldflux.parity.circumstances.v1"
LIVE_MATCH = "component_match_live"
# Document -> its schema.
SCHEMAS = {
    COVERAGE: "coverage.v1",
    VALIDITY: "validity.v1",
    COMPONENTS: "component_match_set.v1",
    EQUIVALENCE: "equivalence.v1",
    STABILITY: "stability.v1",
}


@dataclass(frozen=True)
class Circumstances:
    """What a proof was judged with that its records do not hold.

    Attributes:
        resumed: whether the last session resumed the run. selected: names of its test items.
        changed: what changed since the run was sealed. findings: of what only the run's host could see.
        history: names of the earlier reports that it was held against, in their order.
    """

    resumed: bool = False
    selected: frozenset[str] = frozenset()
    changed: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    history: tuple[str, ...] = ()

    def to_dict(self, suite_id: str, time: str) -> dict[str, Any]:
        """As ``schemas/circumstances.v1.json`` has it."""
        return {
            "schema_version": CIRCUMSTANCES_SCHEMA,
            "suite_id": suite_id,
            "generated_at_utc": time,
            "resumed": self.resumed,
            "selected": sorted(self.selected),
            "changed": list(self.changed),
            "findings": [proof_gates.finding_dict(f) for f in self.findings],
            "history": list(self.history),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Circumstances:
        """From a document that its JSON Schema accepts."""
        return cls(
            resumed=document["resumed"],
            selected=frozenset(document["selected"]),
            changed=tuple(document["changed"]),
            findings=tuple(Finding(**f) for f in document["findings"]),
            history=tuple(document["history"]),
        )


def judge_run(
    prepared: PreparedFile,
    context: RunContext,
    stored: Stored,
    circumstances: Circumstances,
    files: AttemptFiles | None = None,
) -> ProofJudgement:
    """The verdict on what stands in a run directory.

    Args:
        files: those of the run's attempts; None: they stand in its folder as the store made them.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    assert prepared.proof is not None
    files = files or AttemptFolders(context.run_dir)
    parts = tuple(
        assemble(part, context, stored, _selected(part, circumstances.selected), (), files)
        for part in prepared.parts
    )
    with begin(prepared.proof, prepared.plan, parts) as begun:
        changed = (
            Finding("changed_since_sealed", f"{name} changed after the first run")
            for name in circumstances.changed
        )
        unlisted = _unlisted_attempts(files, prepared.suite_id, stored)
        doubts = (*circumstances.findings, *changed, *lock_doubts(prepared, context), *unlisted)
        folder = context.run_dir / prepared.suite_id
        return judge_proof_suite(
            ProofEvidence(
                proof=prepared.proof,
                parts=parts,
                plan=prepared.plan,
                commits={p.suite.family: p.sources["official"].get("commit") for p in prepared.parts},
                live=dict(_live(prepared, folder, context.lock_path)),
                doubts=doubts,
            ),
            begun,
        )


def _unlisted_attempts(files: AttemptFiles, suite_id: str, stored: Stored) -> Iterator[Finding]:
    """Attempts that left a record and have no line: someone took the line away, or no resume brought it."""
    listed = {(line["request_id"], line["attempt"]) for line in stored.lines}
    for attempt in files.attempts(suite_id):
        if "metrics.json" not in attempt.names:
            continue
        request = _request_in(files, attempt)
        if request is None:
            place = attempt.path.removeprefix(f"{suite_id}/")
            yield Finding("attempt_without_line", f"{place} has no readable request")
        elif (request.request_id, request.attempt) not in listed:
            what = f"attempt {request.attempt} left a record, and parity_runs.jsonl has no line of it"
            yield Finding("attempt_without_line", what, request.task_id, request.seed, request.system)


def _request_in(files: AttemptFiles, attempt: Attempt) -> wire.RunRequest | None:
    """What an attempt was asked for, where that can be read."""
    path = Path(attempt.path, "request.json")
    try:
        asked = parse_json(files.read(str(path)), path, StoreError)
        request = wire.request_from_dict(asked) if isinstance(asked, dict) else None
    except (OSError, StoreError, wire.WireError):
        return None
    known = request and all(
        type(getattr(request, name)) is kind
        for name, kind in (
            ("request_id", str),
            ("attempt", int),
            ("task_id", str),
            ("seed", int),
            ("system", str),
        )
    )
    return request if known else None


def _selected(part: PreparedSuite, names: Iterable[str]) -> frozenset[str]:
    components = part.match.golden.components if part.match else ()
    own = {str(p.key) for p in part.pairs} | {part.component_case(c.name) for c in components}
    return frozenset(own) & frozenset(names)


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
    entries = [locked.entry(pin.suite)] if pin is not None and repo is None else locked.suites.values()
    return {e.commit for e in entries if repo is None or e.repo == repo}


def live_folder(part: PreparedSuite, suite_folder: Path) -> Path:
    """Where the match with a recording of the run's own official checkpoint stands."""
    return suite_folder / f"{LIVE_MATCH}_{part.suite.family}"


def _live(
    prepared: PreparedFile, suite_folder: Path, lock_path: Path
) -> Iterator[tuple[str, ComponentEvidence]]:
    """family -> the live match that stands in the run directory."""
    for part in prepared.parts:
        folder = live_folder(part, suite_folder)
        if part.match is not None and (folder / "golden" / "manifest.json").exists():
            golden = held(read_golden(folder / "golden", part.suite.family), lock_path, own=False)
            yield part.suite.family, evidence_of(MatchSpec(part.match.backend, golden), folder)


@dataclass(frozen=True)
class Documents:
    """The documents of a judged proof run. ``by_name``: file name -> JSON document."""

    by_name: Mapping[str, dict[str, Any]]
    decision: ProofDecision
    stability: Stability


def documents_of(
    judgement: ProofJudgement,
    history: Mapping[str, Mapping[str, Any]],
    *,
    time: str,
    golden_paths: Mapping[str, str],
) -> Documents:
    """Every JSON document of a proof run but its evidence.

    Args:
        history: name -> earlier equivalence report.
        golden_paths: as :func:`~.render.proof_gates.components_document` wants them.
    """
    decision = judgement.decision
    about = {"time": time, "input": RUNS}
    equivalence = proof_documents.equivalence_document(
        decision,
        **about,
        validity=proof_gates.validity_summary(judgement),
        component_match=proof_gates.components_summary(judgement, COMPONENTS),
        provenance=proof_documents.provenance(judgement.evidence.lines),
        claim=judgement.evidence.proof.claim,
    )
    stable = stability(equivalence, history)
    by_name = {
        COVERAGE: proof_documents.coverage_document(decision, **about),
        VALIDITY: proof_gates.validity_document(judgement, **about),
        COMPONENTS: proof_gates.components_document(judgement, time=time, golden_paths=golden_paths),
        EQUIVALENCE: equivalence,
        STABILITY: proof_documents.stability_document(stable, time=time, input=EQUIVALENCE),
    }
    mark = fixture_mark(judgement.fixture)
    return Documents(
        by_name={name: {**document, **mark} for name, document in by_name.items()},
        decision=decision,
        stability=stable,
    )


def part_key(part: PreparedSuite) -> str:
    """How a part is named in ``run.json`` and in a bundle."""
    return part.label or part.suite.family


def sealed_parts(prepared: PreparedFile, root: Path) -> dict[str, Any]:
    """What ``run.json`` says of a proof suite's programs, so that a bundle can be judged without them."""
    programs, sources, golden = {}, {}, {}
    for part in prepared.parts:
        for system in SYSTEMS:
            key = f"{part_key(part)}.{system}"
            backend = part.backends[system]
            programs[key] = {"adapter": backend.adapter, "kind": backend.kind, "name": backend.name}
            sources[key] = {k: v for k, v in part.sources[system].items() if k != "checkout"}
        if part.match is not None:
            golden[part_key(part)] = {
                **part.match.golden.identity,
                "path": relative(Path(part.match.golden.folder), root),
                "backend": part.match.backend.name,
                "tree_sha256": part.match.backend.tree_sha256,
            }
    return {"programs": programs, "sources": sources, "golden": golden}


def golden_paths(prepared: PreparedFile, root: Path) -> dict[str, str]:
    """What :func:`documents_of` wants, of a run."""
    paths = {
        part.label: relative(Path(part.match.golden.folder), root)
        for part in prepared.parts
        if part.match is not None
    }
    return {**paths, **live_paths(prepared)}


def live_paths(prepared: PreparedFile) -> dict[str, str]:
    """As :func:`golden_paths`, of what the run itself recorded."""
    return {f"live/{p.suite.family}": f"{LIVE_MATCH}_{p.suite.family}/golden" for p in prepared.parts}


def equivalence_text(judgement: ProofJudgement, time: str) -> str:
    """``equivalence_report.md`` of a proof that was judged at a time."""
    return equivalence_markdown(
        judgement.decision,
        time=time,
        notes=(*judgement.notes, *(f"warning: {w}" for w in judgement.warnings)),
        findings=[f.line() for f in judgement.findings],
        fixture=judgement.fixture,
    )


# --- from an evidence bundle ---


@dataclass(frozen=True)
class SealedBackend(Backend):
    """A backend as a bundle has it: its description, and the sha256 of the tree that it had."""

    sealed_tree: str = ""

    @property
    def tree_sha256(self) -> str:
        return self.sealed_tree


@dataclass(frozen=True)
class Rejudged:
    """A bundle judged anew from its raw records.

    Attributes:
        session: its ``run.json``. entry: what that says of the suite.
        history: names of the earlier reports that the run was held against, in their order.
    """

    prepared: PreparedFile
    session: Mapping[str, Any]
    entry: Mapping[str, Any]
    history: tuple[str, ...]
    judgement: ProofJudgement

    @property
    def golden_paths(self) -> dict[str, str]:
        """As :func:`golden_paths`, of the run that the bundle is of."""
        own = {
            p.label: self.entry["golden"][part_key(p)]["path"]
            for p in self.prepared.parts
            if p.match is not None
        }
        return {**own, **live_paths(self.prepared)}


def rejudge(folder: Path, files: AttemptFiles) -> Rejudged:
    """The verdict that the raw records of an extracted bundle give.

    Args:
        folder: with ``run/run.json``, ``run/<suite_id>/`` and ``inputs/``.
        files: those of the run's attempts.

    Raises:
        ParityError: something that is needed is absent or broken.
    """
    session = _read(folder / "run" / "run.json", "session.v1")
    suite_id, entry = _entry(session, folder)
    circumstances = Circumstances.from_dict(
        _read(folder / "run" / suite_id / CIRCUMSTANCES, "circumstances.v1")
    )
    context = RunContext(
        root=folder,
        track="proof",
        run_id=session["run_id"],
        run_dir=folder / "run",
        device=entry["device"],
        lock_path=folder / "inputs" / "upstream_lock.json",
        backend_folders=(folder / "inputs" / "backends",),
        resume=circumstances.resumed,
        seeds=tuple(session["seeds_override"]) if session["seeds_override"] is not None else None,
    )
    prepared = _sealed(folder, suite_id, entry, context)
    circumstances = _with_changes(circumstances, folder, entry, prepared)
    stored = SuiteStore(context.run_dir, suite_id).read()
    judgement = judge_run(prepared, context, stored, circumstances, files)
    return Rejudged(prepared, session, entry, circumstances.history, judgement)


def _entry(session: Mapping[str, Any], folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The suite of a bundle, and what was sealed of it."""
    there = [e for e in session["suites"].values() if (folder / "run" / e["suite_id"] / RUNS).exists()]
    if len(there) != 1 or "programs" not in there[0]:
        raise StoreError("a bundle holds the records of one proof suite", where="run/run.json")
    return there[0]["suite_id"], there[0]


def _sealed(folder: Path, suite_id: str, entry: Mapping[str, Any], context: RunContext) -> PreparedFile:
    proof = proof_file.load(folder / "inputs" / "suite.yaml")
    if proof.suite_id != suite_id:
        raise StoreError(
            f"the suite is {proof.suite_id!r}, the records are of {suite_id!r}", where="inputs/suite.yaml"
        )
    if context.seeds is not None:
        proof = proof.with_seeds(context.seeds)
    plan = read_plan(context.run_dir / suite_id / SEED_PLAN)
    proof = proof.planned(plan)
    parts = labelled([PreparedSuite(suite=part, pairs=tuple(pairs(part))) for part in proof.parts])
    return PreparedFile(tuple(_with_sources(p, entry, folder) for p in parts), proof, plan)


def _with_sources(part: PreparedSuite, entry: Mapping[str, Any], folder: Path) -> PreparedSuite:
    key = part_key(part)
    for system in SYSTEMS:
        side, sealed = part.suite.sides[system], entry["programs"].get(f"{key}.{system}")
        if sealed is None or not isinstance(side, BackendSide) or sealed["adapter"] != side.adapter:
            raise StoreError(f"the {system} program of {key} is not the suite's", where="run/run.json")
    return PreparedSuite(
        suite=part.suite,
        pairs=part.pairs,
        sources={s: entry["sources"][f"{key}.{s}"] for s in SYSTEMS},
        match=_sealed_match(key, entry, folder, part.suite.family)
        if part.suite.component_match != "none"
        else None,
        label=part.label,
    )


def _sealed_match(key: str, entry: Mapping[str, Any], folder: Path, family: str) -> MatchSpec | None:
    sealed = entry["golden"].get(key) if entry["golden"] else None
    if sealed is None:
        return None
    backend = read_backend(folder / "inputs" / "backends" / sealed["backend"] / BACKEND_FILE)
    own = SealedBackend(**vars(backend), sealed_tree=sealed["tree_sha256"])
    golden = read_golden(folder / "inputs" / "golden" / key, family)
    return MatchSpec(own, held(golden, folder / "inputs" / "upstream_lock.json", own=True))


def _with_changes(
    circumstances: Circumstances, folder: Path, entry: Mapping[str, Any], prepared: PreparedFile
) -> Circumstances:
    """``circumstances`` with what differs between the bundle's inputs and what was sealed."""
    inputs = folder / "inputs"
    now = {
        "suite_sha256": prepared.suite.sha256,
        "upstream_lock_sha256": wire.file_sha256(inputs / "upstream_lock.json"),
        "suite_policy_sha256": wire.file_sha256(inputs / "suite_policy.json"),
    }
    changed = [name for name, sha in now.items() if entry[name] != sha]
    for part in prepared.parts:
        sealed = (entry["golden"] or {}).get(part_key(part))
        own = part.match.golden.identity if part.match else None
        if sealed is not None and (own is None or any(sealed[k] != v for k, v in own.items())):
            changed.append("the golden of the component match")
    more = tuple(name for name in changed if name not in circumstances.changed)
    return Circumstances(**{**vars(circumstances), "changed": (*circumstances.changed, *more)})


def _read(path: Path, schema: str) -> dict[str, Any]:
    document = read_object(path)
    schemas.check(document, schema, lambda at: f"{path.name}: {'.'.join(map(str, at))}", StoreError)
    return document


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a bundle.

    Raises:
        StoreError: it cannot be read, or is none.
    """
    try:
        return wire.load_object(path)
    except (OSError, wire.WireError) as error:
        raise StoreError(f"cannot be read: {error}", where=path.name) from None
