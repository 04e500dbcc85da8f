"""What a run's records say that there is, and is not there: files that were left out of a bundle."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from ..execution.records import REUSED_FOLDER
from .log import Attempts, LogSummary
from .members import RUN

_ATTEMPT_NUMBER = re.compile(r"attempt_(\d{1,4})")


def find_gaps(log: LogSummary, names: Collection[str], attempts: Iterable[str]) -> Iterator[str]:
    """What is missing of the attempts of a suite, a sentence each.

    A success names its ``metrics.json``. Attempts at a run are counted from 1 on, so an attempt of which
    neither a line nor a file is there, and which a later one followed, was taken away.

    Args:
        names: of all files of attempts, by their path within the run directory.
        attempts: paths of their folders within the run directory.
    """
    yield from (f"{RUN}{path} is missing, and a record names it" for path in log.metrics if path not in names)
    found = {key: set(numbers) for key, numbers in log.attempts.items()}
    _add_folders(found, attempts)
    for (task, seed, system), numbers in sorted(found.items()):
        for number in sorted(set(range(1, max(numbers))) - numbers):
            yield f"attempt {number} at {system} {task} {seed} is missing, and a later one is there"


def _add_folders(found: Attempts, attempts: Iterable[str]) -> None:
    for path in attempts:
        if path.split("/")[1] == REUSED_FOLDER:
            continue
        task, seed, system, name = path.split("/")[-4:]
        if match := _ATTEMPT_NUMBER.fullmatch(name):
            found.setdefault((task, seed, system), set()).add(int(match[1]))
