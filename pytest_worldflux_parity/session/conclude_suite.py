"""The end of a quick or a proof suite: judge it, write every document, and pack the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import StoreError
from ..evidence import BundleInfo
from ..execution.devices import describe_machine
from ..execution.store import Stored, SuiteStore, write_document, write_text
from ..inputs.context import RunContext
from ..inputs.lock_reference import lock_reference, names_of
from ..inputs.prepare import SEED_PLAN, PreparedFile, prepare
from ..judgement.all_gates import VerdictPart
from ..judgement.circumstances import CIRCUMSTANCES, Circumstances
from ..judgement.facts import Facts, facts_of
from ..judgement.fingerprint import changes, entry_of, fingerprint, prepare_sealed, read_session
from ..judgement.foreign_records import judge_lines, read_lines
from ..judgement.gates import Finding
from ..judgement.gates.fixture import BANNER
from ..judgement.judge_run import golden_path, golden_paths, judge_quick, judge_run
from ..judgement.proof.decision import plan_to_seal
from ..judgement.proof.stability import Stability
from ..judgement.proof_verdict import ProofJudgement
from ..judgement.quick import Judgement
from ..judgement.recompute import AnyJudgement
from ..judgement.required_files import artifact_findings
from ..judgement.run_log import run_log
from ..judgement.stored_lines import rewritten_findings
from ..reporting import documents, proof_documents
from ..reporting.labels import with_labels
from ..reporting.missing_suite import write_missing_suite
from ..reporting.proof_markdown import equivalence_text
from ..schemas.json_text import utc_now
from ..suite import suite_file
from ..suite.suite import Suite
from .bundle import make_bundle, refuse_unsigning, signature_line
from .earlier import earlier_circumstances, earlier_logs, read_history
from .live_match import FAILED as LIVE_FAILED
from .live_match import match_live

PROOF_CASES = ("components", "coverage", "validity", "equivalence", "stability", "evidence")
CaseOutcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Case:
    """A verdict as a test case. ``text`` is the reason, or what is worth knowing about a pass."""

    name: str
    outcome: CaseOutcome
    text: str
    warnings: tuple[str, ...] = ()
    kind: Literal["verdict", "campaign"] = "verdict"


@dataclass(frozen=True)
class Conclusion:
    """What one suite came to; ``judgement`` is None when it could not be judged at all.

    Attributes:
        notes: sentences on what was asked other than by the suite.
        paths: of the documents that were written.
        document: the one that states the verdict.
        facts: of the claim card; None of records that no run sealed.
        signature: who vouches for the evidence, in words.
        log_head: sha256 of the suite's log at the end of the session.
    """

    node_id: str
    cases: tuple[Case, ...]
    judgement: AnyJudgement | None = None
    notes: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    document: Mapping[str, Any] | None = None
    facts: Facts | None = None
    signature: str = ""
    log_head: str = ""

    @property
    def quick(self) -> Judgement | None:
        """The judgement where it is that of a quick suite."""
        return self.judgement if isinstance(self.judgement, Judgement) else None

    @property
    def proof(self) -> ProofJudgement | None:
        """The judgement where it is that of a proof suite."""
        return self.judgement if isinstance(self.judgement, ProofJudgement) else None


@dataclass(frozen=True)
class SuiteEnd:
    """A suite of a run whose last attempt has ended.

    Attributes:
        entry: what was sealed of the suite.
        names: of the test items of this session.
        changed: what changed since the run was sealed.
        noted: what came beside it, and changed nothing that ran.
        lines: the stored lines that the session knows of (:func:`.rewritten_findings`).
    """

    node_id: str
    file: PreparedFile
    context: RunContext
    entry: Mapping[str, Any]
    names: Sequence[str]
    changed: Sequence[str]
    noted: Sequence[str]
    lines: Mapping[str, str]


@dataclass(frozen=True)
class _Judged:
    """A judgement, and what its documents are made of."""

    file: PreparedFile
    context: RunContext
    judgement: AnyJudgement
    circumstances: Circumstances
    history: Mapping[str, Mapping[str, Any]]


def conclude_suite(end: SuiteEnd) -> Conclusion:
    """Judge one quick or proof suite and write all its documents.

    Raises:
        ParityError: something cannot be read or written.
    """
    file, context = end.file, end.context
    store = SuiteStore(context.run_dir, file.suite_id)
    history = read_history(context, store.folder / proof_documents.EQUIVALENCE) if file.proof else {}
    stored = store.read()
    circumstances = Circumstances(
        resumed=context.resume,
        selected=frozenset(end.names),
        changed=tuple(end.changed),
        noted=tuple(end.noted),
        findings=(
            *match_live(file, context, stored),
            *_absent_artifacts(file, context, stored),
            *rewritten_findings(stored, end.lines),
        ),
        history=tuple(history),
        names=names_of(file.parts[0], context),
        machine=describe_machine(),
        log=run_log(stored, *earlier_logs(store.folder)),
    )
    judgement = (
        judge_run(file, context, stored, circumstances, end.entry)
        if file.proof is not None
        else judge_quick(file.parts[0], context, stored, circumstances, end.entry)
    )
    if isinstance(judgement, ProofJudgement) and (plan := plan_to_seal(judgement.decision)) is not None:
        write_document(store.folder / SEED_PLAN, plan.to_dict(), "seed_plan.v1")
    facts = facts_of(file, judgement, stored, read_session(context.run_dir), circumstances)
    conclusion = _write_and_pack(_Judged(file, context, judgement, circumstances, history), end.node_id)
    return replace(conclusion, facts=facts)


def _absent_artifacts(file: PreparedFile, context: RunContext, stored: Stored) -> Iterator[Finding]:
    """What runs of a proof should have left and did not; looked for again whenever the run is judged."""
    if file.proof is not None:
        for part in file.parts:
            yield from artifact_findings(part, file.proof, context, stored)


def _write_and_pack(judged: _Judged, node_id: str) -> Conclusion:
    """Write every document into the run directory, and pack them with the records that they rest on."""
    file, context = judged.file, judged.context
    folder = context.run_dir / file.suite_id
    circumstances = judged.circumstances.to_dict(file.suite_id, utc_now())
    write_document(folder / CIRCUMSTANCES, circumstances, "circumstances.v1")
    conclusion = _write_documents(judged, folder, node_id)
    bundle, error = make_bundle(file, context, judged.history)
    notes = [] if file.proof else [*_seeds_note(file.suite, context)]
    if not file.proof and (bundle is None or bundle.signed):
        notes.append(f"evidence: {signature_line(bundle, error)}")
    conclusion = replace(conclusion, notes=tuple(notes))
    return _with_evidence(conclusion, bundle, error)


def _write_documents(judged: _Judged, folder: Path, node_id: str) -> Conclusion:
    """Write the documents of a judgement, and the suite of what is missing."""
    time, judgement, file, root = utc_now(), judged.judgement, judged.file, judged.context.root
    cases = [*_verdict_cases(judgement)]
    if isinstance(judgement, ProofJudgement):
        of_proof = proof_documents.documents_of(
            judgement, judged.history, time=time, golden_paths=golden_paths(file, root)
        )
        cases.append(stability_case(of_proof.stability))
        found, schemas = of_proof.by_name, proof_documents.SCHEMAS
        main, texts = proof_documents.EQUIVALENCE, {proof_documents.REPORT: equivalence_text(judgement, time)}
        missing = judgement.decision.missing
    else:
        part = file.parts[0]
        found = documents.quick_documents(
            judgement, part, lock_reference(part, judged.context), judged.circumstances,
            time=time, golden_path=golden_path(part, root),
        )  # fmt: skip
        found, schemas = dict(reversed(found.items())), documents.SCHEMAS
        main, texts, missing = documents.RUN, {}, judgement.evidence.observed.missing
    for name, document in found.items():
        write_document(folder / name, document, schemas[name])
    for name, text in texts.items():
        write_text(folder / name, text)
    suite = write_missing_suite(folder, file, missing)
    paths = (*(folder / name for name in (*found, *texts)), *([suite] if suite else []))
    return Conclusion(node_id, tuple(cases), judgement, paths=paths, document=found[main])


def _with_evidence(conclusion: Conclusion, bundle: BundleInfo | None, error: str) -> Conclusion:
    """The conclusion with its bundle; of a proof that is a case of its own."""
    cases, signature = conclusion.cases, signature_line(bundle, error)
    if conclusion.proof and bundle is None:
        cases += (Case("evidence", "failed", f"no bundle: {error}"),)
    elif conclusion.proof and bundle is not None:
        marked = (BANNER,) if conclusion.proof.fixture else ()
        cases += (Case("evidence", "passed", signature, (*marked, *bundle.warnings)),)
    paths = (*conclusion.paths, *([bundle.path] if bundle else []))
    return replace(conclusion, cases=cases, paths=paths, signature=signature)


def _seeds_note(suite: Suite, context: RunContext) -> Iterator[str]:
    if context.seeds is not None and suite.live_systems:
        asked = suite_file.load(suite.path).seeds
        named = "; ".join(f"{s} {_join_seeds(asked[s])}" for s in suite.live_systems)
        given = _join_seeds(context.seeds)
        yield f"seeds given on the command line: {given}; the suite names {named}"


def _join_seeds(seeds: Sequence[int] | None) -> str:
    return ", ".join(map(str, seeds or ()))


def _verdict_cases(judgement: AnyJudgement) -> Iterator[Case]:
    outcomes: dict[str, CaseOutcome] = {"pass": "passed"}
    if isinstance(judgement, ProofJudgement):
        labels = judgement.evidence.proof.labels
        decided: tuple[VerdictPart, ...] = (
            VerdictPart("equivalence", judgement.verdict, judgement.reason, ()),
        )
    else:
        decided, labels = judgement.metrics, judgement.evidence.suite.labels
        if judgement.evidence.suite.on_inconclusive == "warn":
            outcomes["inconclusive"] = "skipped"
    for part in (*judgement.gates, *decided):
        text = part.reason if part.verdict == "pass" else f"{part.verdict}: {part.reason}"
        warnings = tuple(with_labels(warning, labels) for warning in part.warnings)
        yield Case(part.name, outcomes.get(part.verdict, "failed"), with_labels(text, labels), warnings)


def stability_case(found: Stability) -> Case:
    """Whether the verdict of a proof stands beside those of earlier reports."""
    compared = f"{len(found.history)} earlier reports" if found.history else "no earlier report"
    count = len(found.not_compared)
    left_out = f"; {count} named reports could not be compared" if count else ""
    if found.in_part:
        name, text = next(iter(found.in_part.items()))
        others = len(found.in_part) - 1
        left_out += f"; {name} {text}" + (f" ({others} other reports too)" if others else "")
    if found.status == "verdict_failed":
        text = f"{found.current.verdict}: a verdict that is not a pass cannot be stable"
    elif found.status == "unstable":
        flips = len(found.verdict_flips), len(found.sign_flips), len(found.current.mismatches)
        text = "unstable: {} verdicts and {} effects flip between runs, {} tests disagree".format(*flips)
    else:
        return Case("stability", "passed", f"stable, compared with {compared}{left_out}")
    return Case("stability", "failed", text + left_out)


# --- records that are there already ---


def judge_existing(suite: Path, runs: Path, output: Path, context: RunContext) -> Conclusion:
    """Judge again what stands in a run directory of ours; nothing is run.

    Args:
        runs: its ``parity_runs.jsonl``. output: where the documents go; the evidence only where they go
            beside the records.

    Raises:
        ParityError: something cannot be read or written, or the run is of another suite.
    """
    session = read_session(context.run_dir)
    entry = dict(entry_of(session, runs.parent.name, str(context.run_dir / "run.json")))
    context = _as_sealed(context, session, entry)
    file = prepare_sealed(suite, context)
    if file.suite_id != runs.parent.name:
        what = f"the suite is {file.suite_id!r}, the records are of {runs.parent.name!r}"
        raise StoreError(what, where=str(suite), hint=f"name the suite with the id {runs.parent.name}")
    changed = changes(entry, fingerprint(file, context), file)
    known = earlier_circumstances(runs.parent) or Circumstances(resumed=True)
    if not context.history:
        context = replace(context, history=known.history)
    beside = output.resolve() == runs.parent
    if beside:
        refuse_unsigning(file.suite_id, context)
    history = read_history(context, runs.parent / proof_documents.EQUIVALENCE)
    stored = SuiteStore(context.run_dir, file.suite_id).read()
    kept = [f for f in known.findings if f.code == LIVE_FAILED]
    circumstances = replace(
        known,
        changed=tuple(changed),
        history=tuple(history),
        findings=(*kept, *_absent_artifacts(file, context, stored)),
        log=run_log(stored, *earlier_logs(runs.parent)),
    )
    judgement = judge_run(file, context, stored, circumstances, entry)
    judged = _Judged(file, context, judgement, circumstances, history)
    if beside:
        return _write_and_pack(judged, str(suite))
    return _with_evidence(
        _write_documents(judged, output, str(suite)), None, "it stands beside the records only"
    )


def _as_sealed(context: RunContext, session: Mapping[str, Any], entry: Mapping[str, Any]) -> RunContext:
    """The context that a run was sealed with."""
    seeds = session["seeds_override"]
    return replace(
        context,
        run_id=session["run_id"],
        device=entry["device"],
        seeds=tuple(seeds) if seeds is not None else None,
        choices=session.get("choices", {}),
    )


def judge_foreign(suite: Path, runs: Path, output: Path, context: RunContext) -> Conclusion:
    """Judge records that no run of this plugin sealed; there is no evidence to be made of them.

    Raises:
        ParityError: something cannot be read or written.
    """
    file = prepare(suite, context)
    judgement = judge_lines(file, context, read_lines(runs))
    history = read_history(context, output / proof_documents.EQUIVALENCE)
    judged = _Judged(file, context, judgement, Circumstances(), history)
    why = "the records were not sealed by a run of this plugin"
    return _with_evidence(_write_documents(judged, output, str(suite)), None, why)
