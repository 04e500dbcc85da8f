"""A suite: which tasks and seeds, what is compared with what, and how it is decided.

Frozen data and the functions that make them from a mapping which a JSON Schema has already
accepted (``suite_file.load`` does both). Two formats become the same :class:`Suite`:
``worldflux.parity.suite.v1``, ours, and the quick suite of the earlier system, which has no
``schema_version``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import SuiteError
from ..schemas.rule_names import QUESTIONS
from . import SYSTEMS as SYSTEMS
from .commands import CommandSide
from .labels import parse_labels
from .recipe_terms import RecipeTerms, parse_recipe_terms

CURVE_METRICS = ("episode_return", "final_return_mean", "auc_return")

DEFAULT_ADAPTERS = {
    ("dreamerv3", "official"): "official_dreamerv3_jax_subprocess",
    ("dreamerv3", "worldflux"): "worldflux_dreamerv3_jax_subprocess",
    ("tdmpc2", "official"): "official_tdmpc2_torch_subprocess",
    ("tdmpc2", "worldflux"): "worldflux_tdmpc2_native",
}

# The furthest from its budget that a score may stand, as a share of it: the earliest published curve of
# DreamerV3 ends 18.4 % before its 400,000 frames. What is further away is a score of another training.
MOST_TOLERANCE = 0.2

# The path of a value within the suite.
At = tuple[str | int, ...]
# Such a path -> ``file:line``.
Locate = Callable[[At], str]
Comparison = Literal["programs", "versions", "self"]
# Points, or {"frames": n}.
EvalWindow = int | Mapping[str, int]
# The parts of a budget in which episodes are averaged, where the suite names no number.
BINS = 20


@dataclass(frozen=True)
class ArtifactSide:
    """A side read from a score table.

    Attributes:
        duplicates: which of two runs of one (task, seed) counts.
        frames_per_step: environment frames that a step of the table is.
        columns: where it has what, of a format that does not say so itself.
    """

    path: Path
    format: str
    repo: str | None = None
    commit: str | None = None
    duplicates: Literal["first", "last", "one_run", "last_point"] | None = None
    frames_per_step: int | None = None
    columns: Mapping[str, Any] | None = None

    @property
    def reading(self) -> Mapping[str, Any]:
        """How the table is read, as the keywords of ``inputs.scores.load_table``."""
        return {
            "duplicates": self.duplicates,
            "frames_per_step": self.frames_per_step,
            "columns": self.columns,
        }

    @property
    def in_words(self) -> str:
        """What the suite chooses of how the table is read; empty where that is nothing."""
        where = (self.columns or {}).get("where", {})
        chosen = [f"rows where {name} is {value}" for name, value in where.items()]
        unit = [f"steps of {self.frames_per_step} frames"] if self.frames_per_step else []
        run = [f"the {self.duplicates} of several runs"] if self.duplicates in ("first", "last") else []
        return ", ".join((*chosen, *unit, *run))


@dataclass(frozen=True)
class BackendSide:
    """A side run live: by the backend ``adapter``, or by commands that the file itself has.

    Attributes:
        commands: task -> how it is run, where no backend says so.
        version: of the official program that it runs; empty: that of the suite's entry of the lock file, or
            the current one.
    """

    adapter: str
    commands: Mapping[str, CommandSide] = field(default_factory=dict)
    version: str = ""


Side = ArtifactSide | BackendSide


@dataclass(frozen=True)
class Override:
    """A table given on the command line for one side; None leaves what the suite's own table has."""

    path: Path | None = None
    format: str | None = None


@dataclass(frozen=True)
class Metric:
    """What is judged and how.

    Attributes:
        margin: relative: 0.05 is 5 % of the official mean.
        confidence: of the one-sided bound (``equivalence`` uses alpha = 1 - confidence twice).
        floor: smallest scale that a difference is divided by, in the metric's units.
        tasks: the tasks on which it is judged, in the suite's order; empty means all of them.
    """

    name: str
    rule: str
    margin: float
    confidence: float = 0.95
    higher_is_better: bool = True
    floor: float = 1.0
    tasks: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """What the rule answers: ``equivalence`` or ``non-inferiority``."""
        return QUESTIONS[self.rule]


@dataclass(frozen=True)
class Budget:
    """The training budget at which both sides are compared: frames, and a relative tolerance."""

    step: int
    tolerance: float = 0.0


