"""Suite files and their pairs as pytest nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .engines import local
from .errors import ParityError
from .observations import Result, measure
from .plan import Pair
from .prepare import PreparedSuite, RunContext, prepare
from .records import record_of
from .runner import log_tail
from .store import Stored, SuiteStore

CONTEXT = pytest.StashKey[RunContext]()


class SuiteFile(pytest.File):
    """A suite; its items are its pairs."""

    def collect(self) -> Iterator[PairItem]:
        context = self.config.stash[CONTEXT]
        try:
            prepared = prepare(self.path, context)
            if not self.config.option.collectonly:
                check_runnable(prepared, context)
        except ParityError as error:
            raise self.CollectError(error.line()) from None
        cache = _Cache(prepared, context)
        for pair in prepared.pairs:
            yield PairItem.from_parent(self, name=str(pair.key), pair=pair, cache=cache)


def check_runnable(prepared: PreparedSuite, context: RunContext) -> None:
    """Raise now what would otherwise fail every pair of a live side.

    Raises:
        BackendError: a backend's own environment is absent or out of date.
        SourceError: the official checkout is absent.
    """
    for system, backend in prepared.backends.items():
        if system in context.systems:
            backend.interpreter(context.root)
            checkout = prepared.sources[system].get("checkout")
            if checkout and not Path(checkout).is_dir():
                raise ParityError(
                    f"the official checkout is absent: {checkout}",
                    where=backend.adapter,
                    mend=f"worldflux-parity fetch-oracles --suite {backend.lock_suite}",
                )


class _Cache:
    """What the pairs of one suite share within a process; the store is read once, at the first run."""

    def __init__(self, prepared: PreparedSuite, context: RunContext) -> None:
        self.prepared = prepared
        self.context = context
        self._stored: Stored | None = None

    @property
    def stored(self) -> Stored:
        if self._stored is None:
            store = SuiteStore(self.context.run_dir, self.prepared.suite.suite_id)
            self._stored = store.read() if self.context.resume else Stored(())
        return self._stored


class PairItem(pytest.Item):
    """One (task, seed): passes when every side has a valid record, whatever the scores are."""

    def __init__(self, *, pair: Pair, cache: _Cache, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pair = pair
        self.cache = cache

    def runtest(self) -> None:
        prepared, context = self.cache.prepared, self.cache.context
        lines = local.run_pair(prepared, self.pair, context, self.cache.stored)
        for system, line in lines.items():
            self._note(system, line)
            record = record_of(line)
            assert record is not None, f"the engine returned a failed line for {system}"
            for metric in prepared.suite.metrics_of(self.pair.task.id):
                measure(Result.of(record), metric.name, self.pair.task)
        for system in prepared.tables:
            if system in self.pair.systems:
                self._check_row(system)

    def _check_row(self, system: str) -> None:
        prepared = self.cache.prepared
        result = prepared.results.get((system, self.pair.task.id, self.pair.seed))
        if result is None:
            raise ParityError(
                f"no row for task {self.pair.task.id!r}, seed {self.pair.seed}",
                where=str(prepared.tables[system].path),
                mend="complete the table, or name the seeds that it holds in the suite",
            )
        for metric in prepared.suite.metrics_of(self.pair.task.id):
            measure(result, metric.name, self.pair.task)

    def _note(self, system: str, line: dict[str, Any]) -> None:
        self.user_properties.append((f"{system}.request_id", str(line["request_id"])))
        self.user_properties.append((f"{system}.attempt", int(line["attempt"])))
        if line["run_id"] != self.cache.context.run_id or self.cache.context.resume:
            self.user_properties.append((f"{system}.resumed", "true"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        error = excinfo.value
        if not isinstance(error, ParityError):
            return super().repr_failure(excinfo, style)
        if isinstance(error, local.AttemptsFailed):
            self.add_report_section("call", "log", log_tail(error.folder) or "(the program wrote no log)")
            self.add_report_section("call", "files", str(error.folder))
        return error.line()

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name
