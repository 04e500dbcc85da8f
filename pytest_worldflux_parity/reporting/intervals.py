"""Documents of runs and of equivalence -> rows that a table, a forest plot or a list can show.

Everything is relative: 0.05 is 5 %. In a drop positive is worse; in an equivalence positive is higher.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..judgement.stats.student import quantile

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Interval:
    """One estimate. None where there is none: ``note`` says why.

    Attributes:
        low, high: ends of its interval. within: the bounds that it is held against, None on an open side.
        sides: means and counts of official and worldflux, as text. word: verdict, or empty.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    within: tuple[float | None, float | None]
    sides: tuple[str, str] = ("", "")
    word: str = ""
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """The estimates of one metric. ``meaning`` says what is positive and what the interval is."""

    metric: str
    rule: str
    margin: float
    verdict: str
    reason: str
    meaning: str
    rows: tuple[Interval, ...]


def panels_of_run(run: Document) -> list[Panel]:
    """The panels of a ``worldflux.parity.run.v1`` document, ours or the earlier system's."""
    if "metrics" not in run:
        return [_earlier(run)]
    return [_panel(name, own) for name, own in run["metrics"].items()]


def _earlier(run: Document) -> Panel:
    stats, suite = run["stats"], run["suite"]
    n = stats["sample_size"]
    row = Interval(
        "all pairs",
        stats["mean_drop_ratio"],
        stats.get("ci_lower_ratio"),
        stats["ci_upper_ratio"],
        (None, suite["margin_ratio"]),
        (_mean(stats.get("mean_upstream_score"), n), _mean(stats.get("mean_worldflux_score"), n)),
        "pass" if run["pass"] else "fail",
    )
    meaning = f"drop, positive is worse; one-sided {suite['confidence']:.0%} bounds"
    reason = str(stats.get("verdict_reason", ""))
    metric = str(suite.get("metric", "episode_return"))
    return Panel(metric, "drop_ratio", suite["margin_ratio"], row.word, reason, meaning, (row,))


def _panel(name: str, own: Document) -> Panel:
    if own["rule"] == "equivalence":
        rows = tuple(_equivalence_rows(own))
        meaning = f"difference, positive is higher; {2 * own['confidence'] - 1:.0%} intervals"
    else:
        rows = tuple(_drop_rows(own))
        meaning = f"drop, positive is worse; one-sided {own['confidence']:.0%} bounds"
    return Panel(name, own["rule"], own["margin"], own["verdict"], own["reason"], meaning, rows)


def _drop_rows(own: Document) -> Iterator[Interval]:
    """The estimate that decides first, then every task of the calibrated rule."""
    documented, calibrated = own["drop_ratio"], own["calibrated"]
    within = (None, own["margin"])
    if documented is not None:
        value, low, high = (documented[k] for k in ("mean_drop_ratio", "ci_lower_ratio", "ci_upper_ratio"))
        n = documented["sample_size"]
        sides = (_mean(documented["mean_upstream_score"], n), _mean(documented["mean_worldflux_score"], n))
        yield Interval("documented rule, all pairs", value, low, high, within, sides)
    if calibrated is not None:
        value, low, high = (calibrated[k] for k in ("contrast", "lower", "upper"))
        yield Interval("calibrated rule, all tasks", value, low, high, within)
        level = calibrated["confidence"]
        yield from (_task_row(task, level, within) for task in calibrated["tasks"])


def _task_row(task: Document, level: float, within: tuple[float | None, float | None]) -> Interval:
    half = None
    if task["standard_error"] is not None and task["df"] is not None:
        half = float(quantile(level, task["df"])) * task["standard_error"]
    value = task["contrast"]
    sides = (
        _mean(task["mean_upstream"], task["n_upstream"]),
        _mean(task["mean_worldflux"], task["n_worldflux"]),
    )
    low, high = (None, None) if half is None else (value - half, value + half)
    note = "significantly worse than the margin" if task["worse"] else ""
    return Interval(task["task"], value, low, high, within, sides, "fail" if task["worse"] else "", note)


