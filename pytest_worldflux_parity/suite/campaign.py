"""A campaign: which score tables are to be made, from what, and where they go. Nothing is judged.

Frozen data, and the functions that make them from a mapping that ``campaign.v1.json`` has accepted.
Beside the fields of the earlier system a source may have ``duplicates``, ``recipe``, ``eval_protocol``,
``deadline_sec``, ``retries`` and ``threads``, and a campaign ``step_unit`` and ``step_tolerance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import SuiteError
from .commands import CommandSide
from .suite import ArtifactSide, BackendSide, Budget, Locate, Metric, Side, Suite, Task

# Which system the runs of a source are of.
SYSTEM_OF = {"oracle": "official", "worldflux": "worldflux"}
# Of the points up to the step, the last `eval_window` count: the evaluation there, where it is 1.
SCORE = Metric("final_return_mean", "drop_ratio", margin=0.05)
STEP_TOLERANCE = 0.1
# The earlier system counts `default_step` of Atari in agent steps of four frames, and of others in frames.
AGENT_STEP_FRAMES = {"dreamerv3": 4, "tdmpc2": 2}
OLDER_AGENT_STEPS = ("dreamerv3",)

SourceKind = Literal["command", "table", "backend"]


@dataclass(frozen=True)
class Source:
    """Where one table comes from: a command, a ``table`` that is there, or a backend.

    Attributes:
        output_path: a relative one is relative to the campaign's file already.
        command: words with placeholders; empty where there is no command.
        settings: what a run of the source is given: recipe, eval_protocol, deadline_sec.
    """

    name: str
    adapter: str
    output_path: Path
    repo: str | None = None
    commit: str | None = None
    table: ArtifactSide | None = None
    command: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    threads: int = 1

    @property
    def system(self) -> str:
        return SYSTEM_OF[self.name]

    @property
    def kind(self) -> SourceKind:
        if self.command:
            return "command"
        return "table" if self.table else "backend"

    @property
    def in_place(self) -> bool:
        """Whether what is read stands where the table would go, as in files of the earlier system."""
        return self.kind == "table" and self.table is not None and self.table.path == self.output_path


@dataclass(frozen=True)
class Campaign:
    """A campaign as everything downstream sees it.

    Attributes:
        step: at which scores are taken, in frames, within the relative ``tolerance``.
        sources: by name, in the order oracle, worldflux.
        warnings: what the file says in a way that it had better not.
    """

    suite_id: str
    family: str
    step: int
    tolerance: float
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    sources: Mapping[str, Source]
    warnings: tuple[str, ...] = ()
    path: Path = Path()
    sha256: str = ""

    def suite(self, source: Source, seeds: Sequence[int]) -> Suite:
        """One source as a suite whose only side it is, for the engine and the store."""
        return Suite(
            suite_id=self.suite_id,
            family=self.family,
            track="campaign",
            tasks=tuple(
                Task(t, budget=Budget(self.step, self.tolerance), **source.settings) for t in self.tasks
            ),
            seeds={s: tuple(seeds) if s == source.system else () for s in SYSTEM_OF.values()},
            sides={source.system: self._side(source)},
            metrics=(SCORE,),
            retries=source.retries,
            threads=source.threads,
            component_match="none",
            path=self.path,
            sha256=self.sha256,
        )

    def _side(self, source: Source) -> Side:
        """A source as the side of a suite."""
        if source.kind == "table" and source.table is not None:
            return source.table
        tasks = self.tasks if source.command else ()
        return BackendSide(source.adapter, {task: _make_command_side(self, source, task) for task in tasks})


def _make_command_side(campaign: Campaign, source: Source, task: str) -> CommandSide:
    # Beside the placeholders of manifests; these are known before anything runs.
    own = {"{task}": task, "{source}": source.name, "{step}": str(campaign.step)}
    return CommandSide(
        adapter=source.adapter,
        command=tuple(_fill_known(word, own) for word in source.command),
        backend_kind="command",
        adapter_id=source.adapter,
        cwd="{repo_root}",
        source_commit=source.commit,
    )


def _fill_known(word: str, values: Mapping[str, str]) -> str:
    # No value holds a brace: the schema allows none in the name of a task.
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def parse_campaign(data: Mapping[str, Any], folder: Path, locate: Locate) -> Campaign:
    """A :class:`Campaign` from a mapping that its JSON Schema accepts.

    Args:
        folder: what relative paths in the file are relative to.
        locate: tells for an error where a value stands.

    Raises:
        SuiteError: what a schema cannot say is wrong.
    """
    rows = data["sources"]
    sources = {n: _parse_source(n, rows[n], folder, locate) for n in SYSTEM_OF if n in rows}
    _refuse_shared_files(sources, locate)
    return Campaign(
        suite_id=data["suite_id"],
        family=data["family"],
        step=data["default_step"] * _frames_per_unit(data, locate),
        tolerance=data.get("step_tolerance", STEP_TOLERANCE),
        seeds=tuple(sorted(data["default_seeds"])),
        tasks=tuple(data["tasks"]),
        sources=sources,
    )


def _frames_per_unit(data: Mapping[str, Any], locate: Locate) -> int:
    """Frames in the unit of ``default_step``."""
    family = data["family"]
    unit = data.get("step_unit", "agent_steps" if family in OLDER_AGENT_STEPS else "frames")
    if unit == "frames":
        return 1
    if family not in AGENT_STEP_FRAMES:
        raise SuiteError(
            f"how many frames an agent step of the family {family!r} has is not known",
            where=locate(("step_unit",)),
            valid=AGENT_STEP_FRAMES,
            hint="give default_step in frames, and `step_unit: frames`",
        )
    return AGENT_STEP_FRAMES[family]


def _parse_source(name: str, row: Mapping[str, Any], folder: Path, locate: Locate) -> Source:
    given = row.get("input_path")
    if (given is None) != ("input_format" not in row):
        lacking, there = ("input_path", "input_format") if given is None else ("input_format", "input_path")
        raise SuiteError(
            f"{there} is given without {lacking}",
            where=locate(("sources", name, there)),
            hint=f"add `{lacking}:`, or leave both out",
        )
    reading = {k: row[k] for k in ("repo", "commit", "duplicates", "frames_per_step", "columns") if k in row}
    return Source(
        name=name,
        adapter=row["adapter"],
        output_path=folder / row["output_path"],
        repo=row.get("repo"),
        commit=row.get("commit"),
        table=None if given is None else ArtifactSide(folder / given, row["input_format"], **reading),
        command=tuple(row.get("command_template") or ()),
        settings={k: row[k] for k in ("recipe", "eval_protocol", "deadline_sec") if k in row},
        retries=row.get("retries", 0),
        threads=row.get("threads", 1),
    )


def _refuse_shared_files(sources: Mapping[str, Source], locate: Locate) -> None:
    """A table that is written must be no other's, and no other's input."""
    for name, source in sources.items():
        others = [
            path
            for o in sources.values()
            if o is not source
            for path in (o.output_path, o.table and o.table.path)
        ]
        if source.output_path in others:
            raise SuiteError(
                f"{source.output_path} is also another table of this campaign",
                where=locate(("sources", name, "output_path")),
                hint="give each table a path of its own",
            )
