"""The rows that terminal and markdown share: one per metric, numbers as a reader wants them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..judgement.quick import Judged, Judgement
from ..judgement.stats.calibrated import CalibratedResult

HEADER = ("metric", "rule", "official", "worldflux", "effect", "interval", "margin", "verdict")


@dataclass(frozen=True)
class Row:
    """One metric. ``effect`` is relative: positive is worse for a drop, higher for an equivalence."""

    metric: str
    rule: str
    official: str
    worldflux: str
    effect: str
    interval: str
    margin: str
    verdict: str

    def cells(self) -> tuple[str, ...]:
        return tuple(getattr(self, name) for name in HEADER)


def rows(judgement: Judgement) -> Iterator[Row]:
    """A row per metric, and for ``equivalence`` one per task."""
    for judged in judgement.metrics:
        if judged.equivalence:
            yield from _equivalence_rows(judged)
        else:
            yield _drop_row(judged)


def _equivalence_rows(judged: Judged) -> Iterator[Row]:
    assert judged.metric is not None
    assert judged.equivalence is not None
    for task in judged.equivalence.tasks:
        test = task.tost
        verdict = "pass" if task.shown else "fail" if task.different else "inconclusive"
        yield Row(
            f"{judged.metric.name} · {task.task}",
            judged.metric.rule,
            f"{test.mean_upstream:.4g} (n={test.n_upstream})",
            f"{test.mean_worldflux:.4g} (n={test.n_worldflux})",
            _percent(test.effect),
            _interval(test.ci_low, test.ci_high),
            f"±{judged.metric.margin:.1%}",
            verdict if judged.verdict in (verdict, "inconclusive", "fail") else judged.verdict,
        )


def _drop_row(judged: Judged) -> Row:
    metric, calibrated, documented = judged.metric, judged.calibrated, judged.documented
    assert metric is not None
    mean = low = high = None
    if metric.rule == "calibrated" and calibrated:
        mean, low, high = calibrated.contrast, calibrated.lower, calibrated.upper
    elif documented:
        mean, low, high = documented.mean_drop_ratio, documented.ci_lower_ratio, documented.ci_upper_ratio
    return Row(
        metric=metric.name,
        rule=metric.rule,
        official=_side(calibrated, "upstream"),
        worldflux=_side(calibrated, "worldflux"),
        effect=_percent(mean),
        interval=_interval(low, high),
        margin=f"{metric.margin:.1%}",
        verdict=judged.verdict,
    )


def _side(result: CalibratedResult | None, side: str) -> str:
    """Mean over tasks of the task means, and how many runs stand behind it."""
    if result is None:
        return "-"
    mean = sum(getattr(t, f"mean_{side}") for t in result.tasks) / len(result.tasks)
    return f"{mean:.4g} (n={sum(getattr(t, f'n_{side}') for t in result.tasks)})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "-"
    return f"[{_percent(low)}, {_percent(high)}]"
