"""``check-backend``: a program is tried alone, and all that will be said of its record is said at once."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import ParityError, SuiteError, printable
from ..execution import devices
from ..execution.request_checks import check_requests
from ..execution.store import translated
from ..reporting.labels import Labels, with_labels
from ..session.trial import FIRST_RUN, NO_RUN, Trial, Wish, is_walled, make_trial, run_once
from ..session.trial_findings import TRIAL_RUNS, TrialRow, look_at_record, trial_document, try_behaviour
from ..wire import WireError, parse_setting
from .options import BACKENDS, LOCK, Project, argument, command, project_of
from .waiting import say, waiting

_SETTING: dict[str, Any] = {"action": "append", "default": [], "metavar": "KEY=VALUE"}


@command(
    "check-backend",
    argument("adapter", help="name of the backend's folder, or its adapter id"),
    argument("--suite", type=Path, metavar="FILE", help="what is asked (default: what the options say)"),
    argument("--task", metavar="ID", help="default: the suite's first"),
    argument("--seed", type=int, metavar="N", help="default: the suite's first; 0 without one"),
    argument("--set", **_SETTING, help="a key of the recipe, such as a smaller number of steps (repeatable)"),
    argument("--eval", **_SETTING, help="a key of the eval_protocol (repeatable)"),
    argument("--quick", action="store_true", help="only what a quick suite asks of a record"),
    argument("--once", action="store_true", help="one run, and not how the program behaves over several"),
    argument("--device", choices=("auto", "cpu", "cuda"), default="auto"),
    argument(
        "--isolate", choices=("auto", "require", "off"), default="auto",
        help="keep the program in its folder: where this machine can (default), always, or never",
    ),
    argument("--json", action="store_true", help="for machines"),
    BACKENDS,
    LOCK,
)  # fmt: skip
def check_backend(options: argparse.Namespace) -> int:
    """Try the program and say what was found; 0 where that is nothing, 1 findings, 2 it cannot be tried.

    Raises:
        ParityError: the folder of the runs cannot be written.
    """
    project = project_of(options)
    with translated(project.output):
        project.output.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="check_backend_", dir=project.output))
    keep = False
    try:
        try:
            trial = _trial_of(options, project, folder)
            walls = "within walls" if is_walled(trial) else "open"
            check_requests(trial.part, trial.context)
        except ParityError as error:
            print(f"worldflux-parity: {error.line()}", file=sys.stderr)
            return 2
        keep = True
        asked = f"{trial.backend.name}: {trial.pair.task.id} seed {trial.pair.seed}"
        if options.json:
            rows = list(_try(trial, options))
        else:
            print(printable(f"{asked}, {trial.context.device}, {walls}"))
            runs = 1 if options.once else TRIAL_RUNS
            with waiting(asked, lambda: f"run {len([*folder.iterdir()])} of {runs}"):
                rows = list(_tell_each(_try(trial, options), trial.part.suite.labels))
        keep = any(row.status == "finding" for row in rows)
        _tell_all(trial, rows, folder if keep else None, options.json)
        return 1 if keep else 0
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _trial_of(options: argparse.Namespace, project: Project, folder: Path) -> Trial:
    """What is to be tried.

    Raises:
        ParityError: the backend, the suite or an option.
    """
    try:
        recipe = dict(map(parse_setting, options.set))
        protocol = dict(parse_setting(text, "--eval") for text in options.eval)
    except WireError as error:
        raise SuiteError(str(error)) from None
    device, _ = devices.resolve(options.device)
    more: dict[str, Any] = {"run_dir": folder, "device": device, "isolate": options.isolate}
    context = project.context("quick", NO_RUN, **more)
    wish = Wish(options.task, options.seed, recipe, protocol)
    return make_trial(project.backend(options.adapter), options.suite, wish, context)


def _try(trial: Trial, options: argparse.Namespace) -> Iterator[TrialRow]:
    first = run_once(trial, FIRST_RUN)
    assert first is not None
    yield from look_at_record(trial, first, options.quick)
    if options.once:
        return
    # The same seed again, another one, half a run and its repetition, and one with another home.
    seconds = 4.5 * float(first["duration_sec"])
    if first["success"] and seconds > 1 and not options.json:
        say(f"five more starts, about {seconds:.0f} s, say how it behaves; --once leaves them out")
    yield from try_behaviour(trial, first)


def _tell_each(rows: Iterable[TrialRow], labels: Labels) -> Iterator[TrialRow]:
    """Print each row when it is known, below who asks."""
    asker = ""
    for row in rows:
        if row.asked_by != asker:
            asker = row.asked_by
            say(f"{asker}:")
        say(with_labels(f"  {row.status:<9}  {row.name}: {row.detail}", labels))
        if row.to_mend:
            say(with_labels(f"             to mend: {row.to_mend}", labels))
        yield row


def _tell_all(trial: Trial, rows: Sequence[TrialRow], folder: Path | None, as_json: bool) -> None:
    """Print what the rows come to; for machines, all of them."""
    if as_json:
        document = trial_document(trial, rows, folder)
        schemas.check(document, "check_backend.v1", lambda at: "check-backend")
        print(json.dumps(document, indent=2))
        return
    count = sum(row.status == "finding" for row in rows)
    print(f"{count} finding{'s' * (count != 1)}; the runs: {folder}" if count else "nothing was found")
