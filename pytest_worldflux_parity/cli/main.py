"""``worldflux-parity``: what is not a test run.

Each command is a function that adds its parser and sets ``run``, listed in ``COMMANDS``. Exit status:
0 done; 1 not done, with one line on stderr; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParityError, printable_lines
from .aggregate import add_aggregate
from .campaign import add_campaign
from .coverage import add_coverage
from .doctor import add_doctor
from .fixtures import add_fixtures
from .options import (
    Subparsers,
    add_backends_option,
    add_lock_option,
    backend_folders,
    lock_path,
    project_root,
)
from .pins import add_pin_golden, add_pin_table
from .plan import add_plan
from .proof_report import add_proof_report
from .report import add_report
from .table import add_table
from .validate import add_validate
from .verify import add_verify
from .waiting import last_line, say, waiting

if TYPE_CHECKING:
    from ..inputs.backends import Backend

DESCRIPTION = "Fetch official programs, measure their scores, and check, join and show what runs left behind."


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="worldflux-parity", description=DESCRIPTION)
    parser.add_argument(
        "--root", type=Path, default=None, help="the project (default: found from here upwards)"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


# --- fetch-oracles ---


def add_fetch_oracles(commands: Subparsers) -> None:
    """``fetch-oracles``: official checkouts and score files of the locked commits."""
    parser = commands.add_parser(
        "fetch-oracles", help="bring official sources and score files of the locked commits"
    )
    parser.add_argument(
        "--suite", action="append", metavar="ID", help="only this suite of the lock file (repeatable)"
    )
    parser.add_argument("--repo-only", action="store_true", help="do not look for the score files")
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="[OWNER/NAME=]DIR_OR_URL",
        help="fetch from here in place of the repository's URL (repeatable)",
    )
    add_lock_option(parser)
    parser.set_defaults(run=run_fetch_oracles)


def run_fetch_oracles(options: argparse.Namespace) -> None:
    """Fetch what the lock file names; one line per checkout.

    Raises:
        SourceError: something cannot be brought or is not what the lock says.
    """
    from ..inputs import checkouts, lock

    root = project_root(options)
    locked = lock.read_lock(lock_path(options, root))
    entries = [locked.entry(suite) for suite in options.suite or locked.suites]
    mirrors = dict(_mirror(text) for text in options.mirror)
    for entry in entries:
        with waiting(f"{entry.suite_id}: {checkouts.repo_name(entry.repo)} at {entry.commit[:12]}"):
            fetched = checkouts.fetch(entry, root, mirrors, oracles=not options.repo_only)
        word = "already there" if fetched.already_there else "fetched"
        print(f"{entry.suite_id}: {word}: {fetched.path}")


def _mirror(text: str) -> tuple[str, str]:
    name, found, place = text.partition("=")
    if found and name.count("/") == 1 and "://" not in name and place and name[0] not in "/.~":
        return name, place
    return "*", text


# --- env ---


def add_env(commands: Subparsers) -> None:
    """``env create`` and ``env list``: virtual environments of backends."""
    parser = commands.add_parser("env", help="virtual environments of backends")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser(
        "create", help="build the environment of a backend from its locked requirements"
    )
    create.add_argument("backend", help="name of the backend's folder, or its adapter id")
    create.add_argument("--python", default="", metavar="INTERPRETER", help="build it with this Python")
    create.set_defaults(run=run_env_create)
    listing = actions.add_parser("list", help="what there is and what is lacking")
    listing.set_defaults(run=run_env_list)
    for action in (create, listing):
        add_backends_option(action)


def run_env_create(options: argparse.Namespace) -> None:
    """Build one environment.

    Raises:
        BackendError: there is no such backend.
        SourceError: it cannot be built.
    """
    from ..inputs import venvs

    root = project_root(options)
    backend = _named(_backends(options, root), options.backend)
    log = venvs.log_of(backend, root)
    with waiting(f"{backend.name}: its environment (log: {log})", lambda: last_line(log)):
        built = venvs.create(backend, root, options.python)
    word = "built" if built else "already there"
    others = venvs.shared_with(backend, root)
    shared = f", shared with {', '.join(others)}" if others else ""
    print(f"{backend.name}: {word}: {backend.environment_dir(root)}{shared}")


def run_env_list(options: argparse.Namespace) -> None:
    """Print each backend with its adapter id and the state of its environment."""
    from ..inputs import venvs

    root = project_root(options)
    backends = _backends(options, root)
    width = max((len(backend.name) for backend in backends), default=0)
    for backend in backends:
        print(f"{backend.name:<{width}}  {backend.adapter}  {venvs.state(backend, root)}")


# --- oracle ---


def add_oracle(commands: Subparsers) -> None:
    """``oracle``: measure a suite's official side and write it as a score table."""
    parser = commands.add_parser("oracle", help="measure the official program on a suite's tasks")
    parser.add_argument("suite", type=Path, help="the suite file")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="seeds 0 to N-1 (default: 10)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the canonical_json table")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time (default: 1)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--run-id", help="folder in reports/parity; an interrupted one goes on (default: oracle_<suite>)"
    )
    add_backends_option(parser)
    add_lock_option(parser)
    parser.set_defaults(run=run_oracle)