@dataclass(frozen=True)
class Points:
    """What the points of a curve are, by which is told that one is missing.

    Attributes:
        kind: ``evaluations`` stand at each multiple of ``interval`` frames; training ``episodes`` where they
            end, so they are averaged in ``bins`` equal parts of the budget.
    """

    kind: Literal["evaluations", "episodes"]
    interval: int = 0
    bins: int = BINS


@dataclass(frozen=True)
class Resources:
    """What a run needs on a GPU machine: how many GPUs, and memory on each (10^9 bytes; None: any)."""

    gpus: int = 1
    gpu_memory_gb: float | None = None


@dataclass(frozen=True)
class Task:
    """One task with what it overrides; mappings are already merged with the suite's defaults.

    Attributes:
        seeds: of both systems, where the suite or a sealed plan gives the task seeds of its own.
        points: None where the suite does not say what they are.
        names: by system, how its table calls the task, where not by its id.
    """

    id: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    eval_protocol: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget | None = None
    deadline_sec: float = 3600.0
    seeds: tuple[int, ...] | None = None
    resources: Resources = Resources()
    points: Points | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def name_in(self, system: str) -> str:
        """How the table of a side calls the task."""
        return self.names.get(system, self.id)

    @property
    def eval_window(self) -> EvalWindow:
        """Over which points the final return is the mean."""
        window = self.eval_protocol.get("eval_window", 1)
        return window if isinstance(window, Mapping) else int(window)


@dataclass(frozen=True)
class Suite:
    """A suite as everything downstream sees it.

    Attributes:
        seeds: per system the seeds that are expected; None where an older suite names none and the
            tables decide.
        sides: by system; of a source of a campaign that one alone.
        metrics: all must pass; the first is the primary one.
        component_match: whether the worldflux backend's components are compared with a golden folder
            before anything is trained; None: where it declares how. Where it does not, ``golden`` is refused
            before anything runs, and ``required`` fails the verdict.
        components: names of those that are compared; empty: all of the golden. With fewer nothing passes that
            requires components.
        comparison: of two programs; or, where the suite asks for it, of two versions of one program, or of
            one program with itself. The latter two are never a claim.
        recipe_terms: on what terms the recipes of the two sides are compared.
        labels: system -> what texts for people call it, where not by its own word.
        legacy: read from the quick format of the earlier system.
        replaced: the sides that the suite names, where the command line gave a table in their place.
        sha256: of the file's bytes.
    """

    suite_id: str
    family: str
    track: str
    tasks: tuple[Task, ...]
    seeds: Mapping[str, tuple[int, ...] | None]
    sides: Mapping[str, Side]
    metrics: tuple[Metric, ...]
    retries: int = 0
    threads: int = 1
    on_inconclusive: Literal["fail", "warn"] = "fail"
    component_match: Literal["golden", "required", "none"] | None = None
    components: tuple[str, ...] = ()
    comparison: Comparison = "programs"
    recipe_terms: RecipeTerms = field(default_factory=RecipeTerms)
    labels: Mapping[str, str] = field(default_factory=dict)
    legacy: bool = False
    replaced: Mapping[str, Side] = field(default_factory=dict)
    path: Path = Path()
    sha256: str = ""

    @property
    def primary(self) -> Metric:
        return self.metrics[0]

    @property
    def live_systems(self) -> tuple[str, ...]:
        """The systems that are run, in the order official, worldflux."""
        return tuple(s for s in SYSTEMS if isinstance(self.sides.get(s), BackendSide))

    @property
    def requires_components(self) -> bool:
        """Whether nothing passes unless every component matches."""
        return self.component_match in ("golden", "required")

    @property
    def names_components(self) -> bool:
        """Whether the suite itself, and not its backend alone, says that components are compared."""
        return self.requires_components or bool(self.components)

    def commands(self, system: str) -> Mapping[str, CommandSide]:
        """Task -> how a system is run, where the file says so itself."""
        side = self.sides.get(system)
        return side.commands if isinstance(side, BackendSide) else {}

    def judged_tasks(self, metric: Metric) -> tuple[Task, ...]:
        """The tasks on which ``metric`` is judged."""
        return tuple(t for t in self.tasks if not metric.tasks or t.id in metric.tasks)

    def metrics_of(self, task_id: str) -> tuple[Metric, ...]:
        """The metrics that are judged on a task."""
        return tuple(m for m in self.metrics if not m.tasks or task_id in m.tasks)

    @property
    def unsaid_points(self) -> tuple[Task, ...]:
        """The tasks with curves that are judged, of which nothing says what their points are."""
        curves = (t for t in self.tasks if any(m.name in CURVE_METRICS for m in self.metrics_of(t.id)))
        return tuple(t for t in curves if t.points is None)

    def task(self, task_id: str) -> Task:
        return next(t for t in self.tasks if t.id == task_id)

    def with_live_seeds(self, seeds: Sequence[int]) -> Suite:
        """The suite with the seeds of its live sides replaced; tables keep theirs."""
        live = self.live_systems
        return replace(
            self,
            seeds={s: tuple(seeds) if s in live else v for s, v in self.seeds.items()},
            tasks=tuple(replace(t, seeds=None) for t in self.tasks),
        )

    def with_overrides(self, overrides: Mapping[str, Override]) -> Suite:
        """The suite with tables in the place of sides, which ``replaced`` keeps.

        Raises:
            SuiteError: a live side is given a path without a format, or a format without a path.
        """
        tables = {s: _override_side(self.sides[s], o, s) for s, o in overrides.items()}
        replaced = {s: self.sides[s] for s in tables}
        return replace(self, sides={**self.sides, **tables}, replaced=replaced)


