"""``upstream``: what the official programs have done since the versions that are locked."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import SourceError
from ..inputs import checkouts, lock
from ..inputs.golden import read_golden
from .options import BACKENDS, LOCK, Project, argument, command, project_of
from .sources import MIRROR, parse_mirrors

# Of a log; all of it is a command away.
_SHOWN = 20
# Why a file that moved matters here.
_CHANGED, _RECORDED = "our changes for a CPU", "our goldens"


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
        own = name.partition("@")[0]
        reasons = {_CHANGED: _list_changed(own, locked, project), _RECORDED: _list_recorded(own, project)}
        known = locked.version_of(entry.repo, found.head) if found else ""
        print("\n".join(_describe(entry, found, reasons, known)))
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


def _list_changed(name: str, locked: lock.Lock, project: Project) -> set[str]:
    """The official files that are changed before they run where there is no GPU, as goldens say."""
    families = {family for family, pin in locked.goldens.items() if pin.suite == name}
    folders = {b.golden_dir for b in project.backends() if b.match is not None and b.family in families}
    manifests = [path.parent for folder in folders for path in folder.glob("**/manifest.json")]
    # Below the folder that the program is started in.
    files = {file for folder in manifests for file in read_golden(folder).changed_files}
    return files | {f"*/{file}" for file in files}


def _list_recorded(name: str, project: Project) -> set[str]:
    """Patterns of the official files that goldens are recorded from, as backends of the program say."""
    official = [b for b in project.backends() if b.lock_suite.partition("@")[0] == name]
    return {pattern for b in official if b.record is not None for pattern in b.record.rests_on}


def _describe(
    entry: lock.LockEntry, found: Newer | None, reasons: Mapping[str, set[str]], known: str
) -> Iterator[str]:
    """What is told of a program.

    Args:
        reasons: why a file that moved matters here -> shell patterns of such files.
        known: the version that its newest commit is locked as; empty where it is not.
    """
    if found is None:
        yield f"{entry.suite_id}: {entry.commit[:12]} is the newest commit of {entry.repo}"
        return
    what = f"newer up to {found.head}: commits: {len(found.log)}, files: {len(found.files)}"
    yield f"{entry.suite_id}: {entry.commit[:12]} of {entry.repo}: {what}"
    yield from (f"  {line}" for line in found.log[:_SHOWN])
    if len(found.log) > _SHOWN:
        yield f"  and {len(found.log) - _SHOWN} more"
    for path in found.files:
        why = [r for r, patterns in reasons.items() if any(fnmatchcase(path, p) for p in patterns)]
        rests = f" ({' and '.join(why)} rest on it)" if why else ""
        yield f"  changed: {path}{rests}"
    locked = f"it is locked as {known}: make that" if known else "add it to the lock file as"
    yield f"  to follow it: {locked} the current version, and record its goldens and tables"
