"""Judgements, or their documents -> the rows that terminal, markdown and dashboard show alike.

What an effect is stands in :mod:`..judgement.stats.shown_effect`, and in the legend of each table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..judgement.proof.results import ProofDecision
from ..judgement.quick import Judgement
from ..judgement.stats.shown_effect import Ends, ShownEffect, of_contrast, of_drop, of_task, of_test
from .documents import Document, metric_fields
from .proof_documents import task_fields

HEADER = ("metric", "task", "rule", "official", "worldflux", "effect", "interval", "bounds", "verdict")
EFFECT = "effect: (worldflux - official) / |official|, + is higher"
ALL_TASKS = "all tasks"
_WORST_FIRST = ("fail", "inconclusive", "-", "pass")


@dataclass(frozen=True)
class Estimate:
    """One row.

    Attributes:
        sides: means and counts of official and worldflux, as text. word: the verdict; a dash where it is
            that of the metric alone. note: why there is no estimate, or nothing.
        tests: of a proof, p of TOST and of Holm, and P(equivalent), as text.
    """

    metric: str
    task: str
    rule: str
    sides: tuple[str, str]
    shown: ShownEffect
    word: str
    note: str = ""
    tests: tuple[str, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """The columns of ``HEADER``."""
        numbers = (
            percent(self.shown.value),
            interval_text(self.shown.interval),
            bounds_text(self.shown.bounds),
        )
        return (self.metric, self.task, self.rule, *self.sides, *numbers, self.word)


@dataclass(frozen=True)
class Panel:
    """The rows of one metric: what decides first, then its tasks, the worst first.

    Attributes:
        level: confidence of the intervals.
    """

    metric: str
    rule: str
    margin: float
    verdict: str
    reason: str
    level: float
    rows: tuple[Estimate, ...]

    @property
    def legend(self) -> str:
        """What the numbers of its rows are."""
        return legend([self])


def legend(panels: Iterable[Panel]) -> str:
    """What an effect is, and which intervals stand beside it."""
    levels = " and ".join(f"{level:.0%}" for level in dict.fromkeys(p.level for p in panels))
    return f"{EFFECT}; {levels} intervals; what passes lies within the bounds"


def panels_of(judgement: Judgement) -> list[Panel]:
    """The panels of a judged quick suite."""
    evidence = judgement.evidence
    fields = {m.metric.name: metric_fields(m, evidence) for m in judgement.metrics if m.metric}
    return [_panel_of_metric(name, own) for name, own in fields.items()]


def panels_of_run(run: Document) -> list[Panel]:
    """The panels of a ``worldflux.parity.run.v1`` document, ours or the earlier system's."""
    if "metrics" not in run:
        return [_panel_of_earlier(run)]
    return [_panel_of_metric(name, own) for name, own in run["metrics"].items()]


def panels_of_decision(decision: ProofDecision) -> list[Panel]:
    """The panels of a judged proof."""
    return _proof_panels([task_fields(t) for t in decision.tasks], decision.settings.holm_scope)


def panels_of_equivalence(report: Document) -> list[Panel]:
    """The panels of an ``equivalence_report.json``: a panel per metric, a row per task."""
    return _proof_panels(report["tasks"], report.get("config", {}).get("holm_scope", "all_metrics"))


def _panel_of_earlier(run: Document) -> Panel:
    stats, suite = run["stats"], run["suite"]
    metric = str(suite.get("metric", "episode_return"))
    word = "pass" if run["pass"] else "fail"
    shown = of_drop(
        {**stats, "margin_ratio": suite["margin_ratio"]},
        higher_is_better=suite.get("higher_is_better", True),
    )
    row = Estimate(metric, ALL_TASKS, "drop_ratio", _mean_texts_of_pairs(stats), shown, word)
    reason = str(stats.get("verdict_reason", ""))
    level = 2 * suite["confidence"] - 1
    return Panel(metric, "drop_ratio", suite["margin_ratio"], word, reason, level, (row,))


def _panel_of_metric(name: str, own: Document) -> Panel:
    tasks = sorted(_task_rows(name, own), key=_badness)
    first = _row_of_all_tasks(name, own)
    # Of one task there is nothing more to say than of all.
    rows = (first, *tasks) if len(tasks) != 1 else (_merge_rows(first, tasks[0]),)
    level = 2 * own["confidence"] - 1
    return Panel(name, own["rule"], own["margin"], own["verdict"], own["reason"], level, rows)


def _merge_rows(first: Estimate, task: Estimate) -> Estimate:
    decides = task if first.shown.value is None else first
    return replace(decides, task=task.task, word=first.word, note=task.note)


def _badness(row: Estimate) -> tuple[int, float]:
    return _WORST_FIRST.index(row.word), -row.shown.badness


def _row_of_all_tasks(name: str, own: Document) -> Estimate:
    """The row of all tasks: the estimate that decides, where one number does."""
    calibrated, documented = own["calibrated"], own["drop_ratio"]
    higher, sides, shown = own["higher_is_better"], ("-", "-"), ShownEffect()
    if own["rule"] == "calibrated" and calibrated is not None:
        sides = _mean_texts_of_tasks(calibrated["tasks"])
        shown = of_contrast(calibrated, calibrated["tasks"], higher_is_better=higher)
    elif own["rule"] == "drop_ratio" and documented is not None:
        sides = _mean_texts_of_pairs(documented)
        shown = of_drop(documented, higher_is_better=higher)
    return Estimate(name, ALL_TASKS, own["rule"], sides, shown, own["verdict"])


