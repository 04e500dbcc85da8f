"""Coverage: everything that the suite expects is there, at the same training budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...suite.suite import SYSTEMS, Suite
from ..stats.measurements import UNDECIDED_REASONS, Missing, Observed
from . import Finding

BUDGET_GAP = 0.10
# Between the middle steps of a task's two sides: official runs of one game end up to 17 % apart, and any two
# parts of the published seeds up to 14 %.
FRAMES_GAP = 0.25


def coverage(observed: Observed, expected_count: int) -> list[Finding]:
    """Findings for everything expected that a program or a table failed to deliver.

    Pairs that nobody ran (deselected, interrupted) are not findings: they leave the verdict open.
    A suite that expects nothing is a finding, since a gate with nothing to look at must not hold.
    """
    if expected_count == 0:
        return [Finding("nothing_expected", "the suite and its tables name no (task, seed) at all")]
    return [_finding(m) for m in observed.missing if m.reason not in UNDECIDED_REASONS]


def _finding(missing: Missing) -> Finding:
    detail = missing.detail or "no result"
    return Finding(missing.reason, detail, missing.task_id, missing.seed, missing.system)


def empty_tasks(suite: Suite, expected: Sequence[tuple[str, int, str]]) -> list[Finding]:
    """Findings for tasks for which no seed is expected, as when no table of an older suite has them."""
    present = {task_id for task_id, _, _ in expected}
    return [
        Finding("task_missing", "neither table has a seed of this task", task.id)
        for task in suite.tasks
        if task.id not in present
    ]


def budget_gaps(suite: Suite, observed: Observed) -> list[str]:
    """Sentences about pairs whose two steps differ by more than 10 %, for suites that name no budget."""
    gaps = []
    for task in suite.tasks:
        if task.budget is not None:
            continue
        sides = [observed.values.get((s, suite.primary.name, task.id), {}) for s in ("official", "worldflux")]
        for seed in sorted(set(sides[0]) & set(sides[1])):
            steps = [side[seed].step or 0 for side in sides]
            if abs(steps[0] - steps[1]) > BUDGET_GAP * max(steps):
                gaps.append(f"{task.id} seed {seed}: official at {steps[0]} frames, worldflux at {steps[1]}")
    return gaps


def frames_apart(suite: Suite, observed: Observed) -> list[str]:
    """Sentences about tasks whose two sides end more than 25 % apart, for suites that name no budget.

    Unlike :func:`budget_gaps` it asks for no shared seeds: the middle of each side's latest steps counts.
    """
    found = []
    for task in suite.tasks:
        sides = [observed.values.get((s, suite.primary.name, task.id), {}) for s in SYSTEMS]
        if task.budget is not None or not all(sides):
            continue
        official, worldflux = (_middle(value.step or 0 for value in side.values()) for side in sides)
        if abs(official - worldflux) > FRAMES_GAP * max(official, worldflux):
            found.append(f"{task.id}: official at {official:.0f} frames, worldflux at {worldflux:.0f}")
    return found


def _middle(steps: Iterable[int]) -> float:
    ordered = sorted(steps)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
