"""What a program says while it runs: heartbeats, and means over windows of steps."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Tuple,
)

from .documents import LARGEST_NUMBER, WireError, one_line, to_number


class Progress:
    """Heartbeats: one JSON line each in ``progress.jsonl``, at most one per ``every`` seconds."""

    def __init__(self, out_dir: str, total: int, every: float = 1.0) -> None:
        self._path = Path(out_dir) / "progress.jsonl"
        self._total = total
        self._every = every
        self._last = -math.inf

    def beat(self, step: int, force: bool = False, **numbers: float) -> None:
        """Record that ``step`` (frames) of ``total`` was reached, with any numbers beside it.

        Nothing is raised: what is no finite number is left out, and so is a line that no disk has room for.
        """
        now = time.monotonic()
        if not force and now - self._last < self._every:
            return
        self._last = now
        said = {"time": time.time(), "step": step, "total": self._total, **numbers}
        line = {key: found for key, value in said.items() if _is_finite(found := to_number(value))}
        with suppress(OSError), open(self._path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= LARGEST_NUMBER


class Windows:
    """Means of training statistics over named windows of updates (1-based, inclusive).

    A statistic that some update of a window is without is left out of it, never averaged short.
    """

    def __init__(self, windows: Mapping[str, Iterable[int]]) -> None:
        self._bounds = {name: _check_bounds(name, pair) for name, pair in windows.items()}
        self._sums: Dict[str, Dict[str, float]] = {name: {} for name in self._bounds}

    def wants(self, update: int) -> bool:
        """Whether any window holds this update, so that others need not be read off the device."""
        return any(first <= update <= last for first, last in self._bounds.values())

    def add(self, update: int, numbers: Mapping[str, float]) -> None:
        """Add the statistics of one update.

        Raises:
            WireError: one of them is no number.
        """
        for name, (first, last) in self._bounds.items():
            if first <= update <= last:
                sums = self._sums[name]
                own = {
                    k: sums.get(k, 0.0) + _to_float(k, v) for k, v in numbers.items() if k in sums or not sums
                }
                self._sums[name] = {**own, "#": sums.get("#", 0) + 1}

    def bounds(self) -> Dict[str, List[int]]:
        """First and last update of each window."""
        return {name: list(pair) for name, pair in self._bounds.items()}

    def snapshot(self) -> Dict[str, Dict[str, float]]:
        """The sums so far, by window and statistic: what a checkpoint holds."""
        return {name: dict(sums) for name, sums in self._sums.items()}

    def restore(self, snapshot: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from ``snapshot``."""
        self._sums = {name: dict(sums) for name, sums in snapshot.items()}

    def means(self) -> Iterator[Tuple[str, float]]:
        """Pairs (``statistic.window``, mean) of the windows that are full."""
        for name, (first, last) in self._bounds.items():
            sums, wanted = self._sums[name], last - first + 1
            if sums.get("#") == wanted:
                yield from ((f"{k}.{name}", v / wanted) for k, v in sums.items() if k != "#")


def _to_float(key: str, value: Any) -> float:
    found = to_number(value)
    if not isinstance(found, (int, float)):
        raise WireError(f"the statistic {key!r} is {one_line(repr(value))}, not a number")
    return float(found)


def _check_bounds(name: str, pair: Iterable[int]) -> Tuple[int, int]:
    first, last = pair
    if not (isinstance(first, int) and isinstance(last, int) and 1 <= first <= last):
        raise WireError(f"windows.{name}: {[first, last]} is not [first, last] with 1 <= first <= last")
    return first, last
