"""Suite files, their components and their pairs as pytest nodes."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import MatchError, ParityError, RecordError, StatisticsError, printable_lines
from ..execution import attempts
from ..execution.engine import Engine
from ..execution.engines import ENGINES
from ..execution.fleet import Fleet, Job
from ..execution.records import is_readable, line_sha256, record_of, reused_from
from ..execution.request_checks import check_requests
from ..execution.runner import LOG_TAIL_BYTES, log_tail, log_written
from ..execution.store import Line, Stored, SuiteStore
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite, mend_absent_row, require_checkout, stated
from ..inputs.scores.absence import absence
from ..inputs.scores.curves import Result
from ..judgement.fingerprint import prepare_sealed
from ..judgement.gates.recipes import recipe_findings
from ..judgement.proof.validity import alike_findings, keys_beside, lone_findings
from ..judgement.required_files import missing_findings
from ..reporting.labels import with_labels
from ..suite.pairs import Pair

if TYPE_CHECKING:
    from ..execution.leases import Pool
    from ..inputs.golden_data import Component
    from ..judgement.gates.components import MatchResult
    from ..suite.proof import ProofSuite

# Ends the name of a property that has the sha256 of a stored line.
LINE = ".line_sha256"
# And of one that has the id of the earlier run that made it.
REUSED_FROM = ".reused_from"
CONTEXT = pytest.StashKey[RunContext]()
# What runs hold while they run on this machine; None where they run on others.
POOL = pytest.StashKey["Pool | None"]()
ENGINE = pytest.StashKey[Engine]()
# Where pairs run on other machines: all of a session's are on their way before the first is reported.
FLEET = pytest.StashKey[Fleet]()


def runs_items(option: Namespace) -> bool:
    """Whether tests are run, and not only collected or told of (``--setup-plan``, ``--setup-only``)."""
    return not (option.collectonly or option.setuponly or option.setupplan)


class SuiteFile(pytest.File):
    """A suite; its items are the components that are compared first, and its pairs."""

    def collect(self) -> Iterator[ComponentItem | PairItem]:
        context = self.config.stash[CONTEXT]
        if not self.path.is_relative_to(self.config.rootpath):
            raise self.CollectError(f"{self.path}: a suite lies in the project, {self.config.rootpath}")
        try:
            file = prepare_sealed(self.path, context)
            if context.reuse:
                from ..session.reuse import refuse_reuse

                refuse_reuse(file, context)
            for part in file.parts:
                if runs_items(self.config.option):
                    check_runnable(part, context, self.config.stash[POOL])
                check_requests(part, context)
        except ParityError as error:
            raise self.CollectError(error.line()) from None
        for part in file.parts:
            yield from self._make_items(part, context, file.proof)

    def _make_items(
        self, prepared: PreparedSuite, context: RunContext, proof: ProofSuite | None
    ) -> Iterator[ComponentItem | PairItem]:
        """The items of one part: of a quick suite that is all of it."""
        cache = _Cache(prepared, context, proof)
        if prepared.match is not None and "worldflux" in context.systems:
            for component in prepared.match.golden.compared:
                name = prepared.component_case(component)
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
            if _is_needed_here(prepared, system, context):
                backend.interpreter(context.root)
            require_checkout(prepared, system)
    for pair in prepared.pairs:
        if pool is not None and prepared.backends:
            pool.check(pair.task.resources, f"{prepared.suite.path}: task {pair.task.id!r}")


def _is_needed_here(prepared: PreparedSuite, system: str, context: RunContext) -> bool:
    """Whether this machine needs the environment of a live side: nodes of some engines build it.

    What records and compares components runs here, wherever pairs do.
    """
    compared = prepared.live or (system == "worldflux" and prepared.match is not None)
    return not ENGINES[context.engine].builds or compared


class _Cache:
    """What the items of one part of a suite share; each file is read once, at the first run."""

    def __init__(self, prepared: PreparedSuite, context: RunContext, proof: ProofSuite | None) -> None:
        self.prepared = prepared
        self.context = context
        self.proof = proof

    @cached_property
    def stored(self) -> Stored:
        store = SuiteStore(self.context.run_dir, self.prepared.suite.suite_id)
        return store.read() if self.context.resume or self.context.reuse else Stored(())

    @cached_property
    def match_result(self) -> MatchResult:
        """What the suite's match program comes to: run here, or waited for where another session runs it.

        Raises:
            BackendError: its environment is absent.
            ParityError: it left nothing that can be compared.
            StoreError: the run directory cannot be written.
        """
        from ..execution.launching import sealed_program
        from ..execution.match_program import match_once, read_match
        from ..judgement.gates.components import compare

        spec, context = self.prepared.match, self.context
        assert spec is not None
        sealed = sealed_program(context, self.prepared, "worldflux", self.prepared.match_key)
        folder = context.run_dir / self.prepared.suite.suite_id / self.prepared.match_folder
        run = match_once(spec, folder, context.root, sealed)
        if run.error:
            raise MatchFailed(run.error, folder=run.folder)
        return compare(spec.golden, read_match(run, spec))


class MatchFailed(MatchError):
    """The match program left nothing that can be compared; ``folder`` has its log."""

    def __init__(self, what: str, *, folder: Path | None = None, **fields: Any) -> None:
        super().__init__(what, **fields)
        self.folder = folder


def _log_tail_of(folder: Path) -> str:
    """The end of a program's log, as a terminal and a CI server can show it."""
    tail = printable_lines(log_tail(folder)) or "(the program wrote no log)"
    return f"{tail}\n(all of it: {os.path.relpath(folder)})"


