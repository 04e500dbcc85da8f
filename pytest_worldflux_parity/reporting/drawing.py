"""The forest of intervals: a row as SVG for the page, as signs for the terminal, and all rows as a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from markupsafe import Markup

from ..judgement.stats.shown_effect import Ends, ShownEffect
from .estimates import HEADER, Estimate, Panel

# Three times the official score, or as much below 0, says no more; arrows show what lies outside.
LARGEST_SCALE = 2.0
WIDTH, HEIGHT = 180, 18
# Signs of a row in the terminal: an odd number, so that one stands at 0.
SIGNS = 41
_PIXELS_A_SIGN = 7
_STYLE = (
    ".band{fill:#dbeafe}.zero{stroke:#57606a;stroke-dasharray:2 2}.bar{stroke:#1b1f24;stroke-width:2}"
    ".dot,.arrow{fill:#1b1f24}text{font:12px monospace;fill:#1b1f24}"
)


def draw_signs(row: Estimate, scale: float) -> str:
    """A row as ``SIGNS`` signs: ``:`` in the bounds, ``=`` the interval, ``o`` the estimate, ``|`` 0."""
    low, high = _ends_to_draw(row.shown)
    least, most = (
        b if b is not None else s * math.inf for b, s in zip(row.shown.bounds, (-1, 1), strict=True)
    )
    held = row.shown.bounds != (None, None)
    step, value = 2 * scale / (SIGNS - 1), row.shown.value
    found = []
    for i in range(SIGNS):
        at = (i - SIGNS // 2) * step
        near = step / 2
        sign = "|" if i == SIGNS // 2 else ":" if held and least - near <= at <= most + near else " "
        if value is not None and low - near <= at <= high + near:
            sign = "o" if abs(value - at) <= near else "="
        found.append(sign)
    if value is not None:
        found[0] = "<" if low < -scale - step / 2 else found[0]
        found[-1] = ">" if high > scale + step / 2 else found[-1]
    return "".join(found)


def forest_signs(panels: Sequence[Panel], most: int) -> Iterator[str]:
    """For the terminal: each metric's axis and its first ``most`` rows."""
    width = max((len(row.task) for panel in panels for row in panel.rows[:most]), default=0)
    for panel in panels:
        scale = scale_of(panel.rows)
        yield f"{panel.metric}, {_spell_axis(scale)}: {SIGNS_LEGEND}"
        yield from (
            f"  {row.task:<{width}}  [{draw_signs(row, scale)}]  {row.word}" for row in panel.rows[:most]
        )


SIGNS_LEGEND = "`:` within the bounds, `=` the interval, `o` the effect"


def forest_svg(panels: Sequence[Panel], title: str) -> str:
    """All rows as one picture that needs no other file: numbers beside each drawing."""
    lines: list[tuple[str, str]] = [(title, "")]
    for panel in panels:
        scale = scale_of(panel.rows)
        lines += [("", ""), (f"{panel.metric} ({panel.rule}), {_spell_axis(scale)}", "")]
        for row in panel.rows:
            named = dict(zip(HEADER, row.cells(), strict=True))
            shown = (named[key] for key in ("task", "effect", "interval", "bounds", "verdict"))
            lines.append(("  ".join(shown), _draw_parts(row, scale)))
    height = (HEIGHT + 4) * (len(lines) + 1)
    width = WIDTH + 40 + _PIXELS_A_SIGN * max(len(text) for text, _ in lines) + _PIXELS_A_SIGN
    body = "".join(
        f'<g transform="translate(8 {(HEIGHT + 4) * i + 8})">{drawn}'
        f'<text x="{WIDTH + 16 if drawn else 0}" y="14" xml:space="preserve">'
        f"{escape(_plain(text))}</text></g>"
        for i, (text, drawn) in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">'
        f"<title>{escape(_plain(title))}</title><style>{_STYLE}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'
    )


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def scale_of(rows: Sequence[Estimate]) -> float:
    """The largest magnitude that the drawings of a panel show, at least twice the bounds."""
    found = [abs(x) for r in rows for x in (r.shown.value, *r.shown.interval) if x is not None]
    bounds = [2 * abs(x) for r in rows for x in r.shown.bounds if x is not None]
    return max(min(max([*found, *bounds], default=1.0), LARGEST_SCALE), 1e-6)


def _x_of(value: float, scale: float) -> float:
    inside = max(-1.0, min(1.0, value / scale))
    return round(WIDTH / 2 + inside * (WIDTH / 2 - 8), 1)


def axis_text(scale: float) -> Markup:
    text = _spell_scale(scale)
    return Markup('<span class="dim">-{0} … +{0}</span>').format(text)


def _spell_scale(scale: float) -> str:
    return f"{scale:.3g}" if scale < 0.001 else f"{scale:.1%}"


def _spell_axis(scale: float) -> str:
    return f"from -{_spell_scale(scale)} to +{_spell_scale(scale)}"


def draw_row(row: Estimate, scale: float) -> Markup:
    """One row of the forest: bounds as a band, the interval as a bar, arrows where it leaves the scale."""
    # The numbers stand beside it.
    drawn = _draw_parts(row, scale)
    svg = f'<svg width="{WIDTH}" height="{HEIGHT}" aria-hidden="true" focusable="false">{drawn}</svg>'
    return Markup(svg)  # of numbers alone


def _draw_parts(row: Estimate, scale: float) -> str:
    middle = HEIGHT / 2
    zero = _x_of(0.0, scale)
    parts = [*_draw_band(row.shown.bounds, scale)]
    parts.append(f'<line class="zero" x1="{zero}" y1="0" x2="{zero}" y2="{HEIGHT}"/>')
    value = row.shown.value
    if value is not None:
        ends = _ends_to_draw(row.shown)
        x1, x2 = _x_of(ends[0], scale), _x_of(ends[1], scale)
        parts.append(f'<line class="bar" x1="{x1}" y1="{middle}" x2="{x2}" y2="{middle}"/>')
        parts += _draw_arrows(ends[0], ends[1], scale)
        if abs(value) <= scale:
            parts.append(f'<circle class="dot" cx="{_x_of(value, scale)}" cy="{middle}" r="4"/>')
    return "".join(parts)


def _draw_band(bounds: Ends, scale: float) -> Iterator[str]:
    """The bounds, to the edge on an open side; nothing where there are none."""
    if bounds != (None, None):
        edges = zip(bounds, (0.0, WIDTH), strict=True)
        left, right = (edge if bound is None else _x_of(bound, scale) for bound, edge in edges)
        width = max(right - left, 0)
        yield f'<rect class="band" x="{left}" y="1" width="{width:.1f}" height="{HEIGHT - 2}"/>'


def _ends_to_draw(shown: ShownEffect) -> tuple[float, float]:
    """The ends of an interval; of none at all both are the estimate."""
    low, high = shown.interval
    if low is None and high is None:
        return shown.value or 0.0, shown.value or 0.0
    return -math.inf if low is None else low, math.inf if high is None else high


def _draw_arrows(low: float, high: float, scale: float) -> Iterator[str]:
    middle = HEIGHT / 2
    if low < -scale:
        yield f'<path class="arrow" d="M0 {middle}l8 -5v10z"/>'
    if high > scale:
        yield f'<path class="arrow" d="M{WIDTH} {middle}l-8 -5v10z"/>'
