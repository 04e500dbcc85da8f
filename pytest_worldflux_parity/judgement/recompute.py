"""Records and what they were asked by -> the judgement: the one way, for quick runs and proofs.

What is asked is a bundle's own inputs (:func:`rejudge`), a reader's suite and lock in their place, or what
stands in a checkout (:func:`judge_records` with what :func:`~..inputs.prepare.prepare` gives).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import StoreError
from ..execution.attempt_files import AttemptFiles
from ..execution.store import Stored, SuiteStore
from ..inputs.backends import FILE as BACKEND_FILE
from ..inputs.backends import read_backend
from ..inputs.context import RETRIED, REUSE, RunContext
from ..inputs.golden import hold_to_lock, read_golden
from ..inputs.matches import MatchSpec, find_version, match_as_declared
from ..inputs.prepare import (
    PreparedFile,
    PreparedSuite,
    as_asked,
    found_seeds,
    label_parts,
    results_of,
)
from ..inputs.scores import ScoreTable, load_table
from ..suite import proof_file, suite_file
from ..suite.pairs import pairs
from ..suite.suite import SYSTEMS, ArtifactSide, BackendSide, Override, Suite
from .circumstances import CIRCUMSTANCES, Circumstances
from .facts import Facts, facts_of
from .judge_run import judge_quick, judge_run, live_paths
from .proof_verdict import ProofJudgement
from .quick import Judgement

AnyJudgement = Judgement | ProofJudgement


def session_of_tables(suite_id: str, run_id: str, time: str) -> dict[str, Any]:
    """What a session that only read the tables of a suite would have sealed."""
    entry: dict[str, Any] = {
        "suite_id": suite_id,
        "device": "cpu",
        "tables": {},
        "golden": None,
        "sources": {},
    }
    return {
        "track": "quick",
        "run_id": run_id,
        "generated_at_utc": time,
        "seeds_override": None,
        "suites": {suite_id: {**entry, "programs": {}}},
    }


# --- from an evidence bundle ---


@dataclass(frozen=True)
class Asked:
    """What a reader asks in place of what a bundle holds; None: what it holds.

    Attributes:
        suite, lock: his files. With his suite, no seeds or tables of the run's command line count.
    """

    suite: Path | None = None
    lock: Path | None = None


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class Rejudged:
    """A bundle judged anew from its raw records.

    Attributes:
        session: its ``run.json``. entry: what that says of the suite.
    """

    prepared: PreparedFile
    context: RunContext
    session: Mapping[str, Any]
    entry: Mapping[str, Any]
    circumstances: Circumstances
    judgement: AnyJudgement
    stored: Stored = field(repr=False)

    @property
    def golden_paths(self) -> dict[str, str]:
        """As :func:`golden_paths`, of the run that the bundle is of."""
        paths = {
            p.label: self.entry["golden"][p.key]["path"] for p in self.prepared.parts if p.match is not None
        }
        return {**paths, **(live_paths(self.prepared) if self.prepared.proof is not None else {})}

    @property
    def facts(self) -> Facts:
        """Those of the claim card."""
        return facts_of(self.prepared, self.judgement, self.stored, self.session, self.circumstances)


def judge_records(
    prepared: PreparedFile,
    context: RunContext,
    session: Mapping[str, Any],
    entry: Mapping[str, Any],
    circumstances: Circumstances,
    files: AttemptFiles | None = None,
) -> Rejudged:
    """The verdict on the records of a run directory; arguments and errors as of :func:`.judge_run`.

    Args:
        session: its ``run.json``. entry: what that says of the suite.
    """
    stored = SuiteStore(context.run_dir, prepared.suite_id).read()
    judge = judge_run if prepared.proof is not None else _judge_first
    judgement = judge(prepared, context, stored, circumstances, entry, files)
    return Rejudged(prepared, context, session, entry, circumstances, judgement, stored)


def _judge_first(prepared: PreparedFile, *about: Any) -> Judgement:
    return judge_quick(prepared.parts[0], *about)


def rejudge(folder: Path, files: AttemptFiles, asked: Asked = NOTHING_ASKED) -> Rejudged:
    """The verdict that the raw records of an extracted bundle give.

    Args:
        folder: with ``run/run.json``, ``run/<suite_id>/`` and ``inputs/``.
        files: those of the run's attempts.

    Raises:
        ParityError: something that is needed is absent or broken.
    """
    session = _read_document(folder / "run" / "run.json", "session.v1")
    suite_id, entry = _find_entry(session, folder)
    circumstances = Circumstances.from_dict(
        _read_document(folder / "run" / suite_id / CIRCUMSTANCES, "circumstances.v1")
    )
    is_as_sealed = asked.suite is None
    seeds = session["seeds_override"] if is_as_sealed else None
    context = RunContext(
        root=folder,
        track=session["track"],
        run_id=session["run_id"],
        run_dir=folder / "run",
        device=entry["device"],
        lock_path=asked.lock or folder / "inputs" / "upstream_lock.json",
        backend_folders=(folder / "inputs" / "backends",),
        resume=circumstances.resumed,
        seeds=tuple(seeds) if seeds is not None else None,
        choices={
            k: v for k, v in session.get("choices", {}).items() if is_as_sealed or k in (RETRIED, REUSE)
        },
        names=circumstances.names,
    )
    prepared = _prepare_sealed(folder, suite_id, entry, context, asked.suite)
    if is_as_sealed:
        circumstances = _add_changes(circumstances, folder, entry, prepared)
    return judge_records(prepared, context, session, entry, circumstances, files)


def _find_entry(session: Mapping[str, Any], folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The suite of a bundle, and what was sealed of it."""
    # Not by its log: of a run in which no attempt could be made there is none.
    there = [e for e in session["suites"].values() if (folder / "run" / e["suite_id"]).is_dir()]
    if len(there) != 1 or "programs" not in there[0]:
        raise StoreError("a bundle holds the records of one suite", where="run/run.json")
    return there[0]["suite_id"], there[0]


