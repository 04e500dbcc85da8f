"""The order of a session that runs several pairs at a time: each is reported when it has finished."""

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

    None trains while another still compares: with -x a mismatch there costs no job.

    Args:
        width: pairs at a time; None: as many as the engine takes.
    """

    def __init__(self, context: RunContext, engine: Engine, width: int | None) -> None:
        self._context = context
        self._engine = engine
        self._width = width

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        config = session.config
        idle = config.option.collectonly or config.getoption("setuponly", False)
        if idle or (session.testsfailed and not config.option.continue_on_collection_errors):
            # pytest's own loop says why nothing runs.
            return None
        pairs = {i.nodeid: i for i in session.items if isinstance(i, PairItem) and not _is_skipped(i)}
        others: list[Any] = [item for item in session.items if item.nodeid not in pairs]
        _run_items(session, zip(others, [*others[1:], session], strict=False))
        with Fleet(self._engine, self._context, list(self._make_jobs(pairs)), self._width) as fleet:
            session.stash[FLEET] = fleet
            # Which comes next is not known: after each everything but the session is torn down.
            _run_items(session, ((pairs[str(key)], session) for key in fleet.finished()))
        return True

    def _make_jobs(self, pairs: dict[str, PairItem]) -> Iterator[Job]:
        recorded = durations.read_durations(self._context.run_dir.parent)
        for item in pairs.values():
            suite = item.cache.prepared.suite
            yield item.make_job(
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


def _run_items(session: pytest.Session, items: Iterable[tuple[pytest.Item, Any]]) -> None:
    """Run items, each given with what comes next: fixtures that it has not are torn down."""
    for item, following in items:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
