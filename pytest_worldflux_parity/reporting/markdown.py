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
from .components import HEADER as COMPONENT_HEADER
from .components import about_golden, headline
from .components import table as component_rows
from .escaping import escaped
from .estimates import HEADER, legend, panels_of

SHOWN_LOG_LINES = 15


def report(
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
        *head(run_id, device, time, any(j.evidence.fixtures for j in judgements)),
        "| suite | verdict | reason |",
        "|---|---|---|",
        *(f"| {j.evidence.suite.suite_id} | **{j.verdict}** | {escaped(j.reason)} |" for j in judgements),
        *(f"| {escaped(suite)} | **not judged** | {escaped(why)} |" for suite, why in not_judged.items()),
    ]
    for judgement in judgements:
        lines += ["", *_suite(judgement, notes.get(judgement.evidence.suite.suite_id, ()))]
    if log_tails:
        lines += ["", "## Logs of failed runs", *_logs(log_tails)]
    return "\n".join(lines) + "\n"


def head(run_id: str, device: str, time: str, fixture: bool) -> list[str]:
    """The first lines of the report of a run."""
    title = f"# Parity report: {run_id}"
    return [*banner(fixture), title, "", f"Judged at {time}, device `{device}`.", ""]


def banner(fixture: bool) -> list[str]:
    """The first lines of a report on made-up numbers; no other report has them."""
    return [f"> **{BANNER}**", ""] if fixture else []


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table, whatever its cells hold."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(escaped(cell) for cell in row) + " |"


def _suite(judgement: Judgement, notes: Sequence[str]) -> Iterator[str]:
    evidence = judgement.evidence
    yield f"## {evidence.suite.suite_id}"
    yield ""
    yield f"Verdict: **{judgement.verdict}**. {sentence(judgement.reason)}"
    for note in notes:
        yield f"\n{sentence(note)}"
    for warning in judgement.warnings:
        yield f"\n> Warning: {escaped(warning)}"
    yield ""
    panels = panels_of(judgement)
    yield from table(HEADER, (row.cells() for panel in panels for row in panel.rows))
    yield f"\n{sentence(legend(panels))}\n"
    yield from _reasons(judgement)
    yield ""
    yield from _gates(judgement)
    yield from _components(evidence)
    yield from _missing(evidence)
    yield from _sources(evidence)


def _reasons(judgement: Judgement) -> Iterator[str]:
    for judged in judgement.metrics:
        yield f"- {escaped(judged.name)}: {judged.verdict}. {escaped(judged.reason)}"


def _gates(judgement: Judgement) -> Iterator[str]:
    for gate in judgement.gates:
        yield f"- gate {gate.name}: {gate.verdict}. {escaped(gate.reason)}"
        if len(gate.findings) > 1:
            yield from (f"  - {escaped(f.line())}" for f in gate.findings)


def _components(evidence: Evidence) -> Iterator[str]:
    found = evidence.components
    if found is None:
        return
    yield f"\n{sentence(f'{headline(found)}; {about_golden(found)}')}"
    if found.result:
        yield ""
        yield from table(COMPONENT_HEADER, component_rows(found))


def _missing(evidence: Evidence) -> Iterator[str]:
    if evidence.observed.missing:
        yield "\nMissing:\n"
        yield from map(missing_line, evidence.observed.missing)


def _sources(evidence: Evidence) -> Iterator[str]:
    yield "\nSources:\n"
    for system in SYSTEMS:
        origin = evidence.origins[system]
        unused = evidence.observed.unused.get(system)
        if origin.sha256:
            extra = f", {unused} further (task, seed) unused" if unused else ""
            extra += ", given on the command line" if system in evidence.suite.replaced else ""
            yield f"- {system}: table `{escaped(origin.path)}`, sha256 `{origin.sha256[:16]}`{extra}"
        else:
            trees = ", ".join(f"`{t[:16]}`" for t in sorted(origin.trees)) or "none recorded"
            yield f"- {system}: live, source tree {trees}"


def _logs(log_tails: Mapping[str, str]) -> Iterator[str]:
    for name, text in log_tails.items():
        yield f"\n{escaped(name)}:\n"
        # Not between backticks, which a log may hold itself, and within which no character can be escaped.
        yield "<pre>"
        yield from html.escape(printable_lines(text), quote=False).split("\n")[-SHOWN_LOG_LINES:]
        yield "</pre>"


def missing_line(missing: Missing) -> str:
    """A result that is missing, and why, as an item of a list."""
    detail = f" ({missing.detail})" if missing.detail else ""
    where = f"{missing.system} {missing.task_id} seed {missing.seed}"
    return f"- {escaped(f'{where}: {missing.reason}{detail}')}"


def sentence(text: str) -> str:
    """A text that begins with a capital and ends with a full stop."""
    return f"{escaped(text[:1].upper() + text[1:])}{'' if text.endswith('.') else '.'}"
