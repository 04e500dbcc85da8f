"""The end of a proof suite: judge it, seal the plan of a pilot, write every document and the evidence."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from . import wire
from .backends import FILE as BACKEND_FILE
from .backends import Backend
from .errors import ParityError, StoreError
from .evidence import BundleInfo, build, read_sign_key
from .golden import ARRAYS, MANIFEST
from .live_match import match_live
from .prepare import SEED_PLAN, PreparedFile, RunContext
from .proof.decision import plan_to_seal
from .proof_run import (
    CIRCUMSTANCES,
    EQUIVALENCE,
    SCHEMAS,
    Circumstances,
    Documents,
    documents_of,
    golden_paths,
    judge_run,
    part_key,
)
from .proof_verdict import ProofJudgement
from .render.proof_markdown import equivalence_markdown
from .store import SuiteStore, relative, translated, write_document, write_text

REPORT = "equivalence_report.md"
BUNDLE = "evidence_bundle.zip"
CASES = ("components", "coverage", "validity", "equivalence", "stability", "evidence")
Outcome = Literal["passed", "failed", "skipped"]
ProofCase = tuple[str, Outcome, str, tuple[str, ...]]


@dataclass(frozen=True)
class ProofConclusion:
    """What a proof suite came to. ``cases``: (name, outcome, text, warnings) of each verdict case."""

    judgement: ProofJudgement
    documents: Documents
    paths: tuple[Path, ...]
    bundle: BundleInfo | None
    bundle_error: str = ""

    @property
    def cases(self) -> Iterator[ProofCase]:
        for gate in self.judgement.gates:
            yield _case(gate.name, gate.verdict, gate.reason, gate.warnings)
        yield _case("equivalence", self.judgement.verdict, self.judgement.reason, ())
        yield _stability_case(self.documents)
        if self.bundle is None:
            yield "evidence", "failed", f"no bundle: {self.bundle_error}", ()
        else:
            yield "evidence", "passed", self.signature, self.bundle.warnings

    @property
    def signature(self) -> str:
        """Whether the bundle is signed, and with which key."""
        if self.bundle is None or not self.bundle.signed:
            return "unsigned: whoever changes the bundle can make its hashes anew"
        return f"signed, key {self.bundle.keyid}"


def _case(name: str, verdict: str, reason: str, warnings: tuple[str, ...]) -> ProofCase:
    passed = verdict == "pass"
    return name, "passed" if passed else "failed", reason if passed else f"{verdict}: {reason}", warnings


def _stability_case(documents: Documents) -> ProofCase:
    found = documents.stability
    compared = f"{len(found.history)} earlier reports" if found.history else "no earlier report"
    if found.status == "verdict_failed":
        return "stability", "failed", "verdict_failed: a verdict that is not a pass cannot be stable", ()
    if found.status == "unstable":
        flips = len(found.verdict_flips), len(found.sign_flips), len(found.current.mismatches)
        text = "unstable: {} verdicts and {} effects flip between runs, {} tests disagree".format(*flips)
        return "stability", "failed", text, ()
    return "stability", "passed", f"stable, compared with {compared}", ()


def conclude_proof(
    prepared: PreparedFile, context: RunContext, names: Sequence[str], changed: Sequence[str]
) -> ProofConclusion:
    """Judge one proof suite and write all its documents.

    Args:
        names: of the test items of this session. changed: what changed since the run was sealed.

    Raises:
        ParityError: something cannot be read or written.
    """
    store = SuiteStore(context.run_dir, prepared.suite_id)
    history = read_history(context, store.folder / EQUIVALENCE)
    stored = store.read()
    assert prepared.proof is not None
    live = prepared.proof.component_match == "live"
    findings = tuple(match_live(prepared, context, stored)) if live else ()
    circumstances = Circumstances(context.resume, frozenset(names), tuple(changed), findings, tuple(history))
    judgement = judge_run(prepared, context, stored, circumstances)
    time = _now()
    documents = documents_of(judgement, history, time=time, golden_paths=golden_paths(prepared, context.root))
    _seal_plan(judgement, store.folder)
    sealed = circumstances.to_dict(prepared.suite_id, time)
    write_document(store.folder / CIRCUMSTANCES, sealed, "circumstances.v1")
    for name, document in documents.by_name.items():
        write_document(store.folder / name, document, SCHEMAS[name])
    write_text(store.folder / REPORT, _markdown(judgement, time))
    paths = [store.folder / name for name in (*documents.by_name, REPORT)]
    bundle, error = _bundle(prepared, context, history)
    if bundle is not None:
        paths.append(bundle.path)
    return ProofConclusion(judgement, documents, tuple(paths), bundle, error)


def _bundle(
    prepared: PreparedFile, context: RunContext, history: Mapping[str, Mapping[str, Any]]
) -> tuple[BundleInfo | None, str]:
    """The evidence, or why there is none: a verdict without it stands, and the run fails."""
    path = context.run_dir / prepared.suite_id / BUNDLE
    try:
        with translated(path):
            path.unlink(missing_ok=True)
        bundle = build(
            path,
            run_dir=context.run_dir,
            suite_id=prepared.suite_id,
            inputs=dict(evidence_inputs(prepared, context, history)),
            predicate={"run_id": context.run_id, "device": context.device},
            root=context.root,
            environ=os.environ,
            sign_key=context.sign_key,
        )
    except ParityError as error:
        return None, error.line()
    return bundle, ""


def evidence_inputs(
    prepared: PreparedFile, context: RunContext, history: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Path | bytes]]:
    """Name within the bundle -> what a run was judged with and its folder does not hold."""
    yield "inputs/suite.yaml", prepared.suite.path
    for name, path in (
        ("upstream_lock.json", context.lock_path),
        ("suite_policy.json", context.lock_path.with_name("suite_policy.json")),
    ):
        if path.exists():
            yield f"inputs/{name}", path
    for part in prepared.parts:
        programs = [b for b in part.backends.values() if isinstance(b, Backend)]
        if part.match is not None:
            programs.append(part.match.backend)
            for name in (MANIFEST, ARRAYS):
                yield f"inputs/golden/{part_key(part)}/{name}", Path(part.match.golden.folder) / name
        for backend in programs:
            yield f"inputs/backends/{backend.name}/{BACKEND_FILE}", backend.folder / BACKEND_FILE
    for i, document in enumerate(history.values()):
        yield f"inputs/history/{i}.json", wire.canonical_json(document).encode()


def _seal_plan(judgement: ProofJudgement, folder: Path) -> None:
    plan = plan_to_seal(judgement.decision)
    if plan is not None:
        write_document(folder / SEED_PLAN, plan.to_dict(), "seed_plan.v1")


def _markdown(judgement: ProofJudgement, time: str) -> str:
    return equivalence_markdown(
        judgement.decision,
        time=time,
        notes=(*judgement.notes, *(f"warning: {w}" for w in judgement.warnings)),
        findings=[f.line() for f in judgement.findings],
    )


def read_history(context: RunContext, own: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> earlier equivalence report, of all files that ``--parity-history`` names but this run's own.

    Raises:
        StoreError: a pattern names no file, or a file cannot be read.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for pattern in context.history:
        paths = [Path(p) for p in sorted(glob.glob(str(context.root / pattern), recursive=True))]
        if not paths:
            raise StoreError(
                "--parity-history names no file", where=pattern, mend="name files that are there"
            )
        for path in paths:
            if path.resolve() == own.resolve():
                continue
            try:
                found[relative(path, context.root)] = wire.load_object(path)
            except (OSError, wire.WireError) as error:
                raise StoreError(f"--parity-history: cannot be read: {error}", where=str(path)) from None
    return found


def check_options(context: RunContext) -> None:
    """Refuse, before anything runs, what would otherwise be refused after the last run.

    Raises:
        StoreError: ``--parity-history`` names nothing that can be read.
        EvidenceError: ``--parity-sign-key`` is no key that can sign.
    """
    read_history(context, Path())
    if context.sign_key is not None:
        read_sign_key(context.sign_key)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
