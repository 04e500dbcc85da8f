"""The end of a session: seal what is asked before the first run, and judge it after the last.

Runs on the controller only and reads the store, never a worker's memory, so the verdict is the same
with and without xdist and after a resume.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ParityError
from ..execution.bytecode import altered
from ..execution.chain import EMPTY
from ..execution.copies import FOLDER
from ..execution.devices import environment
from ..execution.runner import log_tail
from ..execution.store import SuiteStore, write_document, write_text
from ..inputs.context import RunContext
from ..inputs.lock_reference import lock_reference, names_of
from ..inputs.prepare import PreparedFile
from ..judgement.all_gates import noted_warnings
from ..judgement.circumstances import CIRCUMSTANCES, Circumstances
from ..judgement.facts import Facts, facts_of
from ..judgement.fingerprint import changes, fingerprint, new_beside, prepare_sealed, read_session
from ..judgement.judge_proof import golden_path
from ..judgement.judge_quick import judge_quick
from ..judgement.quick import Judgement
from ..judgement.run_log import run_log, sealed_log
from ..judgement.stats.measurements import FAILED
from ..judgement.stored_lines import rewritten_findings
from ..reporting import documents, markdown
from ..reporting.aggregates import aggregate_of_rows, row_of_run
from ..reporting.card import card_section
from ..reporting.dashboard import dashboard
from ..reporting.missing_suite import write_missing_suite
from ..schemas.json_text import utc_now
from ..suite import suite_file
from ..suite.suite import Suite
from .bundle import make_bundle, signature_line
from .earlier import earlier_logs
from .programs import described, look_again, plugin_changed, since_sealed, written_meanwhile
from .seal import end_session

if TYPE_CHECKING:
    from .conclude_proof import ProofConclusion


@dataclass(frozen=True)
class Case:
    """A verdict as a test case. ``text`` is the reason, or what is worth knowing about a pass."""

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    text: str
    warnings: tuple[str, ...] = ()
    kind: Literal["verdict", "campaign"] = "verdict"


@dataclass(frozen=True)
class Conclusion:
    """What one suite came to; ``judgement`` is None when it could not be judged at all.

    Attributes:
        notes: sentences on what was asked other than by the suite.
        proof: of a proof suite what ``judgement`` is of others.
        document: the suite's ``run.json``.
        facts: of the claim card. signature: who vouches for the evidence, in words.
        log_head: sha256 of the suite's log at the end of the session.
    """

    node_id: str
    cases: tuple[Case, ...]
    judgement: Judgement | None = None
    notes: tuple[str, ...] = ()
    documents: tuple[Path, ...] = ()
    proof: ProofConclusion | None = None
    document: Mapping[str, Any] | None = None
    facts: Facts | None = None
    signature: str = ""
    log_head: str = ""


def conclude(
    context: RunContext,
    node_ids: Sequence[str],
    lines: Mapping[str, Mapping[str, str]],
    *,
    suites: Collection[str],
    arguments: Sequence[str],
) -> list[Conclusion]:
    """Judge every suite of the run and write all documents.

    Args:
        suites: node ids of those that this session was to run. arguments: its command line.
        lines: of each suite, the stored lines that this session knows of, as :func:`.rewritten_findings`
            takes them.

    Never raises for what it finds: a suite that cannot be judged is a conclusion that failed.
    """
    try:
        session = read_session(context.run_dir)
        sealed: dict[str, Any] = session["suites"]
    except ParityError as error:
        return [Conclusion(str(context.run_dir), (Case("sealed", "failed", error.line()),))]
    # Of the session that sealed the run; a resume asks the same.
    context = replace(context, run_id=session["run_id"], choices=session.get("choices", {}))
    look_again()
    ended = {n: _ended(context, n, sealed[n]["suite_id"], arguments) for n in sealed if n in suites}
    conclusions = [
        ended.get(n) or _conclude_suite(context, n, sealed[n], node_ids, lines.get(n, {})) for n in sealed
    ]
    conclusions = [_with_head(context, c, sealed[c.node_id]["suite_id"]) for c in conclusions]
    if any(c.judgement or c.proof for c in conclusions):
        conclusions[-1] = _with_run_documents(context, conclusions)
    return conclusions


def _ended(context: RunContext, node_id: str, suite_id: str, arguments: Sequence[str]) -> Conclusion | None:
    """Write down that the session has ended; why nothing can be concluded where that cannot be done."""
    try:
        end_session(suite_id, context, arguments)
    except ParityError as error:
        return Conclusion(node_id, (Case("evidence", "failed", error.line()),))
    return None


def _with_head(context: RunContext, conclusion: Conclusion, suite_id: str) -> Conclusion:
    """With the sha256 of the log as it is now; of tables alone there is none."""
    head = ""
    # The suite's own case says what cannot be read.
    with suppress(ParityError):
        head = SuiteStore(context.run_dir, suite_id).head()
    return replace(conclusion, log_head="" if head == EMPTY else head)


def _since_sealed(
    context: RunContext, file: PreparedFile, sealed: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """What changed since the run was sealed, and what came beside it."""
    now = described(fingerprint(file, context), file, context)
    others, noted = since_sealed(sealed, now)
    changed = [*changes(sealed, now, file), *others]
    if not others:
        changed += written_meanwhile(file, context, sealed, read_session(context.run_dir)["generated_at_utc"])
    changed += plugin_changed()
    changed += [f"{name}, bytecode of the run," for name in altered(context.run_dir / FOLDER)[:3]]
    return changed, [*noted, *new_beside(sealed, now, file)]


def _conclude_suite(
    context: RunContext,
    node_id: str,
    sealed: dict[str, Any],
    node_ids: Sequence[str],
    lines: Mapping[str, str],
) -> Conclusion:
    names = _names(node_id, node_ids)
    try:
        file = prepare_sealed((context.root / node_id).resolve(), context)
        changed, noted = _since_sealed(context, file, sealed)
        if file.proof is not None:
            return _conclude_proof(context, node_id, file, names, changed, noted, sealed, lines)
        if file.campaign is not None:
            return _conclude_campaign(context, node_id, file, names, changed, noted, sealed)
        return _conclude_quick(context, node_id, file, names, changed, noted, sealed, lines)
    except ParityError as error:
        return Conclusion(node_id, (Case("evidence", "failed", error.line()),))
    # A mistake of ours in one suite must not take the verdicts of the others with it.
    except Exception as error:
        text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        return Conclusion(node_id, (Case("evidence", "failed", text),))


def _conclude_quick(
    context: RunContext,
    node_id: str,
    file: PreparedFile,
    names: Sequence[str],
    changed: Sequence[str],
    noted: Sequence[str],
    entry: Mapping[str, Any],
    lines: Mapping[str, str],
) -> Conclusion:
    """Judge a quick suite, write its documents, and pack them with the records that they rest on."""
    prepared = file.parts[0]
    store = SuiteStore(context.run_dir, prepared.suite.suite_id)
    stored = store.read()
    circumstances = Circumstances(
        resumed=context.resume,
        selected=frozenset(names),
        changed=tuple(changed),
        findings=tuple(rewritten_findings(stored, lines)),
        noted=tuple(noted),
        names=names_of(prepared, context),
        machine=environment(),
        log=run_log(stored, *earlier_logs(store.folder)),
    )
    judgement = judge_quick(prepared, context, stored, circumstances, entry)
    time = utc_now()
    found = documents.quick_documents(
        judgement,
        prepared,
        lock_reference(prepared, context),
        circumstances,
        time=time,
        golden_path=golden_path(prepared, context.root),
    )
    sealed = circumstances.to_dict(file.suite_id, time)
    write_document(store.folder / CIRCUMSTANCES, sealed, "circumstances.v1")
    for name, document in found.items():
        write_document(store.folder / name, document, documents.SCHEMAS[name])
    lacking = write_missing_suite(store.folder, file, judgement.evidence.observed.missing)
    bundle, error = make_bundle(file, context, {})
    written = [*(store.folder / name for name in reversed(found)), lacking, bundle.path if bundle else None]
    notes = [*_seeds_note(prepared.suite, context)]
    if bundle is None or bundle.signed:
        notes.append(f"evidence: {signature_line(bundle, error)}")
    return Conclusion(
        node_id,
        tuple(_cases(judgement)),
        judgement,
        tuple(notes),
        tuple(path for path in written if path is not None),
        document=found[documents.RUN],
        facts=facts_of(file, judgement, stored, read_session(context.run_dir), circumstances),
        signature=signature_line(bundle, error),
    )


def _conclude_proof(
    context: RunContext,
    node_id: str,
    prepared: PreparedFile,
    names: Sequence[str],
    changed: Sequence[str],
    noted: Sequence[str],
    entry: Mapping[str, Any],
    lines: Mapping[str, str],
) -> Conclusion:
    from .conclude_proof import conclude_proof

    concluded = conclude_proof(prepared, context, names, changed, noted, entry, lines)
    cases = tuple(Case(name, outcome, text, warnings) for name, outcome, text, warnings in concluded.cases)
    return Conclusion(
        node_id,
        cases,
        proof=concluded,
        documents=concluded.paths,
        facts=concluded.facts,
        signature=concluded.signature,
    )


def _conclude_campaign(
    context: RunContext,
    node_id: str,
    prepared: PreparedFile,
    names: Sequence[str],
    changed: Sequence[str],
    noted: Sequence[str],
    entry: Mapping[str, Any],
) -> Conclusion:
    from .conclude_campaign import conclude_source

    log = sealed_log(entry)
    done = [conclude_source(prepared, part, context, names, changed, log) for part in prepared.parts]
    cases = tuple(
        Case(d.source, "passed" if d.complete else "failed", d.text, d.warnings, "campaign") for d in done
    )
    paths = tuple(d.path for d in done if d.path is not None)
    notes = [*(line for d in done for line in d.lines()), *(f"  warning: {t}" for t in noted_warnings(noted))]
    return Conclusion(node_id, cases, None, tuple(notes), paths)


def _seeds_note(suite: Suite, context: RunContext) -> Iterable[str]:
    """That the live sides had other seeds than the suite asks for, if they had."""
    if context.seeds is None or not suite.live_systems:
        return
    own = suite_file.load(suite.path).seeds
    named = "; ".join(f"{s} {_listed(own[s])}" for s in suite.live_systems)
    yield f"seeds given on the command line: {_listed(context.seeds)}; the suite names {named}"


def _listed(seeds: Sequence[int] | None) -> str:
    return ", ".join(map(str, seeds or ()))


def _names(node_id: str, node_ids: Sequence[str]) -> list[str]:
    return [n.split("::", 1)[1] for n in node_ids if n.startswith(f"{node_id}::")]


def _cases(judgement: Judgement) -> Iterable[Case]:
    outcomes: dict[str, Literal["passed", "failed", "skipped"]] = {"pass": "passed", "fail": "failed"}
    undecided: Literal["failed", "skipped"] = (
        "skipped" if judgement.evidence.suite.on_inconclusive == "warn" else "failed"
    )
    for part in (*judgement.gates, *judgement.metrics):
        text = part.reason if part.verdict == "pass" else f"{part.verdict}: {part.reason}"
        yield Case(part.name, outcomes.get(part.verdict, undecided), text, part.warnings)


def _with_run_documents(context: RunContext, conclusions: Sequence[Conclusion]) -> Conclusion:
    """Write what stands above the suites; the last conclusion with it, or with why it is not there."""
    last, folder = conclusions[-1], context.run_dir
    lost = {c.node_id: _first_line(c) for c in conclusions if c.judgement is None and c.proof is None}
    runs = [c.document for c in conclusions if c.document is not None]
    proofs = [c.proof.documents.by_name["equivalence_report.json"] for c in conclusions if c.proof]
    aggregate = _aggregate_document(runs, lost) if runs else None
    others = {} if aggregate else lost
    page = dashboard(aggregate, runs, proofs, not_judged=others, title=f"Parity: {context.run_id}")
    names = ["report.md", "dashboard.html"]
    try:
        write_text(folder / names[0], _report(context, conclusions, lost) + _cards(conclusions))
        write_text(folder / names[1], page)
        if aggregate is not None:
            names = ["aggregate.json", *names]
            write_document(folder / names[0], aggregate, "aggregate.v1")
    except ParityError as error:
        failed = Case("documents", "failed", error.line())
        return replace(last, cases=(*last.cases, failed))
    return replace(last, documents=(*last.documents, *(folder / name for name in names)))


def _first_line(conclusion: Conclusion) -> str:
    return conclusion.cases[0].text.partition("\n")[0]


def _cards(conclusions: Iterable[Conclusion]) -> str:
    """The claim card of every suite that was judged, as markdown."""
    found = [c for c in conclusions if c.facts is not None]
    lines = [line for c in found if c.facts is not None for line in card_section(c.facts, c.signature)]
    return "\n".join(lines) + "\n" if lines else ""


def _aggregate_document(runs: Sequence[Mapping[str, Any]], not_judged: Mapping[str, str]) -> dict[str, Any]:
    return aggregate_of_rows(
        [row_of_run(run, f"{run['suite']['suite_id']}/{documents.RUN}") for run in runs],
        not_judged=not_judged,
        time=utc_now(),
        aggregate_json="aggregate.json",
        report_md="report.md",
        dashboard_html="dashboard.html",
    )


def _report(context: RunContext, conclusions: Sequence[Conclusion], lost: Mapping[str, str]) -> str:
    """``report.md``: of quick suites all that there is to read, of proofs where their own reports are."""
    about = {"run_id": context.run_id, "device": context.device, "time": utc_now()}
    proofs = [c.proof.judgement for c in conclusions if c.proof]
    if proofs:
        from ..reporting.proof_markdown import run_report

        rows: dict[str, tuple[str, str]] = {j.suite_id: (j.verdict, j.reason) for j in proofs}
        rows |= {name: ("not judged", why) for name, why in lost.items()}
        return run_report(rows, **about, fixture=any(j.fixture for j in proofs))
    judgements = [c.judgement for c in conclusions if c.judgement is not None]
    notes = {c.judgement.evidence.suite.suite_id: c.notes for c in conclusions if c.judgement}
    tails = dict(_log_tails(context, judgements))
    return markdown.report(judgements, not_judged=lost, notes=notes, **about, log_tails=tails)


def _log_tails(context: RunContext, judgements: Sequence[Judgement]) -> Iterable[tuple[str, str]]:
    """The end of the log of every run that is missing because it failed."""
    for judgement in judgements:
        store = SuiteStore(context.run_dir, judgement.evidence.suite.suite_id)
        stored = store.read()
        for m in judgement.evidence.observed.missing:
            attempts = stored.attempts(m.task_id, m.seed, m.system)
            if m.reason == FAILED and attempts:
                folder = store.attempt_folder(m.task_id, m.seed, m.system, attempts[-1]["attempt"])
                text = log_tail(folder) or "(the program wrote no log)"
                yield f"{store.folder.name}: {m.system} {m.task_id} seed {m.seed}", text
