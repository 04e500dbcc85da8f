"""``compare``: two score tables that are there -> a verdict, its picture and an exit status.

There is no judge of its own: the suite that asks the same is written into a folder that goes, and is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ParityError, ScoreTableError, SuiteError, printable
from ..execution.devices import describe_machine
from ..execution.store import write_text
from ..inputs.lock_reference import lock_reference, names_of
from ..inputs.prepare import prepare
from ..inputs.scores import ScoreTable
from ..inputs.scores.columns import parse_number
from ..inputs.scores.guessing import guess
from ..judgement.circumstances import Circumstances
from ..judgement.quick import Judgement
from ..judgement.recompute import Rejudged, judge_records, session_of_tables
from ..reporting.card import card_lines
from ..reporting.documents import RUN, quick_documents
from ..reporting.drawing import forest_signs, forest_svg
from ..reporting.estimates import panels_of
from ..reporting.terminal import SHOWN_ROWS, quick_summary
from ..schemas.formats import FORMATS, is_label
from ..schemas.json_text import utc_now
from ..schemas.rule_names import QUESTIONS
from ..suite.suite import SYSTEMS
from .compared_tables import CompareAsked, ComparedTables
from .options import LOCK, Project, argument, command, project_of
from .table import QUICK_SUITES, load_with_choice

# As schemas have it of frames.
MOST_NUMBER = 1e12
NOTHING_KNOWN = "of two tables: nothing is known of how they were made"
OF_RUNS = "of two runs: what their records say of recipe and program is compared, and nothing ran now"


def parse_share(text: str) -> float:
    """A number between 0 and 1; for argparse.

    Raises:
        ArgumentTypeError: anything else.
    """
    number = parse_number(text)
    if number is None or not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return float(number)


def parse_positive(text: str) -> int | float:
    """A number above 0; for argparse.

    Raises:
        ArgumentTypeError: anything else.
    """
    number = parse_number(text)
    if number is None or not 0 < number < MOST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def parse_label_pair(text: str) -> dict[str, str]:
    """``A,B``: what texts call the two sides; for argparse.

    Raises:
        ArgumentTypeError: they are not two, not different, or one may not be a label.
    """
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if not is_label(name)]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not {FORMATS['label'].words}")
    if len(names) != 2 or names[0].casefold() == names[1].casefold():
        raise argparse.ArgumentTypeError(f"{text!r} is not two different labels, such as SB3,SBX")
    return dict(zip(SYSTEMS, names, strict=True))


@command(
    "compare",
    argument("official", type=Path, metavar="A", help="the reference: a table, or a folder"),
    argument("worldflux", type=Path, metavar="B", help="the candidate"),
    argument("--task", action="append", default=[], metavar="T", help="(repeatable; default: all in common)"),
    argument("--metric", default="episode_return", metavar="M", help="default: episode_return"),
    argument("--margin", type=parse_share, default=0.05, metavar="SHARE", help="relative (default: 0.05)"),
    argument("--rule", choices=tuple(QUESTIONS), default="calibrated", help="default: calibrated"),
    argument("--floor", type=parse_positive, metavar="F", help="smallest scale (default: 1.0)"),
    argument(
        "--budget", type=parse_positive, metavar="STEP",
        help="frames at which both are compared (default: the largest that every run reaches)",
    ),
    argument(
        "--comparison", choices=("versions", "self"),
        help="one program on purpose: two versions of it, or it with itself",
    ),
    argument(
        "--labels", type=parse_label_pair, default={}, metavar="A,B", help="what texts call the two: SB3,SBX"
    ),
    argument("--lower-is-better", action="store_true", help="of a loss under a rule that asks for worse"),
    argument("--json", action="store_true", help="print worldflux.parity.run.v1 in place of the text"),
    argument("--suite-out", type=Path, metavar="FILE", help="write the suite that asks the same"),
    argument("--picture", type=Path, metavar="FILE.svg", help="write the picture of the intervals"),
    LOCK,
)  # fmt: skip
def compare_command(options: argparse.Namespace) -> int:
    """Judge and print; nothing is written that is not asked for. 0 is a pass, 2 that it cannot be asked."""
    try:
        return _compare(options, project_of(options))
    except ParityError as error:
        print(f"worldflux-parity: {error.line()}", file=sys.stderr)
        return 2


def _compare(options: argparse.Namespace, project: Project) -> int:
    _refuse_files_there(options)
    compared = _open_tables(options)
    with tempfile.TemporaryDirectory(prefix="worldflux-compare-") as name:
        path = Path(name).resolve() / f"{compared.suite_id}.yaml"
        _write_suite(compared, path)
        judged, document = _judge(path, project)
    judgement = judged.judgement
    assert isinstance(judgement, Judgement)
    if options.suite_out is not None:
        _write_suite(compared, options.suite_out)
    if options.picture is not None:
        title = f"{compared.suite_id}: {judgement.verdict}, {_say_what_it_is_of(compared)}"
        write_text(options.picture, forest_svg(panels_of(judgement), title))
    if options.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print("\n".join(map(printable, _describe_verdict(judged, judgement, compared))))
        if options.suite_out is None:
            print(f"the suite that asks the same, in {QUICK_SUITES} (--suite-out FILE writes it):")
            paths = _paths_from(compared.tables, project.root / QUICK_SUITES)
            print(*(f"  {line}" for line in compared.suite_lines(paths)), sep="\n")
    return int(judgement.verdict != "pass")


def _refuse_files_there(options: argparse.Namespace) -> None:
    """A table, or a suite that somebody wrote, is never replaced."""
    outputs = [path for path in (options.suite_out, options.picture) if path is not None]
    for path in outputs:
        if path.exists():
            raise SuiteError("is there already", where=str(path), hint="name another file")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise SuiteError("--suite-out and --picture are the same file", where=str(outputs[0]))


def _open_tables(options: argparse.Namespace) -> ComparedTables:
    """Both tables as they are guessed to be, and what follows of how they can be compared."""
    tables: dict[str, ScoreTable] = {}
    artifacts: dict[str, dict[str, Any]] = {}
    notes = ["scores are better the lower they are: --lower-is-better"] if options.lower_is_better else []
    for system in SYSTEMS:
        path = getattr(options, system)
        own = guess(path)
        keywords = dict(own.keywords)
        tables[system], more = load_with_choice(path, own.format, keywords)
        artifacts[system] = {"format": own.format, **keywords}
        notes += [f"{system}: {note}" for note in (*own.notes, *more)]
    if isinstance(options.budget, float):
        raise ScoreTableError("--budget is a whole number of frames")
    asked = CompareAsked(
        _metric_of(options), options.task, options.budget, options.comparison, options.labels
    )
    return ComparedTables(tables, artifacts, asked, notes)


def _metric_of(options: argparse.Namespace) -> dict[str, Any]:
    metric = {"name": options.metric, "rule": options.rule, "margin": options.margin}
    floor = {} if options.floor is None else {"floor": options.floor}
    return {**metric, **floor, **({"higher_is_better": False} if options.lower_is_better else {})}


def _paths_from(tables: Mapping[str, ScoreTable], folder: Path) -> dict[str, str]:
    return {s: os.path.relpath(table.path.resolve(), folder.resolve()) for s, table in tables.items()}


def _write_suite(compared: ComparedTables, path: Path) -> None:
    lines = compared.suite_lines(_paths_from(compared.tables, path.parent))
    write_text(path, "\n".join([*lines, ""]))


def _judge(path: Path, project: Project) -> tuple[Rejudged, dict[str, Any]]:
    """A suite of two tables as a session would judge it, and the document that it would write."""
    context = project.context("quick", "compare", run_dir=path.parent)
    file = prepare(path, context)
    part, time = file.parts[0], utc_now()
    circumstances = Circumstances(
        selected=frozenset(str(pair.key) for pair in part.pairs),
        names=names_of(part, context),
        machine=describe_machine(),
    )
    session = session_of_tables(file.suite_id, "compare", time)
    judged = judge_records(file, context, session, session["suites"][file.suite_id], circumstances)
    assert isinstance(judged.judgement, Judgement)
    made = quick_documents(
        judged.judgement, part, lock_reference(part, context), circumstances, time=time, golden_path=""
    )
    return judged, made[RUN]


def _describe_verdict(judged: Rejudged, judgement: Judgement, compared: ComparedTables) -> Iterator[str]:
    yield f"compare: {_say_what_it_is_of(compared)}"
    labels = compared.asked.labels
    yield from (f"  {labels.get(system, system)}: {compared.tables[system].path}" for system in SYSTEMS)
    yield from (line for line, _ in quick_summary([(judgement, compared.notes)], "--json"))
    yield from (f"  {line}" for line in forest_signs(panels_of(judgement), SHOWN_ROWS))
    yield from (f"  {line}" for line in card_lines(judged.facts, "nobody: nothing was run", beside=True))


def _say_what_it_is_of(compared: ComparedTables) -> str:
    formats = {table.format for table in compared.tables.values()}
    return OF_RUNS if formats == {"parity_runs"} else NOTHING_KNOWN
