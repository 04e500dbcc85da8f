"""``fetch-oracles`` and ``env``: official sources at their locked commits, and environments of backends."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..inputs import checkouts, lock, venvs
from .options import BACKENDS, LOCK, argument, command, project_of
from .waiting import last_line, waiting

MIRROR = argument(
    "--mirror", action="append", default=[], metavar="[OWNER/NAME=]DIR_OR_URL",
    help="fetch from here in place of the repository's URL (repeatable)",
)  # fmt: skip


@command(
    "fetch-oracles",
    argument(
        "--suite", action="append", metavar="ID",
        help="only this suite, or program (NAME, NAME@VERSION), of the lock file (repeatable)",
    ),
    argument("--repo-only", action="store_true", help="do not look for the score files"),
    MIRROR,
    LOCK,
)  # fmt: skip
def fetch_oracles(options: argparse.Namespace) -> None:
    """Fetch what the lock file names; one line per checkout.

    Raises:
        SourceError: something cannot be brought or is not what the lock says.
    """
    project = project_of(options)
    locked = lock.read_lock(project.lock_path)
    entries = [locked.entry(name) for name in options.suite or (*locked.suites, *locked.programs)]
    mirrors = parse_mirrors(options.mirror)
    for entry in entries:
        with waiting(f"{entry.suite_id}: {checkouts.repo_name(entry.repo)} at {entry.commit[:12]}"):
            fetched = checkouts.fetch(entry, project.root, mirrors, oracles=not options.repo_only)
        word = "already there" if fetched.already_there else "fetched"
        print(f"{entry.suite_id}: {word}: {fetched.path}")


def parse_mirrors(texts: Sequence[str]) -> dict[str, str]:
    """``owner/name``, or ``*`` for all, -> where to fetch from."""
    return dict(map(_parse_mirror, texts))


def _parse_mirror(text: str) -> tuple[str, str]:
    name, found, place = text.partition("=")
    if found and name.count("/") == 1 and "://" not in name and place and name[0] not in "/.~":
        return name, place
    return "*", text


@command(
    "env create",
    argument("backend", help="name of the backend's folder, or its adapter id"),
    argument("--python", default="", metavar="INTERPRETER", help="build it with this Python"),
    BACKENDS,
)
def env_create(options: argparse.Namespace) -> None:
    """Build one environment.

    Raises:
        BackendError: there is no such backend.
        SourceError: it cannot be built.
    """
    project = project_of(options)
    backend, root = project.backend(options.backend), project.root
    log = venvs.build_log_of(backend, root)
    with waiting(f"{backend.name}: its environment (log: {log})", lambda: last_line(log)):
        built = venvs.create(backend, root, options.python)
    word = "built" if built else "already there"
    others = venvs.shared_with(backend, root)
    shared = f", shared with {', '.join(others)}" if others else ""
    print(f"{backend.name}: {word}: {backend.environment_dir(root)}{shared}")


@command("env list", BACKENDS)
def env_list(options: argparse.Namespace) -> None:
    """Print each backend with its adapter id and the state of its environment."""
    project = project_of(options)
    backends = project.backends()
    width = max((len(backend.name) for backend in backends), default=0)
    for backend in backends:
        print(f"{backend.name:<{width}}  {backend.adapter}  {venvs.state(backend, project.root)}")
