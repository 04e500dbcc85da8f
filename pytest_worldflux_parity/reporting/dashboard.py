"""Documents -> ``dashboard.html``: one page that needs no network, no script and no other file.

Every text that comes from a document is escaped, and the page forbids itself to load anything. Each interval
stands as numbers beside its drawing, so nothing is said by a picture or a colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ..judgement.gates.fixture import BANNER
from ..judgement.stats.shown_effect import Ends, ShownEffect
from .aggregates import SUMMARY, not_judged_of, row_of_proof, row_of_run, summary_rows, verdict_of
from .estimates import HEADER, Estimate, Panel, counts_text, panels_of_equivalence, panels_of_run

Document = Mapping[str, Any]

SYMBOLS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not judged": "!"}
SHOWN_MISSING = 20
# Three times the official score, or as much below 0, says no more; arrows show what lies outside.
LARGEST_SCALE = 2.0
WIDTH, HEIGHT = 180, 18

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#57606a;--line:#d0d7de;--band:#dbeafe;
--pass:#116329;--fail:#b3261e;--inconclusive:#7a4d00}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9aa4af;--line:#30363d;--band:#1d3557;
--pass:#56d364;--fail:#ff7b72;--inconclusive:#e3b341}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:70rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.25rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1.05rem}
.scroll{overflow-x:auto}.scroll:focus-visible{outline:2px solid var(--fg)}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--dim);padding:.25rem 0}
th,td{text-align:left;vertical-align:middle;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line)}
td.number{white-space:nowrap}th[scope=row]{font-weight:600;min-width:8rem}td.reason{min-width:14rem}
.word{font-weight:700;white-space:nowrap}.pass{color:var(--pass)}.fail{color:var(--fail)}
.inconclusive,.not-judged{color:var(--inconclusive)}.dim{color:var(--dim)}
svg{display:block}.band{fill:var(--band)}.zero{stroke:var(--dim);stroke-dasharray:2 2}
.bar{stroke:var(--fg);stroke-width:2}.dot,.arrow{fill:var(--fg)}
""".replace("\n", "")


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
    marked = any(d.get("fixture") for d in (aggregate or {}, *runs, *equivalence))
    body = [
        *([f'<p class="word fail">{_text(BANNER)}</p>'] if marked else []),
        f"<h1>{_text(title)}</h1>",
        *_summary(aggregate, equivalence, not_judged or {}),
        *(line for run in runs for line in _run(run)),
        *(line for report in equivalence for line in _proof(report)),
    ]
    return "\n".join([*_head(title), "<main>", *body, "</main>", "</body>", "</html>"]) + "\n"


def _head(title: str) -> list[str]:
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
    ]


def _text(value: object) -> str:
    """A value of a document as text of the page; what no page may hold is replaced."""
    text = "".join(c if c.isprintable() or c in " \n\t" else "\ufffd" for c in str(value))
    return escape(text, quote=True)


