"""A program that runs a commit of somebody's repository: verified, copied for one run, observed from outside.

The copy is made from the commit's own objects, not from the work tree, so that it holds exactly what the
commit says, and running it leaves no trace in the checkout.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import signal
import subprocess
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Sequence, Tuple

from .documents import content_hash, file_sha256, tree_sha256
from .program import Refused, Terminated
from .request import RunRequest

FETCH_COMMAND = "worldflux-parity fetch-oracles"


@dataclass(frozen=True)
class Change:
    """One replacement of text in one file, with the number of places where it is expected."""

    file: str
    what: str
    old: str
    new: str
    occurrences: int

    def apply(self, copy: Path) -> None:
        """Make the change in a copy.

        Raises:
            Refused: the place is not there exactly as often as expected; the file is left as it was.
        """
        path = copy / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = text.count(self.old)
        if found != self.occurrences:
            raise Refused(
                f"{self.file}: {self.old!r} is there {found} times, expected {self.occurrences}; the changes "
                f"fit another commit; to mend: {FETCH_COMMAND}"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def copy_commit(
    checkout: Path, commit: str, copy: Path, repo: str, tree: Sequence[str], changes: Sequence[Change] = ()
) -> Dict[str, Any]:
    """Copy the program of ``commit`` from a clean checkout to ``copy``, and change it.

    Args:
        tree: what ``git archive`` takes of the commit: a folder (``:folder``), or ``--`` and paths.

    Returns:
        ``metadata.source`` of the record: repo, commit, dirty, changes, changes_sha256 and tree_sha256 (of
        the program as the commit has it, before any change).

    Raises:
        Refused: the checkout is absent, of another commit or dirty, holds no such program, or a place to
            change is not there exactly as often as expected.
    """
    verify_checkout(checkout, commit, repo)
    archive = run_git(checkout, "archive", "--format=tar", commit + tree[0], *tree[1:])
    copy.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(copy, filter="data")
    described = {
        "repo": repo,
        "commit": commit,
        "dirty": False,
        "changes": [{"file": c.file, "what": c.what, "occurrences": c.occurrences} for c in changes],
        "changes_sha256": content_hash([vars(c) for c in changes]),
        "tree_sha256": tree_sha256(copy),
    }
    for change in changes:
        change.apply(copy)
    return described


def verify_checkout(checkout: Path, commit: str, repo: str) -> None:
    """Make sure that ``checkout`` is a clean work tree of ``commit``.

    Raises:
        Refused: it is not; the text names the command that brings one.
    """
    if not checkout.is_dir():
        raise Refused(f"{checkout}: there is no checkout of {repo}; to mend: {FETCH_COMMAND}")
    top = run_git(checkout, "rev-parse", "--show-toplevel").decode().strip()
    if Path(top).resolve() != checkout.resolve():
        raise Refused(f"{checkout}: not the top of a checkout of {repo}; to mend: {FETCH_COMMAND}")
    head = run_git(checkout, "rev-parse", "HEAD").decode().strip()
    if head != commit:
        raise Refused(f"{checkout}: its commit is {head}, wanted {commit}; to mend: {FETCH_COMMAND}")
    dirty = run_git(checkout, "status", "--porcelain", "--untracked-files=all").decode().splitlines()
    if dirty:
        raise Refused(
            f"{checkout}: the tree is dirty ({len(dirty)} paths, first: {dirty[0].strip()}); "
            f"to mend: undo the changes, or remove the checkout and run {FETCH_COMMAND}"
        )


def run_git(checkout: Path, *arguments: str, hint: str = FETCH_COMMAND) -> bytes:
    """The standard output of a git command that reads ``checkout`` and runs none of its hooks.

    Args:
        hint: what mends it where git fails.

    Raises:
        Refused: there is no git, or it fails.
    """
    options = ["-c", f"safe.directory={checkout.resolve()}", "-c", "core.fsmonitor=false"]
    command = ["git", *options, "-c", "core.hooksPath=/dev/null", "-C", str(checkout), *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment.update(GIT_NO_REPLACE_OBJECTS="1", GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        raise Refused("the program `git` is not there; to mend: install git") from None
    if done.returncode != 0:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise Refused(f"{checkout}: git {arguments[0]}: {said}; to mend: {hint}")
    return done.stdout


@contextmanager
def program_copy(
    request: RunRequest, repo: str, tree: Sequence[str], changes: Sequence[Change] = ()
) -> Iterator[Tuple[Path, Path, Dict[str, Any]]]:
    """The program's copy for one run, an empty folder to run it in, and the copy's description.

    The folder is the working folder meanwhile. The copy is removed at the end, also where SIGTERM is the end.

    Raises:
        Refused: as :func:`copy_commit`.
    """
    out_dir = Path(request.out_dir).resolve()
    copy, run_dir, home = out_dir / "official_source", out_dir / "official_run", os.getcwd()
    signal.signal(signal.SIGTERM, _terminate)
    for folder in (copy, run_dir):
        shutil.rmtree(folder, ignore_errors=True)
    run_dir.mkdir(parents=True)
    checkout, commit = Path(request.source["checkout"]).expanduser().resolve(), request.source["commit"]
    try:
        described = copy_commit(checkout, commit, copy, request.source.get("repo") or repo, tree, changes)
        os.chdir(run_dir)
        yield copy, run_dir, described
    finally:
        os.chdir(home)
        shutil.rmtree(copy, ignore_errors=True)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace attribute ``name`` of ``owner`` by ``around(original, ...)``."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)


def list_artifacts(files: Mapping[str, Path], root: Path) -> Dict[str, List[Dict[str, Any]]]:
    """Kind -> path below ``root``, size and sha256 of the file of that kind that a program left.

    Raises:
        Refused: one is not there.
    """
    for path in files.values():
        if not path.is_file():
            raise Refused(f"{path}: the official program did not write it")
    return {
        kind: [
            {
                "path": path.relative_to(root).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
            }
        ]
        for kind, path in files.items()
    }