class SuiteItem(pytest.Item):
    """A component or a pair of a suite."""

    def __init__(self, *, cache: _Cache, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cache = cache
        # pytest-timeout is kept from it: it has its own deadline.
        if self.config.pluginmanager.hasplugin("timeout"):
            self.add_marker(pytest.mark.timeout(0))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ParityError):
            return self.with_labels(self.failure_line(excinfo.value))
        return super().repr_failure(excinfo, style)

    def with_labels(self, text: str) -> str:
        """A text for people, with the labels of the suite."""
        return with_labels(text, self.cache.prepared.suite.labels)

    def failure_line(self, error: ParityError) -> str:
        """What a report says of an error; logs are sections of it."""
        return error.line()

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class ComponentItem(SuiteItem):
    """One component: passes when its outputs are the golden's, each mistake planted into it is seen, and each
    output sees one."""

    def __init__(self, *, component: Component, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.component = component

    def runtest(self) -> None:
        result, planted = self.cache.match_result.of(self.component.name)
        if result.worst.relative is not None:
            self.user_properties.append(("largest_difference", float(result.worst.relative)))
        self.user_properties.append(("tolerance", float(self.component.limit(result.worst.output))))
        wrong = [] if result.passed else [f"component_mismatch: {result.line()}"]
        wrong += [f"perturbation_not_caught: {p.line()}" for p in planted if not p.caught]
        wrong += [] if planted else [f"perturbation_missing: {self.component.name} was never perturbed"]
        unseen = self.cache.match_result.unseen(result)
        wrong += [f"output_not_sensitive: {unseen}"] if unseen else []
        if wrong:
            raise MatchError("; ".join(wrong))

    def failure_line(self, error: ParityError) -> str:
        if not isinstance(error, MatchFailed) or error.folder is None:
            return error.line()
        self.add_report_section("call", "match log", _log_tail_of(error.folder))
        log = log_written(error.folder, LOG_TAIL_BYTES)[0]
        named = f"; log: {os.path.relpath(error.folder / log)}" if log else ""
        return f"match_failed: {error.line()}{named}"


def components_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items with all components before all pairs; other items keep their places."""
    ours = (item for item in items if isinstance(item, SuiteItem))
    ordered = iter(sorted(ours, key=lambda item: isinstance(item, PairItem)))
    return [next(ordered) if isinstance(item, SuiteItem) else item for item in items]


class PairItem(SuiteItem):
    """One (task, seed): passes when every side has a valid record, whatever the scores are."""

    def __init__(self, *, pair: Pair, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pair = pair
        # ``-k`` finds it by this word.
        self.extra_keyword_matches.add(f"seed{pair.seed}")

    def runtest(self) -> None:
        prepared, stored = self.cache.prepared, self.cache.stored
        lines = self._run()
        for system, line in lines.items():
            self._note_line(system, line, kept=line["request_id"] in stored.successes)
        self._check_records(lines)
        for system in self.pair.systems:
            if system in lines or system in prepared.tables:
                self._check_numbers(system, lines.get(system))

    def _run(self) -> dict[str, Line]:
        fleet = self.session.stash.get(FLEET, None)
        if fleet is not None:
            return fleet.lines_of(self.nodeid)
        context = self.cache.context
        engine = self.config.stash[ENGINE]
        return attempts.run_pair(self.cache.prepared, self.pair, context, self.cache.stored, engine)

    def make_job(self, seconds: Mapping[str, float]) -> Job:
        """What a fleet is told of this pair.

        Args:
            seconds: how long each live system is expected to take.
        """
        return Job(self.nodeid, self.cache.prepared, self.pair, self.cache.stored, seconds)

    def _note_line(self, system: str, line: Line, *, kept: bool) -> None:
        self.user_properties.append((f"{system}.request_id", str(line["request_id"])))
        self.user_properties.append((f"{system}.attempt", int(line["attempt"])))
        self.user_properties.append((f"{system}{LINE}", line_sha256(line)))
        if (run := reused_from(line)) is not None:
            self.user_properties.append((f"{system}{REUSED_FROM}", run))
        elif kept:
            self.user_properties.append((f"{system}.resumed", "true"))

    def _check_records(self, lines: Mapping[str, Line]) -> None:
        """Raise what the gates would find in these records by themselves, now rather than at the end."""
        prepared, proof = self.cache.prepared, self.cache.proof
        commit = prepared.sources.get("official", {}).get("commit")
        findings = [f for x in lines.values() for f in lone_findings(prepared.suite, x, proof, commit)]
        if proof is not None:
            readable = [line for line in lines.values() if is_readable(line)]
            findings += alike_findings(readable, keys_beside(prepared.suite))
            for line in lines.values():
                findings += missing_findings(prepared, proof, self.cache.context, self.pair, line)
        records = {
            (system, self.pair.task.id, self.pair.seed): record
            for system, line in lines.items()
            if (record := record_of(line)) is not None
        }
        for what, terms in (("effective_recipe", prepared.suite.recipe_terms), ("eval_protocol", None)):
            both = stated(prepared, [self.pair], records, what)
            findings += recipe_findings([self.pair], both, what, records.keys(), terms)
        if findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            raise RecordError(findings[0].line() + more)

    def _check_numbers(self, system: str, line: Line | None) -> None:
        """Raise where a side does not have every metric at the budget."""
        # With it come all statistics, which a session needs once something has run.
        from ..judgement.stats.measurements import measure

        prepared, task, seed = self.cache.prepared, self.pair.task, self.pair.seed
        record = record_of(line) if line else None
        result = Result.of(record) if record else prepared.results.get((system, task.id, seed))
        if result is None:
            raise ParityError(
                f"{task.id} seed {seed}: {absence(prepared.tables[system], task.name_in(system))}",
                where=str(prepared.tables[system].path),
                hint=mend_absent_row(prepared, task, system),
            )
        for metric in prepared.suite.metrics_of(task.id):
            try:
                measure(result, metric.name, task)
            except StatisticsError as error:
                raise ParityError(error.what, where=system, valid=error.valid, got=error.got) from None

    def failure_line(self, error: ParityError) -> str:
        if isinstance(error, attempts.AttemptsFailed):
            for system, folder in error.logs.items():
                self.add_report_section("call", self.with_labels(f"{system} log"), _log_tail_of(folder))
        return error.line()
