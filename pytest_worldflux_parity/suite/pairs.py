"""Suite -> pairs -> requests, each with an id that is a hash of everything that decides its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..wire import RunRequest, content_hash
from .suite import SYSTEMS, Suite, Task

# system, task, seed: what one run answers
RunKey = tuple[str, str, int]
# task -> seeds that a score table holds for it
FoundSeeds = Mapping[str, frozenset[int]]


@dataclass(frozen=True, order=True)
class PairKey:
    """What one item stands for. ``source``: of a campaign's."""

    task_id: str
    seed: int
    source: str = ""

    def __str__(self) -> str:
        source = f"source={self.source}," if self.source else ""
        return f"{self.task_id}[{source}seed={self.seed}]"


@dataclass(frozen=True)
class Pair:
    """One (task, seed) and the systems that are expected to have a result for it.

    ``source``: the one that it is an item of, in a campaign.
    """

    task: Task
    seed: int
    systems: tuple[str, ...]
    source: str = ""

    @property
    def key(self) -> PairKey:
        return PairKey(self.task.id, self.seed, self.source)


def expected_seeds(
    suite: Suite, system: str, task_id: str, found: Mapping[str, FoundSeeds]
) -> frozenset[int]:
    """The seeds that ``system`` must have for a task.

    They come from the suite. An older suite that names none is satisfied by what either table
    holds, so a seed that one table lacks is missing there.

    Args:
        found: system -> task -> seeds; needed for older suites only.
    """
    planned = suite.task(task_id).seeds
    if planned is not None:
        return frozenset(planned)
    named = suite.seeds[system]
    if named is not None:
        return frozenset(named)
    return frozenset().union(*(found.get(s, {}).get(task_id, frozenset()) for s in SYSTEMS))


def pairs(suite: Suite, found: Mapping[str, FoundSeeds] | None = None) -> list[Pair]:
    """The pairs of a suite, tasks in the suite's order and seeds ascending.

    Where a side is live, pairs are the seeds that are run; further seeds of a table beside it are
    used by the verdict and need no item. Where both sides are tables, pairs are the seeds of either.
    """
    drivers = suite.live_systems or SYSTEMS
    result: list[Pair] = []
    for task in suite.tasks:
        seeds = {s: expected_seeds(suite, s, task.id, found or {}) for s in SYSTEMS}
        wanted = sorted(frozenset().union(*(seeds[s] for s in drivers)))
        result += [Pair(task, n, tuple(s for s in SYSTEMS if n in seeds[s])) for n in wanted]
    return result


def request_id(
    suite: Suite, pair: Pair, system: str, adapter: str, device: str, source: Mapping[str, Any]
) -> str:
    """sha256 over what decides the result: program and its source, task, seed, recipe, protocol, device.

    The recipe is as the program is asked for it. On what other terms recipes are compared is left out, and so
    are run id, folders, deadline, memory and attempt: they do not change what is computed.
    """
    several = {"gpus": pair.task.resources.gpus} if pair.task.resources.gpus > 1 else {}
    return content_hash(
        {
            **several,
            "family": suite.family,
            "task_id": pair.task.id,
            "seed": pair.seed,
            "system": system,
            "adapter": adapter,
            "device": device,
            "threads": suite.threads,
            "recipe": suite.recipe_terms.asked_of(system, pair.task.recipe),
            "eval_protocol": pair.task.eval_protocol,
            "source": {k: v for k, v in source.items() if k != "checkout"},
        }
    )


def request(
    suite: Suite,
    pair: Pair,
    system: str,
    *,
    adapter: str,
    device: str,
    source: Mapping[str, Any],
    run_id: str,
    out_dir: str,
    attempt: int,
) -> RunRequest:
    """The request for one run of ``system``."""
    return RunRequest(
        request_id=request_id(suite, pair, system, adapter, device, source),
        run_id=run_id,
        suite_id=suite.suite_id,
        family=suite.family,
        task_id=pair.task.id,
        seed=pair.seed,
        system=system,
        adapter=adapter,
        device=device,
        recipe=suite.recipe_terms.asked_of(system, pair.task.recipe),
        eval_protocol=dict(pair.task.eval_protocol),
        out_dir=out_dir,
        deadline_sec=pair.task.deadline_sec,
        threads=suite.threads,
        attempt=attempt,
        source=dict(source),
    )
