"""Columns of any number of files -> a score table: sorted by step, and one run a (task, seed, metric)."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import ScoreTableError
from .columns import CheckedColumns, Columns, check_columns
from .table import CurveKey, ScoreTable, TablePoints
from .tasks import task_key

# Which of two runs of one (task, seed, metric) counts. By "one_run" there is only one, in whatever order its
# rows stand. By "last_point", which is the rule of the earlier system, the last row of a step counts,
# whatever run it is of.
DUPLICATES = ("first", "last", "one_run", "last_point")
_HINT_APART = "put the rows of each run together, or each run in a file of its own"

_Ints: TypeAlias = NDArray[np.int64]
_Floats: TypeAlias = NDArray[np.float64]
_Bools: TypeAlias = NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)
_Name = TypeVar("_Name", str, tuple[int, int])


class TableBuilder:
    """Gathers columns, and makes the table of them.

    Args:
        duplicates: one of ``DUPLICATES``; None refuses two runs that differ.
    """

    def __init__(self, path: Path, duplicates: str | None) -> None:
        if duplicates is not None and duplicates not in DUPLICATES:
            raise ScoreTableError(
                "not a rule for duplicates", where=str(path), valid=DUPLICATES, got=duplicates
            )
        self._path = path
        self._duplicates = duplicates
        self._blocks: list[_Block] = []

    def add(self, columns: Columns) -> None:
        """Check and keep rows.

        Raises:
            ScoreTableError: names the file, the row and the field.
        """
        if len(columns):
            self._blocks.append(_Block(check_columns(columns), columns.where, columns.is_run))

    def table(self, format: str, files: Mapping[str, str], provenance: Mapping[str, Any]) -> ScoreTable:
        """The table of all rows that were added.

        Args:
            files: that were read, as :attr:`ScoreTable.files` has them.

        Raises:
            ScoreTableError: there is no score, or two scores contradict each other.
        """
        points: dict[CurveKey, TablePoints] = {}
        nulls: dict[CurveKey, tuple[int, ...]] = {}
        if not self._blocks:
            raise self._empty()
        chooser = _Chooser(_SortedRows(self._blocks), self._duplicates)
        for key, task, steps, scores in chooser.curves():
            null = np.isnan(scores)
            if null.any():
                nulls[key] = tuple(steps[null].tolist())
                steps, scores = steps[~null], scores[~null]
            if len(steps):
                points[key] = TablePoints(task, steps, scores)
        if not points:
            raise self._empty()
        return ScoreTable(
            path=self._path,
            format=format,
            sha256=_sha256_of(files),
            points=points,
            provenance=provenance,
            nulls=nulls,
            merged=+chooser.merged,
            left_out=+chooser.left_out,
            mixed=+chooser.mixed,
            duplicates=self._duplicates,
            files=files,
        )

    def _empty(self) -> ScoreTableError:
        return ScoreTableError("the table holds no score", where=str(self._path))


class _Block(NamedTuple):
    checked: CheckedColumns
    where: Callable[[int], str]
    is_run: bool


class _SortedRows:
    """All rows in the order of the files, and their order by (task, seed, metric, step).

    Attributes:
        names: task key -> the first name that the files have for it.
        task, metric: places in ``tasks`` (sorted task keys) and ``metrics``.
        source: the number of the block and of the task's spelling in it: rows of two are of two runs.
        curves: the sources whose rows are one run, in any order.
        order: rows sorted, shape (rows,); rows of one step stay in the order of the files.
        starts: where in ``order`` each (task, seed, metric) begins, and at the end the number of rows.
    """

    def __init__(self, blocks: list[_Block]) -> None:
        self._blocks = blocks
        own = [block.checked for block in blocks]
        self.names = {task_key(name): name for c in reversed(own) for name in reversed(c.tasks)}
        self.tasks = sorted(self.names)
        self.metrics = sorted({name for c in own for name in c.metrics})
        self.task = _join_arrays([_codes_among(self.tasks, map(task_key, c.tasks), c.task) for c in own])
        self.metric = _join_arrays([_codes_among(self.metrics, c.metrics, c.metric) for c in own])
        self.seed = _join_arrays([c.seed for c in own])
        self.step = _join_arrays([c.step for c in own])
        self.score = _join_arrays([c.score for c in own])
        each = [[(i, code) for code in range(len(c.tasks))] for i, c in enumerate(own)]
        spellings = [spelling for spellings in each for spelling in spellings]
        self.source = _join_arrays(
            [_codes_among(spellings, s, c.task) for s, c in zip(each, own, strict=True)]
        )
        self.curves = {place for place, (i, _) in enumerate(spellings) if blocks[i].is_run}
        # What is the same in all rows takes no memory and sorts nothing.
        keys = [column for column in (self.metric, self.seed, self.task) if column.strides != (0,)]
        self.order = np.lexsort([self.step, *keys])
        new = np.zeros(len(self.order) - 1, bool)
        for column in keys:
            new |= _mark_changes(column[self.order])
        self.starts = np.concatenate([[0], np.flatnonzero(new) + 1, [len(self.order)]])

    def where(self, row: int) -> str:
        """``file: row`` text."""
        ends = np.cumsum([len(block.checked.step) for block in self._blocks])
        place = int(np.searchsorted(ends, row, "right"))
        block = self._blocks[place]
        return block.where(int(row - ends[place] + len(block.checked.step)))

    def key(self, row: int) -> CurveKey:
        """(task key, seed, metric)."""
        return self.tasks[self.task[row]], int(self.seed[row]), self.metrics[self.metric[row]]

    def repeated(self) -> set[int]:
        """Places in ``starts`` of those that have a step twice, rows of two sources, or a step that falls."""
        again = ~_mark_changes(self.step[self.order]) | _mark_changes(self.source[self.order])
        again |= self.order[1:] < self.order[:-1]
        again[self.starts[1:-1] - 1] = False
        return set((np.searchsorted(self.starts, np.flatnonzero(again), "right") - 1).tolist())


class _Chooser:
    """Chooses the rows that count of each (task, seed, metric), and counts the others.

    Attributes:
        merged, left_out, mixed: as :class:`ScoreTable` has them.
    """

    def __init__(self, rows: _SortedRows, duplicates: str | None) -> None:
        self._rows = rows
        self._duplicates = duplicates
        self.merged: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()

    def curves(self) -> Iterator[tuple[CurveKey, str, _Ints, _Floats]]:
        """(Task key, seed, metric), the task's name, steps rising, and scores with NaN for null."""
        rows = self._rows
        repeated = rows.repeated()
        for place, (start, end) in enumerate(pairwise(rows.starts.tolist())):
            own = rows.order[start:end]
            key = rows.key(own[0])
            task = rows.names[key[0]]
            if place in repeated:
                own = self._chosen(own, task)
            yield key, task, rows.step[own], rows.score[own]

    def _chosen(self, own: _Ints, task: str) -> _Ints:
        """Of the rows of one (task, seed, metric), in order of step, those that count."""
        run = self._runs(own)
        if self._duplicates in ("first", "last"):
            mixed = self._mixed(own)
            if mixed:
                raise mixed
            counts = run == (0 if self._duplicates == "first" else run.max())
            self.left_out[task] += int((~counts).sum())
            own, run = own[counts], run[counts]
        again = ~_mark_changes(self._rows.step[own])
        differs = again & _mark_changes(self._rows.score[own])
        self.merged[task] += int((again & ~differs).sum())
        kept = np.append(True, ~again)
        if self._duplicates == "last_point":
            kept = np.append(~again, True)
            self.left_out[task] += int(differs.sum())
            self.mixed[task] += int((run[kept] < run[kept].max()).sum())
        else:
            self._refuse_two(own, differs)
        chosen: _Ints = own[kept]
        return chosen

    def _runs(self, own: _Ints) -> _Ints:
        """The run of each row, from 0 in the order of the files; a row that stands there twice ends none."""
        run, count = np.empty(len(own), np.int64), 0
        for at in self._sources(own):
            run[at] = count + np.append(0, np.cumsum(self._order(own[at]).begins))
            count = int(run[at[-1]]) + 1
        return run

    def _sources(self, own: _Ints) -> Iterator[_Ints]:
        """Places in ``own`` of the rows of each source, in the order of the files."""
        place = np.argsort(own)
        source = self._rows.source[own[place]]
        yield from (place[source == each] for each in dict.fromkeys(source.tolist()))

    def _order(self, own: _Ints) -> _Order:
        """How rows of one source stand, which are in the order of the file."""
        rows = self._rows
        if rows.source[own[0]] in rows.curves:
            return _Order(np.zeros(len(own) - 1, bool))
        return _Order.of(rows.step[own], rows.score[own])

    def _mixed(self, own: _Ints) -> ScoreTableError | None:
        """Why no run can be chosen where rows stand run beside run, as in a table sorted by step."""
        rows = self._rows
        for at in self._sources(own):
            most = np.unique(rows.step[own[at]], return_counts=True)[1].max()
            begins, is_mixed = self._order(own[at])
            if not is_mixed or begins.sum() < most:
                continue
            task, seed, _ = rows.key(own[0])
            what = f"the rows of {rows.names[task]} seed {seed} do not say which run is which: cut in their "
            what += f"order they would be {begins.sum() + 1} runs, and no step stands more than {most} times"
            where = rows.where(int(own[at][1:][begins][0]))
            return ScoreTableError(what, where=where, hint=_HINT_APART)
        return None

    def _refuse_two(self, own: _Ints, differs: _Bools) -> None:
        """Refuse a second score of one step, and a second run however its steps interleave."""
        rows, what, more = self._rows, "", ""
        task, seed, _ = rows.key(own[0])
        source, ordered = rows.source[own], np.sort(own)
        if source.max() != source.min():
            second = own[source != rows.source[ordered[0]]].min()
        elif differs.any():
            second = own[1:][differs].min()
            before = own[np.flatnonzero(own == second)[0] - 1]
            what = (
                f"a second score {_write_score(rows.score[second])} for {rows.names[task]} seed {seed} step "
            )
            what += f"{rows.step[second]}, which has {_write_score(rows.score[before])}"
        elif not self._duplicates and (begins := self._order(ordered).begins).any():
            second = ordered[1:][begins][0]
            more = ", or with `duplicates: one_run` that there is one, in no order"
        else:
            return
        one = f"a second curve for {rows.names[task]} seed {seed}, after the one at "
        what = what or one + rows.where(int(ordered[0]))
        hint = "" if self._duplicates else self._choice(own) + more
        raise ScoreTableError(what, where=rows.where(int(second)), hint=hint)

    def _choice(self, own: _Ints) -> str:
        """How a suite chooses a run, and what it would choose."""
        if self._mixed(own):
            return _HINT_APART
        run, step = self._runs(own), self._rows.step[own]
        first, last = (
            f"(steps {left.min()} to {left.max()})" for left in (step[run == 0], step[run == run.max()])
        )
        return f"say which run counts with `duplicates: first` {first} or `duplicates: last` {last}"


