"""Official checkouts: brought from their URL or a local mirror, verified, put in place at once.

A checkout of commit C of ``https://host/owner/name`` stands at
``<root>/.worldflux/sources/owner+name/C``. It is made beside that place and moved there when it is
whole, so the place holds a verified checkout or nothing, whatever interrupts. All is done with the
git program; hooks, submodules and filters of the repository never run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from .files.git import ask_git
from .lock import LockEntry

FETCH = "worldflux-parity fetch-oracles"
_PARTIAL = ".partial-"
# Set while a hook of some repository runs; they would lead git there.
_ELSEWHERE = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE"),
)


@dataclass(frozen=True)
class Fetched:
    """A verified checkout; ``already_there`` when nothing had to be done."""

    path: Path
    already_there: bool


def repo_name(repo: str) -> str:
    """``owner/name`` of a repository's URL.

    Raises:
        SourceError: the URL does not end in an owner and a name.
    """
    parts = repo.removesuffix("/").removesuffix(".git").replace(":", "/").split("/")
    if len(parts) < 2 or not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", p) for p in parts[-2:]):
        raise SourceError(f"the repository {repo!r} does not end in owner/name")
    return "/".join(parts[-2:])


def checkout_path(root: Path, repo: str, commit: str) -> Path:
    """Where the checkout of ``commit`` stands below the project's root."""
    return root / ".worldflux" / "sources" / repo_name(repo).replace("/", "+") / commit


def oracle_path(entry: LockEntry, root: Path) -> Path:
    """Where a suite's published score table stands once its source is fetched."""
    base = root if entry.oracle_in == "project" else checkout_path(root, entry.repo, entry.commit)
    return base / entry.oracle_path


def fetch(
    entry: LockEntry, root: Path, mirrors: Mapping[str, str] | None = None, oracles: bool = True
) -> Fetched:
    """Make sure that the checkout of a locked suite is in place.

    Args:
        root: the project's root.
        mirrors: by ``owner/name``, or ``*`` for all, a folder or URL to fetch from in place of the
            repository's URL. Below a folder or URL given for ``*``, ``owner/name`` and
            ``owner+name`` are looked for.
        oracles: whether the score files must be there too and have the locked sha256.

    Raises:
        SourceError: git, the mirror or the commit is absent, there is no network, the disk is full,
            or what stands there already is not what the lock says. Nothing half is left behind.
    """
    target = checkout_path(root, entry.repo, entry.commit)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock_folder(target.parent):
            if os.path.lexists(target):
                verify_checkout(target, entry, oracles)
                return Fetched(target, already_there=True)
            _bring_checkout(entry, target, find_origin(entry, mirrors or {}), oracles)
    except OSError as error:
        raise SourceError(
            f"cannot be written: {error.strerror}",
            where=str(error.filename or target),
            hint="make room or give permission, then run it again",
        ) from None
    return Fetched(target, already_there=False)


def verify_checkout(
    checkout: Path, entry: LockEntry, oracles: bool = True, shown: Path | None = None
) -> None:
    """Make sure that a checkout is the locked commit, clean, with the locked score files.

    Args:
        shown: where it will stand, for errors.

    Raises:
        SourceError: it is not; the text says what differs.
    """
    where = str(shown or checkout)
    again = f"remove {where} and run {FETCH} --suite {entry.suite_id}"
    if not (checkout / ".git").is_dir():
        raise SourceError("is not a git checkout", where=where, hint=again)
    head = git(["rev-parse", "HEAD"], checkout, where=where).strip()
    if head != entry.commit:
        raise SourceError(f"its commit is {head}, locked is {entry.commit}", where=where, hint=again)
    dirty = git(["status", "--porcelain", "--untracked-files=all"], checkout, where=where).splitlines()
    if dirty:
        what = f"the tree is dirty ({len(dirty)} paths, first: {dirty[0].strip()})"
        raise SourceError(what, where=where, hint=again)
    if oracles and entry.oracle_in == "source":
        _verify_oracles(checkout, entry, where)


