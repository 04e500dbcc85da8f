"""``report``: an aggregate and the documents that it names -> ``report.md`` and ``dashboard.html``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DocumentError
from ..execution.store import write_text
from ..release import release_checks, run_documents
from ..reporting.aggregate_markdown import aggregate_report
from ..reporting.dashboard import dashboard
from .options import argument, command, project_of


@command(
    "report",
    argument("--aggregate", type=Path, required=True, metavar="FILE"),
    argument("--output", type=Path, required=True, metavar="FILE", help="the markdown"),
    argument("--dashboard", type=Path, metavar="FILE", help="one HTML page that needs no network"),
    argument(
        "--equivalence", action="extend", nargs="+", default=[], type=Path, metavar="FILE",
        help="equivalence_report.json of a proof suite, shown beside the aggregate's suites (repeatable)",
    ),
)  # fmt: skip
def report_command(options: argparse.Namespace) -> None:
    """Read, hold the aggregate against its documents, and write.

    Raises:
        DocumentError: something is invalid, or the aggregate is not that of its documents.
        StoreError: a file cannot be written.
    """
    root, path = project_of(options).root, options.aggregate
    outputs = [p for p in (options.output, options.dashboard) if p is not None]
    _refuse_replacing([path, *options.equivalence], outputs)
    aggregate = run_documents.read_aggregate(path)
    for problem in release_checks.aggregate_problems(aggregate, path, (), root, complete=False):
        # What could not be judged is part of a report, and so is a report that is about to be written.
        if problem.finding.code not in ("not_judged", "dangling_path"):
            raise DocumentError(problem.finding.line(), where=problem.where)
    files = [release_checks.document_of(row, path, root) for row in aggregate["suites"]]
    _refuse_replacing([file.path for file in files if file], outputs)
    runs = [file.document for file in files if file and file.track == "quick"]
    proofs = [file.document for file in files if file and file.track == "proof"]
    reports = [*proofs, *(run_documents.read_equivalence(p) for p in options.equivalence)]
    _refuse_repeated_suite(reports)
    write_text(options.output, aggregate_report(aggregate, runs, reports))
    if options.dashboard is not None:
        write_text(options.dashboard, dashboard(aggregate, runs, reports))
    print("\n".join(str(p) for p in outputs))


def _refuse_repeated_suite(reports: Sequence[Mapping[str, Any]]) -> None:
    """A report that is named twice, or that the aggregate has already, would be shown twice."""
    ids = [str(report["suite_id"]) for report in reports]
    twice = sorted({suite for suite in ids if ids.count(suite) > 1})
    if twice:
        raise DocumentError(f"two reports are of {twice[0]!r}", hint="leave one --equivalence out")


def _refuse_replacing(inputs: list[Path], outputs: list[Path]) -> None:
    there = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in there:
            raise DocumentError("would be replaced by the report of it", where=str(path))
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise DocumentError("--output and --dashboard are the same file", where=str(outputs[0]))
