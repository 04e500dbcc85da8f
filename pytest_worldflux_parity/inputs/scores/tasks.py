"""One task, several names: how score tables and suites agree on what a task is called."""

from __future__ import annotations

import re
import unicodedata

_ATARI100K = "atari100k_"
# Columns that say whose rows these are: ``agent``, ``env_id``, ``Task Name``.
_OF_TASK = "task|env|environment|game"
_OF_AGENT = "agent|method|algo|algorithm|model|policy|variant|ablation|config|exp|experiment"
# And which of their numbers: a melted table has a row of each, and pandas calls that column ``variable``.
_OF_METRIC = "metric|variable|mode|split|phase|tag"
# And of which run: tables of several seeds have several, and a task and seed has one.
_OF_RUN = "run|group|name|key"


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
    return _is_named_as(_OF_TASK, column)


def names_kind(column: str) -> bool:
    """Whether a column of this name says whose scores its rows are, or of what: those of two are no curve."""
    return _is_named_as(_OF_AGENT, column) or names_metric(column)


def names_metric(column: str) -> bool:
    """Whether a column of this name says of which measurement its rows are."""
    return _is_named_as(_OF_METRIC, column)


def names_run(column: str) -> bool:
    """Whether a column of this name says of which run its rows are."""
    return _is_named_as(_OF_RUN, column)


def _is_named_as(words: str, column: str) -> bool:
    return bool(re.fullmatch(f"({words})(_?(name|id|key))?", re.sub(r"\W", "_", column), re.IGNORECASE))
