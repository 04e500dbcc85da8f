"""The xdist scheduler of parity runs: the longest run first, and none waits behind another.

An xdist worker starts an item only once it knows the next one, so xdist's own schedulers always
hand it one more, which then waits behind a run of hours while other workers are idle. Here each
item is followed by a placeholder that the worker swallows: it can start at once, and what comes
next is decided when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from xdist.scheduler import LoadScheduling

from ..execution import durations
from ..execution.store import Stored, SuiteStore
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite, prepare

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController


COMPONENT = "component["

Stage = Literal["leader", "component", "pair", "test"]


class Placeholder(pytest.Item):
    """Stands behind every item that a worker is sent, and is never run."""

    def runtest(self) -> None:
        raise AssertionError("a placeholder was run")


@dataclass(frozen=True)
class Unit:
    """What is sent to a worker in one go.

    Attributes:
        indices: of items in the collection. Ours go one by one; the tests of another file go together,
            so that they share their fixtures.
        stage: the first component of a suite leads: it runs the match program. The suite's other
            components follow it, and no pair trains before all match programs have ended.
        group: the file; of components the file and the part of the suite.
    """

    indices: tuple[int, ...]
    stage: Stage
    group: str


def units(node_ids: Sequence[str], suites: Collection[str], seconds: Mapping[str, float]) -> list[Unit]:
    """The collection in the order in which it is sent.

    Args:
        suites: node ids of the suite files.
        seconds: node id of a pair -> how long it is expected to take.
    """
    found: dict[Stage, list[Unit]] = {"leader": [], "component": [], "pair": [], "test": []}
    files: dict[str, list[int]] = {}
    led: set[str] = set()
    for index, node_id in enumerate(node_ids):
        file, _, name = node_id.partition("::")
        if file not in suites:
            files.setdefault(file, []).append(index)
            continue
        stage: Stage = "pair"
        if name.startswith(COMPONENT):
            # component[name], or component[part:name] where a suite has several match programs.
            file += name.rpartition(":")[0]
            stage = "component" if file in led else "leader"
            led.add(file)
        found[stage].append(Unit((index,), stage, file))
    found["pair"].sort(key=lambda unit: -seconds.get(node_ids[unit.indices[0]], 0.0))
    tests = [Unit(tuple(indices), "test", group) for group, indices in files.items()]
    return [*found["leader"], *found["component"], *found["pair"], *tests]


class LongestFirst(LoadScheduling):
    """Sends one unit at a time to whoever is idle, and an item whose worker was killed once more.

    Args:
        arrange: collection -> its units, in the order in which they are sent.
        crashes_allowed: node id -> how many workers may be lost while they run it, before it has failed.
        restarts: how many workers xdist replaces; None: any number.
    """

    def __init__(
        self,
        config: pytest.Config,
        log: Producer,
        arrange: Callable[[Sequence[str]], list[Unit]],
        crashes_allowed: Callable[[str], int],
        restarts: int | None,
    ) -> None:
        super().__init__(config, log)
        self._arrange = arrange
        self._crashes_allowed = crashes_allowed
        self._restarts = restarts
        self._units: dict[int, Unit] = {}
        self._leading: dict[int, str] = {}
        self._crashes: dict[int, int] = {}
        self._lost_workers = 0

    @property
    def tests_finished(self) -> bool:
        """Whether all is done: an item that runs may have to be sent again."""
        running = any(self.node2pending.values())
        return self.collection_is_completed and not self.pending and not running

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        if self.collection is not None and list(collection) != self.collection:
            raise pytest.UsageError(
                f"what is collected changed while the session ran ({len(self.collection)} items before, "
                f"{len(collection)} for a new worker); to mend: go on with --parity-resume"
            )
        super().add_node_collection(node, collection)

    def schedule(self) -> None:
        if self.collection is None and self._check_nodes_have_same_collection():
            self.collection = next(iter(self.node2collection.values()))
            for unit in self._arrange(self.collection):
                self._units.update(dict.fromkeys(unit.indices, unit))
                self.pending.extend(unit.indices)
            self._leading = {i: u.group for i, u in self._units.items() if u.stage == "leader"}
        self._check_all()

    def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
        idle = not node.shutting_down and not self.node2pending[node] and node in self.node2collection
        indices = self._take() if idle else []
        if indices:
            assert self.collection is not None
            self.node2pending[node].extend(indices)
            # The placeholder stands behind the last item of every worker's session.
            node.send_runtest_some([*indices, len(self.collection)])

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        if item_index not in self._units:
            return  # the placeholder
        self.node2pending[node].remove(item_index)
        self._ended(item_index)

    def remove_node(self, node: WorkerController) -> str | None:
        indices = self.node2pending.pop(node)
        self._lost_workers += 1
        if not indices:
            return None
        lost, rest = indices[0], indices[1:]
        again = self._is_sent_again(lost)
        self.pending[:0] = [lost, *rest] if again else rest
        if again:
            self._check_all()
            return None
        self._ended(lost)
        assert self.collection is not None
        return self.collection[lost]

    def _is_sent_again(self, index: int) -> bool:
        replaced = self._restarts is None or self._lost_workers <= self._restarts
        if self._units[index].stage == "test" or not replaced:
            return False
        assert self.collection is not None
        self._crashes[index] = self._crashes.get(index, 0) + 1
        return self._crashes[index] <= self._crashes_allowed(self.collection[index])

    def _ended(self, index: int) -> None:
        self._leading.pop(index, None)
        self._check_all()

    def _check_all(self) -> None:
        for node in self.nodes:
            self.check_schedule(node)

    def _take(self) -> list[int]:
        """The next unit that may be sent now; none of it is pending any more."""
        for first in self.pending:
            if self._is_ready(self._units[first]):
                unit = [i for i in self._units[first].indices if i in self.pending]
                self.pending[:] = [i for i in self.pending if i not in unit]
                return unit
        return []

    def _is_ready(self, unit: Unit) -> bool:
        if unit.stage == "component":
            return unit.group not in self._leading.values()
        return unit.stage != "pair" or not self._leading


def scheduler(
    config: pytest.Config, log: Producer, context: RunContext, suites: Mapping[str, Path]
) -> LongestFirst:
    """The scheduler of a session.

    Args:
        suites: node id of a suite file -> its path; filled by the time that the collection is known.
    """
    parts: dict[str, Sequence[PreparedSuite]] = {}

    def arrange(node_ids: Sequence[str]) -> list[Unit]:
        parts.update((name, prepare(path, context).parts) for name, path in suites.items())
        return units(node_ids, suites, dict(_seconds(parts, context)))

    def crashes_allowed(node_id: str) -> int:
        return max(1, *(part.suite.retries for part in parts[node_id.partition("::")[0]]))

    return LongestFirst(config, log, arrange, crashes_allowed, _restarts(config))


def _seconds(
    parts: Mapping[str, Sequence[PreparedSuite]], context: RunContext
) -> Iterator[tuple[str, float]]:
    recorded = durations.history(context.run_dir.parent)
    for file, part in ((name, part) for name in parts for part in parts[name]):
        stored = SuiteStore(context.run_dir, part.suite.suite_id).read() if context.resume else Stored(())
        wanted = [s for s in part.suite.live_systems if s in context.systems]
        for pair in part.pairs:
            yield (
                f"{file}::{pair.key}",
                durations.pair_seconds(part.suite, pair, wanted, context.device, recorded, stored),
            )


def _restarts(config: pytest.Config) -> int | None:
    """How many workers xdist replaces, as it counts itself."""
    given = config.option.maxworkerrestart
    if given is not None:
        return int(given)
    return 4 * config.option.numprocesses if config.option.numprocesses else None


class Swallower:
    """Worker side: stands the placeholder behind the items of a session, and runs nothing for it."""

    def __init__(self, session: pytest.Session) -> None:
        self.placeholder = Placeholder.from_parent(session, name="placeholder")
        session.items.append(self.placeholder)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        return True if item is self.placeholder else None
