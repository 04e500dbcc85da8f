"""``worldflux-parity``: what is not a test run.

Each command is declared in its file (:func:`.options.command`), and listed here. Exit status: 0 done; 1 not
done, with one line on stderr; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ParityError
from .options import Command

HEADLINE = "Fetch official programs, measure their scores, and check, join and show what runs left behind."
GROUPS = {
    "env": "virtual environments of backends",
    "campaign": "score tables of a campaign, without running anything",
}
# Name -> the file that declares the command, and what it is for.
COMMAND_FILES = {
    "init": ("init", "write a project that runs, with a toy in the place of each program"),
    "check-backend": (
        "check_backend",
        "try a program alone: all that a verdict will say of it, at once",
    ),
    "doctor": ("doctor", "what is missing here, and the command that mends it"),
    "fetch-oracles": ("sources", "bring official sources and score files of the locked commits"),
    "upstream": ("upstream", "what the official programs have done since the locked versions"),
    "env create": ("sources", "build the environment of a backend from its locked requirements"),
    "env list": ("sources", "what there is and what is lacking"),
    "oracle": ("oracle", "measure the official program on a suite's tasks"),
    "campaign export": ("campaign", "write a source's table from what is there"),
    "component-match": ("component_match", "compare a backend's components with a golden folder"),
    "table": ("table", "what a table of scores holds, and the suite that reads it"),
    "compare": ("compare", "a verdict on two score tables or runs that are there, without a suite"),
    "pin-golden": ("pins", "have the lock file pin the golden folder that was recorded anew"),
    "pin-table": ("pins", "have the lock file pin the official score table that a suite names"),
    "schema": ("schema", "list the JSON Schemas, or print one for an editor"),
    "plan": ("plan", "what a proof suite needs and costs, from official scores"),
    "proof-report": (
        "proof_report",
        "judge records of a proof suite that are there, ours or of the earlier system",
    ),
    "aggregate": ("aggregate", "make one document of the verdicts on several suites"),
    "report": ("report", "write an aggregate as markdown, and as a page"),
    "validate": ("validate", "judge the evidence of a release anew, and check that all suites pass"),
    "coverage": ("coverage", "check that the policy's suites are locked and judged"),
    "fixtures": ("fixtures", "write made-up score tables to rehearse a release with; they are no evidence"),
    "verify": ("verify", "check an evidence bundle, and that its verdict follows from its data"),
}


class CommandParser(argparse.ArgumentParser):
    """Has its arguments once its command was chosen: no other command's file is imported.

    Args:
        command: its name; empty where there is none.
    """

    def __init__(self, *args: Any, command: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.command = command
        self.usage_status = 2

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.command:
            declared = vars(import_module(f".{COMMAND_FILES[self.command][0]}", __package__)).values()
            chosen = next(c for c in declared if isinstance(c, Command) and c.name == self.command)
            self.description, self.usage_status = chosen.description, chosen.usage_status
            for argument in chosen.arguments:
                self.add_argument(*argument.flags, **argument.settings)
            self.set_defaults(run=chosen.run)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.usage_status, f"{self.prog}: error: {message}\n")
        raise AssertionError("argparse has ended the process")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except ParityError as error:
        print(f"worldflux-parity: {error.line()}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("worldflux-parity: interrupted", file=sys.stderr)
        return 130


def _parser() -> CommandParser:
    parser = CommandParser(prog="worldflux-parity", description=HEADLINE)
    parser.add_argument(
        "--root", type=Path, default=None, help="the project (default: found from here upwards)"
    )
    places = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for name, (_, text) in COMMAND_FILES.items():
        group, _, word = name.rpartition(" ")
        if group not in places:
            added = places[""].add_parser(group, help=GROUPS[group])
            places[group] = added.add_subparsers(metavar="ACTION", required=True)
        places[group].add_parser(word, help=text, command=name)
    return parser