def _verify_oracles(checkout: Path, entry: LockEntry, where: str) -> None:
    hint = "correct the lock file: the commit does not hold what it says"
    if not (checkout / entry.oracle_path).exists():
        raise SourceError(f"{entry.oracle_path} is not there", where=where, hint=hint)
    for name, wanted in entry.oracle_files.items():
        path = checkout / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "absent"
        if found != wanted:
            raise SourceError(f"sha256 of {name} is {found}, locked is {wanted}", where=where, hint=hint)


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """One fetch at a time in ``folder``; what an interrupted one left is removed first."""
    with open(folder / ".lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for leftover in folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def find_origin(entry: LockEntry, mirrors: Mapping[str, str]) -> str:
    """The URL or path to fetch from.

    Raises:
        SourceError: a mirror on this machine was named and is not there.
    """
    name = repo_name(entry.repo)
    if name not in mirrors and "*" not in mirrors:
        return entry.repo
    place = mirrors.get(name, mirrors.get("*", "")).removeprefix("file://").rstrip("/")
    if "://" in place:
        one = name in mirrors or place.removesuffix(".git").endswith(f"/{name}")
        return place if one else f"{place}/{name}"
    for path in _candidate_mirrors(Path(place).expanduser(), name):
        if (path / ".git").exists() or (path / "objects").is_dir():
            return str(path.resolve())
    raise SourceError(
        f"the mirror {place} is not a git repository",
        where=name,
        hint=f"--mirror {name}=PATH with the path of a clone, bare or not",
    )


def _candidate_mirrors(place: Path, name: str) -> Iterator[Path]:
    """A mirror's folder itself, and where a folder of mirrors keeps the repository ``owner/name``."""
    yield place
    for spelling in (name, name.replace("/", "+"), name.split("/")[1]):
        yield from (place / spelling, place / f"{spelling}.git", place / spelling / "repo")


def _bring_checkout(entry: LockEntry, target: Path, origin: str, oracles: bool) -> None:
    partial = target.parent / f"{_PARTIAL}{secrets.token_hex(8)}"
    partial.mkdir()
    try:
        _check_out(entry, partial, origin, target)
        verify_checkout(partial, entry, oracles, target)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_out(entry: LockEntry, folder: Path, origin: str, target: Path) -> None:
    """Fetch the commit from ``origin`` into the empty ``folder`` and check it out."""
    git(["init", "--quiet", "--template=", "."], folder)
    git(["config", "remote.origin.url", entry.repo], folder)
    git(["config", "core.autocrlf", "false"], folder)
    # One commit is enough, but not every server gives a commit that no branch points at.
    try:
        git(["fetch", "--quiet", "--no-tags", "--depth=1", "--", origin, entry.commit], folder)
    except SourceError:
        _fetch_all(entry, folder, origin, target)
    if git(["cat-file", "-t", entry.commit], folder, missing="none").strip() != "commit":
        raise SourceError(
            f"the commit {entry.commit} is not in {origin}", where=repo_name(entry.repo),
            hint="bring the mirror up to date (git fetch --all), or leave --mirror out",
        )  # fmt: skip
    (folder / ".git" / "FETCH_HEAD").unlink(missing_ok=True)
    isolated = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    git(["checkout", "--quiet", "--detach", entry.commit], folder, environment=isolated)


def _fetch_all(entry: LockEntry, folder: Path, origin: str, target: Path) -> None:
    name = repo_name(entry.repo)
    try:
        git(["fetch", "--quiet", "--no-tags", "--", origin, "+refs/*:refs/fetched/*"], folder, where=name)
    except SourceError as error:
        hint = (
            f"without network, {FETCH} --mirror {name}=PATH with a local clone, "
            f"or copy a checkout of {entry.commit} to {target}; "
            "on a full or write-protected disk, make room or give permission"
        )
        raise SourceError(error.what, where=name, hint=hint) from None


def git(
    arguments: Sequence[str],
    folder: Path,
    *,
    where: str = "",
    missing: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run git in ``folder``, without hooks, questions or a foreign repository's settings.

    Args:
        missing: what to return when the command fails, in place of an error.

    Raises:
        SourceError: git is absent or the command failed; the text is git's own last line.
    """
    slow = ("gc.auto=0", "http.lowSpeedLimit=1000", "http.lowSpeedTime=60")
    # How the user reaches a server (GIT_SSH_COMMAND, GIT_SSL_CAINFO) stays.
    kept = {k: v for k, v in os.environ.items() if k.startswith("GIT_") and k not in _ELSEWHERE}
    reached = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes", **kept, **(environment or {})}
    done = ask_git(folder, *arguments, settings=slow, environment=reached)
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")
    if missing is not None:
        return missing
    raise SourceError(f"git {arguments[0]}: {_telling_line(done.stderr)}", where=where)


def _telling_line(stderr: bytes) -> str:
    """The telling line of what git said: the first that is fatal or an error, else the last."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (telling or lines[-1:] or ["failed without a word"])[0]
