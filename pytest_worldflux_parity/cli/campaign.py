"""``campaign export``: a campaign's table without pytest, from a table or from the records of a run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..errors import StoreError, SuiteError, printable
from ..execution.store import latest_run
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, prepare_source
from ..judgement.fingerprint import read_session
from ..session.conclude_campaign import conclude_source
from ..suite import campaign_file
from ..suite.seed_plan import parse_seeds
from .options import BACKENDS, LOCK, argument, command, project_of


@command(
    "campaign export",
    argument("suite", type=Path, metavar="SUITE", help="the campaign's file"),
    argument("--source", choices=("oracle", "worldflux"), required=True),
    argument("--seeds", metavar="0,1,2", help="in place of the campaign's default_seeds"),
    argument("--output", type=Path, metavar="FILE", help="in place of the source's output_path"),
    argument(
        "--run-id", metavar="ID",
        help="of a source that is run: the run whose records are exported (default: the latest campaign)",
    ),
    BACKENDS,
    LOCK,
)  # fmt: skip
def campaign_export(options: argparse.Namespace) -> int:
    """Write the table and say what is in it; 1 where it lacks a score or could not be written.

    Raises:
        ParityError: the campaign, its table, its backend, or the run whose records are wanted.
    """
    campaign = campaign_file.load(options.suite.resolve())
    source = campaign.sources.get(options.source)
    if source is None:
        what = f"the campaign has no source {options.source!r}"
        raise SuiteError(what, where=str(options.suite), valid=campaign.sources)
    seeds = None if options.seeds is None else parse_seeds("--seeds", options.seeds)
    context = project_of(options).context("campaign", systems=(source.system,), seeds=seeds)
    if source.kind != "table":
        context = _context_of_run(context, options, campaign.suite_id)
    part = prepare_source(campaign, source, context)
    done = conclude_source(PreparedFile((part,), campaign=campaign), part, context, output=options.output)
    print("\n".join(map(printable, done.notes)))
    return int(any(case.outcome != "passed" for case in done.cases))


def _context_of_run(context: RunContext, options: argparse.Namespace, suite_id: str) -> RunContext:
    """The context with the run whose records are exported, and its device."""
    run_id = options.run_id or latest_run(context.run_dir, "campaign")
    hint = f"pytest --parity=campaign {options.suite} --parity-source {options.source}"
    if run_id is None:
        raise StoreError("no campaign was run", where=str(context.run_dir), hint=hint)
    run_dir = context.run_dir / run_id
    session = read_session(run_dir)
    if suite_id not in {suite["suite_id"] for suite in session["suites"].values()}:
        raise StoreError(
            f"the run has no records of {suite_id}", where=str(run_dir), hint=f"--run-id, or {hint}"
        )
    return replace(context, run_id=run_id, run_dir=run_dir, device=session["device"])
