"""How long a run will take: what was recorded of runs like it, else what the suite allows it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ParityError
from ..suite.suite import BackendSide, Suite, Task
from .records import SUCCESS
from .store import Line, SuiteStore

# The newest files say most, and a full proof run's is some megabytes.
FILES_READ = 20
# adapter, task, device -> lines of its successes
History = Mapping[tuple[str, str, str], Sequence[Line]]


def read_durations(output: Path) -> History:
    """The successes of all runs below ``output`` by adapter, task and device, newest files first."""
    found: dict[tuple[str, str, str], list[Line]] = {}
    for path in _newest_files(output.glob("*/*/parity_runs.jsonl")):
        with suppress(ParityError):
            for line in SuiteStore(path.parent.parent, path.parent.name).read().lines:
                if line["status"] == SUCCESS and _line_seconds(line) is not None:
                    key = (str(line.get("adapter")), line["task_id"], str(line.get("device")))
                    found.setdefault(key, []).append(line)
    return found


def _newest_files(paths: Iterable[Path]) -> list[Path]:
    dated = []
    for path in paths:
        with suppress(OSError):
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)[:FILES_READ]]


def _line_seconds(line: Line) -> float | None:
    seconds: Any = line.get("duration_sec")
    # NaN is no JSON for us, but Python reads it; and True is no duration.
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return float(seconds) if number and 0 <= seconds < 1e9 else None


def run_seconds(suite: Suite, task: Task, system: str, device: str, recorded: History) -> float:
    """The median of what runs of this adapter and task took, of the same recipe where there are any.

    Where none is recorded: the deadline, less where other tasks of the suite have a larger budget.
    """
    side = suite.sides[system]
    assert isinstance(side, BackendSide)
    lines = recorded.get((side.adapter, task.id, device), ())
    asked = suite.recipe_terms.asked_of(system, task.recipe)
    same = [x for x in lines if x.get("recipe") == asked]
    seconds = [s for x in same or lines if (s := _line_seconds(x)) is not None]
    if seconds:
        return statistics.median(seconds)
    largest = max((t.budget.step for t in suite.tasks if t.budget), default=1)
    return task.deadline_sec * (task.budget.step / largest if task.budget else 1.0)