def _override_side(side: Side, given: Override, system: str) -> ArtifactSide:
    """The table that is read in a side's place; of another file, repo and commit are not known."""
    option = "--parity-upstream" if system == "official" else "--parity-worldflux"
    own = side if isinstance(side, ArtifactSide) else None
    path = given.path or (own.path if own else None)
    format = given.format or (own.format if own else None)
    if path is None or format is None:
        lacking = option if path is None else f"{option}-format"
        raise SuiteError(
            f"the {system} side is live, and {lacking} is not given",
            where="command line",
            hint=f"give both {option} and {option}-format",
        )
    if own is None:
        return ArtifactSide(path, format)
    if own.format != format:
        own = replace(own, frames_per_step=None, columns=None)
    if given.path is not None:
        own = replace(own, repo=None, commit=None)
    return replace(own, path=path, format=format)


def parse_suite(data: Mapping[str, Any], folder: Path, locate: Locate) -> Suite:
    """A :class:`Suite` from a mapping that its JSON Schema accepts.

    Args:
        folder: what relative paths in the suite are relative to.
        locate: tells for an error where a value stands.

    Raises:
        SuiteError: what a schema cannot say is wrong (duplicate tasks, an unknown default adapter, ...).
    """
    if "schema_version" not in data:
        return _parse_legacy_quick(data, folder)
    tasks = _parse_tasks(data, locate)
    return Suite(
        suite_id=data["suite_id"],
        family=data["family"],
        track=data["track"],
        tasks=tasks,
        seeds=_parse_seeds(data["seeds"], locate),
        sides={s: _parse_side(data.get(s), data["family"], s, folder, locate) for s in SYSTEMS},
        metrics=_parse_metrics(data["metrics"], [t.id for t in tasks], locate),
        retries=data.get("retries", 0),
        threads=data.get("threads", 1),
        on_inconclusive=data.get("on_inconclusive", "fail"),
        component_match=data.get("component_match"),
        components=_parse_declared(data, locate),
        comparison=data.get("comparison", "programs"),
        recipe_terms=parse_recipe_terms(data, (t.recipe for t in tasks), locate),
        labels=parse_labels(data, _list_ids(data, tasks), locate),
    )


def _list_ids(data: Mapping[str, Any], tasks: Sequence[Task]) -> list[str]:
    return [data["suite_id"], data["family"], *(t.id for t in tasks), *(m["name"] for m in data["metrics"])]


def _parse_declared(data: Mapping[str, Any], locate: Locate) -> tuple[str, ...]:
    """The components that are declared; the golden, which is read later, says whether it has them."""
    names = tuple(data.get("components", ()))
    _refuse_repeated_values(names, "component", ("components",), locate)
    if names and data.get("component_match") == "none":
        what = "components are named, and component_match is 'none'"
        hint = "leave one of the two out"
        raise SuiteError(what, where=locate(("component_match",)), hint=hint)
    return names


