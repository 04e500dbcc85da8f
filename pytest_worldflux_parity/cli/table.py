"""``table``: what a file or folder of scores holds, as the program sees it, and the suite that reads it."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from ..errors import ScoreTableError, printable
from ..inputs.scores import ScoreTable, load_table
from ..inputs.scores.guessing import Guess, guess
from ..schemas.formats import is_task
from ..suite.commands import value_at
from ..suite.suite import MOST_TOLERANCE, SYSTEMS
from .options import argument, command, project_of

# Where suites without a path are looked for, and so where the lines are to be pasted.
QUICK_SUITES = Path("suites", "quick")
_YAML_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_YAML_WORDS = ("true", "false", "null", "on", "off", "yes", "no", "y", "n")
# Rows of the list of tasks.
_SHOWN_ROWS = 60


@command(
    "table",
    argument("path", type=Path, metavar="PATH", help="a table, or a folder of tables or logs"),
    argument("--format", metavar="FORMAT", help="of the table (default: by what stands in it)"),
    argument(
        "--frames-per-step", type=int, metavar="N", help="environment frames of a step (default: guessed)"
    ),
    argument("--side", choices=SYSTEMS, default=SYSTEMS[0], help="whose scores they are (default: official)"),
)
def table_command(options: argparse.Namespace) -> None:
    """Print it.

    Raises:
        ScoreTableError: it is no table, or none that a suite could read.
    """
    own = Guess(options.format) if options.format else guess(options.path)
    keywords = dict(own.keywords)
    if options.frames_per_step is not None:
        if options.frames_per_step < 1:
            raise ScoreTableError("--frames-per-step is a whole number from 1 on")
        keywords["frames_per_step"] = options.frames_per_step
    scores, notes = load_with_choice(options.path, own.format, keywords)
    print("\n".join(map(printable, _describe(scores, (*own.notes, *notes)))))
    shown = os.path.relpath(options.path.resolve(), project_of(options).root / QUICK_SUITES)
    artifact = {"path": shown, "format": own.format, **keywords}
    lines = list(_suite_lines(scores, options.side, artifact))
    what = (
        f"in a suite of {QUICK_SUITES}:"
        if lines
        else "no suite can judge it: no run has a point after step 0"
    )
    print(what, *lines, sep="\n")


def load_with_choice(path: Path, format: str, keywords: dict[str, Any]) -> tuple[ScoreTable, list[str]]:
    """The table; where two runs contradict each other, with the first of them and a word on it."""
    try:
        return load_table(path, format, **keywords), []
    except ScoreTableError as error:
        if "duplicates: first" not in error.hint:
            raise
        what = error.what
    keywords["duplicates"] = "first"
    return load_table(path, format, **keywords), [f"chosen: the first of two runs ({what})"]


# --- what it holds ---


@dataclass(frozen=True)
class _Curves:
    """The curves of one (task, metric): the steps of each seed, in frames."""

    task: str
    metric: str
    steps: Mapping[int, Sequence[int]]

    @property
    def points(self) -> int:
        return sum(map(len, self.steps.values()))

    @property
    def ends(self) -> list[int]:
        return [steps[-1] for steps in self.steps.values()]

    @property
    def span(self) -> str:
        """From the first step to the last, and where the first run ends."""
        begin, first, last = min(own[0] for own in self.steps.values()), min(self.ends), max(self.ends)
        return f"{begin} to {last}{f' (the first run to {first})' if first < last else ''}"

    def interval(self) -> str:
        """How far apart the steps are, and the longest gap where they are not all so."""
        gaps = [(b - a, a, seed) for seed, own in self.steps.items() for a, b in pairwise(own)]
        if not gaps:
            return "one point a run"
        usual, times = Counter(gap for gap, _, _ in gaps).most_common(1)[0]
        longest, begin, seed = max(gaps)
        if longest == usual:
            return f"each {usual}{'' if times == len(gaps) else ' at the most'}"
        every = f"each {usual}, but" if 2 * times > len(gaps) else "irregular, with"
        return f"{every} a gap of {longest} after {begin} (seed {seed})"


def _curves_of(table: ScoreTable) -> list[_Curves]:
    found: dict[tuple[str, str], dict[int, Sequence[int]]] = {}
    for (_, seed, metric), points in table.points.items():
        found.setdefault((points.task, metric), {})[seed] = points.steps.tolist()
    return [_Curves(task, metric, steps) for (task, metric), steps in found.items()]


def _describe(table: ScoreTable, notes: Iterable[str]) -> Iterator[str]:
    curves = _curves_of(table)
    files = f", {len(table.files)} files" if "" not in table.files else ""
    tasks = len({curve.task for curve in curves})
    yield f"{table.path}: {table.format}{files}, {tasks} tasks, {len(table)} points; steps in frames"
    yield f"  sha256   {table.sha256}"
    yield from (f"  {key:<8} {value}" for key, value in table.provenance.items() if isinstance(value, str))
    yield from (f"  {note}" for note in (*notes, *_count_lines(table)))
    width = max(len(curve.task) for curve in curves)
    rows: dict[tuple[str, str], list[str]] = {}
    for curve in curves:
        runs = f"seeds {seed_ranges(curve.steps)}  {curve.points} points"
        rows.setdefault((curve.task, f"{runs}  steps {curve.span}, {curve.interval()}"), []).append(
            curve.metric
        )
    for (task, what), metrics in [*rows.items()][:_SHOWN_ROWS]:
        yield f"  {task:<{width}}  {', '.join(metrics)}  {what}"
    if len(rows) > _SHOWN_ROWS:
        yield f"  and {len(rows) - _SHOWN_ROWS} more"


def _count_lines(table: ScoreTable) -> Iterator[str]:
    for what, number in (
        ("nulls, which are no points", sum(map(len, table.nulls.values()))),
        ("rows that repeat another", sum(table.merged.values())),
        ("rows of runs that do not count", sum(table.left_out.values())),
    ):
        if number:
            yield f"{number} {what}"


def seed_ranges(seeds: Iterable[int]) -> str:
    """``0-4, 7``."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(own[0]) if len(own) == 1 else f"{own[0]}-{own[-1]}" for own in runs)


