"""``proof-report``: judge the records of a proof suite that are there, and run nothing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..errors import printable
from ..reporting.terminal import proof_summary
from ..session.conclude_suite import judge_existing, judge_foreign
from .options import BACKENDS, LOCK, SUITE, argument, command, project_of


@command(
    "proof-report",
    SUITE,
    argument("--runs", type=Path, required=True, metavar="FILE", help="parity_runs.jsonl"),
    argument("--output", type=Path, metavar="DIR", help="where documents go (default: beside FILE)"),
    LOCK,
    BACKENDS,
    argument(
        "--parity-history", action="append", default=[], metavar="GLOB", help="earlier equivalence reports"
    ),
    argument("--parity-sign-key", type=Path, metavar="PEM", help="key that the evidence is signed with"),
)
def proof_report(options: argparse.Namespace) -> int:
    """Judge, write the documents and print the verdict; 0 where it is a pass, else 1.

    Raises:
        ParityError: the suite, the records or something that they need cannot be read.
    """
    runs = options.runs.resolve()
    run_dir = runs.parent.parent
    project = project_of(options)
    context = replace(project, lock_path=project.lock_path.resolve()).context(
        "proof",
        run_dir.name,
        run_dir=run_dir,
        resume=True,
        history=tuple(options.parity_history),
        sign_key=options.parity_sign_key,
    )
    ours = (run_dir / "run.json").exists()
    concluded = (judge_existing if ours else judge_foreign)(
        options.suite.resolve(), runs, options.output or runs.parent, context
    )
    assert concluded.proof is not None
    for line, _ in proof_summary(concluded.proof, concluded.signature):
        print(printable(line))
    for case in concluded.cases:
        if case.name == "stability":
            print(f"  stability: {printable(case.text)}")
    for path in concluded.paths:
        print(f"  {path}")
    failed = [case.name for case in concluded.cases if case.outcome != "passed"]
    # Of records that lie elsewhere there is no evidence to be made, and that is no failure.
    beside = ours and (options.output is None or options.output.resolve() == runs.parent)
    return int(bool([name for name in failed if name != "evidence" or beside]))
