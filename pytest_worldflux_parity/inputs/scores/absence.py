"""What a score table holds in place of the row that is asked of it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from .table import ScoreTable
from .tasks import task_key

# Names and seeds that a message lists.
_SHOWN = 6


def absence(table: ScoreTable, task: str) -> str:
    """That a table has no row of some (task, seed), what it has, and the nearest name."""
    seeds = _seeds(table, task)
    if seeds:
        return f"no row in {table.path.name}, which has {_listed('seed', seeds)} of this task"
    held = sorted({name for name, _, _ in (*table.points, *table.nulls)})
    nearest = difflib.get_close_matches(task, held, n=1)
    more = f", the nearest {nearest[0]}" if nearest and len(held) > _SHOWN else ""
    return f"no row in {table.path.name}, which has not this task but {_listed('task', held)}{more}"


def mend_absence(table: ScoreTable, task: str) -> str:
    """What brings the row."""
    if _seeds(table, task):
        return "complete the table, or name the seeds that it holds in the suite"
    return "name the task in the suite as the table does, or complete the table"


def _seeds(table: ScoreTable, task: str) -> list[int]:
    key = task_key(task)
    return sorted({seed for name, seed, _ in (*table.points, *table.nulls) if name == key})


def _listed(what: str, values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:_SHOWN]))
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"{what}{'s' if len(values) > 1 else ''} {shown}{more}"