def run_oracle(options: argparse.Namespace) -> None:
    """Measure and write the table.

    Raises:
        ParityError: the suite, the backend, a run or the table.
    """
    from ..execution import devices
    from ..inputs.context import RunContext
    from ..inputs.table_pins import PIN_TABLE
    from ..session import oracle
    from ..suite import suite_file

    if options.seeds < 1 or options.jobs < 1:
        raise ParityError("--seeds and --jobs are whole numbers from 1 on")
    # Said before the hours of measuring, not after.
    _make_folder(options.output.parent)
    device, word = devices.resolve(options.device)
    if word:
        say(word)
    root = project_root(options)
    run_id = options.run_id or f"oracle_{options.suite.stem}"
    context = RunContext(
        root=root,
        track="oracle",
        run_id=run_id,
        run_dir=root / "reports" / "parity" / run_id,
        device=device,
        lock_path=lock_path(options, root),
        backend_folders=backend_folders(options, root),
        resume=True,
    )
    extra = [f" --backends {folder.as_posix()}" for folder in options.backends or ()]
    extra += [f" --lock {options.lock.as_posix()}"] if options.lock else []
    target = f"--seeds {options.seeds} --output {options.output.as_posix()}"
    command = f"worldflux-parity oracle {options.suite.as_posix()} {target}{''.join(extra)}"
    lines = oracle.measure(options.suite, context, range(options.seeds), options.jobs, say)
    table = oracle.export(lines, options.output, suite_file.load(options.suite), command)
    print(f"{options.output}: {len(table)} rows, sha256 {table.sha256}")
    print(f"where it is the official table of a suite, pin it: {PIN_TABLE} {options.suite}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        mend = "name another --output"
        raise ParityError(f"cannot be made: {error.strerror}", where=str(folder), mend=mend) from None


# --- component-match ---


def add_component_match(commands: Subparsers) -> None:
    """``component-match``: compare a backend's components with what the official code computed."""
    parser = commands.add_parser(
        "component-match", help="compare a backend's components with a golden folder"
    )
    parser.add_argument("backend", help="name of the backend's folder, or its adapter id")
    parser.add_argument(
        "--golden", type=Path, metavar="DIR", help="the golden folder (default: the backend's)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="where the program writes and the report stands (default: reports/parity/component_match_NAME)",
    )  # fmt: skip
    parser.add_argument(
        "--isolate", choices=("auto", "require", "off"), default="off",
        help="keep the program in its folder: where this machine can, always, or never (default)",
    )  # fmt: skip
    add_backends_option(parser)
    add_lock_option(parser)
    parser.set_defaults(run=run_component_match)


def run_component_match(options: argparse.Namespace) -> int:
    """Run the match program once, print what it comes to; exit status 1 unless all holds.

    Raises:
        ParityError: the backend, the golden folder, or the folder to write into.
    """
    from ..execution import copies, isolation, launching, match_program
    from ..execution.runner import log_tail
    from ..inputs import matches
    from ..judgement import assemble
    from ..reporting import component_report
    from ..reporting.components import text

    root = project_root(options)
    backend = _named(_backends(options, root), options.backend)
    spec = matches.match_spec(backend, lock_path(options, root), options.golden)
    output = options.output or root / "reports" / "parity" / f"component_match_{backend.name}"
    golden = (options.golden or backend.golden_dir).resolve()
    walls = isolation.Walls(
        options.isolate, hidden=(root, output.resolve(), golden), runs=(output.resolve(),), goldens=(golden,)
    )
    place = output.resolve() / copies.FOLDER
    sealed = replace(launching.sealed_now(backend, root, place), walls=walls)
    run = match_program.run_match(spec, output, root, sealed)
    evidence = assemble.evidence_of_run(spec, run)
    report = component_report.write_report(evidence, output, root)
    print("\n".join(text(evidence)))
    if run.error:
        print(f"{printable_lines(log_tail(run.folder))}\n(all of it: {run.folder})", file=sys.stderr)
    print(report)
    return 0 if evidence.passed else 1


def _backends(options: argparse.Namespace, root: Path) -> list[Backend]:
    from ..inputs.backends import load_backends

    return list(load_backends(backend_folders(options, root)).values())


def _named(backends: Sequence[Backend], word: str) -> Backend:
    from ..errors import BackendError

    for backend in backends:
        if word in (backend.name, backend.adapter):
            return backend
    raise BackendError(f"there is no backend {word!r}", valid=[b.name for b in backends], got=word)


COMMANDS: tuple[Callable[[Subparsers], None], ...] = (
    add_doctor,
    add_fetch_oracles,
    add_env,
    add_oracle,
    add_campaign,
    add_component_match,
    add_table,
    add_pin_golden,
    add_pin_table,
    add_plan,
    add_proof_report,
    add_aggregate,
    add_report,
    add_validate,
    add_coverage,
    add_fixtures,
    add_verify,
)
