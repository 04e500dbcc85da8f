"""Decision of a proof suite -> ``equivalence_report.md``, and the plan of a suite as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..judgement.proof.planning import CellPlan, Cost, SuitePlan
from ..judgement.proof.results import ProofDecision
from ..judgement.proof_verdict import ProofJudgement
from .escaping import escape
from .estimates import HEADER, legend, panels_of_decision
from .labels import describe_labels, with_labels
from .markdown import as_sentence, banner, missing_line, report_head, table_lines
from .proof_documents import global_keys

SHOWN_MISSING = 50
TESTS = ("p (TOST)", "p (Holm)", "P(equivalent)")


def equivalence_markdown(
    decision: ProofDecision,
    *,
    time: str,
    notes: Sequence[str] = (),
    findings: Sequence[str] = (),
    fixture: bool = False,
) -> str:
    """``equivalence_report.md``.

    Args:
        notes: sentences on what was asked, or of what kind the evidence is. findings: of the gates.
        fixture: whether records are made up.
    """
    lines = [
        *banner(fixture),
        f"# Equivalence report: {decision.settings.suite_id}",
        "",
        f"Judged at {time}. Verdict: **{decision.verdict}**. {as_sentence(decision.reason)}",
        *(f"\n> {as_sentence(note)}" for note in notes),
        "",
        *_final_key_lines(decision),
        "",
        *_cell_lines(decision),
        *_advice_lines(decision),
        *_seed_plan_lines(decision),
        *_missing_entries_lines(decision),
    ]
    if findings:
        lines += ["", "## Findings of the gates", "", *(f"- {escape(f)}" for f in findings)]
    return "\n".join(lines) + "\n"


def proofs_report(
    rows: Mapping[str, tuple[str, str]], *, run_id: str, device: str, time: str, fixture: bool = False
) -> str:
    """``report.md`` of a run: suite id or node id -> (verdict, reason), and where each report stands."""
    lines = [
        *report_head(run_id, device, time, fixture),
        "| suite | verdict | reason | report |",
        "|---|---|---|---|",
    ]
    for name, (verdict, reason) in rows.items():
        there = verdict in ("pass", "fail", "inconclusive")
        report = f"[{name}]({name}/equivalence_report.md)" if there else "-"
        lines.append(f"| {escape(name)} | **{verdict}** | {escape(reason)} | {report} |")
    return "\n".join(lines) + "\n"


def plan_markdown(plan: SuitePlan) -> str:
    """What a suite would cost, task by task."""
    lines = [
        f"Seeds per side for {plan.power_target:.0%} power if both programs are the same; "
        f"Holm over {plan.family} hypotheses, at the level of its first step.",
        "",
        "| task | metric | official mean | deviation | seeds | with Holm | margin attained | with Holm |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(_plan_row(c) for c in plan.cells),
        "",
        *plan_summary(plan),
    ]
    return "\n".join(lines) + "\n"


def plan_summary(plan: SuitePlan) -> Iterator[str]:
    """Seeds and hours in all, and the tasks that cannot be shown."""
    yield from _cost_lines("as the suite has it", plan.given)
    yield from _cost_lines(f"for {plan.power_target:.0%} power", plan.alone)
    yield from _cost_lines(f"for {plan.power_target:.0%} power, with Holm", plan.corrected)
    if plan.never:
        yield f"- can never be shown as the suite is ({len(plan.never)} tasks):"
    for task, why in plan.never.items():
        yield f"  - {escape(task)}: {escape(why)}"
    if plan.unknown:
        yield f"- not known, fewer than two official scores: {escape(', '.join(plan.unknown))}"


def _final_key_lines(decision: ProofDecision) -> Iterator[str]:
    yield "| key | value |"
    yield "|---|---|"
    for key, value in global_keys(decision).items():
        # Said in the line above, or task by task below.
        if key not in ("verdict", "verdict_reason", "seeds_needed"):
            yield f"| {key} | {'not asked for' if value is None else str(value).lower()} |"


def _cell_lines(decision: ProofDecision) -> Iterator[str]:
    yield "## Tasks"
    yield ""
    panels = panels_of_decision(decision)
    rows = [row for panel in panels for row in panel.rows]
    yield from table_lines((*HEADER, *TESTS), ((*row.cells(), *row.tests) for row in rows))
    if panels:
        yield f"\n{as_sentence(legend(panels))}"


def _advice_lines(decision: ProofDecision) -> Iterator[str]:
    told = [c for c in decision.cells if not c.passed and (c.cell.reason or c.advice)]
    if told:
        yield ""
        yield "## What is not shown, and what it would take"
        yield ""
    for judged in told:
        text = f"{judged.name}: {'; '.join(x for x in (judged.cell.reason, judged.advice) if x)}"
        yield f"- {escape(text)}"


def _seed_plan_lines(decision: ProofDecision) -> Iterator[str]:
    if decision.plan is None:
        return
    yield ""
    yield "## Plan of seeds, from the variance of the pilot alone"
    yield ""
    yield "| task | seeds | decided by | note |"
    yield "|---|---:|---|---|"
    for task in decision.plan.tasks:
        cells = (task.task, len(task.seeds), task.metric, task.reason)
        yield f"| {' | '.join(map(escape, cells))} |"


def _missing_entries_lines(decision: ProofDecision) -> Iterator[str]:
    if not decision.missing:
        return
    yield ""
    yield f"## Missing: {decision.missing_pairs} of {decision.expected} expected results"
    yield ""
    yield from map(missing_line, decision.missing[:SHOWN_MISSING])
    if len(decision.missing) > SHOWN_MISSING:
        yield f"- ... and {len(decision.missing) - SHOWN_MISSING} more in coverage_report.json"


def _plan_row(cell: CellPlan) -> str:
    name = f"| {escape(cell.task)} | {escape(cell.metric)} | {_number_text(cell.mean)} |"
    if cell.alone is None or cell.corrected is None:
        word = "not known" if cell.unknown else "never"
        return f"{name} - | {word} | {word} | - | - |"
    deviation = "-" if cell.deviation is None else f"{cell.deviation:.1%}"
    return (
        f"{name} {deviation} "
        f"| {_seeds_text(cell.alone.seeds)} | {_seeds_text(cell.corrected.seeds)} "
        f"| {_margin_of(cell.alone.margin)} (n={cell.seeds_given}) | {_margin_of(cell.corrected.margin)} |"
    )


def _cost_lines(name: str, cost: Cost) -> Iterator[str]:
    if not cost.seeds:
        yield f"- {name}: {'no task can be shown' if cost.out_of_reach else 'not known of any task'}"
        return
    text = f"- {name}: {sum(cost.seeds.values())} seeds per side over {len(cost.seeds)} tasks, median "
    text += f"{cost.median_seeds:g}"
    if len(cost.unknown) < len(cost.seeds):
        text += f"; {cost.hours:,.1f} hours of both sides"
        text += f", without {len(cost.unknown)} tasks whose durations are not known" if cost.unknown else ""
    else:
        text += "; hours are not known, since no duration is"
    if cost.out_of_reach:
        text += f"; {len(cost.out_of_reach)} tasks are out of reach"
    yield text


def _seeds_text(seeds: int | None) -> str:
    return "never" if seeds is None else str(seeds)


def _margin_of(margin: float | None) -> str:
    return "none" if margin is None else f"±{margin:.1%}"


def _number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def equivalence_text(judgement: ProofJudgement, time: str) -> str:
    """``equivalence_report.md`` of a proof that was judged at a time."""
    labels = judgement.evidence.proof.labels
    described = (describe_labels(labels),) if labels else ()
    text = equivalence_markdown(
        judgement.decision,
        time=time,
        notes=(*described, *judgement.notes, *(f"warning: {w}" for w in judgement.warnings)),
        findings=[f.line() for f in judgement.findings],
        fixture=judgement.fixture,
    )
    return with_labels(text, labels)
