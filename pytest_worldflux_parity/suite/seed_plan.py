"""How many seeds each task has: what a sealed plan holds, and a suite with these seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ParityError, StatisticsError
from .proof_settings import ProofTask
from .suite import SYSTEMS


@dataclass(frozen=True)
class TaskPlan:
    """How many seeds a task gets.

    Attributes:
        seeds: the first of the policy's seeds, those of the pilot included.
        wanted: seeds for the wanted power; None where even ``max_seeds`` do not reach it.
        metric: the one that asks for most. reason: why there are not as many as wanted.
    """

    task: str
    seeds: tuple[int, ...]
    wanted: int | None
    metric: str
    reason: str = ""


@dataclass(frozen=True)
class SeedPlan:
    """The plan that a pilot seals."""

    tasks: tuple[TaskPlan, ...]

    @property
    def pairs(self) -> int:
        """How many (task, seed) there are in all."""
        return sum(len(t.seeds) for t in self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON, for the run directory."""
        return {
            "schema_version": "worldflux.parity.seed_plan.v1",
            "tasks": [{**vars(t), "seeds": list(t.seeds)} for t in self.tasks],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SeedPlan:
        """A plan from a document that its JSON Schema accepts."""
        return cls(tuple(TaskPlan(**{**row, "seeds": tuple(row["seeds"])}) for row in document["tasks"]))


def with_seeds(tasks: Sequence[ProofTask], plan: SeedPlan) -> tuple[ProofTask, ...]:
    """The tasks with the seeds of a plan.

    Raises:
        StatisticsError: the plan names other tasks.
    """
    seeds = {t.task: t.seeds for t in plan.tasks}
    if sorted(seeds) != sorted(t.id for t in tasks) or len(plan.tasks) != len(tasks):
        raise StatisticsError("the plan of seeds names other tasks than the suite", where="seed plan")
    return tuple(replace(t, seeds=dict.fromkeys(SYSTEMS, seeds[t.id])) for t in tasks)


def parse_seeds(option: str, text: str) -> tuple[int, ...]:
    """Seeds as they are typed.

    Args:
        option: the option that gives them.

    Raises:
        ParityError: they are not distinct whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    whole = all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts)
    if not whole or len({int(p) for p in parts}) != len(parts):
        raise ParityError(f"{option} {text!r}: distinct whole numbers are wanted, as in 0,1,2")
    return tuple(sorted(map(int, parts)))