def _parse_tasks(data: Mapping[str, Any], locate: Locate) -> tuple[Task, ...]:
    rows = [t if isinstance(t, Mapping) else {"id": t} for t in data["tasks"]]
    _refuse_repeated_values([t["id"] for t in rows], "task", ("tasks",), locate)
    for at, row in (((), data), *((("tasks", i), row) for i, row in enumerate(rows))):
        _refuse_reversed_windows(row, at, locate)
        _refuse_wide_tolerance(row, at, locate)
    for i, row in enumerate(rows):
        _refuse_repeated_values(row.get("seeds", ()), "seed", ("tasks", i, "seeds"), locate)
    for system in SYSTEMS:
        names = [row.get("names", {}).get(system, row["id"]) for row in rows]
        _refuse_repeated_values(names, f"{system} table's name", ("tasks",), locate)
    tasks = tuple(_parse_task(row, data, ("tasks", i), locate) for i, row in enumerate(rows))
    for i, task in enumerate(tasks):
        if task.budget is None:
            raise SuiteError(
                f"task {task.id!r} has no budget, so the sides could be compared at different steps",
                where=locate(("tasks", i)),
                hint="add `budget: {step: <frames>}` to the suite or to the task",
            )
        _refuse_few_evaluations(task, task.budget, ("tasks", i), locate)
    return tasks


def _parse_task(own: Mapping[str, Any], data: Mapping[str, Any], at: At, locate: Locate) -> Task:
    budget = {**data.get("budget", {}), **own.get("budget", {})}
    protocol = {**data.get("eval_protocol", {}), **own.get("eval_protocol", {})}
    place = at if "points" in own or "bins" in own else ()
    return Task(
        id=own["id"],
        recipe={**data.get("recipe", {}), **own.get("recipe", {})},
        eval_protocol=protocol,
        points=_parse_points({**data, **own}, protocol.get("eval_interval"), place, locate),
        budget=Budget(budget["step"], budget.get("tolerance", 0.0)) if budget else None,
        deadline_sec=own.get("deadline_sec", data.get("deadline_sec", 3600.0)),
        seeds=tuple(sorted(own["seeds"])) if "seeds" in own else None,
        resources=Resources(**{**data.get("resources", {}), **own.get("resources", {})}),
        names=own.get("names", {}),
    )


def _parse_points(said: Mapping[str, Any], interval: int | None, at: At, locate: Locate) -> Points | None:
    """What the points are. An interval alone says evaluations.

    Raises:
        SuiteError: evaluations have no interval, or ``bins`` are of no episodes.
    """
    kind = said.get("points", None if interval is None else "evaluations")
    if kind == "episodes":
        return Points(kind, bins=said.get("bins", BINS))
    if "bins" in said:
        what = "bins are parts of the budget in which episodes are averaged, and the points are no episodes"
        raise SuiteError(
            what, where=locate((*at, "bins")), hint="write `points: episodes`, or leave bins out"
        )
    if kind == "evaluations" and interval is None:
        raise SuiteError(
            "points are evaluations, and nothing says how far apart",
            where=locate((*at, "points")),
            hint="add `eval_protocol: {eval_interval: <frames>}`, or write `points: episodes`",
        )
    return None if kind is None else Points(kind, interval or 0)


def _refuse_few_evaluations(task: Task, budget: Budget, at: At, locate: Locate) -> None:
    if task.points is None or task.points.kind == "episodes":
        return
    there = budget.step // task.points.interval
    window = task.eval_window if isinstance(task.eval_window, int) else 1
    if there < window:
        raise SuiteError(
            f"task {task.id!r} has {there} evaluations up to its budget of {budget.step} frames, one each "
            f"{task.points.interval}, and its score is the mean of the last {window}",
            where=locate(at),
            hint="write a smaller `eval_interval` (frames) or `eval_window`",
        )


def _refuse_reversed_windows(row: Mapping[str, Any], at: At, locate: Locate) -> None:
    for name, (first, last) in row.get("eval_protocol", {}).get("windows", {}).items():
        if first > last:
            raise SuiteError(
                f"window {name!r} is [{first}, {last}]",
                where=locate((*at, "eval_protocol", "windows", name)),
                hint="write [first, last] with first <= last",
            )


