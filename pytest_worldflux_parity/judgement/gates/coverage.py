"""Coverage: everything that the suite expects is there, at the same training budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...suite.suite import MOST_TOLERANCE, SYSTEMS, Budget, Suite, Task
from ..stats.measurements import UNDECIDED_REASONS, Observed
from . import Finding

# Shares of the later step by which two sides may be apart. Of published tables the furthest pair is 18.4 %
# apart (Up n Down of DreamerV3 and PPO at 400,000 frames), the furthest means of a task 9.1 %.
BUDGET_GAP = 0.10
FAR_APART = 0.25


@dataclass(frozen=True)
class StepsApart:
    """A pair whose two sides stand at different steps (frames); ``budget``: None where the task has none."""

    task_id: str
    seed: int
    official: int
    worldflux: int
    budget: Budget | None

    @property
    def share(self) -> float:
        """How far apart they are, as a share of the later step."""
        return share_apart(self.official, self.worldflux)

    @property
    def is_told(self) -> bool:
        """Whether a reader should know: further than latest points, or points within a tolerance, may be."""
        return self.share > max(BUDGET_GAP, self.budget.tolerance if self.budget else 0.0)

    def line(self) -> str:
        """Which pair, and both steps."""
        steps = f"official at {self.official} frames, worldflux at {self.worldflux}"
        return f"{self.task_id} seed {self.seed}: {steps}"


def coverage(observed: Observed, expected_count: int) -> list[Finding]:
    """Findings for everything expected that a program or a table failed to deliver.

    Pairs that nobody ran (deselected, interrupted) are not findings: they leave the verdict open.
    A suite that expects nothing is a finding, since a gate with nothing to look at must not hold.
    """
    if expected_count == 0:
        return [Finding("nothing_expected", "the suite and its tables name no (task, seed) at all")]
    return [
        Finding(missing.reason, missing.detail or "no result", missing.task_id, missing.seed, missing.system)
        for missing in observed.missing
        if missing.reason not in UNDECIDED_REASONS
    ]


def empty_tasks(suite: Suite, expected: Sequence[tuple[str, int, str]]) -> list[Finding]:
    """Findings for tasks for which no seed is expected, as when no table of an older suite has them."""
    present = {task_id for task_id, _, _ in expected}
    return [
        Finding("task_missing", "neither table has a seed of this task", task.id)
        for task in suite.tasks
        if task.id not in present
    ]


def share_apart(one: float, other: float) -> float:
    """How far apart two steps are, as a share of the later one; 0 where both are 0."""
    return abs(one - other) / max(one, other, 1)


def steps_apart(suite: Suite, observed: Observed) -> list[StepsApart]:
    """Every pair whose two sides stand at different steps."""
    return [
        StepsApart(task.id, seed, official[seed], worldflux[seed], task.budget)
        for task in suite.tasks
        for official, worldflux in [_steps_of(suite, observed, task)]
        for seed in sorted(official.keys() & worldflux.keys())
        if official[seed] != worldflux[seed]
    ]


def apart_warnings(gaps: Sequence[StepsApart]) -> Iterator[str]:
    """What a reader should know of pairs that are far apart; documents have each of them."""
    heads = {
        False: f"latest is compared with latest, at steps more than {BUDGET_GAP * 100:.0f} % apart",
        True: "the sides are compared at steps further apart than the tolerance lets one be from the budget",
    }
    for has_budget, head in heads.items():
        told = [g for g in gaps if g.is_told and (g.budget is not None) is has_budget]
        if told:
            yield f"{head}: {told[0].line()}{f' and {len(told) - 1} more' if len(told) > 1 else ''}"


def apart_findings(suite: Suite, observed: Observed) -> Iterator[Finding]:
    """Why a claim cannot rest on these steps: one side was trained longer.

    Single pairs of honest programs end where their episodes do, so they may be further apart than the means
    of a task, which a longer training moves.
    """
    for task in suite.tasks:
        sides = _steps_of(suite, observed, task)
        limit = task.budget.tolerance if task.budget else MOST_TOLERANCE
        if not all(sides):
            continue
        official, worldflux = (sum(side.values()) / len(side) for side in sides)
        if share_apart(official, worldflux) > limit:
            what = f"official at {official:.0f} frames on average, worldflux at {worldflux:.0f}"
            yield Finding("steps_apart", f"{what}: more than {limit:.0%} apart", task.id)
    for gap in steps_apart(suite, observed):
        if gap.share > FAR_APART:
            yield Finding(
                "steps_apart", f"{gap.line()}: more than {FAR_APART:.0%} apart", gap.task_id, gap.seed
            )


def describe_tolerated(suite: Suite, observed: Observed) -> str:
    """The results that stand elsewhere than at their budget, and the tolerance that let them; or nothing."""
    steps = [
        (abs(step - budget.step) / budget.step, f"{system} {task.id} seed {seed}, at {step}", budget)
        for task in suite.tasks
        if (budget := task.budget) is not None
        for system, side in zip(SYSTEMS, _steps_of(suite, observed, task), strict=True)
        for seed, step in side.items()
    ]
    elsewhere = sum(share > 0 for share, _, _ in steps)
    if not elsewhere:
        return ""
    _, where, budget = max(steps, key=lambda s: s[0])
    return (
        f"{elsewhere} of {len(steps)} results stand before or after their budget, within its tolerance; "
        f"furthest {where} of {budget.step} frames (tolerance {budget.tolerance:.0%})"
    )


def _steps_of(suite: Suite, observed: Observed, task: Task) -> tuple[dict[int, int], dict[int, int]]:
    """Seed -> step of each side of a task, by the first of its metrics that has steps."""
    for metric in suite.metrics_of(task.id):
        sides = [observed.values.get((system, metric.name, task.id), {}) for system in SYSTEMS]
        steps = [{seed: v.step for seed, v in side.items() if v.step is not None} for side in sides]
        if any(steps):
            return steps[0], steps[1]
    return {}, {}
