"""A score table in memory, and the checks that every format shares."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ScoreTableError
from ...wire import CurvePoint
from .tasks import task_key

RETURN = "episode_return"
SUCCESS = "episode_success"
DUPLICATES = ("first", "last")

# Beyond this a score is a typing error, and the statistics would overflow (stats.arrays.LARGEST).
_LARGEST_SCORE = 1e50
_LARGEST_COUNT = 2**63 - 1


class ScoreRow(NamedTuple):
    """One score: ``step`` in environment frames, ``score`` the mean of one evaluation."""

    task: str
    seed: int
    step: int
    score: float
    metric: str = RETURN


@dataclass(frozen=True)
class ScoreTable:
    """The rows of one file or folder, sorted by (task, seed, metric, step), each step once.

    Attributes:
        path, format, sha256: where the rows come from; of a folder, the hash of its files' names
            and bytes.
        files: sha256 by name of the files of a folder; of a table that is one file, under the name "".
        provenance: what a ``canonical_json`` file says of itself, or the ``method`` of a DreamerV3 table.
        nulls: (task key, seed, metric) -> steps of the rows whose score is null, rising.
        merged: rows that repeat a (task, seed, step), by task.
        duplicates: which of two rows counted, "first" or "last"; None when no two may differ.
    """

    path: Path
    format: str
    sha256: str
    rows: tuple[ScoreRow, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    nulls: Mapping[tuple[str, int, str], tuple[int, ...]] = field(default_factory=dict)
    merged: Mapping[str, int] = field(default_factory=dict)
    duplicates: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def dropped_rows(self) -> int:
        """Null scores, which are no points of a curve."""
        return sum(map(len, self.nulls.values()))

    @property
    def merged_rows(self) -> int:
        """Rows that repeat the (task, seed, step) of another."""
        return sum(self.merged.values())

    @cached_property
    def curves(self) -> Mapping[tuple[str, int, str], tuple[CurvePoint, ...]]:
        """Curves by (task key, seed, metric), in order of step."""
        curves: dict[tuple[str, int, str], list[CurvePoint]] = {}
        for row in self.rows:
            curves.setdefault((task_key(row.task), row.seed, row.metric), []).append(
                CurvePoint(row.step, row.score)
            )
        return {key: tuple(points) for key, points in curves.items()}

    def curve(self, task: str, seed: int, metric: str = RETURN) -> tuple[CurvePoint, ...]:
        """The curve of a (task, seed), by any of the task's names; empty where there is none."""
        return self.curves.get((task_key(task), seed, metric), ())

    def tasks(self, metric: str = RETURN) -> tuple[str, ...]:
        """Names of the tasks with rows of ``metric``, as the file has them."""
        return tuple(dict.fromkeys(row.task for row in self.rows if row.metric == metric))

    def seeds(self, task: str, metric: str = RETURN) -> tuple[int, ...]:
        """Seeds of a task, by any of its names."""
        key = task_key(task)
        return tuple(sorted(s for t, s, m in self.curves if t == key and m == metric))


class RawRow(NamedTuple):
    """A row as a file has it: anything may stand in it. ``at`` says where, once asked for."""

    at: Any
    task: object
    seed: object
    step: object
    score: object
    metric: object = RETURN


class TableBuilder:
    """Checks raw rows and gathers them.

    Args:
        where: turns the ``at`` of a raw row into ``file: row`` text; only called for an error.
        duplicates: which row counts when two of one (task, seed, step) differ; None refuses them.
    """

    def __init__(self, path: Path, where: Callable[[Any], str], duplicates: str | None) -> None:
        if duplicates is not None and duplicates not in DUPLICATES:
            raise ScoreTableError(
                "not a rule for duplicates", where=str(path), valid=DUPLICATES, got=duplicates
            )
        self._path = path
        self._where = where
        self._duplicates = duplicates
        self._rows: dict[tuple[str, int, str, int], ScoreRow] = {}
        self._nulls: dict[tuple[str, int, str], list[int]] = {}
        self._merged: Counter[str] = Counter()

    def add(self, rows: Iterable[RawRow]) -> None:
        """Check and keep rows.

        Raises:
            ScoreTableError: names the file, the row and the field.
        """
        for raw in rows:
            row = self._checked(raw)
            if row is None:
                continue
            key = (task_key(row.task), row.seed, row.metric, row.step)
            earlier = self._rows.setdefault(key, row)
            if earlier is not row:
                self._repeat(key, earlier, row, raw.at)

    def table(
        self, format: str, sha256: str, provenance: Mapping[str, Any], files: Mapping[str, str] | None = None
    ) -> ScoreTable:
        """The table of all rows that were added.

        Args:
            files: those of a folder, as :attr:`ScoreTable.files` has them.

        Raises:
            ScoreTableError: there is none.
        """
        if not self._rows:
            raise ScoreTableError("the table holds no score", where=str(self._path))
        rows = tuple(self._rows[key] for key in sorted(self._rows))
        return ScoreTable(
            path=self._path,
            format=format,
            sha256=sha256,
            rows=rows,
            provenance=provenance,
            nulls={key: tuple(sorted(steps)) for key, steps in self._nulls.items()},
            merged=dict(self._merged),
            duplicates=self._duplicates,
            files=files or {"": sha256},
        )

    def _checked(self, raw: RawRow) -> ScoreRow | None:
        """The row, or None where its score is null, which is kept apart."""
        task, seed, step, score = raw.task, raw.seed, raw.step, raw.score
        if type(task) is not str or not task.isprintable() or not task.strip():
            raise self._refused(raw.at, "task", task, "not a name")
        if type(seed) is not int or not 0 <= seed <= _LARGEST_COUNT:
            raise self._refused(raw.at, "seed", seed, "not a non-negative integer")
        if type(step) is float and step.is_integer():
            step = int(step)
        if type(step) is not int or not 0 <= step <= _LARGEST_COUNT:
            raise self._refused(raw.at, "step", step, "not a whole, non-negative number of frames")
        if type(raw.metric) is not str or not raw.metric.isprintable() or not raw.metric.strip():
            raise self._refused(raw.at, "metric", raw.metric, "not a name")
        if score is None:
            self._nulls.setdefault((task_key(task), seed, raw.metric), []).append(step)
            return None
        # Exact types: true is no number. An integer may be too large for a float, so size comes first.
        if (type(score) is not float and type(score) is not int) or not abs(score) <= _LARGEST_SCORE:
            why = f"not a finite number of at most {_LARGEST_SCORE:g} in size"
            raise self._refused(raw.at, "score", score, why)
        return ScoreRow(task, seed, step, float(score), raw.metric)

    def _repeat(self, key: tuple[str, int, str, int], earlier: ScoreRow, row: ScoreRow, at: Any) -> None:
        self._merged[row.task] += 1
        if earlier.score != row.score and self._duplicates is None:
            raise ScoreTableError(
                f"a second score {row.score!r} for {row.task} seed {row.seed} step {row.step}, which has "
                f"{earlier.score!r}",
                where=self._where(at),
                mend="say which run counts with `duplicates: first` or `duplicates: last`",
            )
        if self._duplicates == "last":
            self._rows[key] = row

    def _refused(self, at: Any, name: str, value: object, why: str) -> ScoreTableError:
        if value is MISSING:
            return ScoreTableError(f"{name} is missing", where=self._where(at))
        return ScoreTableError(f"{name} is {shown(value)}, {why}", where=self._where(at), got=None)


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


def shown(value: object) -> str:
    """A value for an error line, cut at 60 characters."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
