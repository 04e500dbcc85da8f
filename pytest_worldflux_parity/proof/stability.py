"""Does the verdict hold from run to run? Earlier equivalence reports and this one, side by side.

A sign flip is an effect below zero in one run and above it in another, both intervals excluding zero. It is
looked for in the effect itself: the sign of a ratio never flips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
        not_compared: earlier reports of another suite, or without a readable verdict, and why.
    """

    status: StabilityStatus
    current: Report
    history: tuple[Report, ...]
    verdict_flips: tuple[tuple[str, str], ...]
    sign_flips: tuple[SignFlip, ...]
    not_compared: Mapping[str, str]

    @property
    def mode(self) -> str:
        return "multi_run" if self.history else "single_run"


def read_report(document: Mapping[str, Any], name: str) -> Report | str:
    """What an equivalence report says, ours or of the earlier system; a sentence where it says nothing."""
    summary = document.get("global")
    if not isinstance(summary, Mapping) or not isinstance(summary.get("parity_pass_final"), bool):
        return "no global.parity_pass_final in it"
    rows = document.get("tasks")
    if not isinstance(rows, list):
        return "no tasks in it"
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
    return Stability(status, now, earlier, flips, signs, left_out)


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


def _cells(rows: Sequence[Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get("metrics"), Mapping):
            continue
        for metric, result in row["metrics"].items():
            if isinstance(result, Mapping):
                yield (str(row.get("task_id")), str(metric)), result


def _sign(result: Mapping[str, Any]) -> int:
    interval = result.get("ci90_effect")
    if not isinstance(interval, Sequence) or len(interval) != 2:
        return 0
    low, high = interval
    if isinstance(low, (int, float)) and low > 0:
        return 1
    return -1 if isinstance(high, (int, float)) and high < 0 else 0


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
