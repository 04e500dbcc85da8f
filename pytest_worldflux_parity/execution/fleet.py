"""Keeps many runs in flight on an engine from one process: a thread each, the longest first.

Threads do nothing but wait for their engine and write into the store, so hundreds of them cost little.
A run is stored the moment that it ends, whatever its pair or the session is waiting for.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from types import FrameType

from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite
from ..suite.pairs import Pair
from . import attempts
from .engine import Engine
from .store import Line, Stored, hold_presence


@dataclass(frozen=True)
class Job:
    """A pair that a session runs.

    Attributes:
        key: the caller's name for it.
        stored: the lines of the run that is gone on with.
        seconds: how long each live system of it is expected to take.
    """

    key: Hashable
    prepared: PreparedSuite
    pair: Pair
    stored: Stored
    seconds: Mapping[str, float] = field(default_factory=dict)


class Fleet:
    """The pairs of a session on their way; leave the ``with`` block to end what is in flight."""

    def __init__(
        self, engine: Engine, context: RunContext, jobs: Sequence[Job], width: int | None = None
    ) -> None:
        self._engine = engine
        self._context = context
        self._jobs = {job.key: job for job in jobs}
        self._kept: dict[Hashable, dict[str, Line]] = {}
        self._futures: dict[Hashable, dict[str, Future[Line]]] = {key: {} for key in self._jobs}
        self._ended: SimpleQueue[Hashable] = SimpleQueue()
        self._held = ExitStack()
        self._pool = ThreadPoolExecutor(width or engine.width(), "parity-run")

    def __enter__(self) -> Fleet:
        _raise_limit()
        try:
            # One for all: each would hold a descriptor of its own.
            present = self._held.enter_context(hold_presence(self._context.run_dir))
            runs = [(job, system) for job in self._jobs.values() for system in self._open_systems(job)]
            with _ctrl_c_after():
                for job, system in sorted(runs, key=lambda run: -run[0].seconds.get(run[1], 0.0)):
                    self._submit(job, system, present)
        except BaseException:
            # A block that was not entered is not left either.
            self.__exit__()
            raise
        return self

    def _submit(self, job: Job, system: str, present: int) -> None:
        future = self._pool.submit(
            attempts.run_system,
            job.prepared,
            job.pair,
            system,
            self._context,
            job.stored,
            self._engine,
            present,
        )
        self._futures[job.key][system] = future
        future.add_done_callback(partial(self._note_end, job.key))

    def _note_end(self, key: Hashable, _: Future[Line]) -> None:
        self._ended.put(key)

    def _open_systems(self, job: Job) -> list[str]:
        kept = attempts.kept_lines(job.prepared, job.pair, self._context, job.stored)
        self._kept[job.key] = kept
        return attempts.systems_to_run(job.prepared, job.pair, self._context, kept)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        running = [f for futures in self._futures.values() for f in futures.values() if not f.done()]
        # Again and again: a thread may have been about to start its next attempt.
        while running:
            self._engine.stop()
            running = list(wait(running, timeout=0.2).not_done)
        self._held.close()

    def finished(self) -> Iterator[Hashable]:
        """The keys of all jobs, each once its last run has ended."""
        left = {key: len(futures) for key, futures in self._futures.items()}
        yield from [key for key, count in left.items() if not count]
        for _ in range(sum(left.values())):
            key = self._ended.get()
            left[key] -= 1
            if not left[key]:
                yield key

    def lines_of(self, key: Hashable) -> dict[str, Line]:
        """What a pair came to, once it has: system -> the line of the successful attempt.

        Raises:
            AttemptsFailed: a system delivered nothing.
            StoreError: the run directory cannot be written.
            KeyboardInterrupt: the run was ended from outside.
        """
        lines = dict(self._kept[key])
        failures: list[attempts.AttemptsFailed] = []
        for system, future in self._futures[key].items():
            try:
                lines[system] = future.result()
            except attempts.AttemptsFailed as failure:
                failures.append(failure)
        attempts.raise_together(failures)
        return lines


@contextmanager
def _ctrl_c_after() -> Iterator[None]:
    """Heed Ctrl-C once the block is done: met in ``submit``, a pool loses sight of the thread it starts."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    told: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *call: told.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if told:
        before(*told[-1])


def _raise_limit() -> None:
    """Allow this process all the open files that it may have: a thousand runs write at the same time."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
