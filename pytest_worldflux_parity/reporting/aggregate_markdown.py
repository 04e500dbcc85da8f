"""An aggregate and the documents that it is made of -> ``report.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .aggregates import SUMMARY, not_judged_of, row_of_run, summary_rows
from .escaping import escaped
from .estimates import HEADER, Panel, counts_text, panels_of_equivalence, panels_of_run
from .markdown import banner, table

Document = Mapping[str, Any]


def aggregate_report(
    aggregate: Document, runs: Sequence[Document], equivalence: Sequence[Document] = ()
) -> str:
    """The report; ``runs`` are the documents that are there, in the aggregate's order."""
    passed, total = aggregate["suite_pass_count"], aggregate["run_count"]
    time = escaped(aggregate.get("generated_at_utc", "some time"))
    fixture = any(document.get("fixture") for document in (aggregate, *runs, *equivalence))
    suites = summary_rows(aggregate["suites"], not_judged_of(aggregate))
    lines = [
        *banner(fixture),
        "# Parity report",
        "",
        f"{passed} of {total} suites pass. Aggregated {time}.",
        "",
        *table(SUMMARY, [(*row[:2], f"**{row[2]}**", *row[3:]) for row in suites]),
        "",
        *table(("family", "suites", "pass", "not pass"), [*_families(aggregate)]),
    ]
    lines += [line for run in runs for line in _run(run)]
    lines += [line for report in equivalence for line in _proof(report)]
    return "\n".join(lines) + "\n"


def _families(aggregate: Document) -> Iterator[list[object]]:
    for family in aggregate.get("families", ()):
        yield [family["family"], family["runs"], family["pass"], family["fail"]]


def _run(run: Document) -> Iterator[str]:
    row = row_of_run(run, "")
    yield from ("", f"## {escaped(row['suite_id'])}", "")
    yield f"Verdict: **{row['verdict']}**. {escaped(row['verdict_reason'])}"
    yield f"\n{counts_text(run)}."
    for warning in run.get("warnings", ()):
        yield f"\n> Warning: {escaped(warning)}"
    for panel in panels_of_run(run):
        yield from _panel(panel)
    if run.get("gates"):
        yield ""
        for name, gate in run["gates"].items():
            yield f"- gate {name}: {gate['verdict']}. {escaped(gate['reason'])}"


def _proof(report: Document) -> Iterator[str]:
    final = report["global"]
    yield from ("", f"## {escaped(report['suite_id'])}", "")
    yield f"Verdict: **{final['verdict']}**. {escaped(final['verdict_reason'])}"
    for panel in panels_of_equivalence(report):
        yield from _panel(panel)


def _panel(panel: Panel) -> Iterator[str]:
    margin = f"{panel.rule}, margin {panel.margin:.1%}"
    yield f"\n### {escaped(panel.metric)}: {panel.verdict}\n"
    yield f"{escaped(panel.reason)} ({margin}; {panel.legend})\n"
    # Its heading names the metric.
    rows = [(*row.cells()[1:], row.note) for row in panel.rows]
    yield from table((*HEADER[1:], "note"), rows)
