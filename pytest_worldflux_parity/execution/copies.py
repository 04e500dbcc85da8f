"""Copies of what was sealed, which programs run from.

``<run>/.program`` holds, for each sealed tree, one copy that is made before the first run (``<hash>/``), and
for each program that runs now a copy of that (``starts/<hash>/``), which is its own: it may write beside
itself, nobody else reads it, and it goes when the program has ended. Each file is compared with what was
sealed while it is copied, so that nothing runs which was put there since.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from .. import wire
from ..errors import BackendError, StoreError
from ..inputs.trees import Tree
from .store import translated

PROGRAM_FOLDER = ".program"
_STARTS_FOLDER = "starts"
# What is told of before the first run: copied and hashed in a few tenths of a second at each start.
LARGE_BYTES = 64 * 2**20
_START_ANEW = "start a new run: leave --parity-resume out"


def copy_of(place: Path, tree: Tree) -> Path:
    """Where the run's copy of a tree stands."""
    return place / tree.sha256[:16]


def seal_copy(place: Path, tree: Tree, base: Path) -> Path:
    """Make the run's copy of a tree, unless it is there and whole.

    Raises:
        BackendError: a file is no longer what was sealed.
        StoreError: it cannot be written.
    """
    folder = copy_of(place, tree)
    if _is_whole(folder, tree):
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        with translated(partial):
            copy_tree(tree, base, partial)
            partial.mkdir(parents=True, exist_ok=True)
            # Folders stay as they are: who owns a run may remove it.
            for path in (p for p in partial.rglob("*") if p.is_file()):
                path.chmod(0o444 | path.stat().st_mode & 0o111)
            if not _is_whole(folder, tree):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                # Another process of the session may have been faster.
                os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _is_whole(folder: Path, tree: Tree) -> bool:
    """Whether a copy stands there, with every file as it was sealed."""
    return folder.is_dir() and all(wire.file_sha256(folder / name) == sha for name, sha in tree.copied)


def copy_tree(tree: Tree, source: Path, target: Path) -> None:
    """Copy the files of a tree from below ``source``.

    Raises:
        BackendError: a file is gone or no longer what was sealed.
        OSError: it cannot be written.
    """
    for name, sha256 in tree.copied:
        path, new = source / name, target / name
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = path.stat()
            path.open("rb").close()
        except OSError as error:
            raise _changed_error(path, f"cannot be read: {error.strerror}") from None
        shutil.copyfile(path, new)
        if wire.file_sha256(new) != sha256:
            new.unlink()
            raise _changed_error(path, "is no longer what was sealed")
        new.chmod(0o644 | found.st_mode & 0o111)
        os.utime(new, ns=(found.st_mtime_ns, found.st_mtime_ns))


def large_files(tree: Tree, base: Path) -> Iterator[tuple[str, int]]:
    """(path, bytes) of what takes its time to copy at each start."""
    for name, _ in tree.copied:
        with contextlib.suppress(OSError):
            if (size := (base / name).stat().st_size) >= LARGE_BYTES:
                yield name, size


def _changed_error(path: Path, what: str) -> BackendError:
    return BackendError(f"a file of the program {what}", where=str(path), hint=_START_ANEW)


@contextlib.contextmanager
def own_copy(place: Path, tree: Tree, source: Path, whose: str) -> Iterator[Path]:
    """A folder for one start of a program with a copy of its tree in ``program``, removed at the end.

    Args:
        source: what is copied, below which the paths of the tree lie. whose: tells starts apart.

    Raises:
        BackendError: ``source`` is not what was sealed.
        StoreError: it cannot be written.
    """
    if not source.is_dir():
        raise BackendError("the copy of the program is gone", where=str(source), hint=_START_ANEW)
    folder = place / _STARTS_FOLDER / wire.content_hash([whose])[:16]
    try:
        with translated(folder):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "program").mkdir(parents=True)
            copy_tree(tree, source, folder / "program")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forget_starts(place: Path) -> None:
    """Remove the copies of programs that were killed; nothing of the run may run."""
    shutil.rmtree(place / _STARTS_FOLDER, ignore_errors=True)


def sealed_tree(run_dir: Path, suite_id: str, key: str) -> Tree:
    """What a run sealed of a program.

    Args:
        key: of the program, ``<part>.<system>``.

    Raises:
        StoreError: the run sealed none of this name.
    """
    path = run_dir / "run.json"
    try:
        return _sealed_trees(path)[suite_id, key]
    except (OSError, wire.WireError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"nothing was sealed of {key}: {error}", where=str(path), hint=_START_ANEW) from None


def forget_sealed() -> None:
    """Of another session of this process nothing is known."""
    _sealed_trees.cache_clear()
    sealed_mode.cache_clear()


@lru_cache(maxsize=4)
def sealed_mode(run_dir: Path) -> str:
    """What a run was sealed to have around its programs; ``off`` where nothing says so. Read as trees are."""
    try:
        return str(wire.load_object(run_dir / "run.json").get("isolate", "off"))
    except (OSError, wire.WireError):
        return "off"


@lru_cache(maxsize=4)
def _sealed_trees(path: Path) -> dict[tuple[str, str], Tree]:
    """(suite, key) -> tree; read once a process: a program that runs open may write another one there."""
    entries = wire.load_object(path)["suites"].values()
    return {(e["suite_id"], key): Tree(files) for e in entries for key, files in e["trees"].items()}
