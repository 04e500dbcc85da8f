"""Judgements -> lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..judgement.gates.fixture import BANNER
from ..judgement.proof_verdict import ProofJudgement
from ..judgement.quick import Judgement
from .components import headline
from .estimates import HEADER, Estimate, Panel, legend, panels_of, panels_of_decision

COLOURS = {"pass": {"green": True}, "fail": {"red": True}, "inconclusive": {"yellow": True}}
# Of each metric; the worst stand first, and the report has them all.
SHOWN_ROWS = 10
Line = tuple[str, dict[str, bool]]


def summary(judged: Iterable[tuple[Judgement, Sequence[str]]]) -> Iterator[Line]:
    """For each suite: a headline with the verdict and its reason, and the table of its metrics.

    Args:
        judged: each judgement with the notes on what was asked.
    """
    for judgement, notes in judged:
        yield from _head(judgement.evidence.suite.suite_id, judgement.verdict)
        if judgement.evidence.fixtures:
            yield f"  {BANNER}", {"red": True, "bold": True}
        yield f"  {judgement.reason}", {}
        if judgement.evidence.components is not None:
            yield f"  {headline(judgement.evidence.components)}", {}
        yield from ((f"  {note}", {}) for note in notes)
        yield from _warnings(judgement.warnings)
        yield from _table(panels_of(judgement), "report.md")


def proof_summary(judgement: ProofJudgement, signature: str) -> Iterator[Line]:
    """A headline with the verdict and its reason, each gate, and the table of all tasks.

    Args:
        signature: whether the evidence is signed.
    """
    yield from _head(judgement.suite_id, judgement.verdict)
    yield f"  {judgement.reason}", {}
    yield from ((f"  {note}", {"yellow": True}) for note in judgement.notes)
    for gate in judgement.gates:
        yield f"  {gate.name}: {gate.verdict}: {gate.reason}", COLOURS[gate.verdict]
    yield f"  evidence: {signature}", {}
    yield from _warnings(judgement.warnings)
    yield from _table(panels_of_decision(judgement.decision), "equivalence_report.md")


def _head(suite_id: str, verdict: str) -> Iterator[Line]:
    yield "", {}
    yield f"parity {suite_id}: {verdict.upper()}", {"bold": True, **COLOURS[verdict]}


def _warnings(warnings: Iterable[str]) -> Iterator[Line]:
    yield from ((f"  warning: {warning}", {"yellow": True}) for warning in warnings)


def _table(panels: Sequence[Panel], report: str) -> Iterator[Line]:
    """The rows of each metric, and what their numbers are; ``report`` has those that are left out."""
    if not panels:
        return
    shown = [p.rows[:SHOWN_ROWS] for p in panels]
    cells = [HEADER, *(row.cells() for rows in shown for row in rows)]
    widths = [max(len(c[i]) for c in cells) for i in range(len(HEADER))]
    yield _aligned(HEADER, widths), {"bold": True}
    for panel, rows in zip(panels, shown, strict=True):
        yield from (_line(row, widths) for row in rows)
        if left := len(panel.rows) - len(rows):
            yield f"  ... and {left} more tasks of {panel.metric} in {report}", {}
    yield f"  {legend(panels)}", {}


def _line(row: Estimate, widths: Sequence[int]) -> Line:
    return _aligned(row.cells(), widths), COLOURS.get(row.word, {})


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    padded = [
        c.ljust(w) if i < 3 or i == len(cells) - 1 else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return ("  " + "  ".join(padded)).rstrip()
