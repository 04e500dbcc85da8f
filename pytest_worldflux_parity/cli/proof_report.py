"""``proof-report``: judge the records of a proof suite that are there, and run nothing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import printable
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


def add_proof_report(commands: Subparsers) -> None:
    """Add the parser of ``proof-report``."""
    parser = commands.add_parser(
        "proof-report", help="judge existing records of a proof suite, ours or those of the earlier system"
    )
    parser.add_argument("suite", type=Path, metavar="SUITE", help="the suite, or a parity.suite.v2 manifest")
    parser.add_argument("--runs", type=Path, required=True, metavar="FILE", help="parity_runs.jsonl")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where documents go (default: beside FILE)"
    )
    add_lock_option(parser)
    add_backends_option(parser)
    parser.add_argument(
        "--parity-history", action="append", default=[], metavar="GLOB", help="earlier equivalence reports"
    )
    parser.add_argument(
        "--parity-sign-key", type=Path, metavar="PEM", help="key that the evidence is signed with"
    )
    parser.set_defaults(run=run_proof_report)


def run_proof_report(options: argparse.Namespace) -> int:
    """Judge, write the documents and print the verdict; 0 where it is a pass, else 1.

    Raises:
        ParityError: the suite, the records or something that they need cannot be read.
    """
    from ..reporting.terminal import proof_summary
    from ..session.conclude_proof import judge_existing, judge_foreign

    root = project_root(options)
    runs = options.runs.resolve()
    context = _context(options, root, runs)
    ours = (context.run_dir / "run.json").exists()
    concluded = (judge_existing if ours else judge_foreign)(
        options.suite.resolve(), runs, options.output or runs.parent, context
    )
    for line, _ in proof_summary(concluded.judgement, concluded.signature):
        print(printable(line))
    for name, _, text, _ in concluded.cases:
        if name == "stability":
            print(f"  stability: {printable(text)}")
    for path in concluded.paths:
        print(f"  {path}")
    failed = [name for name, outcome, _, _ in concluded.cases if outcome != "passed"]
    # Of records that lie elsewhere there is no evidence to be made, and that is no failure.
    beside = ours and (options.output is None or options.output.resolve() == runs.parent)
    return int(bool([name for name in failed if name != "evidence" or beside]))


def _context(options: argparse.Namespace, root: Path, runs: Path) -> RunContext:
    from ..inputs.context import RunContext

    context = RunContext(
        root=root,
        track="proof",
        run_id=runs.parent.parent.name,
        run_dir=runs.parent.parent,
        device="cpu",
        lock_path=lock_path(options, root).resolve(),
        backend_folders=backend_folders(options, root),
        resume=True,
    )
    return replace(context, history=tuple(options.parity_history), sign_key=options.parity_sign_key)
