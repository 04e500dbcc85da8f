"""A score table in memory: the points of each (task, seed, metric), columnar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

from ...errors import ScoreTableError
from ...wire import CurvePoint
from .tasks import task_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RETURN = "episode_return"
SUCCESS = "episode_success"

_LARGEST_STEP = 2**63 - 1

# Task key, seed, metric.
CurveKey: TypeAlias = tuple[str, int, str]


class ScoreRow(NamedTuple):
    """One score: ``step`` in environment frames, ``score`` the mean of one evaluation."""

    task: str
    seed: int
    step: int
    score: float
    metric: str = RETURN


@dataclass(frozen=True, eq=False)
class TablePoints(Sequence[CurvePoint]):
    """One curve in order of step: arrays, of which points are made as they are asked for.

    Attributes:
        task: the name that the file has.
        steps, scores: int64 and float64, of shape (points,).
    """

    task: str
    steps: NDArray[np.int64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[CurvePoint]:
        return map(CurvePoint, self.steps.tolist(), self.scores.tolist())

    @overload
    def __getitem__(self, at: int) -> CurvePoint: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[CurvePoint, ...]: ...
    def __getitem__(self, at: int | slice) -> CurvePoint | tuple[CurvePoint, ...]:
        if isinstance(at, slice):
            return tuple(TablePoints(self.task, self.steps[at], self.scores[at]))
        return CurvePoint(int(self.steps[at]), float(self.scores[at]))


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The scores of one file or folder, each step of a curve once.

    Attributes:
        path, format, sha256: where the scores come from; of a folder, the hash of its files' names
            and bytes.
        files: sha256 by name of the files of a folder; of a table that is one file, under the name "".
        points: by (task key, seed, metric), sorted.
        provenance: what a ``canonical_json`` file says of itself, or the ``method`` of a DreamerV3 table.
        nulls: (task key, seed, metric) -> steps of the rows whose score is null, rising.
        merged: rows that repeat another with the same score, by task.
        left_out: rows of the runs that do not count, by task.
        mixed: rows of earlier runs that stand in one curve with those of later ones, by task: the rule
            ``last_point`` alone lets them.
        duplicates: which of two runs counts, a value of ``builder.DUPLICATES``; None when there may not
            be two.
    """

    path: Path
    format: str
    sha256: str
    points: Mapping[CurveKey, TablePoints]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    nulls: Mapping[CurveKey, tuple[int, ...]] = field(default_factory=dict)
    merged: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    mixed: Mapping[str, int] = field(default_factory=dict)
    duplicates: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of scores."""
        return sum(map(len, self.points.values()))

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """Scores one by one, sorted by (task key, seed, metric, step); made anew at each call."""
        return tuple(
            ScoreRow(points.task, seed, step, score, metric)
            for (_, seed, metric), points in self.points.items()
            for step, score in points
        )

    @property
    def dropped_rows(self) -> int:
        """Null scores, which are no points of a curve."""
        return sum(map(len, self.nulls.values()))

    @property
    def merged_rows(self) -> int:
        """Rows that are no points of a curve because of another with their (task, seed)."""
        return sum(self.merged.values()) + sum(self.left_out.values())

    def in_frames(self, frames_per_step: int) -> ScoreTable:
        """The table with its steps, of so many frames each, as frames.

        Raises:
            ScoreTableError: they would be more than a number of frames can be.
        """
        if frames_per_step == 1:
            return self
        last = max([int(p.steps[-1]) for p in self.points.values()], default=0)
        last = max([last, *(steps[-1] for steps in self.nulls.values() if steps)])
        if last > _LARGEST_STEP // frames_per_step:
            what = f"step {last} of {frames_per_step} frames is no number of frames"
            raise ScoreTableError(what, where=str(self.path))
        return replace(
            self,
            points={k: replace(p, steps=p.steps * frames_per_step) for k, p in self.points.items()},
            nulls={k: tuple(s * frames_per_step for s in steps) for k, steps in self.nulls.items()},
        )

    def curve(self, task: str, seed: int, metric: str = RETURN) -> tuple[CurvePoint, ...]:
        """The curve of a (task, seed), by any of the task's names; empty where there is none."""
        return tuple(self.points.get((task_key(task), seed, metric), ()))

    def tasks(self, metric: str = RETURN) -> tuple[str, ...]:
        """Names of the tasks with scores of ``metric``, as the file has them."""
        return tuple(dict.fromkeys(p.task for (_, _, m), p in self.points.items() if m == metric))

    def seeds(self, task: str, metric: str = RETURN) -> tuple[int, ...]:
        """Seeds of a task, by any of its names."""
        key = task_key(task)
        return tuple(sorted(s for t, s, m in self.points if t == key and m == metric))
