"""The end of a proof suite: judge it, seal the plan of a pilot, write every document and the evidence."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from . import wire
from .errors import StoreError
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
)
from .proof_verdict import ProofJudgement
from .render.proof_markdown import equivalence_markdown
from .store import SuiteStore, relative, write_document, write_text

REPORT = "equivalence_report.md"
CASES = ("components", "coverage", "validity", "equivalence", "stability")
Outcome = Literal["passed", "failed", "skipped"]
ProofCase = tuple[str, Outcome, str, tuple[str, ...]]


@dataclass(frozen=True)
class ProofConclusion:
    """What a proof suite came to. ``cases``: (name, outcome, text, warnings) of each verdict case."""

    judgement: ProofJudgement
    documents: Documents
    paths: tuple[Path, ...]

    @property
    def cases(self) -> Iterator[ProofCase]:
        for gate in self.judgement.gates:
            yield _case(gate.name, gate.verdict, gate.reason, gate.warnings)
        yield _case("equivalence", self.judgement.verdict, self.judgement.reason, ())
        yield _stability_case(self.documents)


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
    paths = tuple(store.folder / name for name in (*documents.by_name, REPORT))
    return ProofConclusion(judgement, documents, paths)


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


def check_history(context: RunContext) -> None:
    """Refuse, before anything runs, what :func:`read_history` would refuse after the last run.

    Raises:
        StoreError: as there.
    """
    read_history(context, Path())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
