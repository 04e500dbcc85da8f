"""One task, several names: how score tables and suites agree on what a task is called."""

from __future__ import annotations

import re
import unicodedata

_ATARI100K = "atari100k_"
# Columns that say whose rows these are: ``agent``, ``env_id``, ``Task Name``.
_OF_TASK = "task|env|environment|game"
_OF_AGENT = "agent|method|algo|algorithm|model|policy|variant|ablation|config|exp|experiment"


def task_key(task: str) -> str:
    """The name that tasks are matched by: ``atari100k_<game>`` becomes ``atari_<game>``.

    Proof suites say the former where the published tables and quick suites say the latter. One sign of
    Unicode in its several forms is one, as file systems have it. Tables keep the name that their file has;
    only lookups go through this function.
    """
    task = unicodedata.normalize("NFC", task)
    return f"atari_{task[len(_ATARI100K) :]}" if task.startswith(_ATARI100K) else task


def names_task(column: str) -> bool:
    """Whether a column of this name says which task its rows are of."""
    return _names(_OF_TASK, column)


def names_agent(column: str) -> bool:
    """Whether a column of this name says whose scores its rows are: those of two are of no one program."""
    return _names(_OF_AGENT, column)


def _names(words: str, column: str) -> bool:
    return bool(re.fullmatch(f"({words})(_?(name|id|key))?", re.sub(r"\W", "_", column), re.IGNORECASE))
