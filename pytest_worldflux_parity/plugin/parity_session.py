"""A session with ``--parity``: sealed before its first run, judged after its last, verdicts as test cases."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..errors import ParityError, StoreError, printable, printable_lines
from ..execution import leases
from ..execution.engine import open_engine
from ..execution.engines import ENGINES
from ..execution.store import run_lock
from ..inputs.context import RunContext
from .collected import check_arguments, named_suites
from .fleet_loop import FleetLoop
from .items import CONTEXT, ENGINE, LINE, POOL, REUSED_FROM, components_first, runs_items
from .options import slots_per_gpu
from .width import keep_one_process, width_of

if TYPE_CHECKING:
    from ..session.conclude_suite import Case, Conclusion


def begin_session(config: pytest.Config, context: RunContext, device_word: str) -> None:
    """Make a session of pytest's one that runs suites.

    Args:
        device_word: what is to be said of the device that was chosen.

    Raises:
        pytest.UsageError: what is asked for cannot be.
        ParityError: an engine or a GPU cannot be had.
    """
    is_here = ENGINES[context.engine].is_here
    config.stash[CONTEXT] = context
    config.stash[POOL] = pool = (
        leases.make_pool(context.device, slots_per_gpu(config), str(config.getini("parity_lock_folder")))
        if is_here
        else None
    )
    if not is_here and (getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None)):
        what = f"--parity-engine={context.engine} runs everything from one process"
        raise pytest.UsageError(f"{what}; to mend: leave -n and --dist out")
    width = width_of(config) if is_here else None
    keep_one_process(config)
    check_arguments(config, context)
    config.pluginmanager.register(ParitySession(config, context, device_word))
    if runs_items(config.option):
        config.stash[ENGINE] = engine = open_engine(context, pool)
        if width != 1:
            config.pluginmanager.register(FleetLoop(context, engine, width))


class ParitySession:
    """The hooks of such a session, and what it knows.

    Attributes:
        node_ids: of the items. suites: node id -> path of each suite that is sealed.
        broken: node ids of the files that could not be collected: pytest reports them, they are not judged.
        lines: suite's node id -> sha256 of each stored line that a run was told by -> which run. No program
            can reach what this process remembers.
        total: of test cases, verdicts included, once it is sealed. ran: node ids of those that ran.
    """

    def __init__(self, config: pytest.Config, context: RunContext, device_word: str) -> None:
        self.config = config
        self.context = context
        self.device_word = device_word
        self.claim = contextlib.ExitStack()
        self.node_ids: list[str] = []
        self.suites: dict[str, Path] = {}
        self.broken: set[str] = set()
        self.lines: dict[str, dict[str, str]] = {}
        self.total = 0
        self.ran: set[str] = set()
        self.conclusions: list[Conclusion] = []

    def pytest_report_header(self) -> list[str]:
        context = self.context
        line = f"parity: {context.track}, device {context.device}, run {os.path.relpath(context.run_dir)}"
        return [line, *([f"parity: {self.device_word}"] if self.device_word else [])]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # Here, and not while items are modified: what others sort after us (--ff) must not train first.
        session.items[:] = components_first(session.items)
        stopped = session.testsfailed and not self.config.option.continue_on_collection_errors
        if runs_items(self.config.option) and session.items and not stopped:
            try:
                self._seal([item.nodeid for item in session.items])
            except ParityError as error:
                raise pytest.UsageError(error.line()) from None
        elif self.context.reuse and self.config.option.collectonly and session.items and not stopped:
            self._foretell_reuse([item.nodeid for item in session.items])

    def _foretell_reuse(self, node_ids: list[str]) -> None:
        """What a session that is only collected would take from earlier runs."""
        from ..session.reuse import foretell
        from ..session.seal import suite_paths

        paths = suite_paths(self.config.rootpath, node_ids, (), self.broken)
        try:
            for text in foretell(self.context, paths):
                self._say(f"parity: {text}")
        except ParityError as error:
            raise pytest.UsageError(error.line()) from None

    def _say(self, text: str) -> None:
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write_line(printable(text))

    def _seal(self, node_ids: list[str]) -> None:
        """Write down what is asked before the first run; on a resume, check that it is the same."""
        from ..session.seal import isolation_line, plans, seal, suite_paths, unsearched_lines

        config, context = self.config, self.context
        paths = suite_paths(config.rootpath, node_ids, named_suites(config), self.broken)
        if not paths:
            raise pytest.UsageError(f"--parity={context.track}: no suite is among what was collected")
        _claim_run_dir(context, self.claim)
        told = [*isolation_line(context)]
        cases, against = seal(context, paths, list(config.invocation_params.args))
        told += [*unsearched_lines(), *plans(context, paths), *(f"parity: {text}" for text in against)]
        self.node_ids, self.suites, self.total = node_ids, paths, len(node_ids) + cases
        for text in told:
            self._say(text)

    def pytest_runtest_logstart(self) -> None:
        """Let the verdicts count in the progress; pytest sets the total after it collected."""
        session: Any = self.config.pluginmanager.get_plugin("session")
        if self.total:
            session.testscollected = self.total

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran.add(report.nodeid)
        suite, _, pair = report.nodeid.partition("::")
        for name, value in report.user_properties if report.when == "call" else ():
            if name.endswith(LINE):
                self.lines.setdefault(suite, {})[str(value)] = f"{name.removesuffix(LINE)} {pair}"

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """Where a pair was not run, but taken from earlier runs, the line of its result says which."""
        if not isinstance(report, pytest.TestReport) or report.when != "call" or not report.passed:
            return None
        told = (printable(str(v)) for name, v in report.user_properties if name.endswith(REUSED_FROM))
        runs = dict.fromkeys(told)
        return ("passed", ".", f"PASSED (reused from {', '.join(runs)})") if runs else None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        # Here, and not at the end of the session, so that the verdicts stand in the same line of progress.
        self._conclude(session)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        # A loop that was left early (-x, Ctrl-C) is judged as well: what it did not run leaves it open.
        if exitstatus in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
            self._conclude(session)

    def _conclude(self, session: pytest.Session) -> None:
        """Judge what was sealed, once, and report each verdict as a test case."""
        if not self.suites or self.conclusions:
            return
        from ..session.conclude import conclude

        arguments = list(self.config.invocation_params.args)
        self.conclusions = conclude(
            self.context, self.node_ids, self.lines, suites=self.suites, arguments=arguments
        )
        session.testscollected = len(self.node_ids) + sum(len(c.cases) for c in self.conclusions)
        for conclusion in self.conclusions:
            for case in conclusion.cases:
                _report_case(self.config, conclusion.node_id, case)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        session: Any = self.config.pluginmanager.get_plugin("session")
        left = len({*self.node_ids} - self.ran)
        if session.shouldfail and left:
            what = f"{left} of {len(self.node_ids)} components and pairs were ended or not begun"
            terminalreporter.write_line(f"parity: stopped early by -x or --maxfail: {what}")
        for conclusion in self.conclusions:
            for line, style in _summary_lines(conclusion):
                # Names, and what programs say of themselves, are others' texts.
                terminalreporter.write_line(printable(line), **style)

    def pytest_unconfigure(self) -> None:
        self.claim.close()


def _claim_run_dir(context: RunContext, stack: contextlib.ExitStack) -> None:
    """Hold the run directory for this session; refuse one that is used or not meant to be resumed."""
    document, where = context.run_dir / "run.json", str(context.run_dir)
    if context.resume and not document.exists():
        raise StoreError("no such run to resume", where=where, hint="leave --parity-resume out")
    stack.enter_context(run_lock(context.run_dir))
    # Looked at under the lock: another session may have made the run a moment ago.
    if document.exists() and not context.resume:
        hint = "add --parity-resume, or choose another --parity-run-id"
        raise StoreError("this run exists", where=where, hint=hint)


def _report_case(config: pytest.Config, node_id: str, case: Case) -> None:
    """Send a verdict through the hooks as a test case, so that terminal, junit and counts agree."""
    text = printable_lines(case.text)
    longrepr: Any = {"passed": None, "failed": text, "skipped": (node_id, 1, text)}[case.outcome]
    # Plain builtins only: junit refuses anything else, and takes properties from the teardown.
    properties: list[tuple[str, object]] = [("reason", text)]
    properties += [("warning", printable(warning)) for warning in case.warnings]
    phases: list[tuple[Literal["call", "teardown"], Any]] = [("call", case.outcome), ("teardown", "passed")]
    for when, outcome in phases:
        report = pytest.TestReport(
            nodeid=f"{node_id}::{case.kind}[{case.name}]",
            location=(node_id, None, f"{case.kind}[{case.name}]"),
            keywords={},
            outcome=outcome,
            longrepr=longrepr if when == "call" else None,
            when=when,
            user_properties=properties if when == "teardown" else [],
        )
        config.hook.pytest_runtest_logreport(report=report)


def _summary_lines(conclusion: Conclusion) -> Iterator[tuple[str, dict[str, bool]]]:
    """What the terminal shows of a suite: verdict, table, of a pass its claim card, and the documents."""
    from ..reporting.card import card_lines
    from ..reporting.terminal import proof_summary, quick_summary

    if conclusion.quick is not None:
        yield from quick_summary([(conclusion.quick, conclusion.notes)])
    if conclusion.proof is not None:
        yield from proof_summary(conclusion.proof, conclusion.signature)
    if any(case.kind == "campaign" for case in conclusion.cases):
        yield from ((note, {}) for note in conclusion.notes)
    if conclusion.facts is not None and conclusion.facts.verdict == "pass":
        rows = card_lines(conclusion.facts, conclusion.signature, beside=True)
        yield from ((f"  {row}", {}) for row in rows)
    yield from ((f"  {os.path.relpath(path)}", {}) for path in conclusion.paths)
    if conclusion.log_head:
        yield f"  log head: {conclusion.log_head}", {}
