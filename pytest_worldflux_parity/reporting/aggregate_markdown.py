"""An aggregate and the documents that it is made of -> ``report.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .aggregates import SUMMARY, not_judged_of, summary_rows
from .documents import Document
from .escaping import escape
from .estimates import HEADER
from .labels import with_labels
from .markdown import banner, table_lines
from .sections import Lists, Section, section_of_proof, section_of_run


def aggregate_report(
    aggregate: Document, runs: Sequence[Document], equivalence: Sequence[Document] = ()
) -> str:
    """The report; ``runs`` are the documents that are there, in the aggregate's order."""
    passed, total = aggregate["suite_pass_count"], aggregate["run_count"]
    time = escape(aggregate.get("generated_at_utc", "some time"))
    fixture = any(document.get("fixture") for document in (aggregate, *runs, *equivalence))
    suites = summary_rows(aggregate["suites"], not_judged_of(aggregate))
    lines = [
        *banner(fixture),
        "# Parity report",
        "",
        f"{passed} of {total} suites pass. Aggregated {time}.",
        "",
        *table_lines(SUMMARY, [(*row[:2], f"**{row[2]}**", *row[3:]) for row in suites]),
        "",
        *table_lines(("family", "suites", "pass", "not pass"), [*_family_rows(aggregate)]),
    ]
    for section in (*map(section_of_run, runs), *map(section_of_proof, equivalence)):
        lines += (with_labels(line, section.labels) for line in _section_lines(section))
    return "\n".join(lines) + "\n"


def _family_rows(aggregate: Document) -> Iterator[list[object]]:
    for family in aggregate.get("families", ()):
        yield [family["family"], family["runs"], family["pass"], family["fail"]]


def _section_lines(section: Section) -> Iterator[str]:
    yield from ("", f"## {escape(section.suite_id)}", "")
    yield f"Verdict: **{section.verdict}**. {escape(section.reason)}"
    yield f"\n{section.counts}"
    yield from _list_lines(section.head)
    for panel in section.panels:
        yield f"\n### {escape(panel.metric)}: {panel.verdict}\n"
        margin = f"{panel.rule}, margin {panel.margin:.1%}"
        yield f"{escape(panel.reason)} ({margin}; {panel.legend})\n"
        # Its heading names the metric.
        yield from table_lines((*HEADER[1:], "note"), [(*row.cells()[1:], row.note) for row in panel.rows])
    yield from _list_lines(section.tail)


def _list_lines(lists: Lists) -> Iterator[str]:
    for title, texts in lists.items():
        if texts:
            yield f"\n{title}:\n"
            yield from (f"- {escape(text)}" for text in texts)
