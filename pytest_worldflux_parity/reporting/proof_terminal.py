"""Judgement of a proof suite -> lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ..judgement.proof.results import JudgedCell
from ..judgement.proof_verdict import ProofJudgement
from .proof_markdown import CELL_HEADER, cell_row
from .terminal import COLOURS, Line, aligned

SHOWN_CELLS = 20


def proof_summary(judgement: ProofJudgement, signature: str) -> Iterator[Line]:
    """A headline with the verdict and its reason, each gate, and the cells that are not shown.

    Args:
        signature: whether the evidence is signed.
    """
    yield "", {}
    yield (
        f"parity {judgement.suite_id}: {judgement.verdict.upper()}",
        {"bold": True, **COLOURS[judgement.verdict]},
    )
    yield f"  {judgement.reason}", {}
    for note in judgement.notes:
        yield f"  {note}", {"yellow": True}
    for gate in judgement.gates:
        yield f"  {gate.name}: {gate.verdict}: {gate.reason}", COLOURS[gate.verdict]
    yield f"  evidence: {signature}", {}
    for warning in judgement.warnings:
        yield f"  warning: {warning}", {"yellow": True}
    yield from _table(judgement)


def _table(judgement: ProofJudgement) -> Iterator[Line]:
    """What is not shown first; of a large suite the rest stands in the report."""
    cells = sorted(judgement.decision.cells, key=lambda c: c.passed)
    shown = cells[:SHOWN_CELLS]
    scope = judgement.decision.settings.holm_scope
    texts = [cell_row(c, scope) for c in shown]
    widths = [max(len(row[i]) for row in (CELL_HEADER, *texts)) for i in range(len(CELL_HEADER))]
    yield aligned(CELL_HEADER, widths), {"bold": True}
    for judged, text in zip(shown, texts, strict=True):
        yield aligned(text, widths), COLOURS[_word(judged)]
    if len(cells) > len(shown):
        yield f"  ... and {len(cells) - len(shown)} more in equivalence_report.md", {}


def _word(judged: JudgedCell) -> str:
    return "pass" if judged.passed else "fail" if judged.different else "inconclusive"