def _equivalence_rows(own: Document) -> Iterator[Interval]:
    within = (-own["margin"], own["margin"])
    for task in own["equivalence"]["tasks"] if own["equivalence"] is not None else ():
        test = task["tost"]
        word = "pass" if test["pass_raw"] else "fail" if task["different"] else "inconclusive"
        sides = (
            _mean(test["mean_upstream"], test["n_upstream"]),
            _mean(test["mean_worldflux"], test["n_worldflux"]),
        )
        note = "" if test["status"] == "ok" else test["reason"]
        low, high = test["ci_low"], test["ci_high"]
        yield Interval(task["task"], test["effect"], low, high, within, sides, word, note)


def panels_of_equivalence(report: Document) -> list[Panel]:
    """The panels of an ``equivalence_report.json``: a panel per metric, a row per task."""
    names = dict.fromkeys(name for task in report["tasks"] for name in task["metrics"])
    return [_proof_panel(name, report["tasks"]) for name in names]


def _proof_panel(name: str, tasks: Sequence[Document]) -> Panel:
    cells = [(task["task_id"], task["metrics"][name]) for task in tasks if name in task["metrics"]]
    rows = tuple(_proof_row(task, cell) for task, cell in cells)
    passed = sum(row.word == "pass" for row in rows)
    words = {row.word for row in rows}
    verdict = next(w for w in ("fail", "inconclusive", "pass") if w in words)
    margin = max(cell["rule"]["equivalence_margin"] for _, cell in cells)
    reason = f"{passed} of {len(rows)} tasks are within their bounds"
    meaning = "difference, positive is higher; 90% intervals"
    return Panel(name, "equivalence (TOST, Holm)", margin, verdict, reason, meaning, rows)


def _proof_row(task: str, cell: Document) -> Interval:
    """A task's cell; a log ratio is shown as the difference that it means, exp(effect) - 1."""
    relative = math.expm1 if cell["rule"]["effect"] == "log_ratio" else float
    low, high = (_each(x, relative) for x in cell["ci90_effect"] or (None, None))
    within = tuple(_each(x, relative) for x in cell["equivalence_bounds_effect"] or (None, None))
    seeds = cell["seed_ids"]
    sides = (
        _mean(cell["official_mean"], len(seeds["official"])),
        _mean(cell["worldflux_mean"], len(seeds["worldflux"])),
    )
    word = "pass" if cell["pass"] else "fail" if cell["different"] else "inconclusive"
    note = "" if cell["status"] == "ok" else f"{cell['status']}: {cell['reason']}"
    value = _each(cell["mean_effect"], relative)
    return Interval(task, value, low, high, (within[0], within[1]), sides, word, note)


def _each(value: float | None, change: Any) -> float | None:
    try:
        return None if value is None else float(change(value))
    except OverflowError:
        return None


def _mean(value: float | None, count: int) -> str:
    return "" if value is None else f"{value:.4g} (n={count})"


def percent(value: float | None) -> str:
    """``+1.2%``, or a dash where there is no number."""
    return "-" if value is None else f"{value:+.1%}"


def interval_text(row: Interval) -> str:
    """``[-1.0%, +2.0%]``, or a dash."""
    if row.low is None and row.high is None:
        return "-"
    return f"[{percent(row.low)}, {percent(row.high)}]"


def counts_text(run: Document) -> str:
    """How many results a run document rests on, as a sentence."""
    counts = run["counts"]
    missing = counts.get("missing", counts["upstream_only"] + counts["worldflux_only"])
    text = (
        f"{counts['upstream_points']} official and {counts['worldflux_points']} worldflux results, "
        f"{counts['paired']} pairs, {missing} missing"
    )
    unused = sum(counts.get("unused", {}).values())
    return f"{text}, {unused} further ones unused" if unused else text
