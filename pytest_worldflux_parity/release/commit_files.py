"""The files of a commit of a checkout, as git would check them out, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import SourceError
from ..inputs.files.git import ask_git

COMMIT_HINT = "name a commit or branch that is there: git fetch, then --expect-from origin/main"
# Neither an index of the user's nor his choice of folders has a part in it.
SETTINGS = ("core.warnAmbiguousRefs=true", "core.sparseCheckout=false", "core.symlinks=true")


def commit_of(root: Path, ref: str) -> str:
    """The full id of the commit that a name means in a checkout.

    Raises:
        SourceError: it means none, or more than one, or git cannot be asked.
    """
    if not ref.strip() or ref.startswith("-"):
        raise SourceError("is no name of a commit", where=repr(ref), hint=COMMIT_HINT)
    named = _run_git(root, "rev-parse", "--verify", "--end-of-options", ref)
    if "is ambiguous" in named.stderr:
        hint = f"write refs/heads/{ref}, refs/remotes/{ref} or refs/tags/{ref}, or the commit's own id"
        raise SourceError("means more than one commit, a branch and a tag", where=ref, hint=hint)
    sha = named.stdout.strip()
    # What excludes a commit (^main) has an answer too.
    if named.returncode == 0 and re.fullmatch("[0-9a-f]{40,64}", sha):
        peeled = _run_git(root, "rev-parse", "--verify", f"{sha}^{{commit}}")
        if peeled.returncode == 0:
            return peeled.stdout.strip()
    if named.returncode != 0 and "Needed a single revision" not in named.stderr:
        raise SourceError(f"git cannot say which commit that is: {_last_line(named.stderr)}", where=ref)
    raise SourceError("is no commit of this checkout", where=ref, hint=COMMIT_HINT)


def unpack(root: Path, sha: str, into: Path, index: Path) -> tuple[str, ...]:
    """Write every file of a commit; those of the checkout's folder alone where that is not all of it.

    Args:
        into: an empty folder. index: a file that git may write.

    Returns:
        The links that lead out of ``into``, which are left out: they are no part of the commit.

    Raises:
        SourceError: git cannot write them.
    """
    place = _run_git(root, "rev-parse", "--absolute-git-dir", "--show-prefix").stdout.splitlines()
    prefix = place[1].rstrip("/") if len(place) > 1 else ""
    options = [f"--git-dir={place[0]}", f"--work-tree={into}"]
    command = (*options, "read-tree", "--reset", "-u", f"{sha}:{prefix}")
    done = _run_git(into, *command, env={"GIT_INDEX_FILE": str(index)})
    if done.returncode != 0:
        why = _last_line(done.stderr)
        raise SourceError(f"its files cannot be written: {why}", where=f"commit {sha[:12]}")
    return tuple(_remove_links_out(into))


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["git says nothing"])[-1]


def _remove_links_out(folder: Path) -> list[str]:
    """Take out the links that lead out of a folder, at once or by others; their paths."""
    links = [
        Path(place, name)
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if os.path.islink(os.path.join(place, name))
    ]
    # All are followed before one is taken out: a link may lead out through another.
    out = [link for link in links if not _link_target(link).is_relative_to(folder)]
    for link in out:
        link.unlink()
    return sorted(link.relative_to(folder).as_posix() for link in out)


def _link_target(link: Path) -> Path:
    return Path(os.path.realpath(link))


def _run_git(
    folder: Path, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = ask_git(folder, *words, settings=SETTINGS, environment=env)
    said, wrong = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, said, wrong)
