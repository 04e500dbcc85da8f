"""``upstream``: what the official programs have done since the versions that are locked."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..inputs import checkouts, lock
from ..inputs.golden import read_golden
from .options import BACKENDS, LOCK, Project, argument, command, project_of
from .sources import MIRROR, parse_mirrors

# Of a log; all of it is a command away.
_SHOWN = 20


@dataclass(frozen=True)
class Newer:
    """What a repository has beyond the current version.

    Attributes:
        head: its newest commit. log: a line a commit, the newest first. files: that changed.
    """

    head: str
    log: tuple[str, ...]
    files: tuple[str, ...]


@command(
    "upstream",
    argument("programs", nargs="*", metavar="PROGRAM", help="of the lock file (default: all)"),
    MIRROR,
    argument("--check", action="store_true", help="exit status 1 where there is something newer"),
    BACKENDS,
    LOCK,
)
def upstream(options: argparse.Namespace) -> int:
    """Ask each program's repository, or its mirror, and say what is newer than the current version.

    Raises:
        SourceError: there is no such program, or the repository cannot be asked.
    """
    project = project_of(options)
    locked, mirrors = lock.read_lock(project.lock_path), parse_mirrors(options.mirror)
    if not locked.programs:
        raise SourceError("it locks no program whose versions are known", where=str(project.lock_path))
    newer = False
    for name in options.programs or locked.programs:
        entry = locked.entry(name)
        found = find_newer(entry, checkouts.find_origin(entry, mirrors))
        newer = newer or found is not None
        print("\n".join(_describe(entry, found, _list_touched(name, project))))
    return int(newer and options.check)


def find_newer(entry: lock.LockEntry, origin: str) -> Newer | None:
    """What the newest commit of a repository adds to a locked one; None where they are the same.

    Args:
        origin: its URL, or the folder of a clone, bare or not.

    Raises:
        SourceError: it cannot be reached, or has not the locked commit.
    """
    try:
        if Path(origin).is_dir():
            return _compare_commits(entry.commit, "HEAD", Path(origin))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            checkouts.git(["init", "--quiet", "--bare", "--template=", "."], folder)
            # Files are not asked for: their names and the log are enough.
            fetch = ["fetch", "--quiet", "--no-tags", "--filter=blob:none", "--", origin]
            checkouts.git([*fetch, "HEAD", entry.commit], folder)
            return _compare_commits(entry.commit, "FETCH_HEAD", folder)
    except SourceError as error:
        hint = (
            f"--mirror {checkouts.repo_name(entry.repo)}=PATH with a local clone, where there is no network"
        )
        raise SourceError(error.what, where=origin, hint=hint) from None


def _compare_commits(locked: str, newest: str, folder: Path) -> Newer | None:
    head = checkouts.git(["rev-parse", "--verify", newest], folder).strip()
    log = checkouts.git(["log", "--format=%h %cs %s", f"{locked}..{head}"], folder).splitlines()
    files = checkouts.git(["diff", "--name-only", locked, head], folder).splitlines()
    return Newer(head, tuple(log), tuple(files)) if head != locked else None


def _list_touched(name: str, project: Project) -> set[str]:
    """The official files that are changed before they run where there is no GPU, as goldens say."""
    folders = {b.golden_dir for b in project.backends() if b.match is not None and b.family == name}
    manifests = [path.parent for folder in folders for path in folder.glob("**/manifest.json")]
    return {row for folder in manifests for row in read_golden(folder).changed_files}


def _describe(entry: lock.LockEntry, found: Newer | None, touched: set[str]) -> Iterator[str]:
    if found is None:
        yield f"{entry.suite_id}: {entry.commit[:12]} is the newest commit of {entry.repo}"
        return
    what = f"{len(found.log)} commits and {len(found.files)} files are newer, up to {found.head}"
    yield f"{entry.suite_id}: {entry.commit[:12]} of {entry.repo}: {what}"
    yield from (f"  {line}" for line in found.log[:_SHOWN])
    if len(found.log) > _SHOWN:
        yield f"  and {len(found.log) - _SHOWN} more"
    for path in found.files:
        moved = any(path == file or path.endswith(f"/{file}") for file in touched)
        yield f"  changed: {path}{' (our change for a CPU rests on it)' if moved else ''}"
    yield "  to follow it: add the version to the lock file, and record its goldens and tables"
