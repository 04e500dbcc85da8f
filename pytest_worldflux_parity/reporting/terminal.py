"""Judgements -> lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..judgement.gates.fixture import BANNER
from ..judgement.proof_verdict import ProofJudgement
from ..judgement.quick import Judgement
from .components import match_headline
from .estimates import HEADER, Estimate, Panel, legend, panels_of, panels_of_decision
from .labels import Labels, describe_labels, with_labels

COLOURS = {"pass": {"green": True}, "fail": {"red": True}, "inconclusive": {"yellow": True}}
# Of each metric; the worst stand first, and the report has them all.
SHOWN_ROWS = 10
Line = tuple[str, dict[str, bool]]


def quick_summary(
    judged: Iterable[tuple[Judgement, Sequence[str]]], report: str = "report.md"
) -> Iterator[Line]:
    """For each suite: a headline with the verdict and its reason, and the table of its metrics.

    Args:
        judged: each judgement with the notes on what was asked.
        report: where the rows are that are left out.
    """
    for judgement, notes in judged:
        labels = judgement.evidence.suite.labels
        for line, style in _quick_lines(judgement, notes, report):
            yield with_labels(line, labels), style


def _quick_lines(judgement: Judgement, notes: Sequence[str], report: str) -> Iterator[Line]:
    labels = judgement.evidence.suite.labels
    yield from _headline(judgement.evidence.suite.suite_id, judgement.verdict)
    if judgement.evidence.fixtures:
        yield f"  {BANNER}", {"red": True, "bold": True}
    yield f"  {judgement.reason}", {}
    if judgement.evidence.components is not None:
        yield f"  {match_headline(judgement.evidence.components)}", {}
    yield from _note_lines(labels, notes)
    yield from _warning_lines(judgement.warnings)
    yield from _table_lines(panels_of(judgement), report, labels)


def proof_summary(judgement: ProofJudgement, signature: str) -> Iterator[Line]:
    """A headline with the verdict and its reason, each gate, and the table of all tasks.

    Args:
        signature: whether the evidence is signed.
    """
    for line, style in _proof_lines(judgement, signature):
        yield with_labels(line, judgement.evidence.proof.labels), style


def _proof_lines(judgement: ProofJudgement, signature: str) -> Iterator[Line]:
    labels = judgement.evidence.proof.labels
    yield from _headline(judgement.suite_id, judgement.verdict)
    yield f"  {judgement.reason}", {}
    yield from _note_lines(labels)
    yield from ((f"  {note}", {"yellow": True}) for note in judgement.notes)
    for gate in judgement.gates:
        yield f"  {gate.name}: {gate.verdict}: {gate.reason}", COLOURS[gate.verdict]
    yield f"  evidence: {signature}", {}
    yield from _warning_lines(judgement.warnings)
    yield from _table_lines(panels_of_decision(judgement.decision), "equivalence_report.md", labels)


def _headline(suite_id: str, verdict: str) -> Iterator[Line]:
    yield "", {}
    yield f"parity {suite_id}: {verdict.upper()}", {"bold": True, **COLOURS[verdict]}


def _note_lines(labels: Labels, notes: Sequence[str] = ()) -> Iterator[Line]:
    """What the labels mean, where there are some, and the notes."""
    yield from ((f"  {note}", {}) for note in (describe_labels(labels), *notes) if note)


def _warning_lines(warnings: Iterable[str]) -> Iterator[Line]:
    yield from ((f"  warning: {warning}", {"yellow": True}) for warning in warnings)


def _table_lines(panels: Sequence[Panel], report: str, labels: Labels) -> Iterator[Line]:
    """The rows of each metric, and what their numbers are; ``report`` has those that are left out."""
    if not panels:
        return
    shown = [p.rows[:SHOWN_ROWS] for p in panels]
    header = [with_labels(name, labels) for name in HEADER]
    cells = [header, *(row.cells() for rows in shown for row in rows)]
    widths = [max(len(c[i]) for c in cells) for i in range(len(header))]
    yield _align(header, widths), {"bold": True}
    for panel, rows in zip(panels, shown, strict=True):
        yield from (_row_line(row, widths) for row in rows)
        if left := len(panel.rows) - len(rows):
            yield f"  ... and {left} more tasks of {panel.metric} in {report}", {}
    yield f"  {legend(panels)}", {}


def _row_line(row: Estimate, widths: Sequence[int]) -> Line:
    return _align(row.cells(), widths), COLOURS.get(row.word, {})


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    padded = [
        c.ljust(w) if i < 3 or i == len(cells) - 1 else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return ("  " + "  ".join(padded)).rstrip()
