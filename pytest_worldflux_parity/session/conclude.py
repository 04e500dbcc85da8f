"""The end of a session: judge every suite after its last run, and write what stands above the suites.

Runs on the controller only and reads the store, never a worker's memory, so the verdict is the same
with and without xdist and after a resume.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import ParityError
from ..execution.bytecode import find_altered
from ..execution.chain import EMPTY
from ..execution.copies import PROGRAM_FOLDER
from ..execution.runner import log_tail
from ..execution.store import SuiteStore, write_document, write_text
from ..inputs.context import RunContext
from ..judgement.fingerprint import changes, fingerprint, new_beside, prepare_sealed, read_session
from ..judgement.quick import Judgement
from ..judgement.stats.measurements import FAILED
from ..reporting import documents, markdown
from ..reporting.aggregates import aggregate_of_rows, row_of_run
from ..reporting.card import card_section
from ..reporting.dashboard import dashboard
from ..reporting.labels import with_labels
from ..reporting.proof_markdown import proofs_report
from ..schemas.json_text import utc_now
from .conclude_campaign import conclude_campaign
from .conclude_suite import Case, Conclusion, SuiteEnd, conclude_suite
from .programs import (
    compare_with_sealed,
    describe_programs,
    find_written_meanwhile,
    forget_environments,
    plugin_changed,
)
from .seal import note_session


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
    except ParityError as error:
        return [Conclusion(str(context.run_dir), (Case("sealed", "failed", error.line()),))]
    # Of the session that sealed the run; a resume asks the same.
    context = replace(context, run_id=session["run_id"], choices=session.get("choices", {}))
    forget_environments()
    conclusions = []
    for node_id, entry in session["suites"].items():
        names = [n.split("::", 1)[1] for n in node_ids if n.startswith(f"{node_id}::")]
        try:
            if node_id in suites:
                note_session("ended", entry["suite_id"], context, arguments)
            end = _suite_end(context, node_id, session, names, lines.get(node_id, {}))
            concluded = (conclude_campaign if end.file.campaign else conclude_suite)(end)
        except ParityError as error:
            concluded = Conclusion(node_id, (Case("evidence", "failed", error.line()),))
        # A mistake of ours in one suite must not take the verdicts of the others with it.
        except Exception as error:
            text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            concluded = Conclusion(node_id, (Case("evidence", "failed", text),))
        conclusions.append(replace(concluded, log_head=_log_head(context, entry["suite_id"])))
    if any(c.judgement for c in conclusions):
        conclusions[-1] = _with_run_documents(context, conclusions)
    return conclusions


def _suite_end(
    context: RunContext,
    node_id: str,
    session: Mapping[str, Any],
    names: Sequence[str],
    lines: Mapping[str, str],
) -> SuiteEnd:
    """The suite as it is now, with what changed since it was sealed and what came beside it."""
    file = prepare_sealed((context.root / node_id).resolve(), context)
    entry = session["suites"][node_id]
    now = describe_programs(fingerprint(file, context), file, context)
    others, noted = compare_with_sealed(entry, now)
    changed = [*changes(entry, now, file), *others]
    if not others:
        changed += find_written_meanwhile(file, context, entry, session["generated_at_utc"])
    changed += plugin_changed()
    changed += [
        f"{name}, bytecode of the run," for name in find_altered(context.run_dir / PROGRAM_FOLDER)[:3]
    ]
    noted += new_beside(entry, now, file)
    return SuiteEnd(node_id, file, context, entry, names, changed, noted, lines)


def _log_head(context: RunContext, suite_id: str) -> str:
    """The sha256 of a suite's log as it is now; of tables alone there is none."""
    # The suite's own case says what cannot be read.
    with suppress(ParityError):
        head = SuiteStore(context.run_dir, suite_id).head()
        return "" if head == EMPTY else head
    return ""


# --- what stands above the suites ---


def _with_run_documents(context: RunContext, conclusions: Sequence[Conclusion]) -> Conclusion:
    """Write what stands above the suites; the last conclusion with it, or with why it is not there."""
    last, folder = conclusions[-1], context.run_dir
    lost = {c.node_id: c.cases[0].text.partition("\n")[0] for c in conclusions if c.judgement is None}
    runs = [c.document for c in conclusions if c.quick and c.document]
    proofs = [c.document for c in conclusions if c.proof and c.document]
    aggregate = _aggregate_document(runs, lost) if runs else None
    others = {} if aggregate else lost
    page = dashboard(aggregate, runs, proofs, not_judged=others, title=f"Parity: {context.run_id}")
    names = ["report.md", "dashboard.html"]
    try:
        write_text(folder / names[0], _run_report(context, conclusions, lost) + _card_sections(conclusions))
        write_text(folder / names[1], page)
        if aggregate is not None:
            names = ["aggregate.json", *names]
            write_document(folder / names[0], aggregate, "aggregate.v1")
    except ParityError as error:
        failed = Case("documents", "failed", error.line())
        return replace(last, cases=(*last.cases, failed))
    return replace(last, paths=(*last.paths, *(folder / name for name in names)))


def _card_sections(conclusions: Sequence[Conclusion]) -> str:
    """The claim card of every suite that was judged, as markdown."""
    lines = [line for c in conclusions if c.facts for line in card_section(c.facts, c.signature)]
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


def _run_report(context: RunContext, conclusions: Sequence[Conclusion], lost: Mapping[str, str]) -> str:
    """``report.md``: of quick suites all that there is to read, of proofs where their own reports are."""
    about = {"run_id": context.run_id, "device": context.device, "time": utc_now()}
    proofs = [c.proof for c in conclusions if c.proof]
    if proofs:
        rows: dict[str, tuple[str, str]] = {
            j.suite_id: (j.verdict, with_labels(j.reason, j.evidence.proof.labels)) for j in proofs
        }
        rows |= {name: ("not judged", why) for name, why in lost.items()}
        return proofs_report(rows, **about, fixture=any(j.fixture for j in proofs))
    judgements = [c.quick for c in conclusions if c.quick]
    notes = {c.quick.evidence.suite.suite_id: c.notes for c in conclusions if c.quick}
    tails = dict(_log_tails(context, judgements))
    return markdown.quick_report(judgements, not_judged=lost, notes=notes, **about, log_tails=tails)


def _log_tails(context: RunContext, judgements: Sequence[Judgement]) -> Iterator[tuple[str, str]]:
    """The end of the log of every run that is missing because it failed."""
    for judgement in judgements:
        store = SuiteStore(context.run_dir, judgement.evidence.suite.suite_id)
        stored = store.read()
        for m in judgement.evidence.observed.missing:
            attempts = stored.attempts(m.task_id, m.seed, m.system)
            if m.reason == FAILED and attempts:
                folder = store.attempt_folder(m.task_id, m.seed, m.system, attempts[-1]["attempt"])
                text = log_tail(folder) or "(the program wrote no log)"
                system = with_labels(m.system, judgement.evidence.suite.labels)
                yield f"{store.folder.name}: {system} {m.task_id} seed {m.seed}", text
