"""Documents -> ``dashboard.html``: one page that needs no network, no script and no other file.

Every text that comes from a document is escaped by the template. Each interval stands as numbers beside its
drawing, so nothing is said by a picture or a colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ..judgement.gates.fixture import BANNER
from .aggregates import SUMMARY, not_judged_of, row_of_proof, summary_rows, verdict_of
from .documents import Document
from .drawing import axis_text, draw_row, scale_of
from .estimates import HEADER
from .labels import Labels, with_labels
from .sections import section_of_proof, section_of_run

SYMBOLS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not judged": "!"}


def dashboard(
    aggregate: Document | None,
    runs: Sequence[Document],
    equivalence: Sequence[Document] = (),
    *,
    not_judged: Mapping[str, str] | None = None,
    title: str = "Parity",
) -> str:
    """The page.

    Args:
        aggregate: ``worldflux.parity.aggregate.v1``; None where there are proof suites only.
        runs: ``worldflux.parity.run.v1`` documents, in the order in which they are shown.
        equivalence: ``equivalence_report.json`` documents of proof suites.
        not_judged: suites beyond those of the aggregate that could not be judged -> why.
    """
    suites = aggregate["suites"] if aggregate else ()
    # Of a proof suite in an aggregate there is a row already.
    known = {row["suite_id"] for row in suites}
    apart = [row_of_proof(report, "") for report in equivalence if report["suite_id"] not in known]
    lost = {**not_judged_of(aggregate or {}), **(not_judged or {})}
    marked = any(d.get("fixture") for d in (aggregate or {}, *runs, *equivalence))
    return _load_template().render(
        aggregate=aggregate,
        overall=_overall_word(aggregate) if aggregate else "",
        fixture=BANNER if marked else "",
        rows=list(summary_rows([*suites, *apart], lost)),
        sections=[*map(section_of_run, runs), *map(section_of_proof, equivalence)],
        title=title,
    )


@cache
def _load_template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__ or "", ""),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    # Its heading names the metric and the rule.
    shown = {"symbols": SYMBOLS, "summary": SUMMARY, "header": [*HEADER[3:]]}
    environment.filters["with_labels"] = _with_labels
    environment.globals.update(shown, scale_of=scale_of, axis=axis_text, drawing=draw_row)
    return environment.get_template("dashboard.html.jinja")


def _with_labels(page: Markup, labels: Labels) -> Markup:
    """A part of a page with labels, which hold nothing that HTML would read otherwise."""
    return Markup(with_labels(page, labels))


def _printable(value: object) -> object:
    """A value as text that a page may hold, in which what none may hold is replaced."""
    if isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() or c in " \n\t" else "\ufffd" for c in str(value))


def _overall_word(aggregate: Document) -> str:
    """The word of all suites: what is not a pass is a failure only where one of them failed."""
    words = {verdict_of(row) for row in aggregate["suites"]}
    words |= {"not judged"} if not_judged_of(aggregate) else set()
    return next((word for word in ("fail", "not judged", "inconclusive") if word in words), "pass")