def _task_rows(name: str, own: Document) -> Iterator[Estimate]:
    if own["equivalence"] is not None:
        yield from (_tested_row(name, own["rule"], task) for task in own["equivalence"]["tasks"])
    elif own["calibrated"] is not None:
        decides, higher = own["rule"] == "calibrated", own["higher_is_better"]
        for task in own["calibrated"]["tasks"]:
            shown = of_task(
                own["calibrated"], task, _scores_of_task(own, task["task"]), higher_is_better=higher
            )
            word = "fail" if task["worse"] and decides else "-"
            yield Estimate(name, task["task"], own["rule"], _mean_texts(task), shown, word)


def _scores_of_task(own: Document, task: str) -> tuple[list[float], list[float]] | None:
    """The scores of official and worldflux; None where a document of somebody else has them not."""
    sides = own["values"].get(task)
    return sides and ([*sides["official"].values()], [*sides["worldflux"].values()])


def _tested_row(name: str, rule: str, task: Document) -> Estimate:
    test = task["tost"]
    word = "pass" if test["pass_raw"] else "fail" if task["different"] else "inconclusive"
    shown = of_test(
        "normalized_difference",
        test["effect"],
        (test["ci_low"], test["ci_high"]),
        (test["low"], test["high"]),
    )
    note = "" if test["status"] == "ok" else test["reason"]
    return Estimate(name, task["task"], rule, _mean_texts(test), shown, word, note)


def _proof_panels(tasks: Sequence[Document], scope: str) -> list[Panel]:
    names = dict.fromkeys(name for task in tasks for name in task["metrics"])
    return [_proof_panel(name, tasks, scope) for name in names]


def _proof_panel(name: str, tasks: Sequence[Document], scope: str) -> Panel:
    cells = [(task["task_id"], task["metrics"][name]) for task in tasks if name in task["metrics"]]
    rows = tuple(sorted((_proof_row(name, task, cell, scope) for task, cell in cells), key=_badness))
    passed = sum(row.word == "pass" for row in rows)
    margin = max(cell["rule"]["equivalence_margin"] for _, cell in cells)
    reason = f"{passed} of {len(rows)} tasks are within their bounds"
    return Panel(name, "equivalence (TOST, Holm)", margin, rows[0].word, reason, 0.9, rows)


def _proof_row(name: str, task: str, cell: Document, scope: str) -> Estimate:
    seeds, effect = cell["seed_ids"], cell["rule"]["effect"]
    sides = (
        _mean_text(cell["official_mean"], len(seeds["official"])),
        _mean_text(cell["worldflux_mean"], len(seeds["worldflux"])),
    )
    interval: Ends = tuple(cell["ci90_effect"] or (None, None))
    word = "pass" if cell["pass"] else "fail" if cell["different"] else "inconclusive"
    note = "" if cell["status"] == "ok" else f"{cell['status']}: {cell['reason']}"
    shown = of_test(effect, cell["mean_effect"], interval, _bounds_of_cell(cell))
    return Estimate(name, task, f"TOST, {effect}", sides, shown, word, note, _test_texts(cell, scope))


def _bounds_of_cell(cell: Document) -> Ends:
    """The bounds of equivalence, and on the worse side those of non-inferiority where they are narrower."""
    least, most = cell["equivalence_bounds_effect"] or (None, None)
    own = cell.get("noninferiority")
    if own is None or least is None:
        return least, most
    return (max(least, own["bound"]), most) if own["bound"] < 0 else (least, min(most, own["bound"]))


def _test_texts(cell: Document, scope: str) -> tuple[str, ...]:
    adjusted = (cell.get(f"holm_{scope}") or {}).get("p_adjusted")
    tost, bayes = cell.get("tost") or {}, cell.get("bayesian")
    return _p_text(tost.get("p_value")), _p_text(adjusted), f"{bayes['p_equivalence']:.3f}" if bayes else "-"


def _p_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _mean_texts_of_tasks(tasks: Sequence[Document]) -> tuple[str, str]:
    """Mean over tasks of the task means, and how many runs stand behind it."""
    official, worldflux = (
        _mean_text(sum(t[f"mean_{side}"] for t in tasks) / len(tasks), sum(t[f"n_{side}"] for t in tasks))
        for side in ("upstream", "worldflux")
    )
    return official, worldflux


def _mean_texts_of_pairs(stats: Document) -> tuple[str, str]:
    n = stats["sample_size"]
    return _mean_text(stats.get("mean_upstream_score"), n), _mean_text(stats.get("mean_worldflux_score"), n)


def _mean_texts(result: Document) -> tuple[str, str]:
    return (
        _mean_text(result["mean_upstream"], result["n_upstream"]),
        _mean_text(result["mean_worldflux"], result["n_worldflux"]),
    )


def _mean_text(value: float | None, count: int) -> str:
    return "-" if value is None else f"{value:.4g} (n={count})"


def percent(value: float | None) -> str:
    """``+1.2%``, or a dash where there is no number."""
    return "-" if value is None else f"{value:+.1%}"


def interval_text(ends: Ends) -> str:
    """``[-1.0%, +2.0%]``, with ``inf`` on a side without an end; a dash where there is none."""
    low, high = ends
    if low is None and high is None:
        return "-"
    return f"[{'-inf' if low is None else percent(low)}, {'+inf' if high is None else percent(high)}]"


def bounds_text(bounds: Ends) -> str:
    """``±5.0%``, or the one bound of an open side; a dash where there is none."""
    least, most = bounds
    if least is not None and most is not None:
        return f"±{most:.1%}" if percent(-most) == percent(least) else interval_text(bounds)
    if least is not None:
        return f"from {percent(least)}"
    return "-" if most is None else f"up to {percent(most)}"


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
