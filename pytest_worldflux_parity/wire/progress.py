"""What a program says while it runs: heartbeats, and means over windows of steps."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import (
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Tuple,
)

from .documents import WireError


class Progress:
    """Heartbeats: one JSON line each in ``progress.jsonl``, at most one per ``every`` seconds."""

    def __init__(self, out_dir: str, total: int, every: float = 1.0) -> None:
        self._path = Path(out_dir) / "progress.jsonl"
        self._total = total
        self._every = every
        self._last = -math.inf

    def beat(self, step: int, force: bool = False, **numbers: float) -> None:
        """Record that ``step`` (frames) of ``total`` was reached, with any numbers beside it."""
        now = time.monotonic()
        if not force and now - self._last < self._every:
            return
        self._last = now
        line = {"time": time.time(), "step": step, "total": self._total}
        line.update({k: v for k, v in numbers.items() if math.isfinite(v)})
        with open(self._path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


class Windows:
    """Means of training statistics over named windows of updates (1-based, inclusive).

    A window that was not filled to its last update is left out, never averaged short.
    """

    def __init__(self, windows: Mapping[str, Iterable[int]]) -> None:
        self._bounds = {name: _bounds(name, pair) for name, pair in windows.items()}
        self._sums: Dict[str, Dict[str, float]] = {name: {} for name in self._bounds}

    def wants(self, update: int) -> bool:
        """Whether any window holds this update, so that others need not be read off the device."""
        return any(first <= update <= last for first, last in self._bounds.values())

    def add(self, update: int, numbers: Mapping[str, float]) -> None:
        """Add the statistics of one update."""
        for name, (first, last) in self._bounds.items():
            if first <= update <= last:
                sums = self._sums[name]
                sums["#"] = sums.get("#", 0) + 1
                for key, value in numbers.items():
                    sums[key] = sums.get(key, 0.0) + float(value)

    def means(self) -> Iterator[Tuple[str, float]]:
        """Pairs (``statistic.window``, mean) of the windows that are full."""
        for name, (first, last) in self._bounds.items():
            sums, wanted = self._sums[name], last - first + 1
            if sums.get("#") == wanted:
                yield from ((f"{k}.{name}", v / wanted) for k, v in sums.items() if k != "#")


def _bounds(name: str, pair: Iterable[int]) -> Tuple[int, int]:
    first, last = pair
    if not (isinstance(first, int) and isinstance(last, int) and 1 <= first <= last):
        raise WireError(f"windows.{name}: {[first, last]} is not [first, last] with 1 <= first <= last")
    return first, last
