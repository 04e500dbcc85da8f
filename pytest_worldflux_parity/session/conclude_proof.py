"""The end of a proof suite: judge it, seal the plan of a pilot, write every document and the evidence."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec

from ..errors import StoreError
from ..evidence import BundleInfo
from ..execution.devices import environment
from ..execution.store import Stored, SuiteStore, write_document, write_text
from ..inputs.context import RunContext
from ..inputs.lock_reference import names_of
from ..inputs.prepare import SEED_PLAN, PreparedFile, prepare
from ..judgement.circumstances import CIRCUMSTANCES, Circumstances
from ..judgement.facts import Facts, facts_of
from ..judgement.fingerprint import changes, fingerprint, prepare_sealed, read_session
from ..judgement.foreign_records import judge_lines, read_lines
from ..judgement.gates import Finding
from ..judgement.gates.fixture import BANNER
from ..judgement.judge_proof import golden_paths, judge_run
from ..judgement.proof.decision import plan_to_seal
from ..judgement.proof_verdict import ProofJudgement
from ..judgement.required_files import artifact_findings
from ..judgement.run_log import run_log
from ..judgement.stored_lines import rewritten_findings
from ..reporting.missing_suite import write_missing_suite
from ..reporting.proof_documents import EQUIVALENCE, REPORT, SCHEMAS, Documents, documents_of
from ..reporting.proof_markdown import equivalence_text
from ..schemas.json_text import utc_now
from .bundle import BUNDLE, make_bundle, refuse_unsigning, signature_line
from .earlier import earlier_circumstances, earlier_logs
from .live_match import FAILED as LIVE_FAILED
from .live_match import match_live
from .proof_options import read_history

Outcome = Literal["passed", "failed", "skipped"]
_P = ParamSpec("_P")
ProofCase = tuple[str, Outcome, str, tuple[str, ...]]


@dataclass(frozen=True)
class ProofConclusion:
    """What a proof suite came to.

    Attributes:
        documents: of those in files, the equivalence report alone.
        facts: of the claim card; None of records that no run sealed.
        cases: (name, outcome, text, warnings) of each verdict case.
    """

    judgement: ProofJudgement
    documents: Documents
    paths: tuple[Path, ...]
    bundle: BundleInfo | None
    bundle_error: str = ""
    facts: Facts | None = None

    @property
    def cases(self) -> Iterator[ProofCase]:
        for gate in self.judgement.gates:
            yield _case(gate.name, gate.verdict, gate.reason, gate.warnings)
        yield _case("equivalence", self.judgement.verdict, self.judgement.reason, ())
        yield _stability_case(self.documents)
        if self.bundle is None:
            yield "evidence", "failed", f"no bundle: {self.bundle_error}", ()
        else:
            marked = (BANNER,) if self.judgement.fixture else ()
            yield "evidence", "passed", self.signature, (*marked, *self.bundle.warnings)

    @property
    def signature(self) -> str:
        """Whether the bundle is signed, and with which key."""
        return signature_line(self.bundle, self.bundle_error)


def _case(name: str, verdict: str, reason: str, warnings: tuple[str, ...]) -> ProofCase:
    passed = verdict == "pass"
    return name, "passed" if passed else "failed", reason if passed else f"{verdict}: {reason}", warnings


def _stability_case(documents: Documents) -> ProofCase:
    found = documents.stability
    compared = f"{len(found.history)} earlier reports" if found.history else "no earlier report"
    count = len(found.not_compared)
    left_out = f"; {count} named reports could not be compared" if count else ""
    if found.in_part:
        name, text = next(iter(found.in_part.items()))
        others = len(found.in_part) - 1
        left_out += f"; {name} {text}" + (f" ({others} other reports too)" if others else "")
    if found.status == "verdict_failed":
        text = f"{found.current.verdict}: a verdict that is not a pass cannot be stable"
        return "stability", "failed", text + left_out, ()
    if found.status == "unstable":
        flips = len(found.verdict_flips), len(found.sign_flips), len(found.current.mismatches)
        text = "unstable: {} verdicts and {} effects flip between runs, {} tests disagree".format(*flips)
        return "stability", "failed", text + left_out, ()
    return "stability", "passed", f"stable, compared with {compared}{left_out}", ()


def _without_collector(judge: Callable[_P, ProofConclusion]) -> Callable[_P, ProofConclusion]:
    """Judge with the cyclic garbage collector off, where it is on.

    A log becomes a million objects that all stay until the end and are in no cycle; looking for some among
    them again and again takes a tenth of the time.
    """

    @wraps(judge)
    def judged(*args: _P.args, **kwargs: _P.kwargs) -> ProofConclusion:
        if not gc.isenabled():
            return judge(*args, **kwargs)
        gc.disable()
        try:
            return judge(*args, **kwargs)
        finally:
            # What was made meanwhile counts as old: the first collection would look through all of it.
            gc.freeze()
            gc.unfreeze()
            gc.enable()

    return judged


@_without_collector
def conclude_proof(
    prepared: PreparedFile,
    context: RunContext,
    names: Sequence[str],
    changed: Sequence[str],
    noted: Sequence[str],
    entry: Mapping[str, Any],
    lines: Mapping[str, str],
) -> ProofConclusion:
    """Judge one proof suite and write all its documents.

    Args:
        names: of the test items of this session. changed: what changed since the run was sealed.
        noted: what came beside it, and changed nothing that ran. entry: what was sealed of the suite.
        lines: the stored lines that the session knows of (:func:`.rewritten_findings`).

    Raises:
        ParityError: something cannot be read or written.
    """
    store = SuiteStore(context.run_dir, prepared.suite_id)
    history = read_history(context, store.folder / EQUIVALENCE)
    assert prepared.proof is not None
    live = prepared.proof.component_match == "live"
    stored = store.read()
    findings = tuple(match_live(prepared, context, stored)) if live else ()
    findings += (*_artifacts(prepared, context, stored), *rewritten_findings(stored, lines))
    selected = frozenset(names)
    circumstances = Circumstances(
        context.resume,
        selected,
        tuple(changed),
        tuple(noted),
        findings,
        tuple(history),
        names=names_of(prepared.parts[0], context),
        machine=environment(),
        log=run_log(stored, *earlier_logs(store.folder)),
    )
    judgement = judge_run(prepared, context, stored, circumstances, entry)
    _seal_plan(judgement, store.folder)
    sealed = circumstances.to_dict(prepared.suite_id, utc_now())
    write_document(store.folder / CIRCUMSTANCES, sealed, "circumstances.v1")
    facts = facts_of(prepared, judgement, stored, read_session(context.run_dir), circumstances)
    return replace(_concluded(prepared, context, judgement, history), facts=facts)


def _artifacts(prepared: PreparedFile, context: RunContext, stored: Stored) -> Iterator[Finding]:
    """What runs should have left and did not; looked for again whenever the run is judged."""
    assert prepared.proof is not None
    for part in prepared.parts:
        yield from artifact_findings(part, prepared.proof, context, stored)


def _concluded(
    prepared: PreparedFile,
    context: RunContext,
    judgement: ProofJudgement,
    history: Mapping[str, Mapping[str, Any]],
) -> ProofConclusion:
    """Every document of a run directory, and its evidence."""
    folder = context.run_dir / prepared.suite_id
    documents, paths = _write(prepared, context, judgement, history, folder)
    bundle, error = make_bundle(prepared, context, history)
    if bundle is not None:
        paths.append(bundle.path)
    return ProofConclusion(judgement, documents, tuple(paths), bundle, error)


def _write(
    prepared: PreparedFile,
    context: RunContext,
    judgement: ProofJudgement,
    history: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> tuple[Documents, list[Path]]:
    time = utc_now()
    places = golden_paths(prepared, context.root)
    documents = documents_of(judgement, history, time=time, golden_paths=places)
    for name, document in documents.by_name.items():
        write_document(folder / name, document, SCHEMAS[name])
    write_text(folder / REPORT, equivalence_text(judgement, time))
    paths = [folder / name for name in (*documents.by_name, REPORT)]
    lacking = write_missing_suite(folder, prepared, judgement.decision.missing)
    # The others are in their files, and are large.
    documents = replace(documents, by_name={EQUIVALENCE: documents.by_name[EQUIVALENCE]})
    return documents, [*paths, *([lacking] if lacking else [])]


def judge_existing(suite: Path, runs: Path, output: Path, context: RunContext) -> ProofConclusion:
    """Judge again what stands in a run directory of ours; nothing is run.

    Args:
        runs: its ``parity_runs.jsonl``. output: where the documents go; the evidence only where they go
            beside the records.

    Raises:
        ParityError: something cannot be read or written, or the run is of another suite.
    """
    context, entry = _as_sealed(context, runs.parent.name)
    prepared = prepare_sealed(suite, context)
    if prepared.suite_id != runs.parent.name:
        what = f"the suite is {prepared.suite_id!r}, the records are of {runs.parent.name!r}"
        raise StoreError(what, where=str(suite), mend=f"name the suite with the id {runs.parent.name}")
    changed = changes(entry, fingerprint(prepared, context), prepared)
    known = earlier_circumstances(runs.parent) or Circumstances(resumed=True)
    if not context.history:
        context = replace(context, history=known.history)
    if output.resolve() == runs.parent:
        refuse_unsigning(runs.parent / BUNDLE, context)
    history = read_history(context, runs.parent / EQUIVALENCE)
    stored = SuiteStore(context.run_dir, prepared.suite_id).read()
    kept = [f for f in known.findings if f.code == LIVE_FAILED]
    circumstances = replace(
        known,
        changed=tuple(changed),
        history=tuple(history),
        findings=(*kept, *_artifacts(prepared, context, stored)),
        log=run_log(stored, *earlier_logs(runs.parent)),
    )
    if output.resolve() != runs.parent:
        judgement = judge_run(prepared, context, stored, circumstances, entry)
        documents, paths = _write(prepared, context, judgement, history, output)
        return ProofConclusion(judgement, documents, tuple(paths), None, "it stands beside the records only")
    judgement = judge_run(prepared, context, stored, circumstances, entry)
    sealed = circumstances.to_dict(prepared.suite_id, utc_now())
    write_document(runs.parent / CIRCUMSTANCES, sealed, "circumstances.v1")
    return _concluded(prepared, context, judgement, history)


def _as_sealed(context: RunContext, suite_id: str) -> tuple[RunContext, dict[str, Any]]:
    """The context that a run was sealed with, and what was sealed of the suite."""
    session = read_session(context.run_dir)
    entries = {e["suite_id"]: e for e in session["suites"].values()}
    if suite_id not in entries:
        where = str(context.run_dir / "run.json")
        raise StoreError("the run has no such suite", where=where, valid=sorted(entries), got=suite_id)
    seeds = session["seeds_override"]
    sealed = replace(
        context,
        run_id=session["run_id"],
        device=entries[suite_id]["device"],
        seeds=tuple(seeds) if seeds is not None else None,
        choices=session.get("choices", {}),
    )
    return sealed, entries[suite_id]


@_without_collector
def judge_foreign(suite: Path, runs: Path, output: Path, context: RunContext) -> ProofConclusion:
    """Judge records that no run of this plugin sealed; there is no evidence to be made of them.

    Raises:
        ParityError: something cannot be read or written.
    """
    prepared = prepare(suite, context)
    judgement = judge_lines(prepared, context, read_lines(runs))
    history = read_history(context, output / EQUIVALENCE)
    documents, paths = _write(prepared, context, judgement, history, output)
    why = "the records were not sealed by a run of this plugin"
    return ProofConclusion(judgement, documents, tuple(paths), None, why)


def _seal_plan(judgement: ProofJudgement, folder: Path) -> None:
    plan = plan_to_seal(judgement.decision)
    if plan is not None:
        write_document(folder / SEED_PLAN, plan.to_dict(), "seed_plan.v1")
