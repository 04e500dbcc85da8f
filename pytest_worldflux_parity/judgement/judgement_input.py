"""What a verdict may rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..inputs.lock import GoldenPin
from ..inputs.table_pins import TablePin
from ..inputs.versions import Versions
from ..suite.pairs import Pair, RunKey
from ..suite.suite import SYSTEMS, Suite
from .gates import Finding
from .gates.compared import Compared
from .gates.components import ComponentEvidence
from .gates.fixture import is_fixture_line
from .gates.independence import Origin
from .gates.programs import Named
from .gates.recipes import ComparedRecipes, compare_recipes
from .gates.repeats import Repeats
from .run_log import AttemptCounts, RunLog
from .stats.measurements import Observed
from .walls import Isolation, isolation_of

# What a verdict is about where a suite compares one program on purpose.
ONE_PROGRAM = {
    "versions": "two versions of one program (comparison: versions)",
    "self": "one program compared with itself (comparison: self)",
}


@dataclass(frozen=True)
class Evidence:
    """Everything that a verdict rests on.

    Attributes:
        expected: (task, seed, system) that must have a result.
        lines: the stored lines that count; all_lines: every line that answers the same requests.
        recipes, protocols: (system, task, seed) -> what the side says that it effectively used.
        noted: what came beside the programs, and changed nothing that ran.
        doubts: findings about stored lines that may not be what the programs wrote.
        log: what the run's log says of itself. attempts: system -> how those of the whole suite ended.
        lock_mismatch: how the official side's commit contradicts the lock; empty where it does not.
        table: whether an official table is the one that the lock pins.
        components: the match of components; None where they are not compared.
        golden: what the lock pins for the suite's family to compare components with, whether or not
            anything was compared.
        repeated_rows: what became of rows of the tables that repeat a (task, seed, step), a sentence each.
        label: of the part of a proof suite; empty where there is one alone.
        choices: what the run's command line chose in place of what the project has, a sentence each.
        fixture_tables: systems whose table says that it is a fixture.
        repeats: records of one side that are equal, whether or not they count as runs of their own.
        packages: how the environments of its programs are not what they pin.
        reused: what was taken from earlier runs, a sentence; empty where nothing was.
        named: live side -> the program that it names; None where it names nothing.
        versions: which locked versions of official programs the sides are.
    """

    suite: Suite
    pairs: tuple[Pair, ...]
    expected: tuple[tuple[str, int, str], ...]
    observed: Observed
    lines: tuple[Mapping[str, Any], ...]
    all_lines: tuple[Mapping[str, Any], ...]
    origins: Mapping[str, Origin]
    recipes: Mapping[RunKey, Mapping[str, Any]]
    protocols: Mapping[RunKey, Mapping[str, Any]]
    noted: tuple[str, ...] = ()
    doubts: tuple[Finding, ...] = ()
    torn_lines: int = 0
    log: RunLog = field(default_factory=RunLog)
    attempts: Mapping[str, AttemptCounts] = field(default_factory=dict)
    lock_mismatch: str = ""
    table: TablePin = field(default_factory=TablePin)
    components: ComponentEvidence | None = None
    golden: GoldenPin | None = None
    repeated_rows: tuple[str, ...] = ()
    label: str = ""
    fixture_tables: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    repeats: Repeats = field(default_factory=Repeats)
    packages: tuple[Finding, ...] = ()
    reused: str = ""
    named: Mapping[str, Named | None] = field(default_factory=dict)
    versions: Versions = field(default_factory=Versions)

    @property
    def compared(self) -> Compared:
        """How many components were compared, of those that the lock wants."""
        return Compared(self.suite.family, self.golden, self.components)

    @cached_property
    def recipe(self) -> ComparedRecipes:
        """How much of the recipes of both sides was compared."""
        return compare_recipes(self.pairs, self.recipes, self.suite.recipe_terms)

    @cached_property
    def fixtures(self) -> tuple[str, ...]:
        """The systems with made-up numbers: a verdict on them is a rehearsal."""
        lines = {line["system"] for line in self.lines if is_fixture_line(line)}
        return tuple(s for s in SYSTEMS if s in lines or s in self.fixture_tables)

    @cached_property
    def keys_that_ran(self) -> frozenset[RunKey]:
        """(system, task, seed) of the lines that count."""
        return frozenset((line["system"], line["task_id"], line["seed"]) for line in self.lines)

    @property
    def isolation(self) -> Isolation:
        """What kept the programs in their folders."""
        return isolation_of(list_what_ran(self.lines, (self.components,)))

    @property
    def _cut_off(self) -> Iterator[str]:
        """Per side the attempts that were no failures, and that its program may have cut off itself."""
        for system, counts in self.attempts.items():
            for count, how in ((counts.lost - counts.excused, "lost"), (counts.disk_full, "on a full disk")):
                if count:
                    yield f"{count} attempt{'s' * (count != 1)} of {system} {how}"

    def sentence(self, reason: str, others: Iterable[Evidence] = ()) -> str:
        """The sentence of a verdict; it begins with what was chosen in place of what the project has.

        And with the attempts that were cut off, where their program may have done it, with how many keys of
        the recipe are not compared, with an official version that is not the current one, and with what is
        compared, where that is one program on purpose.

        Args:
            others: parts of the same suite.
        """
        parts = (self, *others)
        compared = [text for part in parts if (text := part.versions.compared)]
        told = [*self.choices, *self._cut_off]
        if not compared:
            told += dict.fromkeys(text for part in parts if (text := part.versions.not_current))
        if ignored := sum(len(part.suite.recipe_terms.ignored) for part in parts):
            told.append(f"{ignored} key{'s' * (ignored != 1)} of the recipe ignored")
        chosen = f"with {' and '.join(told)}: {reason}" if told else reason
        one = ONE_PROGRAM.get(self.suite.comparison)
        which = ", ".join((one or "", *compared))
        return f"{which}, so nothing is shown of another program: {chosen}" if one else chosen


def list_what_ran(
    lines: Iterable[Mapping[str, Any]], matches: Iterable[ComponentEvidence | None]
) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """(adapter, what kept it in its folder) of every run and component match."""
    yield from ((line["adapter"], line.get("isolation")) for line in lines)
    for match in matches:
        if match is not None and match.about is not None:
            yield match.about["adapter"], match.isolation
