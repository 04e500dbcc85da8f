"""Suite files, their components and their pairs as pytest nodes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import MatchError, ParityError, RecordError, SourceError, StatisticsError, printable_lines
from ..execution import attempts
from ..execution.fleet import Fleet, Job
from ..execution.local import LocalEngine
from ..execution.records import line_sha256, record_of
from ..execution.request_checks import check_requests
from ..execution.runner import LOG_TAIL_BYTES, log_of, log_tail
from ..execution.store import Line, Stored, SuiteStore
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite, mend_absent_row, stated
from ..inputs.scores.absence import absence
from ..inputs.scores.curves import Result
from ..judgement.fingerprint import prepare_sealed
from ..judgement.gates.validity import recipe_findings, record_findings
from ..judgement.stats.measurements import measure
from ..suite.pairs import Pair
from .neighbours import runs_items, set_apart

if TYPE_CHECKING:
    from ..execution.leases import Pool
    from ..execution.match_program import MatchRun
    from ..inputs.golden_data import Component
    from ..judgement.gates.components import MatchResult

# Ends the name of a property that has the sha256 of a stored line.
LINE = ".line_sha256"
CONTEXT = pytest.StashKey[RunContext]()
# What runs hold while they run on this machine; None where they run on others.
POOL = pytest.StashKey["Pool | None"]()
# Where pairs run on other machines: all of a session's are on their way before the first is reported.
FLEET = pytest.StashKey[Fleet]()


class SuiteFile(pytest.File):
    """A suite; its items are the components that are compared first, and its pairs."""

    def collect(self) -> Iterator[ComponentItem | PairItem]:
        context = self.config.stash[CONTEXT]
        if not self.path.is_relative_to(self.config.rootpath):
            raise self.CollectError(f"{self.path}: a suite lies in the project, {self.config.rootpath}")
        try:
            parts = prepare_sealed(self.path, context).parts
            for part in parts:
                if runs_items(self.config.option):
                    check_runnable(part, context, self.config.stash[POOL])
                check_requests(part, context)
        except ParityError as error:
            raise self.CollectError(error.line()) from None
        for part in parts:
            yield from self._items(part, context)

    def _items(self, prepared: PreparedSuite, context: RunContext) -> Iterator[ComponentItem | PairItem]:
        """The items of one part: of a quick suite that is all of it."""
        cache = _Cache(prepared, context)
        if prepared.match is not None and "worldflux" in context.systems:
            for component in prepared.match.golden.components:
                name = prepared.component_case(component.name)
                nodeid = f"{self.nodeid}::{name}"
                yield ComponentItem.from_parent(
                    self, name=name, nodeid=nodeid, component=component, cache=cache
                )
        for pair in prepared.pairs:
            name = str(pair.key)
            # As text, so that [seed=n] is read as a parameter here as it is where --lf reads it back.
            nodeid = f"{self.nodeid}::{name}"
            yield PairItem.from_parent(self, name=name, nodeid=nodeid, pair=pair, cache=cache)


def check_runnable(prepared: PreparedSuite, context: RunContext, pool: Pool | None) -> None:
    """Raise now what would otherwise fail every pair of a live side.

    Raises:
        BackendError: a backend's own environment is absent or out of date.
        SourceError: the official checkout is absent.
        ParityError: a task asks for more than the GPUs there are.
    """
    for system, backend in prepared.backends.items():
        if system in context.systems:
            if _needed_here(prepared, system, context):
                backend.interpreter(context.root)
            checkout = prepared.sources[system].get("checkout")
            if checkout and backend.lock_suite and not Path(checkout).is_dir():
                raise SourceError(
                    f"the official checkout is absent: {checkout}",
                    where=backend.adapter,
                    mend=f"worldflux-parity fetch-oracles --suite {backend.lock_suite}",
                )
    for pair in prepared.pairs:
        if pool is not None and prepared.backends:
            pool.check(pair.task.resources, f"{prepared.suite.path}: task {pair.task.id!r}")


def _needed_here(prepared: PreparedSuite, system: str, context: RunContext) -> bool:
    """Whether this machine needs the environment of a live side: a node of Ray builds it at its first use.

    What records and compares components runs here, wherever pairs do.
    """
    compared = prepared.live or (system == "worldflux" and prepared.match is not None)
    return context.engine != "ray" or compared


class _Cache:
    """What the items of one suite share within a process; each file is read once, at the first run."""

    def __init__(self, prepared: PreparedSuite, context: RunContext) -> None:
        self.prepared = prepared
        self.context = context
        self._stored: Stored | None = None
        self._match_run: MatchRun | None = None
        self._match_result: MatchResult | None = None

    @property
    def stored(self) -> Stored:
        if self._stored is None:
            store = SuiteStore(self.context.run_dir, self.prepared.suite.suite_id)
            self._stored = store.read() if self.context.resume else Stored(())
        return self._stored

    @property
    def match_run(self) -> MatchRun:
        """The run of the suite's match program: started here, or waited for where another process has.

        Raises:
            BackendError: its environment is absent.
            StoreError: the run directory cannot be written.
        """
        if self._match_run is None:
            from ..execution.launching import sealed_in
            from ..execution.match_program import match_once

            assert self.prepared.match is not None
            run_dir, suite_id = self.context.run_dir, self.prepared.suite.suite_id
            sealed = sealed_in(self.context, self.prepared, "worldflux", self.prepared.match_key)
            folder = run_dir / suite_id / self.prepared.match_folder
            self._match_run = match_once(self.prepared.match, folder, self.context.root, sealed)
        return self._match_run

    @property
    def match_result(self) -> MatchResult:
        """What the run of the match program comes to.

        Raises:
            ParityError: it left nothing that can be compared, or see :attr:`match_run`.
        """
        if self._match_result is None:
            from ..execution.match_program import read_match
            from ..judgement.gates.components import compare

            spec = self.prepared.match
            assert spec is not None
            if self.match_run.error:
                raise MatchFailed(self.match_run.error, folder=self.match_run.folder)
            self._match_result = compare(spec.golden, read_match(self.match_run, spec))
        return self._match_result


class MatchFailed(MatchError):
    """The match program left nothing that can be compared; ``folder`` has its log."""

    def __init__(self, what: str, *, folder: Path | None = None, **fields: Any) -> None:
        super().__init__(what, **fields)
        self.folder = folder


def _log_of(folder: Path) -> str:
    """The end of a program's log, as a terminal and a CI server can show it."""
    tail = printable_lines(log_tail(folder)) or "(the program wrote no log)"
    return f"{tail}\n(all of it: {os.path.relpath(folder)})"


