"""What a program would refuse is refused before the first run: its own check is asked, of every task.

A backend's ``check:`` is started as its program is, with the paths of requests: one for each task, with the
recipe and the protocol that its runs would get. Its exit status is 0 where it would answer all of them;
else the last line of its log is what is wrong. Nothing is sealed yet, so what it changed would be taken for
what was there: it is within walls wherever these can be had.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .. import wire
from ..errors import RunFailed, SuiteError
from ..inputs.backends import Backend
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite
from ..suite import suite_file
from . import runner
from .attempts import request_of
from .engines import ENGINES
from .isolation import walls_of, why_no_walls
from .launching import seal_program_now, start_backend

_PYTHON = re.compile(r"[\w.]+(Error|Exception): ")
_KEY = re.compile(r"(recipe|eval_protocol)(?:\.([A-Za-z0-9_][A-Za-z0-9_.]*[A-Za-z0-9_]))?")


def check_requests(prepared: PreparedSuite, context: RunContext) -> None:
    """Ask the programs of live sides whether they would answer the suite's requests.

    Not asked is a program without a check, and one whose environment or checkout is not here, or that is to
    run on other machines within walls that this one has not.

    Raises:
        SuiteError: one would not; the text is the program's own, at the line of the key that it names.
        IsolationError: walls are required, and cannot be had.
    """
    for system in [s for s in prepared.backends if s in context.systems]:
        backend, checkout = prepared.backends[system], prepared.sources[system].get("checkout")
        if (
            not isinstance(backend, Backend)
            or backend.check is None
            or backend.missing_of_environment(context.root)
        ):
            continue
        is_here = ENGINES[context.engine].is_here
        elsewhere = not is_here and context.isolate == "require" and why_no_walls() is not None
        if not elsewhere and (checkout is None or Path(checkout).is_dir()):
            with tempfile.TemporaryDirectory(prefix="parity_check_") as folder:
                place = Path(folder).resolve()
                asked = list(_write_requests(prepared, backend, system, context, place / "requests"))
                if asked:
                    _ask_program(prepared, backend, system, context, place, asked)


def _write_requests(
    prepared: PreparedSuite, backend: Backend, system: str, context: RunContext, folder: Path
) -> Iterator[Path]:
    """The paths of a request for each task, written below ``folder``."""
    folder.mkdir()
    first = {p.task.id: p for p in reversed(prepared.pairs) if system in p.systems}
    for number, pair in enumerate(reversed(first.values())):
        request = request_of(prepared, pair, system, context, attempt=1, folder=folder)
        path = folder / f"request_{number}.json"
        path.write_text(wire.request_to_json(request), encoding="utf-8")
        yield path


def _ask_program(
    prepared: PreparedSuite,
    backend: Backend,
    system: str,
    context: RunContext,
    place: Path,
    asked: list[Path],
) -> None:
    assert backend.check is not None
    context = replace(context, isolate="auto" if context.isolate == "off" else context.isolate)
    walls = replace(walls_of(context, prepared, system), compiled=place / "compiled")
    sealed = replace(seal_program_now(backend, context.root, place / "programs"), walls=walls)
    source, threads = prepared.sources[system], prepared.suite.threads
    read = [Path(source["checkout"])] if "checkout" in source else []

    def words(own: Backend, python: Path) -> list[str]:
        return own.command(python, *asked, program="check")

    hint, deadline = "raise deadline_sec of `check:` in its backend.yaml", backend.check.deadline_sec
    try:
        with start_backend(backend, words, asked[0].parent, threads, context.root, sealed, read) as start:
            status = runner.execute(start, asked[0].parent, deadline, where=backend.adapter, hint=hint)
    except RunFailed as error:
        raise SuiteError(f"its check: {error.what}", where=backend.adapter, hint=error.hint) from None
    if status != 0:
        lines = runner.log_tail(asked[0].parent).splitlines() or [f"its check ended with status {status}"]
        # Python's own last line does not say which program has failed.
        who = f"{backend.adapter}: " if _PYTHON.match(lines[-1]) else ""
        raise SuiteError(f"{who}{lines[-1].strip()}", where=_place_of_key(prepared, lines[-1]))


def _place_of_key(prepared: PreparedSuite, line: str) -> str:
    """Where the key that a program names stands in the suite, for a task or for all."""
    named = _KEY.search(line)
    ends = [(named[1], named[2]), (named[1],)] if named else []
    return suite_file.place_of(prepared.suite.path, *ends)
