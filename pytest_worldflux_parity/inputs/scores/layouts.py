"""What ``columns`` of a suite says: which files are read, and where they have what a score is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .tasks import names_kind, names_run, names_task
from .templates import Template


@dataclass(frozen=True)
class Layout:
    """What ``columns`` of a suite says.

    Attributes:
        files: of a folder, which files are read, and what their names say.
        beside: a YAML file, relative to each of them, whose keys hold for all of its rows.
        task, seed, step, score, metric: columns; ``score`` may be a template of several, each of one run.
        where: column -> the one value of the rows that count.
        constants: what no file says.
        empty: what an empty score is: a ``null``, or ``absent``, which is no row.
    """

    files: str = ""
    beside: str = ""
    task: str = "task"
    seed: str = "seed"
    step: str = "step"
    score: str = "score"
    metric: str = ""
    where: Mapping[str, object] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    empty: str = "null"

    @cached_property
    def path(self) -> Template | None:
        """The template of the files of a folder."""
        return Template.of(self.files, "files", is_path=True) if self.files else None

    @cached_property
    def wide(self) -> Template | None:
        """The template of columns that hold one run each; None where a row names its run."""
        return Template.of(self.score, "score") if "{" in self.score else None

    @property
    def skips_empty(self) -> bool:
        """Whether an empty score is no row: a wide table has a cell for each run and step."""
        return self.empty == "absent" or self.wide is not None

    @property
    def words(self) -> frozenset[str]:
        """The columns, or keys beside, that the layout names and that hold no numbers of their own."""
        return frozenset((self.task, self.seed, self.metric, *self.where)) - {""}

    def kinds(self, names: Iterable[str]) -> list[str]:
        """Of these columns those that say whose score a row has or which, beside those that are taken."""
        return [name for name in names if names_kind(name) and name not in self._used]

    def runs(self, names: Iterable[str]) -> list[str]:
        """Of these columns those that say of which run a row is, and that the suite does not name."""
        return [name for name in names if names_run(name) and name not in self._used]

    def tasks(self, names: Iterable[str]) -> list[str]:
        """Of these columns those that say of which task a row is, beside the one that is taken."""
        return [name for name in names if names_task(name) and name not in self._used]

    @property
    def _used(self) -> frozenset[str]:
        return self.words | {self.step, self.score}