class ComponentItem(pytest.Item):
    """One component: passes when its outputs are the golden's, each mistake planted into it is seen, and each
    output sees one."""

    def __init__(self, *, component: Component, cache: _Cache, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.component = component
        self.cache = cache
        set_apart(self)

    def runtest(self) -> None:
        result, planted = self.cache.match_result.of(self.component.name)
        if result.worst.relative is not None:
            self.user_properties.append(("largest_difference", float(result.worst.relative)))
        self.user_properties.append(("tolerance", float(self.component.tolerance)))
        wrong = [] if result.passed else [f"component_mismatch: {result.line()}"]
        wrong += [f"perturbation_not_caught: {p.line()}" for p in planted if not p.caught]
        wrong += [] if planted else [f"perturbation_missing: {self.component.name} was never perturbed"]
        unseen = self.cache.match_result.unseen(result)
        wrong += [f"output_not_sensitive: {unseen}"] if unseen else []
        if wrong:
            raise MatchError("; ".join(wrong))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        error = excinfo.value
        if not isinstance(error, ParityError):
            return super().repr_failure(excinfo, style)
        if isinstance(error, MatchFailed) and error.folder is not None:
            self.add_report_section("call", "match log", _log_of(error.folder))
            log = log_of(error.folder, LOG_TAIL_BYTES)[0]
            return f"match_failed: {error.line()}" + (
                f"; log: {os.path.relpath(error.folder / log)}" if log else ""
            )
        return error.line()

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def components_first(items: Sequence[pytest.Item], *, spread: bool) -> list[pytest.Item]:
    """The items with all components before all pairs; other items keep their places.

    Args:
        spread: begin with two of each suite in turn, the least that xdist hands to a worker, so that
            two workers run the match programs of two suites at the same time.
    """
    ours = [i for i in items if isinstance(i, (ComponentItem, PairItem))]
    components = [i for i in ours if isinstance(i, ComponentItem)]
    if spread:
        seen: dict[_Cache, int] = {}
        late = []
        for item in components:
            late.append(seen.get(item.cache, 0) >= 2)
            seen[item.cache] = seen.get(item.cache, 0) + 1
        components = [i for when in (False, True) for i, w in zip(components, late, strict=True) if w is when]
    ordered = iter([*components, *(i for i in ours if isinstance(i, PairItem))])
    return [next(ordered) if isinstance(i, (ComponentItem, PairItem)) else i for i in items]


_MATCHES = pytest.StashKey[list[_Cache]]()


def _matches(session: pytest.Session) -> list[_Cache]:
    """The suites whose components this session compares, once each."""
    if _MATCHES not in session.stash:
        caches = (i.cache for i in session.items if isinstance(i, ComponentItem))
        session.stash[_MATCHES] = list(dict.fromkeys(caches))
    return session.stash[_MATCHES]


class PairItem(pytest.Item):
    """One (task, seed): passes when every side has a valid record, whatever the scores are."""

    def __init__(self, *, pair: Pair, cache: _Cache, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pair = pair
        self.cache = cache
        set_apart(self, f"seed{pair.seed}")

    def setup(self) -> None:
        if FLEET in self.session.stash or self.config.getoption("setuponly", False):
            return
        # Items stand in order, but workers do not: none trains while another still compares.
        for cache in _matches(self.session):
            # The items of the components say what is wrong with it.
            with contextlib.suppress(ParityError):
                _ = cache.match_run

    def runtest(self) -> None:
        prepared, stored = self.cache.prepared, self.cache.stored
        lines = self._lines()
        for system, line in lines.items():
            self._note(system, line, kept=line["request_id"] in stored.successes)
        self._check_records(lines)
        for system in self.pair.systems:
            if system in lines or system in prepared.tables:
                self._check_numbers(system, lines.get(system))

    def _lines(self) -> dict[str, Line]:
        fleet = self.session.stash.get(FLEET, None)
        if fleet is not None:
            return fleet.lines_of(self.nodeid)
        context = self.cache.context
        engine = LocalEngine(context, self.config.stash[POOL])
        return attempts.run_pair(self.cache.prepared, self.pair, context, self.cache.stored, engine)

    def job(self, seconds: Mapping[str, float]) -> Job:
        """What a fleet is told of this pair.

        Args:
            seconds: how long each live system is expected to take.
        """
        return Job(self.nodeid, self.cache.prepared, self.pair, self.cache.stored, seconds)

    def _note(self, system: str, line: Line, *, kept: bool) -> None:
        self.user_properties.append((f"{system}.request_id", str(line["request_id"])))
        self.user_properties.append((f"{system}.attempt", int(line["attempt"])))
        self.user_properties.append((f"{system}{LINE}", line_sha256(line)))
        if kept:
            self.user_properties.append((f"{system}.resumed", "true"))

    def _check_records(self, lines: Mapping[str, Line]) -> None:
        """Raise what the validity gate would find in these records, now rather than at the end."""
        prepared = self.cache.prepared
        findings = [f for line in lines.values() for f in record_findings(prepared.suite, line)]
        records = {
            (system, self.pair.task.id, self.pair.seed): record
            for system, line in lines.items()
            if (record := record_of(line)) is not None
        }
        for what in ("effective_recipe", "eval_protocol"):
            findings += recipe_findings(
                [self.pair], stated(prepared, [self.pair], records, what), what, records.keys()
            )
        if findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            raise RecordError(findings[0].line() + more)

    def _check_numbers(self, system: str, line: Line | None) -> None:
        """Raise where a side does not have every metric at the budget."""
        prepared, task, seed = self.cache.prepared, self.pair.task, self.pair.seed
        record = record_of(line) if line else None
        result = Result.of(record) if record else prepared.results.get((system, task.id, seed))
        if result is None:
            raise ParityError(
                f"{task.id} seed {seed}: {absence(prepared.tables[system], task.name_in(system))}",
                where=str(prepared.tables[system].path),
                mend=mend_absent_row(prepared, task, system),
            )
        for metric in prepared.suite.metrics_of(task.id):
            try:
                measure(result, metric.name, task)
            except StatisticsError as error:
                raise ParityError(error.what, where=system, valid=error.valid, got=error.got) from None

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        error = excinfo.value
        if not isinstance(error, ParityError):
            return super().repr_failure(excinfo, style)
        if isinstance(error, attempts.AttemptsFailed):
            for system, folder in error.logs.items():
                self.add_report_section("call", f"{system} log", _log_of(folder))
        return error.line()

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name
