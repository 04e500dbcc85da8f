"""Two score tables -> the suite that compares them: tasks in common, seeds of each side, and a budget."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ScoreTableError
from ..inputs.scores import RETURN, ScoreTable, task_key
from ..suite.suite import CURVE_METRICS, MOST_TOLERANCE, SYSTEMS
from ..suite.suite_file import SUITE_SCHEMA
from .table import as_yaml, seed_ranges, suite_ids

# Environment frames, rising.
Steps: TypeAlias = NDArray[np.int64]
# Tasks that a sentence names.
_NAMED = 5


@dataclass(frozen=True)
class CompareAsked:
    """What is asked of two tables.

    Attributes:
        tasks: by any of their names; empty: all that both have.
        labels: system -> what texts call it.
        metric: a row of ``metrics`` of a suite. budget: in frames; None: the largest that all runs reach.
    """

    metric: Mapping[str, Any]
    tasks: Sequence[str] = ()
    budget: int | None = None
    comparison: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ComparedTables:
    """Two tables, and what was found of how they can be compared.

    Attributes:
        tables, artifacts: by system; an artifact is as a suite has it, without its path.
        notes: what was chosen, and what is left out, a sentence each.
    """

    tables: Mapping[str, ScoreTable]
    artifacts: Mapping[str, Mapping[str, Any]]
    asked: CompareAsked
    notes: list[str] = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, list[int]] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._choose_tasks()
        for system in SYSTEMS:
            self.seeds[system] = self._choose_seeds(system)
        self.budget = self._choose_budget()

    @property
    def suite_id(self) -> str:
        """Of both tables' names."""
        stems = (self.tables[s].path.name.partition(".")[0] for s in SYSTEMS)
        return "_against_".join(
            re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "table" for stem in stems
        )

    def suite_lines(self, paths: Mapping[str, str]) -> Iterator[str]:
        """The suite; ``paths``: of the tables, as seen from its folder."""
        yield "# Written by worldflux-parity compare."
        yield f"schema_version: {SUITE_SCHEMA}"
        yield f"suite_id: {as_yaml(self.suite_id)}"
        yield "family: compared"
        yield "track: quick"
        if self.asked.comparison is not None:
            yield f"comparison: {self.asked.comparison}"
        if self.asked.labels:
            yield f"labels: {as_yaml(self.asked.labels)}"
        yield "tasks:"
        ids = suite_ids([*self.tasks.values()])
        for key, name in self.tasks.items():
            names = {s: self._name_in(s, key) for s in SYSTEMS if self._name_in(s, key) != ids[name]}
            names = {s: n for s, n in names.items() if task_key(n) != task_key(ids[name])}
            yield f"  - {as_yaml({'id': ids[name], 'names': names} if names else ids[name])}"
        yield f"seeds: {as_yaml(self.seeds)}"
        yield f"budget: {as_yaml(self.budget)}"
        yield f"metrics: [{as_yaml(self.asked.metric)}]"
        for system in SYSTEMS:
            yield f"{system}:"
            yield "  artifact:"
            artifact = {"path": paths[system], **self.artifacts[system]}
            yield from (f"    {key}: {as_yaml(value)}" for key, value in artifact.items())

    @property
    def _rows(self) -> str:
        """The metric of the rows that are read."""
        name = str(self.asked.metric["name"])
        return RETURN if name in CURVE_METRICS else name

    def _name_in(self, system: str, key: str) -> str:
        points = self.tables[system].points
        return next(own.task for (task, _, m), own in points.items() if (task, m) == (key, self._rows))

    @cached_property
    def _curves(self) -> Mapping[str, Mapping[str, Mapping[int, Steps]]]:
        """system -> task key -> seed -> its steps after 0, of those that have some."""
        found: dict[str, dict[str, dict[int, Steps]]] = {}
        for system, table in self.tables.items():
            own = found.setdefault(system, {})
            for (key, seed, metric), points in table.points.items():
                steps = points.steps[points.steps > 0]
                if metric == self._rows and steps.size:
                    own.setdefault(key, {})[seed] = steps
        return found

    def _choose_tasks(self) -> None:
        names = {s: {task_key(t): t for t in self.tables[s].tasks(self._rows)} for s in SYSTEMS}
        for system, own in names.items():
            if not own:
                metrics = sorted({metric for _, _, metric in self.tables[system].points})
                what = f"no row is of the metric {self._rows!r}"
                raise ScoreTableError(
                    what,
                    where=str(self.tables[system].path),
                    valid=metrics,
                    got=self._rows,
                    hint="--metric NAME",
                )
        official, worldflux = (names[s] for s in SYSTEMS)
        common = {key: name for key, name in official.items() if key in worldflux}
        wanted = [task_key(task) for task in self.asked.tasks]
        for key, task in zip(wanted, self.asked.tasks, strict=True):
            if key not in common:
                raise ScoreTableError(
                    f"not both tables have the task {task!r}", valid=common.values(), got=task
                )
        if not common:
            lists = (
                f"A has {_spell_names([*official.values()])}",
                f"B has {_spell_names([*worldflux.values()])}",
            )
            raise ScoreTableError("no task is in both tables: " + "; ".join(lists),
                                  hint="write a suite with `names:` (worldflux-parity table)")  # fmt: skip
        self.tasks = {key: common[key] for key in (dict.fromkeys(wanted) or common)}
        for system, other in zip(SYSTEMS, reversed(SYSTEMS), strict=True):
            alone = [name for key, name in names[system].items() if key not in common]
            if alone:
                self.notes.append(f"left out: {_spell_names(alone)}, which the {other} table has not")
        unasked = [name for key, name in common.items() if key not in self.tasks]
        if unasked:
            self.notes.append(f"left out: {_spell_names(unasked)}, which --task does not name")

    def _choose_seeds(self, system: str) -> list[int]:
        """The seeds that all chosen tasks have: a suite has one list a side."""
        each = {key: self._curves[system].get(key, {}).keys() for key in self.tasks}
        common = sorted(set.intersection(*map(set, each.values())))
        if not common:
            what = f"no seed is in all of the {len(each)} tasks"
            raise ScoreTableError(
                what, where=str(self.tables[system].path), hint="name fewer tasks with --task"
            )
        for key, seeds in each.items():
            if lost := seeds - set(common):
                why = "which other tasks have not"
                self.notes.append(f"left out: {system} {self.tasks[key]}, seeds {seed_ranges(lost)}, {why}")
        return common

    def _choose_budget(self) -> dict[str, Any]:
        """The step, and the least tolerance with which every run has a point there.

        Raises:
            ScoreTableError: a run has none within ``MOST_TOLERANCE`` of it.
        """
        runs = {
            (system, key, seed): self._curves[system][key][seed]
            for system in SYSTEMS
            for key in self.tasks
            for seed in self.seeds[system]
        }
        ends = {s: [int(steps[-1]) for (system, _, _), steps in runs.items() if system == s] for s in SYSTEMS}
        reach = min(map(min, ends.values()))
        step = self.asked.budget
        if step is None:
            step = _choose_step([*runs.values()], reach)
            self.notes.append(f"budget: {step} frames, the largest step that every run reaches")
        distances = {run: int(np.abs(steps - step).min()) for run, steps in runs.items()}
        (system, key, seed), furthest = max(distances.items(), key=lambda found: found[1])
        tolerance = -(-100 * furthest // step) / 100
        if tolerance > MOST_TOLERANCE:
            what = (
                f"{self.tasks[key]} seed {seed} has no point near step {step}: the nearest is {furthest} away"
            )
            raise ScoreTableError(
                what,
                where=str(self.tables[system].path),
                hint=f"--budget {reach}, up to which every run goes",
            )
        for system, own in ends.items():
            if step < (1 - MOST_TOLERANCE) * max(own):
                self.notes.append(
                    f"not compared: what the {system} side did after it, up to {max(own)} frames"
                )
        return {"step": step, **({"tolerance": tolerance} if tolerance else {})}


def _choose_step(runs: Sequence[Steps], reach: int) -> int:
    """The last step that all runs have, unless it is far from ``reach``, up to which each goes."""
    shared = reduce(np.intersect1d, runs)
    near = shared[shared >= (1 - MOST_TOLERANCE) * reach]
    return int(near[-1]) if near.size else reach


def _spell_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