class _Order(NamedTuple):
    """How the rows of one source stand, in the order of its file.

    Attributes:
        begins: where another run begins, shape (rows - 1,).
        is_mixed: a step stands beside itself with another score, or the rows are in no order: what begins
            there need not be a run.
    """

    begins: _Bools
    is_mixed: bool = False

    @classmethod
    def of(cls, step: _Ints, score: _Floats) -> _Order:
        """A run ends where its step does not rise; or, where most rows fall, does not fall.

        Rows that stand in no order and have no step twice are one run, and so are rows that do once those
        are left out that repeat another with its score.
        """
        falls = _mark_falls(step)
        beside = ~_mark_changes(step) & _mark_changes(score)
        by_step = np.lexsort((score, step))
        if not (~_mark_changes(step[by_step]) & _mark_changes(score[by_step])).any():
            once = step[np.sort(np.unique(step, return_index=True)[1])]
            if not _mark_falls(once).any() or _is_unordered(_mark_falls(once)):
                return cls(np.zeros(len(falls), bool))
        return cls(falls | beside, bool(beside.any()) or _is_unordered(falls))


def _mark_falls(step: _Ints) -> _Bools:
    """Where a step falls below the one before, or, where most do, rises above it."""
    moves = np.sign(np.diff(step))
    falls: _Bools = moves < 0 if moves.sum() >= 0 else moves > 0
    return falls


