"""A finished official run -> a golden folder recorded from its checkpoint -> our components against it.

The committed goldens show that both programs compute the same from small random weights. This shows it from
the weights that this very run's official program trained. It is done once per part, after its runs; a
resumed session keeps what it finds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import ParityError, RunFailed, SourceError
from ..execution import runner
from ..execution.attempt_end import clean_document
from ..execution.attempts import request_id
from ..execution.cleaning import cleaner
from ..execution.launching import sealed_program, start_backend
from ..execution.match_program import match_once
from ..execution.runner import Start
from ..execution.store import Stored, SuiteStore, translated
from ..inputs.backends import Backend
from ..inputs.context import RunContext
from ..inputs.matches import match_spec
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..judgement.gates import Finding
from ..judgement.judge_run import live_folder

FAILED = "live_match_failed"


def match_live(prepared: PreparedFile, context: RunContext, stored: Stored) -> Iterator[Finding]:
    """Record and compare every part that asks for it; a finding for each that cannot be.

    A part none of whose official runs has ended well is left out: it is open, not broken.
    """
    for part in (part for part in prepared.parts if part.live):
        attempt = _official_attempt(part, context, stored)
        if attempt is None or part.match is None:
            continue
        try:
            _match_part(part, context, attempt)
        except ParityError as error:
            clean = cleaner(context.root, context.run_dir, os.environ)
            text = clean.text(f"{part.suite.family}: {error.line()}")
            yield Finding(FAILED, text, system="official")


def _official_attempt(part: PreparedSuite, context: RunContext, stored: Stored) -> Path | None:
    """The folder of the first successful official run, in the order of the suite's pairs."""
    store = SuiteStore(context.run_dir, part.suite.suite_id)
    for pair in part.pairs:
        line = stored.successes.get(request_id(part, pair, "official", context))
        if line is not None:
            return store.attempt_folder(pair.task.id, pair.seed, "official", line["attempt"])
    return None


def _match_part(part: PreparedSuite, context: RunContext, attempt: Path) -> None:
    folder = live_folder(part, SuiteStore(context.run_dir, part.suite.suite_id).folder)
    golden = folder / "golden"
    if not (golden / "manifest.json").exists():
        _record_golden(part, context, attempt, golden)
    assert part.match is not None
    spec = match_spec(part.match.backend, context.lock_path, golden, part.suite)
    sealed = sealed_program(context, part, "worldflux", part.match_key)
    match_once(spec, folder, context.root, sealed)


def _record_golden(part: PreparedSuite, context: RunContext, attempt: Path, golden: Path) -> None:
    """Run the official recorder in its own environment; the golden folder is there at once or not at all.

    Raises:
        ParityError: there is no recorder or no checkpoint, or it failed.
    """
    backend, source = part.backends["official"], part.sources["official"]
    if not isinstance(backend, Backend) or backend.record is None:
        raise SourceError(
            "the official program cannot record its components from a run",
            where=backend.adapter,
            hint="add `record: {argv: [...]}` to its backend.yaml, or write `component_match: golden`",
        )
    work, out = golden.parent / "recording", golden.parent / "recording" / "golden"
    with translated(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    places = {
        "checkout": str(source.get("checkout", "")),
        "commit": str(source.get("commit", "")),
        "checkpoint": str(attempt.resolve()),
        "out": str(out.resolve()),
    }
    sealed = sealed_program(context, part, "official", f"{part.key}.official")
    threads = part.suite.threads
    read = [Path(place) for name in ("checkout", "checkpoint") if (place := places[name])]

    def words(own: Backend, python: Path) -> list[str]:
        return own.command(python, program="record", **places)

    with start_backend(backend, words, work.resolve(), threads, context.root, sealed, read) as start:
        _run_recorder(backend, start, work)
    if not (out / "manifest.json").exists():
        raise RunFailed("exit status 0 but no manifest.json", where=f"{backend.adapter} (recorder)")
    # It is hashed where it is read.
    clean = cleaner(context.root, context.run_dir, os.environ)
    with translated(golden):
        clean_document(out / "manifest.json", f"{backend.adapter} (recorder)", clean)
        os.replace(out, golden)


def _run_recorder(backend: Backend, start: Start, work: Path) -> None:
    assert backend.record is not None
    where = f"{backend.adapter} (recorder)"
    with translated(work):
        hint = "raise record.deadline_sec in backend.yaml, or look at the log"
        code = runner.execute(start, work, backend.record.deadline_sec, where=where, hint=hint)
    runner.check_exit(code, work, where)
