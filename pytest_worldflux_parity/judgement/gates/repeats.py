"""Runs that are one run: two seeds of a side whose records are equal to the last bit.

Equal curves alone are nothing: five official Freeway runs are 48 zeros each, and six Meta-World tasks of
TD-MPC2 have two seeds that fail and then succeed at every evaluation. What tells is how many values a record
could have had. One that takes ``k`` values on a lattice of ``m`` steps (:func:`..stats.coincidence.grain`)
agrees with that of another run with a chance of about ``1 / m**(k - 2)``: by its lowest and its highest value
a task begins and ends whatever was learned between them. Ten values are always enough; three are where they
are numbers of full precision. What does not vary as much is *saturated*: its runs count, and are told of.

Tried on every score table of the DreamerV3 and TD-MPC2 repositories (32 tables): 48 seeds of
``dmlab30-dreamerv3`` have the curve of another one, of 45 to 200 different values: runs that were published
twice. In no other table is one found. A reader names seeds that are runs of their own in his suite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...inputs.scores.curves import Result
from ...suite.pairs import RunKey
from ...suite.suite import CURVE_METRICS, Suite
from ..stats.coincidence import grain
from . import Finding

# Less likely than this, two equal records are of one run. Ten values on ten steps have 1e-8.
BY_CHANCE = 1e-7


@dataclass(frozen=True)
class Repeat:
    """A seed whose record is that of an earlier one, ``first``."""

    system: str
    task_id: str
    seed: int
    first: int
    values: int

    def finding(self) -> Finding:
        text = (
            f"its record is that of seed {self.first} in every bit, and takes {self.values} values: one run"
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
    repeated, saturated = [], []
    for (system, task), own in runs.items():
        for seeds, record in _equal(suite, task, own):
            values = sum(len(set(series)) for series in record)
            if math.prod(map(chance, record)) < BY_CHANCE:
                repeated += [Repeat(system, task, seed, seeds[0], values) for seed in seeds[1:]]
            elif values:
                saturated.append(Saturated(system, task, tuple(seeds), values))
    return Repeats(tuple(repeated), tuple(saturated))


def _equal(
    suite: Suite, task: str, runs: Mapping[int, Result]
) -> Iterator[tuple[list[int], tuple[tuple[float, ...], ...]]]:
    """Seeds, rising, whose records are equal, and that record: its curve, and its numbers that are judged.

    What else a program writes, its speed for one, differs between runs of one seed too.
    """
    names = [m.name for m in suite.metrics_of(task) if m.name not in CURVE_METRICS]
    alike: dict[tuple[tuple[float, ...], ...], list[int]] = {}
    for seed in sorted(runs):
        curve = tuple(point.value for point in runs[seed].curve)
        scalars = tuple(runs[seed].scalars[n] for n in names if n in runs[seed].scalars)
        alike.setdefault((curve, scalars), []).append(seed)
    yield from ((seeds, record) for record, seeds in alike.items() if len(seeds) > 1)


def chance(values: Sequence[float]) -> float:
    """That a series of values is by chance that of another run."""
    different = set(values)
    if len(different) < 3:
        return 1.0
    steps = 1 + (max(different) - min(different)) / grain(values)
    return float(steps ** (2 - len(different)))
