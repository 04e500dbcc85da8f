"""Judgements -> lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..judgement.gates.fixture import BANNER
from ..judgement.quick import Judgement
from .components import headline
from .tables import HEADER, rows

COLOURS = {"pass": {"green": True}, "fail": {"red": True}, "inconclusive": {"yellow": True}}
Line = tuple[str, dict[str, bool]]


def summary(judged: Iterable[tuple[Judgement, Sequence[str]]]) -> Iterator[Line]:
    """For each suite: a headline with the verdict and its reason, and the table of its metrics.

    Args:
        judged: each judgement with the notes on what was asked.
    """
    for judgement, notes in judged:
        suite = judgement.evidence.suite
        yield "", {}
        yield (
            f"parity {suite.suite_id}: {judgement.verdict.upper()}",
            {"bold": True, **COLOURS[judgement.verdict]},
        )
        if judgement.evidence.fixtures:
            yield f"  {BANNER}", {"red": True, "bold": True}
        yield f"  {judgement.reason}", {}
        if judgement.evidence.components is not None:
            yield f"  {headline(judgement.evidence.components)}", {}
        for note in notes:
            yield f"  {note}", {}
        for warning in judgement.warnings:
            yield f"  warning: {warning}", {"yellow": True}
        yield from _table(judgement)


def _table(judgement: Judgement) -> Iterator[Line]:
    cells = [row.cells() for row in rows(judgement)]
    widths = [max(len(c[i]) for c in (HEADER, *cells)) for i in range(len(HEADER))]
    yield aligned(HEADER, widths), {"bold": True}
    for row in cells:
        yield aligned(row, widths), COLOURS[row[-1]]


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    padded = [
        c.ljust(w) if i < 2 or i == len(cells) - 1 else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return ("  " + "  ".join(padded)).rstrip()
