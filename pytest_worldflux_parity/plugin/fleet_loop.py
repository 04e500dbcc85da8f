"""The order of a session whose pairs run on other machines: each is reported when it has finished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

from ..execution import durations
from ..execution.engine import Engine
from ..execution.fleet import Fleet, Job
from ..inputs.context import RunContext
from .items import FLEET, PairItem


class FleetLoop:
    """Takes the place of pytest's own loop: components are compared, then all pairs are on their way.

    None trains while another still compares, as on one machine: with -x a mismatch there costs no job.
    """

    def __init__(self, context: RunContext, engine: Engine) -> None:
        self._context = context
        self._engine = engine

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        config = session.config
        idle = config.option.collectonly or config.getoption("setuponly", False)
        if idle or (session.testsfailed and not config.option.continue_on_collection_errors):
            # pytest's own loop says why nothing runs.
            return None
        pairs = {i.nodeid: i for i in session.items if isinstance(i, PairItem) and not _is_skipped(i)}
        _run(session, [item for item in session.items if item.nodeid not in pairs])
        with Fleet(self._engine, self._context, list(self._jobs(pairs))) as fleet:
            session.stash[FLEET] = fleet
            _run(session, (pairs[str(key)] for key in fleet.finished()))
        return True

    def _jobs(self, pairs: dict[str, PairItem]) -> Iterator[Job]:
        recorded = durations.history(self._context.run_dir.parent)
        for item in pairs.values():
            suite = item.cache.prepared.suite
            yield item.job(
                {
                    system: durations.run_seconds(
                        suite, item.pair.task, system, self._context.device, recorded
                    )
                    for system in item.cache.prepared.backends
                }
            )

    def pytest_unconfigure(self) -> None:
        self._engine.close()


def _is_skipped(item: pytest.Item) -> bool:
    """Whether a mark keeps an item from being run; also where it is wrong, which the item itself will say."""
    try:
        if evaluate_skip_marks(item) is not None:
            return True
        xfailed = None if item.config.option.runxfail else evaluate_xfail_marks(item)
        return xfailed is not None and not xfailed.run
    except (Exception, pytest.fail.Exception):
        return True


def _run(session: pytest.Session, items: Iterable[pytest.Item]) -> None:
    # What comes next is not known, and a wrong answer breaks fixtures: after each item everything but the
    # session is torn down.
    after: Any = session
    for item in items:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