def _is_unordered(falls: _Bools) -> bool:
    """Whether rows stand in no order: more than a quarter fall, and some twice in turn, as no runs do."""
    return bool(4 * falls.sum() > len(falls) + 1 and (falls[1:] & falls[:-1]).any())


def _sha256_of(files: Mapping[str, str]) -> str:
    """Of one file its sha256; of a folder that of names and hashes, as ``wire.tree_sha256`` has it."""
    if "" in files:
        return files[""]
    named = (os.fsencode(name) + b"\0" + bytes.fromhex(files[name]) for name in sorted(files))
    return hashlib.sha256(b"".join(named)).hexdigest()


def _join_arrays(parts: list[NDArray[_T]]) -> NDArray[_T]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _codes_among(names: list[_Name], own: Iterable[_Name], codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Codes of a block's own names as places in ``names``."""
    places = np.array([bisect_left(names, name) for name in own], np.int32)
    return np.broadcast_to(places[0], len(codes)) if len(places) == 1 else places[codes]


def _mark_changes(values: NDArray[Any]) -> _Bools:
    """Where a value is not the one before, shape (values - 1,); NaN equals NaN."""
    changes: _Bools = values[1:] != values[:-1]
    if values.dtype.kind == "f":
        changes &= ~np.isnan(values[1:]) | ~np.isnan(values[:-1])
    return changes


def _write_score(value: np.float64) -> str:
    return "null" if np.isnan(value) else repr(float(value))
