"""The official source: a checkout is verified, and a copy of its program made for one run.

The copy is made from the commit's own objects, not from the work tree, so that it holds exactly what
the commit says. On a CPU a few places that insist on CUDA are changed in the copy, and only there;
each must be found exactly as often as at the locked commit.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.official_tdmpc2 import Refused
from pytest_worldflux_parity import wire

REPOSITORY = "https://github.com/nicklashansen/tdmpc2"
PROGRAM = "tdmpc2"  # the folder of the repository that holds train.py
MEND = "worldflux-parity fetch-oracles"


@dataclass(frozen=True)
class Change:
    """One replacement of text in one file, with the number of places where it is expected."""

    file: str
    what: str
    old: str
    new: str
    occurrences: int


CPU_CHANGES: tuple[Change, ...] = (
    Change("train.py", "no assertion that there is CUDA", "assert torch.cuda.is_available()", "pass", 1),
    Change("tdmpc2.py", "the agent is on the CPU", "'cuda:0'", "'cpu'", 2),
    Change("tdmpc2.py", "Adam steps are not captured in a graph", "capturable=True", "capturable=False", 2),
    Change("common/buffer.py", "the replay is on the CPU", "'cuda:0'", "'cpu'", 2),
    Change("common/buffer.py", "no free CUDA memory is asked for", "torch.cuda.mem_get_info()", "(0, 0)", 1),
    Change("common/scale.py", "the running scale is on the CPU", "'cuda:0'", "'cpu'", 2),
)


def prepare(checkout: Path, commit: str, device: str, copy: Path, repo: str = REPOSITORY) -> dict[str, Any]:
    """Copy the program of ``commit`` to ``copy``, adapted to ``device``.

    Returns:
        ``metadata.source`` of the record: repo, commit, dirty, changes, changes_sha256 and
        tree_sha256 (of the program's folder as the commit has it, before any change).

    Raises:
        Refused: the checkout is absent, of another commit or dirty, or a place to change is not
            there exactly as often as expected.
    """
    verify(checkout, commit)
    unpack(checkout, commit, copy)
    tree = wire.tree_sha256(copy)
    changes = CPU_CHANGES if device == "cpu" else ()
    for change in changes:
        apply(change, copy)
    return {
        "repo": repo,
        "commit": commit,
        "dirty": False,
        "changes": [{"file": c.file, "what": c.what, "occurrences": c.occurrences} for c in changes],
        "changes_sha256": wire.content_hash([vars(c) for c in changes]),
        "tree_sha256": tree,
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
    """Write the program's folder of ``commit`` to ``copy``, from git's objects."""
    archive = git(checkout, "archive", "--format=tar", f"{commit}:{PROGRAM}")
    copy.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(copy, filter="data")


def apply(change: Change, copy: Path) -> None:
    """Make one change in the copy.

    Raises:
        Refused: the place is not there exactly as often as expected; the file is left as it was.
    """
    path = copy / change.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = text.count(change.old)
    if found != change.occurrences:
        raise Refused(
            f"{PROGRAM}/{change.file}: {change.old!r} is there {found} times, expected "
            f"{change.occurrences}; the changes for a CPU fit another commit of {REPOSITORY}; "
            f"to mend: {MEND}"
        )
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")


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
    return [
        {
            "path": path.relative_to(root).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    ]
