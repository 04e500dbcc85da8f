"""Does the verdict hold from run to run? Earlier equivalence reports and this one, side by side.

A sign flip is an effect below zero in one run and above it in another, both intervals excluding zero. It is
looked for in the effect itself: the sign of a ratio never flips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

StabilityStatus = Literal["stable", "unstable", "verdict_failed"]


@dataclass(frozen=True)
class Report:
    """What one equivalence report says, as far as it is compared.

    Attributes:
        verdict: ``pass``, ``fail`` or ``inconclusive``; a document of the earlier system knows the first
            two only. ``pass`` wherever ``parity_pass_final`` is true, and nowhere else.
        signs: (task, metric) -> -1, 0 or 1, the side of zero on which the whole 90 % interval lies.
        mismatches: (task, metric) on which the two tests disagree.
    """

    name: str
    suite_id: str | None
    generated_at: str
    verdict: str
    parity_pass_final: bool
    signs: Mapping[tuple[str, str], int]
    mismatches: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SignFlip:
    """A (task, metric) whose effect was significantly below zero in one run and above it in another."""

    task: str
    metric: str
    below: str
    above: str


@dataclass(frozen=True)
class Stability:
    """The current report held against the earlier ones of the same suite.

    Attributes:
        verdict_flips: names of (earlier, later) of two reports of which one passed and one failed.
        not_compared: earlier reports of another suite, or that cannot be read as one, and why.
        in_part: earlier reports that lack something which the current one has, and what.
    """

    status: StabilityStatus
    current: Report
    history: tuple[Report, ...]
    verdict_flips: tuple[tuple[str, str], ...]
    sign_flips: tuple[SignFlip, ...]
    not_compared: Mapping[str, str]
    in_part: Mapping[str, str] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        return "multi_run" if self.history else "single_run"


def read_report(document: Mapping[str, Any], name: str) -> Report | str:
    """What an equivalence report says, ours or of the earlier system; a sentence where it is none.

    A row that cannot be read makes the whole no report: what it hides could be a flip.
    """
    summary = document.get("global")
    if not isinstance(summary, Mapping) or not isinstance(summary.get("parity_pass_final"), bool):
        return "no global.parity_pass_final in it"
    rows = document.get("tasks")
    if not isinstance(rows, list) or not rows:
        return "no tasks in it"
    wrong = next(_malformed(rows), None)
    if wrong:
        return wrong
    final = summary["parity_pass_final"]
    cells = dict(_cells(rows))
    return Report(
        name=name,
        suite_id=document.get("suite_id"),
        generated_at=str(document.get("generated_at", "")),
        verdict=_verdict(final, summary.get("verdict")),
        parity_pass_final=final,
        signs={key: _sign(metric) for key, metric in cells.items()},
        mismatches=tuple(sorted(key for key, metric in cells.items() if _disagree(metric))),
    )


def _verdict(final: bool, stated: object) -> str:
    """A word that contradicts ``parity_pass_final``, or is no verdict, must not hide a flip."""
    if final:
        return "pass"
    return "inconclusive" if stated == "inconclusive" else "fail"


def stability(
    current: Mapping[str, Any], history: Mapping[str, Mapping[str, Any]], name: str = "this run"
) -> Stability:
    """Hold an equivalence report against earlier ones.

    Args:
        current: the document of this run. history: name (a path) -> earlier document.

    Raises:
        ValueError: ``current`` is not an equivalence report.
    """
    now = read_report(current, name)
    if isinstance(now, str):
        raise ValueError(f"{name}: {now}")
    earlier, left_out = _comparable(history, now)
    runs = (*earlier, now)
    flips = tuple(
        (a.name, b.name) for a, b in combinations(runs, 2) if {a.verdict, b.verdict} == {"pass", "fail"}
    )
    signs = tuple(_sign_flips(runs))
    shaken = bool(flips or signs or now.mismatches)
    status: StabilityStatus = "stable"
    if not now.parity_pass_final:
        status = "verdict_failed"
    elif shaken:
        status = "unstable"
    in_part = {r.name: text for r in earlier if (text := _lacking(r, now))}
    return Stability(status, now, earlier, flips, signs, left_out, in_part)


def _comparable(
    history: Mapping[str, Mapping[str, Any]], now: Report
) -> tuple[tuple[Report, ...], dict[str, str]]:
    """The earlier reports of the same suite in order of time, and why the others are left out."""
    reports, left_out = [], {}
    for name in sorted(history):
        report = read_report(history[name], name)
        if isinstance(report, str):
            left_out[name] = report
        elif None not in (report.suite_id, now.suite_id) and report.suite_id != now.suite_id:
            left_out[name] = f"it is of the suite {report.suite_id}"
        else:
            reports.append(replace(report, signs=_as_named(report.signs, now)))
    return tuple(sorted(reports, key=lambda r: (r.generated_at, r.name))), left_out


def _as_named(signs: Mapping[tuple[str, str], int], now: Report) -> Mapping[tuple[str, str], int]:
    """The signs of an earlier report under the names that the current one has for the same tasks."""
    names = {_game(task): task for task, _ in now.signs}
    return {(names.get(_game(task), _game(task)), metric): sign for (task, metric), sign in signs.items()}


def _game(task: str) -> str:
    """``atari100k_<game>`` is the ``atari_<game>`` of other reports."""
    return task.replace("atari100k_", "atari_", 1) if task.startswith("atari100k_") else task


def _lacking(report: Report, now: Report) -> str:
    """What an earlier report does not have of what is compared; empty where it has all of it."""
    absent = [f"{metric} of {task}" for task, metric in sorted(now.signs.keys() - report.signs.keys())]
    return f"could be compared in part only: it has no {', '.join(absent)}" if absent else ""


def _malformed(rows: Sequence[Any]) -> Iterator[str]:
    """Why a row of ``tasks`` cannot be read, with its index; nothing where all can."""
    seen: set[str] = set()
    for i, row in enumerate(rows):
        at = f"tasks[{i}]"
        if not isinstance(row, Mapping) or not isinstance(row.get("task_id"), str):
            yield f"{at} is no task with a task_id"
            continue
        if _game(row["task_id"]) in seen:
            yield f"{at} is {row['task_id']!r} again"
        seen.add(_game(row["task_id"]))
        metrics = row.get("metrics")
        if not isinstance(metrics, Mapping) or not metrics:
            yield f"{at} ({row['task_id']}) has no metrics"
            continue
        for name, result in metrics.items():
            wrong = _malformed_metric(result)
            if wrong:
                yield f"{at} ({row['task_id']}): metrics.{name} {wrong}"


def _malformed_metric(result: Any) -> str:
    """Why a metric of a task cannot be read; empty where it can. Only what was not tested has no interval."""
    if not isinstance(result, Mapping):
        return "is no mapping"
    interval = result.get("ci90_effect")
    if interval is None:
        tested = result.get("status", "ok") == "ok"
        return "has no ci90_effect" if tested else ""
    ends = interval if isinstance(interval, list) and len(interval) == 2 else [interval]
    if len(ends) != 2 or not all(e is None or _is_number(e) for e in ends):
        return f"has ci90_effect {interval!r}, not two numbers"
    reversed_ = None not in ends and ends[0] > ends[1]
    return f"has ci90_effect {interval!r}, which ends before it begins" if reversed_ else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _cells(rows: Sequence[Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for row in rows:
        for metric, result in row["metrics"].items():
            yield (row["task_id"], metric), result


def _sign(result: Mapping[str, Any]) -> int:
    low, high = result.get("ci90_effect") or (None, None)
    if low is not None and low > 0:
        return 1
    return -1 if high is not None and high < 0 else 0


def _disagree(result: Mapping[str, Any]) -> bool:
    """Whether TOST, corrected as the suite says, and the Bayesian check disagree."""
    bayesian = result.get("bayesian")
    passed = result.get("pass")
    if not isinstance(bayesian, Mapping) or not isinstance(passed, bool):
        return False
    return isinstance(bayesian.get("pass_all"), bool) and bayesian["pass_all"] != passed


def _sign_flips(runs: Sequence[Report]) -> Iterator[SignFlip]:
    for key in sorted(set().union(*(r.signs for r in runs))):
        below = next((r.name for r in runs if r.signs.get(key) == -1), None)
        above = next((r.name for r in runs if r.signs.get(key) == 1), None)
        if below is not None and above is not None:
            yield SignFlip(*key, below, above)
