"""The official source: a checkout is verified, and a copy of its program made for one run.

The copy is made from the commit's own objects, not from the work tree, so that it holds exactly what
the commit says, and running it leaves no trace in the checkout. Nothing in it is changed.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from backends.official_dreamerv3 import Refused
from pytest_worldflux_parity import wire

REPOSITORY = "https://github.com/danijar/dreamerv3"
PROGRAM = ("dreamerv3", "embodied")  # the folders of the repository that are run
MEND = "worldflux-parity fetch-oracles"


def prepare(checkout: Path, commit: str, copy: Path, repo: str = REPOSITORY) -> dict[str, Any]:
    """Copy the program of ``commit`` to ``copy``.

    Returns:
        ``metadata.source`` of the record: repo, commit, dirty, changes (none), changes_sha256 and
        tree_sha256 (of the program's folders as the commit has them).

    Raises:
        Refused: the checkout is absent, of another commit or dirty, or holds no such program.
    """
    verify(checkout, commit)
    unpack(checkout, commit, copy)
    return {
        "repo": repo,
        "commit": commit,
        "dirty": False,
        "changes": [],
        "changes_sha256": wire.content_hash([]),
        "tree_sha256": wire.tree_sha256(copy),
    }


def verify(checkout: Path, commit: str) -> None:
    """Make sure that ``checkout`` is a clean work tree of ``commit``.

    Raises:
        Refused: it is not; the text names the command that brings one.
    """
    if not checkout.is_dir():
        raise Refused(f"{checkout}: there is no checkout of {REPOSITORY}; to mend: {MEND}")
    top = git(checkout, "rev-parse", "--show-toplevel").decode().strip()
    if Path(top).resolve() != checkout.resolve():
        raise Refused(f"{checkout}: not the top of a checkout of {REPOSITORY}; to mend: {MEND}")
    head = git(checkout, "rev-parse", "HEAD").decode().strip()
    if head != commit:
        raise Refused(f"{checkout}: its commit is {head}, wanted {commit}; to mend: {MEND}")
    dirty = git(checkout, "status", "--porcelain", "--untracked-files=all").decode().splitlines()
    if dirty:
        raise Refused(
            f"{checkout}: the tree is dirty ({len(dirty)} paths, first: {dirty[0].strip()}); "
            f"to mend: undo the changes, or remove the checkout and run {MEND}"
        )


def unpack(checkout: Path, commit: str, copy: Path) -> None:
    """Write the program's folders of ``commit`` to ``copy``, from git's objects."""
    archive = git(checkout, "archive", "--format=tar", commit, "--", *PROGRAM)
    copy.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(copy, filter="data")


def git(checkout: Path, *arguments: str) -> bytes:
    """The standard output of a git command that reads ``checkout`` and runs none of its hooks."""
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
        raise Refused(f"{checkout}: git {arguments[0]}: {said}; to mend: {MEND}")
    return done.stdout


def described(paths: list[Path], root: Path) -> list[dict[str, Any]]:
    """Path relative to ``root``, size and sha256 of each file, for the artifact manifest."""
    found = []
    for path in paths:
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        found.append(
            {"path": path.relative_to(root).as_posix(), "bytes": path.stat().st_size, "sha256": digest}
        )
    return found
