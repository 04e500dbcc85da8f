"""``aggregate``: documents of runs that are there already -> one ``worldflux.parity.aggregate.v1``."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import DocumentError
from ..execution.store import write_document
from ..judgement.gates.fixture import BANNER
from ..release import run_documents
from ..release.backing import stands_beside
from ..reporting.aggregates import aggregate_of_rows
from ..schemas.json_text import utc_now
from .options import argument, command


@command(
    "aggregate",
    argument(
        "--runs-glob", action="extend", nargs="+", required=True, metavar="PATTERN",
        help='run documents, as in "reports/parity/*/*/run.json", and the equivalence_report.json of proof '
        "suites (repeatable)",
    ),
    argument("--output", type=Path, required=True, metavar="FILE", help="the aggregate"),
    argument("--newest", action="store_true", help="of several documents of one suite take the newest"),
)  # fmt: skip
def aggregate(options: argparse.Namespace) -> None:
    """Read and write; what documents say is for ``validate`` and ``coverage`` to judge anew.

    Raises:
        DocumentError: nothing matches, a document is invalid or has no statistics, or two are of one suite.
        StoreError: the output cannot be written.
    """
    runs = [run_documents.read_any(path) for path in _match_files(options.runs_glob, options.output)]
    chosen = run_documents.one_per_suite(runs, newest=options.newest)
    output: Path = options.output
    document = aggregate_of_rows(
        [run.row(relative_to(run.path, output.parent)) for run in chosen],
        not_judged={},
        time=utc_now(),
        aggregate_json=output.name,
        report_md=None,
        dashboard_html=None,
    )
    write_document(output, document, "aggregate.v1")
    count = f"{document['suite_pass_count']} of {document['run_count']} suites pass"
    print(f"{output}: {count}" + (f"; {BANNER}" if "fixture" in document else ""))
    for run in chosen:
        print(f"  {run.suite_id}: {stands_beside(run.path)} beside {run.path}")


def relative_to(path: Path, folder: Path) -> str:
    """The path of a file as seen from a folder, so that both can be moved together."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _match_files(patterns: Sequence[str], output: Path) -> Iterable[Path]:
    """The files that the patterns name, each once; every pattern must name one.

    Raises:
        DocumentError: a pattern names nothing, or the output would replace one of them.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        paths = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(name)]
        if not paths:
            raise DocumentError(
                f"no file matches {pattern!r}", where=str(Path.cwd()),
                hint='run the suites first, or quote another pattern: --runs-glob "DIR/*/*/run.json"',
            )  # fmt: skip
        found.update((path.resolve(), path) for path in paths)
    if output.resolve() in found:
        raise DocumentError("would be replaced by the aggregate of it", where=str(output))
    return found.values()