def _prepare_sealed(
    folder: Path, suite_id: str, entry: Mapping[str, Any], context: RunContext, asked: Path | None
) -> PreparedFile:
    path = asked or folder / "inputs" / "suite.yaml"
    proof = proof_file.load(path) if context.track == "proof" else None
    suite = suite_file.load(path) if proof is None else None
    found = proof.suite_id if proof is not None else suite.suite_id if suite is not None else ""
    if found != suite_id:
        raise StoreError(f"the suite is {found!r}, the records are of {suite_id!r}", where=str(path))
    if suite is not None:
        replaced = {} if asked else entry.get("overrides", {})
        return PreparedFile((_prepare_sealed_quick(suite, replaced, entry, folder, context),))
    assert proof is not None
    proof, plan = as_asked(proof, context)
    parts = label_parts([PreparedSuite(suite=part, pairs=tuple(pairs(part))) for part in proof.parts])
    return PreparedFile(tuple(_add_sources(p, entry, folder, context) for p in parts), proof, plan)


def _prepare_sealed_quick(
    suite: Suite, replaced: Mapping[str, Any], entry: Mapping[str, Any], folder: Path, context: RunContext
) -> PreparedSuite:
    """A quick suite with the tables that the bundle holds."""
    given = {s: Override(Path(o["path"]) if o["path"] else None, o["format"]) for s, o in replaced.items()}
    suite = suite.with_overrides(given)
    if context.seeds is not None:
        suite = suite.with_live_seeds(context.seeds)
    tables = {
        s: _load_sealed_table(side, s, folder)
        for s, side in suite.sides.items()
        if isinstance(side, ArtifactSide)
    }
    results = results_of(suite, tables)
    part = PreparedSuite(
        suite=suite, pairs=tuple(pairs(suite, found_seeds(results))), tables=tables, results=results
    )
    return _add_sources(part, entry, folder, context)


def _load_sealed_table(side: ArtifactSide, system: str, folder: Path) -> ScoreTable:
    """The table of a side as the bundle holds it."""
    place = folder / "inputs" / "tables" / system
    there = sorted(place.iterdir()) if place.is_dir() else []
    if len(there) != 1:
        what = f"the bundle holds {len(there)} tables of the {system} side, and one is wanted"
        raise StoreError(what, where=f"inputs/tables/{system}")
    return load_table(there[0], side.format, **side.reading)


def _add_sources(
    part: PreparedSuite, entry: Mapping[str, Any], folder: Path, context: RunContext
) -> PreparedSuite:
    key = part.key
    live = [s for s in SYSTEMS if isinstance(part.suite.sides[s], BackendSide)]
    for system in live:
        side, sealed = part.suite.sides[system], entry["programs"].get(f"{key}.{system}")
        if sealed is None or not isinstance(side, BackendSide) or sealed["adapter"] != side.adapter:
            raise StoreError(f"the {system} program of {key} is not the suite's", where="run/run.json")
    return replace(
        part,
        sources={s: entry["sources"][f"{key}.{s}"] for s in live},
        match=_read_sealed_match(key, entry, folder, part.suite, context.lock_path)
        if part.suite.component_match != "none"
        else None,
    )


def _read_sealed_match(
    key: str, entry: Mapping[str, Any], folder: Path, suite: Suite, lock_path: Path
) -> MatchSpec | None:
    sealed = entry["golden"].get(key) if entry["golden"] else None
    if sealed is None:
        return None
    backend = read_backend(folder / "inputs" / "backends" / sealed["backend"] / BACKEND_FILE)
    as_sealed = replace(backend, sealed_tree=sealed["tree_sha256"])
    golden = read_golden(folder / "inputs" / "golden" / key, suite.family)
    version = find_version(as_sealed, lock_path, suite)
    held = hold_to_lock(golden, lock_path, own=True, version=version)
    return match_as_declared(MatchSpec(as_sealed, held), suite)


def _add_changes(
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
        sealed = (entry["golden"] or {}).get(part.key)
        identity = part.match.golden.identity if part.match else None
        if sealed is not None and (identity is None or any(sealed[k] != v for k, v in identity.items())):
            changed.append("the golden of the component match")
    more = tuple(name for name in changed if name not in circumstances.changed)
    return Circumstances(**{**vars(circumstances), "changed": (*circumstances.changed, *more)})


def _read_document(path: Path, schema: str) -> dict[str, Any]:
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
