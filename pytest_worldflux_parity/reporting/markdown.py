"""Judgements -> ``report.md``."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..errors import printable_lines
from ..judgement.gates.fixture import BANNER
from ..judgement.judgement_input import Evidence
from ..judgement.quick import Judgement
from ..judgement.stats.measurements import Missing
from ..suite.suite import SYSTEMS
from .components import COMPONENT_HEADER, about_golden, match_headline, match_rows
from .escaping import escape
from .estimates import HEADER, legend, panels_of
from .labels import describe_labels, with_labels

SHOWN_LOG_LINES = 15


def quick_report(
    judgements: Sequence[Judgement],
    *,
    not_judged: Mapping[str, str],
    notes: Mapping[str, Sequence[str]],
    run_id: str,
    device: str,
    time: str,
    log_tails: Mapping[str, str],
) -> str:
    """The report of a run.

    Args:
        not_judged: suites that could not be judged -> why.
        notes: suite id -> sentences on what was asked other than by the suite.
        log_tails: "suite: system task seed n" of failed runs -> the end of their log.
    """
    lines = [
        *report_head(run_id, device, time, any(j.evidence.fixtures for j in judgements)),
        "| suite | verdict | reason |",
        "|---|---|---|",
        *map(_summary_line, judgements),
        *(f"| {escape(suite)} | **not judged** | {escape(why)} |" for suite, why in not_judged.items()),
    ]
    for judgement in judgements:
        suite = judgement.evidence.suite
        section = _suite_section(judgement, notes.get(suite.suite_id, ()))
        lines += ["", *(with_labels(line, suite.labels) for line in section)]
    if log_tails:
        lines += ["", "## Logs of failed runs", *_log_lines(log_tails)]
    return "\n".join(lines) + "\n"


def _summary_line(judgement: Judgement) -> str:
    suite = judgement.evidence.suite
    line = f"| {suite.suite_id} | **{judgement.verdict}** | {escape(judgement.reason)} |"
    return with_labels(line, suite.labels)


def report_head(run_id: str, device: str, time: str, fixture: bool) -> list[str]:
    """The first lines of the report of a run."""
    title = f"# Parity report: {run_id}"
    return [*banner(fixture), title, "", f"Judged at {time}, device `{device}`.", ""]


def banner(fixture: bool) -> list[str]:
    """The first lines of a report on made-up numbers; no other report has them."""
    return [f"> **{BANNER}**", ""] if fixture else []


def table_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table, whatever its cells hold."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(escape(cell) for cell in row) + " |"


def _suite_section(judgement: Judgement, notes: Sequence[str]) -> Iterator[str]:
    evidence = judgement.evidence
    yield f"## {evidence.suite.suite_id}"
    yield ""
    yield f"Verdict: **{judgement.verdict}**. {as_sentence(judgement.reason)}"
    for note in (describe_labels(evidence.suite.labels), *notes):
        if note:
            yield f"\n{as_sentence(note)}"
    for warning in judgement.warnings:
        yield f"\n> Warning: {escape(warning)}"
    yield ""
    panels = panels_of(judgement)
    yield from table_lines(HEADER, (row.cells() for panel in panels for row in panel.rows))
    yield f"\n{as_sentence(legend(panels))}\n"
    yield from _reason_lines(judgement)
    yield ""
    yield from _gate_lines(judgement)
    yield from _component_lines(evidence)
    yield from _missing_lines(evidence)
    yield from _source_lines(evidence)


def _reason_lines(judgement: Judgement) -> Iterator[str]:
    for judged in judgement.metrics:
        yield f"- {escape(judged.name)}: {judged.verdict}. {escape(judged.reason)}"


def _gate_lines(judgement: Judgement) -> Iterator[str]:
    for gate in judgement.gates:
        yield f"- gate {gate.name}: {gate.verdict}. {escape(gate.reason)}"
        if len(gate.findings) > 1:
            yield from (f"  - {escape(f.line())}" for f in gate.findings)


def _component_lines(evidence: Evidence) -> Iterator[str]:
    found = evidence.components
    if found is None:
        return
    yield f"\n{as_sentence(f'{match_headline(found)}; {about_golden(found)}')}"
    if found.result:
        yield ""
        yield from table_lines(COMPONENT_HEADER, match_rows(found))


def _missing_lines(evidence: Evidence) -> Iterator[str]:
    if evidence.observed.missing:
        yield "\nMissing:\n"
        yield from map(missing_line, evidence.observed.missing)


def _source_lines(evidence: Evidence) -> Iterator[str]:
    yield "\nSources:\n"
    for system in SYSTEMS:
        origin = evidence.origins[system]
        unused = evidence.observed.unused.get(system)
        if origin.sha256:
            extra = f", {unused} further (task, seed) unused" if unused else ""
            extra += ", given on the command line" if system in evidence.suite.replaced else ""
            yield f"- {system}: table `{escape(origin.path)}`, sha256 `{origin.sha256[:16]}`{extra}"
        else:
            trees = ", ".join(f"`{t[:16]}`" for t in sorted(origin.trees)) or "none recorded"
            yield f"- {system}: live, source tree {trees}"


def _log_lines(log_tails: Mapping[str, str]) -> Iterator[str]:
    for name, text in log_tails.items():
        yield f"\n{escape(name)}:\n"
        # Not between backticks, which a log may hold itself, and within which no character can be escaped.
        yield "<pre>"
        yield from html.escape(printable_lines(text), quote=False).split("\n")[-SHOWN_LOG_LINES:]
        yield "</pre>"


def missing_line(missing: Missing) -> str:
    """A result that is missing, and why, as an item of a list."""
    detail = f" ({missing.detail})" if missing.detail else ""
    where = f"{missing.system} {missing.task_id} seed {missing.seed}"
    return f"- {escape(f'{where}: {missing.reason}{detail}')}"


def as_sentence(text: str) -> str:
    """A text that begins with a capital and ends with a full stop."""
    return f"{escape(text[:1].upper() + text[1:])}{'' if text.endswith('.') else '.'}"
