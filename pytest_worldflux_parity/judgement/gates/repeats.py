"""Runs that are one run: two seeds of a side whose records are equal, up to the budget and to nine digits.

What stands beyond the budget, or beside the evaluations that a suite asks for, is not judged and makes no
other run, and neither does the noise of a GPU.

Equal curves alone are nothing: five official Freeway runs are 48 zeros each, and six Meta-World tasks of
TD-MPC2 have two seeds that fail and then succeed at every evaluation. What tells is how many values a record
could have had. One that takes ``k`` values on a lattice of ``m`` steps (:func:`..stats.coincidence.grain`)
agrees with that of another run with a chance of about ``1 / m**(k - 2)``: by its lowest and its highest value
a task begins and ends whatever was learned between them. Ten values are always enough; three are where they
are numbers of full precision, and so are two where each has more than six digits. What does not vary as much
is *saturated*: its runs count, and are told of.

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
class Repeat:
    """A seed whose record is that of an earlier one, ``first``."""

    system: str
    task_id: str
    seed: int
    first: int
    values: int

    def finding(self) -> Finding:
        of = "value" if self.values == 1 else "values"
        text = (
            f"its record is that of seed {self.first} to nine digits, and takes {self.values} {of}: one run"
        )
        return Finding("repeated_run", text, self.task_id, self.seed, self.system)


@dataclass(frozen=True)
class Saturated:
    """Seeds of one side and task whose records are equal and hardly vary."""

    system: str
    task_id: str
    seeds: tuple[int, ...]
    values: int

    def line(self) -> str:
        word = "value" if self.values == 1 else "values"
        return f"{self.system} {self.task_id}: {len(self.seeds)} seeds are equal, of {self.values} {word}"


@dataclass(frozen=True)
class Repeats:
    """What is equal among the runs of each side."""

    repeated: tuple[Repeat, ...] = ()
    saturated: tuple[Saturated, ...] = ()

    @property
    def keys(self) -> frozenset[RunKey]:
        """(system, task, seed) that do not count as runs of their own."""
        return frozenset((r.system, r.task_id, r.seed) for r in self.repeated)


def repeats(suite: Suite, results: Mapping[RunKey, Result], expected: Iterable[RunKey]) -> Repeats:
    """The equal records of a suite.

    Args:
        expected: (system, task, seed) that are looked at; a table may hold more.
    """
    runs: dict[tuple[str, str], dict[int, Result]] = {}
    for system, task, seed in expected:
        if (system, task, seed) in results:
            runs.setdefault((system, task), {})[seed] = results[system, task, seed]
    repeated: dict[RunKey, Repeat] = {}
    saturated = []
    for (system, task), own in runs.items():
        # Points beside those that are measured make equal runs look different, and few equal ones sure.
        for curve_of in (_whole, _measured):
            for seeds, record in _equal(suite, task, own, curve_of):
                values = sum(len(_told(series)) for series in record)
                if math.prod(map(chance, record)) < BY_CHANCE:
                    for seed in seeds[1:]:
                        repeat = Repeat(system, task, seed, seeds[0], values)
                        repeated.setdefault((system, task, seed), repeat)
                elif values and curve_of is _whole:
                    saturated.append(Saturated(system, task, tuple(seeds), values))
    return Repeats(tuple(repeated.values()), tuple(saturated))


def _equal(
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
        seeds = next((own for first, own in alike if _alike(first, record)), None)
        if seeds is None:
            alike.append((record, [seed]))
        else:
            seeds.append(seed)
    yield from ((seeds, record) for record, seeds in alike if len(seeds) > 1)


def _whole(result: Result, task: Task) -> Series:
    """The values of a curve up to the budget; all, where none is at the budget and nothing is judged."""
    try:
        points = within_budget(result.curve, task)
    except StatisticsError:
        points = tuple(result.curve)
    return tuple(point.value for point in points)


def _measured(result: Result, task: Task) -> Series:
    """The values of a curve that are measured; all, where some are missing and nothing is judged."""
    try:
        return tuple(point.value for point in judged_curve(result, task))
    except StatisticsError:
        return _whole(result, task)


def _alike(one: Record, other: Record) -> bool:
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
    different = _told(values)
    if len(different) < 2:
        return 1.0
    step = grain(different)
    if len(different) == 2:
        # Neither has to be where a task begins or ends; a fraction of small numbers may well be.
        return FINEST if step < LATTICE * max(map(abs, different)) and all(map(_precise, different)) else 1.0
    steps = 1 + (different[-1] - different[0]) / step
    return float(steps ** (2 - len(different)))


def _told(values: Sequence[float]) -> list[float]:
    """The different values of a series, rising; those that rounding alone sets apart are one."""
    rising = sorted(values)
    least = FINEST * max(map(abs, rising), default=0.0)
    return [*rising[:1], *(b for a, b in pairwise(rising) if b - a > least)]


def _precise(value: float) -> bool:
    """Whether a number has more digits than a lattice of scores leaves it: six."""
    return not math.isclose(value, float(f"{value:.6g}"), rel_tol=FINEST)
