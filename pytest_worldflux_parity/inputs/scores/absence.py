"""What a score table holds in place of the row that is asked of it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ...suite.suite import Task
from .table import ScoreTable
from .tasks import task_key

# Names and seeds that a message lists.
_MOST_LISTED = 6


def absence(table: ScoreTable, task: str) -> str:
    """That a table has no row of some (task, seed), what it has, and the nearest name."""
    seeds = _seeds_of_task(table, task)
    if seeds:
        return f"no row in {table.path.name}, which has {_list_some('seed', seeds)} of this task"
    held, nearest = _names_held(table), _nearest_task(table, task)
    more = f", the nearest {nearest}" if nearest and len(held) > _MOST_LISTED else ""
    return f"no row in {table.path.name}, which has no task {task} but {_list_some('task', held)}{more}"


def mend_absence(table: ScoreTable, task: Task, system: str) -> str:
    """What brings the row."""
    name = task.name_in(system)
    if _seeds_of_task(table, name):
        return "complete the table, or name the seeds that it holds in the suite"
    nearest = _spelt_otherwise(table, name) or "its name there"
    return f"complete the table, or name the task as it does: `names: {{{system}: {nearest}}}` beside its id"


def _names_held(table: ScoreTable) -> list[str]:
    return sorted({name for name, _, _ in (*table.points, *table.nulls)})


def _nearest_task(table: ScoreTable, task: str) -> str:
    """The table's task whose letters look most like another's."""
    plain = {_letters(name): name for name in _names_held(table)}
    close = difflib.get_close_matches(_letters(task), plain, n=1)
    return plain[close[0]] if close else ""


def _spelt_otherwise(table: ScoreTable, task: str) -> str:
    """The one task of the same letters, but for a benchmark's name before them; the rest are other tasks."""
    own = _letters(task)
    same = [name for name in _names_held(table) if (it := _letters(name)).endswith(own) or own.endswith(it)]
    return same[0] if len(same) == 1 and own else ""


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _seeds_of_task(table: ScoreTable, task: str) -> list[int]:
    key = task_key(task)
    return sorted({seed for name, seed, _ in (*table.points, *table.nulls) if name == key})


def _list_some(what: str, values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:_MOST_LISTED]))
    more = f" and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else ""
    return f"{what}{'s' if len(values) > 1 else ''} {shown}{more}"