# --- the suite that reads it ---


def _suite_lines(table: ScoreTable, side: str, artifact: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a suite: its tasks, seeds, budget and metric, and the side that is this table.

    None where no run has a point that could be judged.
    """
    curves = _curves_of(table)
    metric = min((curve.metric for curve in curves), key=lambda name: name != "episode_return")
    curves = [curve for curve in curves if curve.metric == metric]
    rows = [(curve, *choice) for curve in curves if (choice := _choose_budget(curve)) is not None]
    if not rows:
        return
    yield from _comment_left_out(curves, {curve.task: seeds for curve, seeds, _ in rows})
    usual, budget = (Counter(own).most_common(1)[0][0] for own in list(zip(*rows, strict=True))[1:])
    ids = suite_ids([curve.task for curve, _, _ in rows])
    yield "tasks:"
    for curve, own, limit in rows:
        words = [f"id: {as_yaml(ids[curve.task])}"]
        words += [f"names: {as_yaml({side: curve.task})}"] if ids[curve.task] != curve.task else []
        words += [f"seeds: {as_yaml(list(own))}"] if own != usual else []
        words += [f"budget: {limit}"] if limit != budget else []
        yield f"  - {'{' + ', '.join(words) + '}' if len(words) > 1 else words[0].removeprefix('id: ')}"
    yield f"seeds: {as_yaml(list(usual))}"
    yield f"budget: {budget}"
    yield from _stated_lines(table, [curve.task for curve, _, _ in rows])
    # Of anything but a score of episodes nobody knows here whether higher is better.
    rule = "calibrated" if metric.startswith("episode_") else "equivalence"
    yield f"metrics: [{as_yaml({'name': metric, 'rule': rule, 'margin': 0.05})}]"
    yield f"{side}:"
    yield "  artifact:"
    yield from (f"    {key}: {as_yaml(value)}" for key, value in artifact.items())


def _stated_lines(table: ScoreTable, tasks: Sequence[str]) -> Iterator[str]:
    """What the table says that its runs did, which the other side has to state alike: protocol and recipe."""
    for what, key in (("eval_protocol", "eval_protocol: "), ("effective_recipe", "# the recipe it states: ")):
        first, *rest = (value_at(table.provenance, "tasks", task, what) for task in tasks)
        if isinstance(first, Mapping) and all(isinstance(other, Mapping) for other in rest):
            alike = {
                k: v for k, v in first.items() if v is not None and all(other.get(k) == v for other in rest)
            }
            yield f"{key}{as_yaml(alike)}"


def _comment_left_out(curves: Iterable[_Curves], seeds: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Comments on the runs that the lines leave out."""
    for curve in curves:
        absent = curve.steps.keys() - set(seeds.get(curve.task, ()))
        if absent:
            what = f"{printable(curve.task)}, seeds {seed_ranges(absent)}"
            yield f"# left out, with no point near the budget: {what}"


def suite_ids(tasks: Sequence[str]) -> dict[str, str]:
    """Tasks of a table -> ids in a suite: their names, or others where a suite cannot have them."""
    ids = {task: task for task in tasks if is_task(task)}
    for task in tasks:
        plain = re.sub(r"[^A-Za-z0-9_ ./-]+", "-", task).strip(" -") or "task"
        taken = {*ids.values()}
        numbered = (f"{plain}-{n}" for n in count(2))
        ids.setdefault(task, plain if plain not in taken else next(n for n in numbered if n not in taken))
    return ids


def _choose_budget(curve: _Curves) -> tuple[tuple[int, ...], str] | None:
    """Seeds and budget: the last step at which most runs have a point, or else where one run ends.

    A run with no point near it is left out; None where no run has one after step 0.
    """
    steps = {step for own in curve.steps.values() for step in own} - {0}
    most = Counter(step for own in curve.steps.values() for step in own if step)
    # A step that all runs have needs no tolerance, unless it is far from their ends.
    exact = [step for step, runs in most.items() if runs == len(curve.steps)]
    if exact and max(exact) >= (1 - MOST_TOLERANCE) * max(curve.ends):
        return tuple(sorted(curve.steps)), as_yaml({"step": max(exact)})
    near = {end: _distances_near(curve, end) for end in {*curve.ends} & steps}
    if not near:
        return None
    end = max(near, key=lambda step: (len(near[step]), step))
    tolerance = -(-100 * max(near[end].values()) // end) / 100
    return tuple(sorted(near[end])), as_yaml({"step": end, **({"tolerance": tolerance} if tolerance else {})})


def _distances_near(curve: _Curves, end: int) -> dict[int, int]:
    """Of the runs with a point as near to a budget as is tolerated, how far it is, by seed."""
    far = {seed: min(abs(step - end) for step in own) for seed, own in curve.steps.items()}
    return {seed: distance for seed, distance in far.items() if distance <= MOST_TOLERANCE * end}


def as_yaml(value: Any) -> str:
    """A value as YAML on one line, whichever version of it is read."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_yaml(k)}: {as_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str) and _YAML_PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
