"""``oracle``: a campaign of a suite's official side, of which whole curves are kept.

The runs go through the same engine and store as those of a session, so an interrupted measurement goes on
where it stopped, and what is exported is what was recorded.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ParityError, SuiteError
from ..execution import attempts, devices
from ..execution.copies import PROGRAM_FOLDER, seal_copy
from ..execution.devices import processor
from ..execution.fleet import Fleet, Job
from ..execution.local import LocalEngine
from ..execution.request_checks import check_requests
from ..execution.store import Line, SuiteStore, run_lock
from ..inputs.backends import load_backends
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite, prepare_suite
from ..inputs.scores import ScoreRow, ScoreTable
from ..inputs.scores.canonical import write_canonical_json
from ..inputs.table_pins import PIN_TABLE
from ..inputs.trees import base_of
from ..judgement.fingerprint import tree_of
from ..session.conclude_campaign import Several, find_score, stated_by, stated_by_task
from ..suite import suite_file
from ..suite.pairs import Pair
from ..suite.suite import DEFAULT_ADAPTERS, BackendSide
from ..wire import RunRecord, content_hash
from .options import BACKENDS, LOCK, argument, command, project_of
from .waiting import say

OFFICIAL = "official"


@command(
    "oracle",
    argument("suite", type=Path, help="the suite file"),
    argument("--seeds", type=int, default=10, metavar="N", help="seeds 0 to N-1 (default: 10)"),
    argument("--output", type=Path, required=True, metavar="FILE", help="the canonical_json table"),
    argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time (default: 1)"),
    argument("--device", choices=("auto", "cpu", "cuda"), default="auto"),
    argument(
        "--version",
        default="",
        help="the version of the official program (default: the suite's, or the current one)",
    ),
    argument(
        "--run-id", help="folder in reports/parity; an interrupted one goes on (default: oracle_<suite>)"
    ),
    BACKENDS,
    LOCK,
)
def oracle(options: argparse.Namespace) -> None:
    """Measure and write the table.

    Raises:
        ParityError: the suite, the backend, a run or the table; runs that finished are kept.
    """
    if options.seeds < 1 or options.jobs < 1:
        raise ParityError("--seeds and --jobs are whole numbers from 1 on")
    # Said before the hours of measuring, not after.
    _make_folder(options.output.parent)
    device, word = devices.resolve(options.device)
    if word:
        say(word)
    context = project_of(options).context(
        "oracle",
        options.run_id or f"oracle_{options.suite.stem}",
        device=device,
        resume=True,
        systems=(OFFICIAL,),
        # Whoever asks again wants what failed tried again; no candidate gains by it.
        retry_failed="asked for again",
    )
    part = _official_part(options.suite, context, range(options.seeds), options.version)
    measured = _measure_pairs(part, context, options.jobs)
    table = _export_table(measured, context, options.output, _typed_command(options))
    print(f"{options.output}: {len(table)} rows, sha256 {table.sha256}")
    print(f"where it is the official table of a suite, pin it: {PIN_TABLE} {options.suite}")


def _typed_command(options: argparse.Namespace) -> str:
    """The command that measures the same again."""
    words = ["worldflux-parity oracle", options.suite.as_posix(), f"--seeds {options.seeds}"]
    words += [f"--version {options.version}"] if options.version else []
    words += [f"--output {options.output.as_posix()}"]
    words += [f"--backends {folder.as_posix()}" for folder in options.backends or ()]
    words += [f"--lock {options.lock.as_posix()}"] if options.lock else []
    return " ".join(words)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name another --output"
        raise ParityError(f"cannot be made: {error.strerror}", where=str(folder), hint=hint) from None


def _official_part(path: Path, context: RunContext, seeds: Sequence[int], version: str) -> PreparedSuite:
    """The suite with a live official side, of a version where one is named, and the given seeds."""
    suite = suite_file.load(path)
    side = suite.sides[OFFICIAL]
    if not isinstance(side, BackendSide):
        side = BackendSide(_official_adapter(suite.family, path, context))
    suite = replace(
        suite,
        sides={**suite.sides, OFFICIAL: BackendSide(side.adapter, version=version or side.version)},
        seeds={**suite.seeds, OFFICIAL: tuple(seeds)},
    )
    pairs = tuple(Pair(task, seed, (OFFICIAL,)) for task in suite.tasks for seed in seeds)
    part = replace(prepare_suite(suite, context, only=(OFFICIAL,)), pairs=pairs)
    check_requests(part, context)
    return part


def _official_adapter(family: str, path: Path, context: RunContext) -> str:
    """The one official backend of a family.

    Raises:
        SuiteError: there is none, or more than one.
    """
    if known := DEFAULT_ADAPTERS.get((family, OFFICIAL)):
        return known
    found = [b for b in load_backends(context.backend_folders).values() if b.system == OFFICIAL]
    adapters = sorted(b.adapter for b in found if b.family == family)
    if len(adapters) == 1:
        return adapters[0]
    what = f"has several official backends, {', '.join(adapters)}" if adapters else "has no official backend"
    hint = "name it in a copy of the suite: official: {backend: ID}"
    raise SuiteError(f"the family {family!r} {what}", where=str(path), hint=hint)


def _measure_pairs(part: PreparedSuite, context: RunContext, jobs: int) -> PreparedSuite:
    """Run every pair that has no record yet; the suite with the copy of its program that they ran from."""
    program = part.backends[OFFICIAL]
    with run_lock(context.run_dir):
        tree = tree_of(program, context)
        seal_copy(context.run_dir.resolve() / PROGRAM_FOLDER, tree, base_of(program, context.root.resolve()))
        part = replace(part, trees={OFFICIAL: tree})
        attempts.recover(part, context)
        stored = SuiteStore(context.run_dir, part.suite.suite_id).read()
        runs = [Job(pair.key, part, pair, stored) for pair in part.pairs]
        say(f"{len(runs)} runs of {program.adapter}, {jobs} at a time, in {context.run_dir}")
        # The first error, or Ctrl-C, ends what runs and what is queued.
        with Fleet(LocalEngine(context), context, runs, width=jobs) as fleet:
            for count, key in enumerate(fleet.finished(), 1):
                say(f"{count} of {len(runs)}: {key}{_duration_text(fleet.lines_of(key)[OFFICIAL])}")
    return part


def _duration_text(line: Line) -> str:
    seconds = line.get("duration_sec")
    return f", {seconds:.0f} s" if isinstance(seconds, (int, float)) else ""


def _export_table(part: PreparedSuite, context: RunContext, path: Path, typed: str) -> ScoreTable:
    """Write the records of the runs with their provenance.

    Raises:
        ParityError: there is no record, or one that a parity run would not accept, or records of
            one task were made by different recipes, protocols or commits.
    """
    stored = SuiteStore(context.run_dir, part.suite.suite_id).read()
    found = (find_score(part, pair, context, stored) for pair in part.pairs)
    records = [record for record in found if isinstance(record, RunRecord)]
    for record in records:
        _refuse_unstated(record)
    stated, tasks = stated_by(records), stated_by_task(records)
    stated["source_tree_sha256"] = stated.pop("tree_sha256")
    document = {
        "suite_id": part.suite.suite_id,
        "command": typed,
        "adapter": part.backends[OFFICIAL].adapter,
        "device": context.device,
        **stated,
        "machine": {
            "processor": processor(), "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "tasks": tasks,
    }  # fmt: skip
    _refuse_mixture(stated)
    for task, own in tasks.items():
        _refuse_mixture(own, f" of {task}")
        own["recipe_hash"] = content_hash(own["effective_recipe"])
    return write_canonical_json(path, [row for record in records for row in _curve_rows(record)], document)


def _refuse_unstated(record: RunRecord) -> None:
    """Refuse a record that does not state all that the provenance repeats."""
    run = f"{record.task_id} seed {record.seed}"
    for key in ("source", "effective_recipe", "eval_protocol"):
        if not isinstance(record.metadata.get(key), dict):
            raise ParityError(f"the record of {run} states no metadata.{key}", where=OFFICIAL)
    if not record.curve:
        raise ParityError(f"the record of {run} has an empty curve", where=OFFICIAL)


def _refuse_mixture(stated: Mapping[str, Any], whose: str = "") -> None:
    """A table of mixed origins would be no oracle."""
    for key, value in stated.items():
        if isinstance(value, Several):
            hint = "measure all of them again in a new --run-id"
            raise ParityError(f"not all runs{whose} state the same {key}", where=OFFICIAL, hint=hint)


def _curve_rows(record: RunRecord) -> Iterator[ScoreRow]:
    for point in record.curve:
        yield ScoreRow(record.task_id, record.seed, point.step, point.value)
    for name, value in sorted(record.scalars.items()):
        yield ScoreRow(record.task_id, record.seed, record.curve[-1].step, value, name)
