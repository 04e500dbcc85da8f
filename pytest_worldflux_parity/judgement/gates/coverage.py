"""Coverage: everything that the suite expects is there, at the same training budget."""

from __future__ import annotations

from collections.abc import Sequence

from ...suite.suite import Suite
from ..stats.measurements import UNDECIDED_REASONS, Missing, Observed
from . import Finding

BUDGET_GAP = 0.10


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