def _word(verdict: str) -> str:
    name = verdict if verdict in SYMBOLS else "inconclusive"
    return f'<span class="word {name.replace(" ", "-")}">{SYMBOLS[name]} {_text(verdict)}</span>'


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose cells are HTML already; the first of a row is its heading."""
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(caption)}"><table>'
    yield f"<caption>{_text(caption)}</caption>"
    yield "<thead><tr>" + "".join(f'<th scope="col">{cell}</th>' for cell in header) + "</tr></thead><tbody>"
    for first, *others in rows:
        cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in others)
        yield f'<tr><th scope="row">{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


# --- what stands above the suites ---


def _summary(
    aggregate: Document | None, equivalence: Sequence[Document], not_judged: Mapping[str, str]
) -> Iterator[str]:
    if aggregate is not None:
        passed, total = aggregate["suite_pass_count"], aggregate["run_count"]
        yield f"<p>{_word(_overall(aggregate))} {passed} of {total} suites pass."
        yield f'<span class="dim">{_text(aggregate.get("generated_at_utc", ""))}</span></p>'
    # Of a proof suite in an aggregate there is a row already.
    known = {row["suite_id"] for row in aggregate["suites"]} if aggregate else set()
    apart = [report for report in equivalence if report["suite_id"] not in known]
    judged = [*(aggregate["suites"] if aggregate else ()), *(row_of_proof(report, "") for report in apart)]
    lost = {**not_judged_of(aggregate or {}), **not_judged}
    rows = [
        [_text(suite), _text(family), _word(word), _text(pairs), _reason(reason)]
        for suite, family, word, pairs, reason in summary_rows(judged, lost)
    ]
    yield from _table("Verdicts", SUMMARY, rows)


def _overall(aggregate: Document) -> str:
    """The word of all suites: what is not a pass is a failure only where one of them failed."""
    words = {verdict_of(row) for row in aggregate["suites"]}
    words |= {"not judged"} if not_judged_of(aggregate) else set()
    return next((word for word in ("fail", "not judged", "inconclusive") if word in words), "pass")


def _reason(text: object) -> str:
    return f'<td class="reason">{_text(text)}</td>'


# --- one suite ---


def _run(run: Document) -> Iterator[str]:
    row = row_of_run(run, "")
    yield f"<section><h2>{_text(row['suite_id'])}</h2>"
    yield f"<p>{_word(row['verdict'])} {_text(row['verdict_reason'])}</p>"
    yield f"<p>{_text(counts_text(run))}.</p>"
    yield from _items("Warnings", run.get("warnings", ()))
    for panel in panels_of_run(run):
        yield from _panel(panel)
    yield from _gates(run.get("gates", {}))
    yield from _missing(run["missing"])
    yield from _sources(run)
    yield "</section>"


def _panel(panel: Panel) -> Iterator[str]:
    margin = f"margin {panel.margin:.1%}"
    yield f"<h3>{_text(panel.metric)}: {_word(panel.verdict)}</h3>"
    yield f'<p>{_text(panel.reason)} <span class="dim">({_text(panel.rule)}, {margin})</span></p>'
    if panel.rows:
        scale = _scale(panel.rows)
        # Its heading names the metric and the rule.
        header = ("task", _axis(scale), *HEADER[3:])
        yield from _table(
            f"{panel.metric}: {panel.legend} (the band)", header, [_row(r, scale) for r in panel.rows]
        )


def _row(row: Estimate, scale: float) -> list[str]:
    word = _word(row.word) if row.word in SYMBOLS else row.word
    note = f' <span class="dim">{_text(row.note)}</span>' if row.note else ""
    numbers = [f'<td class="number">{_text(cell)}</td>' for cell in row.cells()[3:-1]]
    return [_text(row.task), _drawing(row, scale), *numbers, word + note]


def _gates(gates: Mapping[str, Document]) -> Iterator[str]:
    texts = [f"{name}: {gate['verdict']}. {gate['reason']}" for name, gate in gates.items()]
    yield from _items("Gates", texts)


def _items(title: str, texts: Sequence[object]) -> Iterator[str]:
    if texts:
        yield f"<h3>{_text(title)}</h3><ul>" + "".join(f"<li>{_text(t)}</li>" for t in texts) + "</ul>"


def _missing(missing: Mapping[str, Sequence[Document]]) -> Iterator[str]:
    sides = {"upstream_only": "worldflux", "worldflux_only": "official"}
    texts = [
        f"{sides[key]} {m['task']} seed {m['seed']}" + (f": {m['reason']}" if m.get("reason") else "")
        for key, rows in missing.items()
        for m in rows
    ]
    more = [f"and {len(texts) - SHOWN_MISSING} more in run.json"] if len(texts) > SHOWN_MISSING else []
    yield from _items("Missing", texts[:SHOWN_MISSING] + more)


def _sources(run: Document) -> Iterator[str]:
    texts = []
    for side, name in (("upstream", "official"), ("worldflux", "worldflux")):
        source = run["sources"][side]
        sha256 = run.get("artifact_integrity", {}).get(f"{side}_input_sha256")
        what = source["path"] or f"live, {source.get('adapter', '')}"
        hashed = f", sha256 {sha256[:16]}" if sha256 else ""
        replaced = ", given on the command line" if "replaces" in source else ""
        texts.append(f"{name}: {what}{hashed}{replaced}")
    yield from _items("Sources", texts)


def _proof(report: Document) -> Iterator[str]:
    final = report["global"]
    yield f"<section><h2>{_text(report['suite_id'])}</h2>"
    yield f"<p>{_word(final['verdict'])} {_text(final['verdict_reason'])}</p>"
    yield (
        f"<p>{final['tasks_pass_all_metrics']} of {final['tasks_total']} tasks pass in all metrics, "
        f"{final['missing_pairs']} results are missing.</p>"
    )
    keys = ("parity_pass_final", "parity_pass_frequentist", "parity_pass_bayesian", "validity_pass",
            "component_match_pass")  # fmt: skip
    words = {True: "yes", False: "no", None: "not asked for"}
    yield from _items("Final keys", [f"{key}: {words[final[key]]}" for key in keys])
    for panel in panels_of_equivalence(report):
        yield from _panel(panel)
    yield "</section>"


# --- drawing ---


def _scale(rows: Sequence[Estimate]) -> float:
    """The largest magnitude that the drawings of a panel show, at least twice the bounds."""
    found = [abs(x) for r in rows for x in (r.shown.value, *r.shown.interval) if x is not None]
    bounds = [2 * abs(x) for r in rows for x in r.shown.bounds if x is not None]
    return max(min(max([*found, *bounds], default=1.0), LARGEST_SCALE), 1e-6)


def _x(value: float, scale: float) -> float:
    inside = max(-1.0, min(1.0, value / scale))
    return round(WIDTH / 2 + inside * (WIDTH / 2 - 8), 1)


def _axis(scale: float) -> str:
    text = f"{scale:.3g}" if scale < 0.001 else f"{scale:.1%}"
    return f'<span class="dim">-{text} … +{text}</span>'


def _drawing(row: Estimate, scale: float) -> str:
    """One row of the forest: bounds as a band, the interval as a bar, arrows where it leaves the scale."""
    middle = HEIGHT / 2
    zero = _x(0.0, scale)
    parts = [*_band(row.shown.bounds, scale)]
    parts.append(f'<line class="zero" x1="{zero}" y1="0" x2="{zero}" y2="{HEIGHT}"/>')
    value = row.shown.value
    if value is not None:
        ends = _drawn_ends(row.shown)
        x1, x2 = _x(ends[0], scale), _x(ends[1], scale)
        parts.append(f'<line class="bar" x1="{x1}" y1="{middle}" x2="{x2}" y2="{middle}"/>')
        parts += _arrows(ends[0], ends[1], scale)
        if abs(value) <= scale:
            parts.append(f'<circle class="dot" cx="{_x(value, scale)}" cy="{middle}" r="4"/>')
    # The numbers stand beside it.
    drawn = "".join(parts)
    return f'<svg width="{WIDTH}" height="{HEIGHT}" aria-hidden="true" focusable="false">{drawn}</svg>'


def _band(bounds: Ends, scale: float) -> Iterator[str]:
    """The bounds, to the edge on an open side; nothing where there are none."""
    if bounds != (None, None):
        edges = zip(bounds, (0.0, WIDTH), strict=True)
        left, right = (edge if bound is None else _x(bound, scale) for bound, edge in edges)
        width = max(right - left, 0)
        yield f'<rect class="band" x="{left}" y="1" width="{width:.1f}" height="{HEIGHT - 2}"/>'


def _drawn_ends(shown: ShownEffect) -> tuple[float, float]:
    """The ends of an interval; of none at all both are the estimate."""
    low, high = shown.interval
    if low is None and high is None:
        return shown.value or 0.0, shown.value or 0.0
    return -math.inf if low is None else low, math.inf if high is None else high


def _arrows(low: float, high: float, scale: float) -> Iterator[str]:
    middle = HEIGHT / 2
    if low < -scale:
        yield f'<path class="arrow" d="M0 {middle}l8 -5v10z"/>'
    if high > scale:
        yield f'<path class="arrow" d="M{WIDTH} {middle}l-8 -5v10z"/>'
