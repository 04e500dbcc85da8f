"""An evidence bundle -> its judgement, made anew from the raw records in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import StoreError
from ..execution.attempt_files import AttemptFiles
from ..execution.store import SuiteStore
from ..inputs.backends import FILE as BACKEND_FILE
from ..inputs.backends import Backend, read_backend
from ..inputs.context import RunContext
from ..inputs.golden import held, read_golden
from ..inputs.matches import MatchSpec
from ..inputs.prepare import SEED_PLAN, PreparedFile, PreparedSuite, labelled, read_plan
from ..suite import proof_file
from ..suite.pairs import pairs
from ..suite.suite import SYSTEMS, BackendSide
from .judge_proof import CIRCUMSTANCES, Circumstances, judge_run, live_paths, part_key
from .proof_verdict import ProofJudgement

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
    # Not by its log: of a run in which no attempt could be made there is none.
    there = [e for e in session["suites"].values() if (folder / "run" / e["suite_id"]).is_dir()]
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
