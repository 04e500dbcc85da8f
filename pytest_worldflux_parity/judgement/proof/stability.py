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

from ...suite.commands import value_at

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
    try:
        cells = dict(_read_cells(rows))
    except ValueError as error:
        return str(error)
    final = summary["parity_pass_final"]
    return Report(
        name=name,
        suite_id=document.get("suite_id"),
        generated_at=str(document.get("generated_at", "")),
        verdict=_verdict_word(final, summary.get("verdict")),
        parity_pass_final=final,
        signs={key: _sign_of(metric) for key, metric in cells.items()},
        mismatches=tuple(sorted(key for key, metric in cells.items() if _tests_disagree(metric))),
    )


def _verdict_word(final: bool, stated: object) -> str:
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
    earlier, left_out = _select_comparable(history, now)
    runs = (*earlier, now)
    flips = tuple(
        (a.name, b.name) for a, b in combinations(runs, 2) if {a.verdict, b.verdict} == {"pass", "fail"}
    )
    signs = tuple(_find_sign_flips(runs))
    status: StabilityStatus = "unstable" if flips or signs or now.mismatches else "stable"
    if not now.parity_pass_final:
        status = "verdict_failed"
    in_part = {r.name: text for r in earlier if (text := _describe_missing(r, now))}
    return Stability(status, now, earlier, flips, signs, left_out, in_part)


def _select_comparable(
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
            reports.append(replace(report, signs=_rename_signs(report.signs, now)))
    return tuple(sorted(reports, key=lambda r: (r.generated_at, r.name))), left_out


def _rename_signs(signs: Mapping[tuple[str, str], int], now: Report) -> Mapping[tuple[str, str], int]:
    """The signs of an earlier report under the names that the current one has for the same tasks."""
    names = {_game_of(task): task for task, _ in now.signs}
    return {
        (names.get(_game_of(task), _game_of(task)), metric): sign for (task, metric), sign in signs.items()
    }


def _game_of(task: str) -> str:
    """``atari100k_<game>`` is the ``atari_<game>`` of other reports."""
    return task.replace("atari100k_", "atari_", 1) if task.startswith("atari100k_") else task


def _describe_missing(report: Report, now: Report) -> str:
    """What an earlier report does not have of what is compared; empty where it has all of it."""
    absent = [f"{metric} of {task}" for task, metric in sorted(now.signs.keys() - report.signs.keys())]
    return f"could be compared in part only: it has no {', '.join(absent)}" if absent else ""


def _read_cells(rows: Sequence[Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """((task, metric), result) of every row of ``tasks``.

    Raises:
        ValueError: a row cannot be read; with its index.
    """
    seen: set[str] = set()
    for i, row in enumerate(rows):
        task = value_at(row, "task_id")
        if not isinstance(task, str):
            raise ValueError(f"tasks[{i}] is no task with a task_id")
        if _game_of(task) in seen:
            raise ValueError(f"tasks[{i}] is {task!r} again")
        seen.add(_game_of(task))
        metrics = row.get("metrics")
        if not isinstance(metrics, Mapping) or not metrics:
            raise ValueError(f"tasks[{i}] ({task}) has no metrics")
        for name, result in metrics.items():
            if wrong := _explain_malformed_metric(result):
                raise ValueError(f"tasks[{i}] ({task}): metrics.{name} {wrong}")
            yield (task, name), result


def _explain_malformed_metric(result: Any) -> str:
    """Why a metric of a task cannot be read; empty where it can. Only what was not tested has no interval."""
    if not isinstance(result, Mapping):
        return "is no mapping"
    interval = result.get("ci90_effect")
    if interval is None:
        return "has no ci90_effect" if result.get("status", "ok") == "ok" else ""
    is_pair = isinstance(interval, list) and len(interval) == 2
    if not is_pair or not all(end is None or _is_number(end) for end in interval):
        return f"has ci90_effect {interval!r}, not two numbers"
    is_reversed = None not in interval and interval[0] > interval[1]
    return f"has ci90_effect {interval!r}, which ends before it begins" if is_reversed else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _sign_of(result: Mapping[str, Any]) -> int:
    low, high = result.get("ci90_effect") or (None, None)
    if low is not None and low > 0:
        return 1
    return -1 if high is not None and high < 0 else 0


def _tests_disagree(result: Mapping[str, Any]) -> bool:
    """Whether TOST, corrected as the suite says, and the Bayesian check disagree."""
    passed, agreed = result.get("pass"), value_at(result, "bayesian", "pass_all")
    return isinstance(passed, bool) and isinstance(agreed, bool) and agreed != passed


def _find_sign_flips(runs: Sequence[Report]) -> Iterator[SignFlip]:
    for key in sorted(set().union(*(r.signs for r in runs))):
        below = next((r.name for r in runs if r.signs.get(key) == -1), None)
        above = next((r.name for r in runs if r.signs.get(key) == 1), None)
        if below is not None and above is not None:
            yield SignFlip(*key, below, above)
