"""How weights begin: statistics of many initialisations as samples of one distribution.

An output is one parameter, or one member of an ensemble: rows of (mean, standard deviation, mean absolute
value) over its elements, a row an initialisation. The two programs draw different numbers, so what is
compared is the distribution that they come from: per parameter Student's t with a pooled variance on the
mean, the log of the deviation, and the log of mean absolute value over deviation, which tells a uniform from
a normal and both from a truncated one. Bonferroni over all tests of a component. What never varies is
compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from ...inputs.golden_data import Array, Arrays
from ..stats.arrays import FloatArray
from ..stats.student import quantile
from .differences import Difference, begin

# Of a false alarm in one component, whatever it holds.
LEVEL = 0.001
_TESTS = ("mean", "log of the deviation", "log of mean absolute value over deviation")
# How far off is what no number of deviations describes: a constant, a copy, a seed that does not act.
_CERTAIN = 1e6
_SMALLEST = 1e-300


def measure_distributions(golden: Arrays, ours: Mapping[str, Array]) -> tuple[Difference, ...]:
    """How each parameter's initialisation differs; more than 1 is more than chance.

    Args:
        golden: parameter -> official rows (draws, 3). ours: the same; may lack some.
    """
    tests = sum(len(_transform(rows, rows)) for rows in golden.values() if not _is_constant(rows))
    # Two finite numbers can be further apart than any number is large.
    with np.errstate(over="ignore", invalid="ignore"):
        found = {name: _measure_parameter(name, rows, ours.get(name), tests) for name, rows in golden.items()}
    comparable = {name: np.asarray(ours[name]) for name, d in found.items() if not d.problem}
    for name, what in _find_copies(golden, comparable):
        found[name] = replace(found[name], relative=_CERTAIN, what=what)
    return tuple(found.values())


def _measure_parameter(name: str, golden: Array, ours: Array | None, tests: int) -> Difference:
    base = begin(name, golden, ours)
    if base.problem or ours is None:
        return base
    apart = np.abs(ours.mean(axis=0, dtype=np.float64) - golden.mean(axis=0, dtype=np.float64))
    if not np.isfinite(apart).all():
        return replace(base, problem="differs by more than a number can hold")
    base = replace(base, max_abs=float(apart.max()), mean_abs=float(apart.mean()))
    if _is_constant(golden):
        return _measure_constant(base, golden, ours)
    one, other = _transform(golden, golden), _transform(ours, golden)
    statistics = [_student(other[test], one[test]) for test in one]
    critical = float(quantile(1 - LEVEL / (2 * tests), len(golden) + len(ours) - 2))
    largest = int(np.argmax(np.abs(statistics)))
    test, t = list(one)[largest], statistics[largest]
    what = f"its {test} is off: t {t:+.3g}, beyond {critical:.3g} is no chance"
    return replace(base, relative=abs(t) / critical, what=what)


def _is_constant(rows: Array) -> bool:
    return bool((rows == rows[0]).all() and rows[0, 1] == 0)


def _measure_constant(base: Difference, golden: Array, ours: Array) -> Difference:
    """Exactly: any difference at all is more than chance."""
    value, mean = float(golden[0, 0]), ours[:, 0].astype(golden.dtype)
    apart = max(float(np.abs(mean - value).max()), float(ours[:, 1].max()))
    what = f"it is officially {value:g} in every element, ours is off by {apart:.3g}"
    return replace(base, relative=_CERTAIN if apart else 0.0, what=what)


def _transform(rows: Array, golden: Array) -> dict[str, FloatArray]:
    """What is tested, by name; a parameter of one element has a mean alone."""
    mean, deviation, size = np.asarray(rows, np.float64).T
    if not np.asarray(golden)[:, 1].any():
        return {_TESTS[0]: mean}
    spread = np.log(np.maximum(deviation, _SMALLEST))
    return dict(zip(_TESTS, (mean, spread, np.log(np.maximum(size, _SMALLEST)) - spread), strict=True))


def _student(ours: FloatArray, golden: FloatArray) -> float:
    """Student's two-sample t with a pooled variance."""
    n, m = len(ours), len(golden)
    apart = float(ours.mean() - golden.mean())
    pooled = ((n - 1) * ours.var(ddof=1) + (m - 1) * golden.var(ddof=1)) / (n + m - 2)
    error = float(np.sqrt(pooled * (1 / n + 1 / m)))
    if apart == 0 or not abs(apart) <= _CERTAIN * error < np.inf:
        return float(np.sign(apart)) * _CERTAIN
    return apart / error


def _find_copies(golden: Arrays, ours: Arrays) -> Iterator[tuple[str, str]]:
    """Parameters that repeat between draws, or are copies of another one where the official ones are not, or
    the reverse."""
    varied = {name: rows for name, rows in ours.items() if np.asarray(golden[name])[:, 1].any()}
    for name, rows in varied.items():
        if len(np.unique(rows, axis=0)) < len(rows):
            yield name, "it is the same in two initialisations: their seed does not act"
    here, officially = _list_copies(varied), _list_copies({name: golden[name] for name in varied})
    for one, other in sorted(here - officially):
        yield other, f"it begins as a copy of {one}, officially it does not"
    for one, other in sorted(officially - here):
        yield other, f"officially it begins as a copy of {one}, ours does not"


def _list_copies(parameters: Arrays) -> set[tuple[str, str]]:
    """The pairs of parameters that are equal in one initialisation."""
    alike: dict[tuple[int, bytes], list[str]] = {}
    for name, rows in parameters.items():
        for draw, row in enumerate(np.asarray(rows, np.float64)):
            alike.setdefault((draw, row.tobytes()), []).append(name)
    return {pair for names in alike.values() for pair in combinations(names, 2)}
