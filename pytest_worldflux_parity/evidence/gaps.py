"""What a run's records say that there is, and is not there: files that were left out of a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ..store import safe_name
from .members import RUN

# Attempts at one run; a forged number must not make the check count for hours.
_MOST = 9999

Attempts = dict[tuple[str, str, str], set[int]]


def gaps(lines: bytes, names: Collection[str], suite_id: str) -> Iterator[str]:
    """What is missing of the attempts of a suite, a sentence each.

    A success names its ``metrics.json``. Attempts at a run are counted from 1 on, so an attempt of which
    neither a line nor a file is there, and which a later one followed, was taken away.

    Args:
        lines: of ``parity_runs.jsonl``. names: of all members.
    """
    parsed = list(_objects(lines))
    for line in parsed:
        artifacts = line.get("artifacts")
        path = artifacts.get("metrics") if isinstance(artifacts, dict) else None
        if isinstance(path, str) and f"{RUN}{path}" not in names:
            yield f"{RUN}{path} is missing, and a record names it"
    found = _attempts(parsed, names, suite_id)
    for (task, seed, system), attempts in sorted(found.items()):
        for number in sorted(set(range(1, max(attempts))) - attempts):
            yield f"attempt {number} at {system} {task} {seed} is missing, and a later one is there"


def _objects(lines: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects; the gates see to the others."""
    for raw in lines.split(b"\n"):
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def _attempts(lines: Iterable[dict[str, Any]], names: Iterable[str], suite_id: str) -> Attempts:
    """(task, seed, system), as folders name them -> the attempts that a line or a file knows of."""
    found: Attempts = {}
    for line in lines:
        key = (safe_name(str(line.get("task_id"))), f"seed_{line.get('seed')}", str(line.get("system")))
        attempt = line.get("attempt")
        if type(attempt) is int and 1 <= attempt <= _MOST:
            found.setdefault(key, set()).add(attempt)
    below = re.escape(f"{RUN}{suite_id}/executions/")
    pattern = re.compile(below + r"([^/]+)/([^/]+)/([^/]+)/attempt_(\d{1,4})/")
    for name in names:
        if match := pattern.match(name):
            found.setdefault((match[1], match[2], match[3]), set()).add(int(match[4]))
    return found
