"""``campaign export``: a campaign's table without pytest, from a table or from the records of a run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParityError, StoreError, SuiteError, printable
from .options import (
    Subparsers,
    add_backends_option,
    add_lock_option,
    backend_folders,
    lock_path,
    project_root,
)

if TYPE_CHECKING:
    from ..inputs.context import RunContext

OUTPUT = Path("reports") / "parity"


def add_campaign(commands: Subparsers) -> None:
    """Add the parser of ``campaign``."""
    parser = commands.add_parser("campaign", help="score tables of a campaign, without running anything")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    export = actions.add_parser("export", help="write a source's table from what is there")
    export.add_argument("suite", type=Path, metavar="SUITE", help="the campaign's file")
    export.add_argument("--source", choices=("oracle", "worldflux"), required=True)
    export.add_argument("--seeds", metavar="0,1,2", help="in place of the campaign's default_seeds")
    export.add_argument("--output", type=Path, metavar="FILE", help="in place of the source's output_path")
    export.add_argument(
        "--run-id", metavar="ID",
        help="of a source that is run: the run whose records are exported (default: the latest campaign)",
    )  # fmt: skip
    add_backends_option(export)
    add_lock_option(export)
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the table and say what is in it; 1 where it lacks a score or could not be written.

    Raises:
        ParityError: the campaign, its table, its backend, or the run whose records are wanted.
    """
    from ..inputs.prepare import PreparedFile, prepare_source
    from ..session.conclude_campaign import conclude_source
    from ..suite import campaign_file

    campaign = campaign_file.load(options.suite.resolve())
    source = campaign.sources.get(options.source)
    if source is None:
        what = f"the campaign has no source {options.source!r}"
        raise SuiteError(what, where=str(options.suite), valid=campaign.sources)
    context = _context(options, source.system)
    if source.kind != "table":
        context = _of_run(context, options, campaign.suite_id)
    part = prepare_source(campaign, source, context)
    done = conclude_source(PreparedFile((part,), campaign=campaign), part, context, output=options.output)
    print("\n".join(map(printable, done.lines())))
    return 0 if done.complete else 1


def _context(options: argparse.Namespace, system: str) -> RunContext:
    from ..inputs.context import RunContext

    root = project_root(options)
    return RunContext(
        root=root,
        track="campaign",
        run_id="",
        run_dir=root / OUTPUT,
        device="cpu",
        lock_path=lock_path(options, root),
        backend_folders=backend_folders(options, root),
        systems=(system,),
        seeds=_seeds(options.seeds),
    )


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    whole = all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts)
    if not whole or len({int(p) for p in parts}) != len(parts):
        raise ParityError(f"--seeds {text!r}: distinct whole numbers are wanted, as in 0,1,2")
    return tuple(sorted(map(int, parts)))


def _of_run(context: RunContext, options: argparse.Namespace, suite_id: str) -> RunContext:
    """The context with the run whose records are exported, and its device."""
    from ..execution.store import latest_run
    from ..judgement.fingerprint import read_session

    run_id = options.run_id or latest_run(context.run_dir, "campaign")
    mend = f"pytest --parity=campaign {options.suite} --parity-source {options.source}"
    if run_id is None:
        raise StoreError("no campaign was run", where=str(context.run_dir), mend=mend)
    run_dir = context.run_dir / run_id
    session = read_session(run_dir)
    if suite_id not in {suite["suite_id"] for suite in session["suites"].values()}:
        raise StoreError(
            f"the run has no records of {suite_id}", where=str(run_dir), mend=f"--run-id, or {mend}"
        )
    return replace(context, run_id=run_id, run_dir=run_dir, device=session["device"])
