"""What a format's reader hands over: a column of each field, and the checks that every format shares.

    builder = TableBuilder(path, duplicates)
    builder.add(Columns(task="walker-walk", seed=csv["seed"], step=csv["step"], score=csv["reward"],
                        where=csv.where))
    return {"": sha256(data)}, {}

A column is a list of whatever stands in the file, an array of numbers, or one value that holds for all rows.
The builder checks and refuses; a reader only finds the columns and says where a row stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import ScoreTableError
from .table import RETURN

# Beyond this a score is a typing error, and the statistics would overflow (stats.arrays.LARGEST).
_LARGEST_SCORE = 1e50
_LARGEST_COUNT = 2**63 - 1
_NO_COUNT = "not a non-negative integer"
_NO_FRAMES = "not a whole, non-negative number of frames"
_NO_SCORE = f"not a finite number of at most {_LARGEST_SCORE:g} in size"
_NO_NAME = "not a name"
# float() would take "1_000", " 1", "nan" and digits of any script.
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_LONGEST_NUMBER = 60

Column: TypeAlias = "list[Any] | NDArray[np.float64] | NDArray[np.int64]"


@dataclass(frozen=True)
class Columns:
    """Rows of a score table, a column a field; all lists and arrays have an entry a row.

    Attributes:
        task, metric: names: text, or a list with a text a row.
        seed: whole numbers from 0, or text of such (``"0"``, ``"1.0"``).
        step: environment frames; whole numbers from 0, floats too (``1e5``).
        score: finite numbers, and where there is none None in a list and masked in an array; NaN is
            refused.
        where: turns the number of a row, from 0, into ``file: row`` text; only called for an error.
        is_run: the rows are one run, in any order of step. Elsewhere those of a (task, seed, metric) are
            cut into runs as their steps say. Rows of two ``Columns`` are never of one run.
    """

    task: str | Column
    seed: object | Column
    step: Column
    score: Column
    where: Callable[[int], str]
    metric: str | Column = RETURN
    is_run: bool = False

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class CheckedColumns:
    """Columns whose every value is what it must be.

    Attributes:
        tasks, metrics: distinct names, by their codes.
        task, metric: codes, int32 of shape (rows,), in place of the names.
        seed, step: int64 of shape (rows,).
        score: float64 of shape (rows,); NaN where there is none.
    """

    tasks: tuple[str, ...]
    task: NDArray[np.int32]
    metrics: tuple[str, ...]
    metric: NDArray[np.int32]
    seed: NDArray[np.int64]
    step: NDArray[np.int64]
    score: NDArray[np.float64]


def check_columns(columns: Columns) -> CheckedColumns:
    """Columns as arrays.

    Raises:
        ScoreTableError: names the file, the first row with something else in it, and the field.
    """
    rows = len(columns)
    tasks, task, bad_task = _check_names(columns.task, rows)
    seed, bad_seed = _check_whole(_expand_column(columns.seed, rows), as_text=True)
    step, bad_step = _check_whole(columns.step)
    metrics, metric, bad_metric = _check_names(columns.metric, rows)
    score, bad_score = _check_scores(columns.score)
    bad = [
        (bad_task, "task", columns.task, _NO_NAME),
        (bad_seed, "seed", columns.seed, _NO_COUNT),
        (bad_step, "step", columns.step, _NO_FRAMES),
        (bad_metric, "metric", columns.metric, _NO_NAME),
        (bad_score, "score", columns.score, _NO_SCORE),
    ]
    row, name, values, why = min(bad, key=lambda found: rows if found[0] is None else found[0])
    if row is not None:
        raise _explain_refusal(columns.where(row), name, _expand_column(values, rows)[row], why)
    return CheckedColumns(tasks, task, metrics, metric, seed, step, score)


def parse_number(text: str) -> int | float | None:
    """The number that a cell of text says in plain digits, or None."""
    if len(text) > _LONGEST_NUMBER or not _PLAIN_NUMBER.fullmatch(text):
        return None
    return int(text) if text.isdecimal() else float(text)


def _explain_refusal(where: str, name: str, value: object, why: str) -> ScoreTableError:
    if value is MISSING:
        return ScoreTableError(f"{name} is missing", where=where)
    return ScoreTableError(f"{name} is {show_value(value)}, {why}", where=where)


def _expand_column(values: object, rows: int) -> Column:
    return values if isinstance(values, list | np.ndarray) else [values] * rows


def _check_names(values: object, rows: int) -> tuple[tuple[str, ...], NDArray[np.int32], int | None]:
    """Distinct names, codes, and the first row without a name."""
    if not isinstance(values, list):
        codes = np.broadcast_to(np.int32(0), rows)
        return (str(values),), codes, None if _is_name(values) else 0
    distinct = dict.fromkeys(values) if set(map(type, values)) == {str} else ()
    if not distinct or not all(map(_is_name, distinct)):
        return (), np.zeros(0, np.int32), next(i for i, v in enumerate(values) if not _is_name(v))
    places = {name: code for code, name in enumerate(distinct)}
    return tuple(places), np.fromiter(map(places.__getitem__, values), np.int32, rows), None


def _is_name(value: object) -> bool:
    return type(value) is str and value.isprintable() and bool(value.strip())


def _check_whole(values: Column, as_text: bool = False) -> tuple[NDArray[np.int64], int | None]:
    """Whole numbers from 0, and the first row that has none."""
    if isinstance(values, list):
        # A single type is turned into an array at once; -1 stands for what is no such number.
        kinds = set(map(type, values))
        if kinds == {float} or (kinds == {int} and 0 <= min(values) <= max(values) <= _LARGEST_COUNT):
            values = np.array(values)
        else:
            values = np.array([_to_whole(value, as_text) for value in values], np.int64)
    with np.errstate(invalid="ignore"):
        good = (values >= 0) & (values < 2.0**63) & (np.floor(values) == values)
        return np.ma.getdata(values).astype(np.int64), _first_bad(~np.ma.filled(good, False))


def _to_whole(value: object, as_text: bool) -> int:
    if as_text and type(value) is str:
        value = parse_number(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _LARGEST_COUNT else -1


def _check_scores(values: Column) -> tuple[NDArray[np.float64], int | None]:
    """Finite numbers, NaN for None, and the first row that has something else."""
    if isinstance(values, np.ndarray):
        scores = np.ma.filled(values.astype(np.float64), np.nan)
        return scores, _first_bad(~((abs(scores) <= _LARGEST_SCORE) | np.ma.getmaskarray(values)))
    # Exact types: true is no number. An integer may be too large for a float, so size comes first.
    if set(map(type, values)) <= {int, float, type(None)}:
        try:
            scores = np.array(values, np.float64)
        except OverflowError:
            pass
        else:
            rows = np.flatnonzero(~(abs(scores) <= _LARGEST_SCORE)).tolist()
            return scores, next((row for row in rows if values[row] is not None), None)
    scores = np.array([v if _is_score(v) else None for v in values], np.float64)
    return scores, next((i for i, v in enumerate(values) if not (v is None or _is_score(v))), None)


def _is_score(value: Any) -> bool:
    return (type(value) is float or type(value) is int) and abs(value) <= _LARGEST_SCORE


def _first_bad(bad: NDArray[np.bool_]) -> int | None:
    return int(bad.argmax()) if bad.any() else None


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


def show_value(value: object) -> str:
    """A value for an error line, cut at 60 characters."""
    if isinstance(value, np.generic | np.ma.core.MaskedConstant):
        value = value.tolist()
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
