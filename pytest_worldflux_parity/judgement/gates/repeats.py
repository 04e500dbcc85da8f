"""Runs that are one run: two seeds of a side whose records are equal, up to the budget and to nine digits.

What stands beyond the budget, or beside the evaluations that a suite asks for, is not judged and makes no
other run, and neither does the noise of a GPU.

Equal curves alone are nothing: five official Freeway runs are 48 zeros each, and six Meta-World tasks of
TD-MPC2 have two seeds that fail and then succeed at every evaluation. What tells is how many values a record
could have had. One that takes ``k`` values on a lattice of ``m`` steps (:func:`..stats.coincidence.grain`)
agrees with that of another run with a chance of about ``1 / m**(k - 2)``: by its lowest and its highest value
a task begins and ends whatever was learned between them. Ten values are always enough; three are where they
are numbers of full precision, and so are two where each has more than six digits. What does not vary as much
is *saturated*: its runs count, and are told of. Where all runs of one side are equal so and no two of the
other's are, two programs that behave alike would hardly give that, and nothing is decided (``alone``). Nor is
it where three runs of a side share a score of more than six digits, and no two of the other's are equal.

Tried on every score table of the DreamerV3 and TD-MPC2 repositories (32 tables): 48 seeds of
``dmlab30-dreamerv3`` have the curve of another one, of 45 to 200 different values: runs that were published
twice. In no other table is one found. A reader names seeds that are runs of their own in his suite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...errors import StatisticsError
from ...inputs.scores.curves import Result
from ...suite.pairs import RunKey
from ...suite.suite import CURVE_METRICS, Suite, Task
from ..stats.coincidence import FINEST, LATTICE, grain
from ..stats.measurements import judged_curve, within_budget
from . import Finding

# Less likely than this, two equal records are of one run. Ten values on ten steps have 1e-8.
BY_CHANCE = 1e-7
# Of numbers that are sums of larger ones, what is left of rounding, as a share of the largest of a curve.
ROUNDING = 1e-12

# A curve, and the numbers that are judged.
Series = tuple[float, ...]
Record = tuple[Series, Series]


@dataclass(frozen=True)
class Saturated:
    """Seeds of one side and task whose records are equal and hardly vary."""

    system: str
    task_id: str
    seeds: tuple[int, ...]
    values: int
    is_exact: bool = False

    def line(self) -> str:
        who = f"{self.system} {self.task_id}: {len(self.seeds)} seeds are equal"
        return f"{who}, of {_spell_count(self.values)}"


@dataclass(frozen=True)
class Repeats:
    """What is equal among the runs of each side.

    Attributes:
        repeated: a finding for each seed whose record is that of an earlier one.
        keys: (system, task, seed) of these, which do not count as runs of their own.
        alone: saturated ones of a side, where no two runs of the other are equal: all of its runs, of three
            values or more, or three of its runs or more, of a number with many digits.
    """

    repeated: tuple[Finding, ...] = ()
    saturated: tuple[Saturated, ...] = ()
    keys: frozenset[RunKey] = frozenset()
    alone: tuple[Saturated, ...] = ()


def _spell_count(values: int) -> str:
    return f"{values} value{'s' * (values != 1)}"


def find_repeats(suite: Suite, results: Mapping[RunKey, Result], expected: Iterable[RunKey]) -> Repeats:
    """The equal records of a suite.

    Args:
        expected: (system, task, seed) that are looked at; a table may hold more.
    """
    runs: dict[tuple[str, str], dict[int, Result]] = {}
    for system, task, seed in expected:
        if (system, task, seed) in results:
            runs.setdefault((system, task), {})[seed] = results[system, task, seed]
    repeated: dict[RunKey, Finding] = {}
    saturated = []
    for (system, task), by_seed in runs.items():
        # Points beside those that are measured make equal runs look different, and few equal ones sure.
        for curve_of in (_values_to_budget, _measured_values):
            for seeds, record in _find_equal(suite, task, by_seed, curve_of):
                values = sum(len(_distinct_values(series)) for series in record)
                if math.prod(map(chance, record)) < BY_CHANCE:
                    of = f"its record is that of seed {seeds[0]} to nine digits"
                    of = f"{of}, and takes {_spell_count(values)}"
                    for seed in seeds[1:]:
                        finding = Finding("repeated_run", f"{of}: one run", task, seed, system)
                        repeated.setdefault((system, task, seed), finding)
                elif values and curve_of is _values_to_budget:
                    saturated.append(Saturated(system, task, tuple(seeds), values, _has_exact(record)))
    equal = {(s.system, s.task_id) for s in saturated} | {key[:2] for key in repeated}
    vary = {key[1] for key, seeds in runs.items() if len(seeds) > 1 and key not in equal}
    many = [s for s in saturated if s.task_id in vary and (s.values > 2 or s.is_exact)]
    least = {s: 3 if s.is_exact else len(runs[s.system, s.task_id]) for s in many}
    alone = tuple(s for s in many if len(s.seeds) >= least[s])
    return Repeats(tuple(repeated.values()), tuple(saturated), frozenset(repeated), alone)


def _find_equal(
    suite: Suite, task: str, runs: Mapping[int, Result], curve_of: Callable[[Result, Task], Series]
) -> Iterator[tuple[list[int], Record]]:
    """Seeds, rising, whose records are equal, and that record: its curve, and its numbers that are judged.

    What else a program writes, its speed for one, differs between runs of one seed too.
    """
    names = [m.name for m in suite.metrics_of(task) if m.name not in CURVE_METRICS]
    alike: list[tuple[Record, list[int]]] = []
    for seed in sorted(runs):
        scalars = tuple(runs[seed].scalars[n] for n in names if n in runs[seed].scalars)
        record = (curve_of(runs[seed], suite.task(task)), scalars)
        seeds = next((equal for first, equal in alike if _are_alike(first, record)), None)
        if seeds is None:
            alike.append((record, [seed]))
        else:
            seeds.append(seed)
    yield from ((seeds, record) for record, seeds in alike if len(seeds) > 1)


def _values_to_budget(result: Result, task: Task) -> Series:
    """The values of a curve up to the budget; all, where none is at the budget and nothing is judged."""
    try:
        points = within_budget(result.curve, task)
    except StatisticsError:
        points = tuple(result.curve)
    return tuple(point.value for point in points)


def _measured_values(result: Result, task: Task) -> Series:
    """The values of a curve that are measured; all, where some are missing and nothing is judged."""
    try:
        return tuple(point.value for point in judged_curve(result, task))
    except StatisticsError:
        return _values_to_budget(result, task)


def _are_alike(one: Record, other: Record) -> bool:
    """Whether two records are equal to nine digits."""
    (curve, scalars), (other_curve, other_scalars) = one, other
    if (len(curve), len(scalars)) != (len(other_curve), len(other_scalars)):
        return False
    rounding = ROUNDING * max(map(abs, curve), default=0.0)
    return all(
        math.isclose(a, b, rel_tol=FINEST, abs_tol=rounding) for a, b in zip(curve, other_curve, strict=True)
    ) and all(math.isclose(a, b, rel_tol=FINEST) for a, b in zip(scalars, other_scalars, strict=True))


def chance(values: Sequence[float]) -> float:
    """That a series of values is by chance that of another run."""
    different = _distinct_values(values)
    if len(different) < 2:
        return 1.0
    step = grain(different)
    if len(different) == 2:
        # Neither has to be where a task begins or ends; a fraction of small numbers may well be.
        return FINEST if step < LATTICE * max(map(abs, different)) and all(map(_is_exact, different)) else 1.0
    steps = 1 + (different[-1] - different[0]) / step
    return float(steps ** (2 - len(different)))


def _distinct_values(values: Sequence[float]) -> list[float]:
    """The different values of a series, rising; those that rounding alone sets apart are one."""
    rising = sorted(values)
    least = FINEST * max(map(abs, rising), default=0.0)
    return [*rising[:1], *(b for a, b in pairwise(rising) if b - a > least)]


def _has_exact(record: Record) -> bool:
    return any(map(_is_exact, (value for series in record for value in series)))


def _is_exact(value: float) -> bool:
    """Whether a number has more digits than a lattice of scores leaves it: six."""
    return not math.isclose(value, float(f"{value:.6g}"), rel_tol=FINEST)