def _refuse_wide_tolerance(row: Mapping[str, Any], at: At, locate: Locate) -> None:
    tolerance = row.get("budget", {}).get("tolerance", 0.0)
    if tolerance > MOST_TOLERANCE:
        raise SuiteError(
            f"budget.tolerance is {tolerance:g}, and at most {MOST_TOLERANCE:g} of a budget is tolerated",
            where=locate((*at, "budget", "tolerance")),
            hint=f"write `tolerance: {MOST_TOLERANCE:g}` or less, or a step at which both sides have a score",
        )


def _parse_seeds(value: Any, locate: Locate) -> dict[str, tuple[int, ...] | None]:
    if isinstance(value, Mapping):
        return {s: _parse_seed_list(value[s], ("seeds", s), locate) for s in SYSTEMS}
    return dict.fromkeys(SYSTEMS, _parse_seed_list(value, ("seeds",), locate))


def _parse_seed_list(value: int | Sequence[int], at: At, locate: Locate) -> tuple[int, ...]:
    seeds = tuple(range(value)) if isinstance(value, int) else tuple(value)
    _refuse_repeated_values(seeds, "seed", at, locate)
    return seeds


def _refuse_repeated_values(values: Sequence[object], what: str, at: At, locate: Locate) -> None:
    seen: set[object] = set()
    for i, value in enumerate(values):
        if value in seen:
            raise SuiteError(
                f"{what} {value!r} is named twice", where=locate((*at, i)), hint=f"name each {what} once"
            )
        seen.add(value)


def _parse_side(
    own: Mapping[str, Any] | None, family: str, system: str, folder: Path, locate: Locate
) -> Side:
    if own and "artifact" in own:
        artifact = dict(own["artifact"])
        return ArtifactSide(path=folder / artifact.pop("path"), **artifact)
    adapter = (own or {}).get("backend") or DEFAULT_ADAPTERS.get((family, system))
    if adapter is None:
        raise SuiteError(
            f"{system} names neither artifact nor backend, and the family {family!r} has no default backend",
            where=locate(("family",)),
            valid=sorted({f for f, _ in DEFAULT_ADAPTERS}),
            got=family,
            hint=f"add `{system}: {{backend: <adapter id>}}`",
        )
    return BackendSide(adapter, version=(own or {}).get("version", ""))


def _parse_metrics(
    rows: Sequence[Mapping[str, Any]], tasks: Sequence[str], locate: Locate
) -> tuple[Metric, ...]:
    _refuse_repeated_values([r["name"] for r in rows], "metric", ("metrics",), locate)
    metrics = tuple(Metric(**{**row, "tasks": tuple(row.get("tasks", ()))}) for row in rows)
    for i, metric in enumerate(metrics):
        for j, task in enumerate(metric.tasks):
            if task not in tasks:
                where = locate(("metrics", i, "tasks", j))
                raise SuiteError(f"{metric.name}: no task {task!r}", where=where, valid=tasks, got=task)
    for i, task in enumerate(tasks):
        if not any(not m.tasks or task in m.tasks for m in metrics):
            raise SuiteError(
                f"no metric is judged on task {task!r}",
                where=locate(("tasks", i)),
                hint="name it in a metric's `tasks`",
            )
    return metrics


def _parse_legacy_quick(data: Mapping[str, Any], folder: Path) -> Suite:
    """The quick suite of the earlier system: two tables, the documented rule, seeds from the tables.

    Of two scores for one point the last in the file counts, as it did there without a word; the
    verdict warns of how many there are.
    """
    metric = Metric(
        name=data.get("metric", "episode_return"),
        rule="drop_ratio",
        margin=data.get("margin_ratio", 0.05),
        confidence=data.get("confidence", 0.95),
        higher_is_better=data.get("higher_is_better", True),
    )
    sides = {"official": data["upstream"], "worldflux": data["worldflux"]}
    return Suite(
        suite_id=data["suite_id"],
        family=data["family"],
        track="quick",
        tasks=tuple(Task(id=t) for t in data["tasks"]),
        seeds=dict.fromkeys(SYSTEMS, None),
        sides={
            s: ArtifactSide(folder / v["path"], v["format"], v.get("repo"), v.get("commit"), "last_point")
            for s, v in sides.items()
        },
        metrics=(metric,),
        legacy=True,
    )
