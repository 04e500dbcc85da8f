"""Copies of what was sealed, which programs run from.

``<run>/.program`` holds, for each sealed tree, one copy that is made before the first run (``<hash>/``), and
for each program that runs now a copy of that (``starts/<hash>/``), which is its own: it may write beside
itself, nobody else reads it, and it goes when the program has ended. Each file is compared with what was
sealed while it is copied, so that nothing runs which was put there since.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from .. import wire
from ..errors import BackendError, StoreError
from ..inputs.trees import Tree
from .store import translated

FOLDER = ".program"
_STARTS = "starts"
_PIECE = 1 << 20
# What is told of before the first run: copied and hashed in a few tenths of a second at each start.
LARGE_BYTES = 64 * 2**20
_ANEW = "start a new run: leave --parity-resume out"


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
    if _holds(folder, tree):
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        with translated(partial):
            copy(tree, base, partial)
            partial.mkdir(parents=True, exist_ok=True)
            # Folders stay as they are: who owns a run may remove it.
            for path in (p for p in partial.rglob("*") if p.is_file()):
                path.chmod(0o444 | path.stat().st_mode & 0o111)
            if not _holds(folder, tree):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                # Another process of the session may have been faster.
                os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _holds(folder: Path, tree: Tree) -> bool:
    """Whether a copy stands there, with every file as it was sealed."""
    return folder.is_dir() and all(wire.file_sha256(folder / name) == sha for name, sha in tree.copied)


def copy(tree: Tree, source: Path, target: Path) -> None:
    """Copy the files of a tree from below ``source``.

    Raises:
        BackendError: a file is gone or no longer what was sealed.
        OSError: it cannot be written.
    """
    for name, sha256 in tree.copied:
        path, new = source / name, target / name
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            read, found = path.open("rb"), path.stat()
        except OSError as error:
            raise _changed(path, f"cannot be read: {error.strerror}") from None
        with read, new.open("wb") as made:
            same = _streamed(read, made, path) == sha256
        if not same:
            new.unlink()
            raise _changed(path, "is no longer what was sealed")
        new.chmod(0o644 | found.st_mode & 0o111)
        # Bytecode fits a source of one time; all copies have that of the first.
        os.utime(new, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _streamed(source: BinaryIO, made: BinaryIO, path: Path) -> str:
    """Copy a file piece by piece; its sha256."""
    digest = hashlib.sha256()
    while True:
        try:
            piece = source.read(_PIECE)
        except OSError as error:
            raise _changed(path, f"cannot be read: {error.strerror}") from None
        if not piece:
            return digest.hexdigest()
        digest.update(piece)
        made.write(piece)


def large_files(tree: Tree, base: Path) -> Iterator[tuple[str, int]]:
    """(path, bytes) of what takes its time to copy at each start."""
    for name, _ in tree.copied:
        with contextlib.suppress(OSError):
            if (size := (base / name).stat().st_size) >= LARGE_BYTES:
                yield name, size


def _changed(path: Path, what: str) -> BackendError:
    return BackendError(f"a file of the program {what}", where=str(path), mend=_ANEW)


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
        raise BackendError("the copy of the program is gone", where=str(source), mend=_ANEW)
    folder = place / _STARTS / wire.content_hash([whose])[:16]
    try:
        with translated(folder):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "program").mkdir(parents=True)
            copy(tree, source, folder / "program")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forget_starts(place: Path) -> None:
    """Remove the copies of programs that were killed; nothing of the run may run."""
    shutil.rmtree(place / _STARTS, ignore_errors=True)


def sealed_tree(run_dir: Path, suite_id: str, key: str) -> Tree:
    """What a run sealed of a program.

    Args:
        key: of the program, ``<part>.<system>``.

    Raises:
        StoreError: the run sealed none of this name.
    """
    path = run_dir / "run.json"
    try:
        return _trees(path)[suite_id, key]
    except (OSError, wire.WireError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"nothing was sealed of {key}: {error}", where=str(path), mend=_ANEW) from None


def forget_sealed() -> None:
    """Of another session of this process nothing is known."""
    _trees.cache_clear()
    sealed_mode.cache_clear()


@lru_cache(maxsize=4)
def sealed_mode(run_dir: Path) -> str:
    """What a run was sealed to have around its programs; ``off`` where nothing says so. Read as trees are."""
    try:
        return str(wire.load_object(run_dir / "run.json").get("isolate", "off"))
    except (OSError, wire.WireError):
        return "off"


@lru_cache(maxsize=4)
def _trees(path: Path) -> dict[tuple[str, str], Tree]:
    """(suite, key) -> tree; read once a process: a program that runs open may write another one there."""
    entries = wire.load_object(path)["suites"].values()
    return {(e["suite_id"], key): Tree(files) for e in entries for key, files in e["trees"].items()}
