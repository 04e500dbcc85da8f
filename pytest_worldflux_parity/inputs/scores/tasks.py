"""One task, several names: how score tables and suites agree on what a task is called."""

from __future__ import annotations

import unicodedata

_ATARI100K = "atari100k_"


def task_key(task: str) -> str:
    """The name that tasks are matched by: ``atari100k_<game>`` becomes ``atari_<game>``.

    Proof suites say the former where the published tables and quick suites say the latter. One sign of
    Unicode in its several forms is one, as file systems have it. Tables keep the name that their file has;
    only lookups go through this function.
    """
    task = unicodedata.normalize("NFC", task)
    return f"atari_{task[len(_ATARI100K) :]}" if task.startswith(_ATARI100K) else task
