"""What stays of an attempt's folder once its line is stored.

``full`` keeps all. ``minimal`` keeps what a verdict, a gate or a reader may still ask for: the record, the
request, the heartbeat, the logs, and of what the record's ``artifact_manifest`` lists everything but
checkpoints. Replay buffers, videos, checkpoints and copies of sources go.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

LOGS = ("stdout.log", "stderr.log")
# The record of a failed attempt that ran elsewhere: not to be taken for a success before its line is there.
FAILED_RECORD = "failed_metrics.json"
KEPT = ("metrics.json", FAILED_RECORD, "request.json", "progress.jsonl", *LOGS)
_CHECKPOINTS = "checkpoint_paths"


def apply(retention: str, folder: Path, line: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
    """Remove what an attempt no longer needs; nothing under ``full``.

    Args:
        folder: of the attempt. line: its stored line.
        keep: further patterns of paths within the folder (as in :mod:`fnmatch`) that a gate asks for.

    What cannot be removed stays: the result is stored, and a file too many is no reason to lose it.
    """
    if retention == "full" or not (line.get("success") or _has_logs(folder)):
        return
    prune(folder, (*KEPT, *listed(line.get("artifact_manifest")), *keep))


def _has_logs(folder: Path) -> bool:
    """Whether the output of a failed attempt, which is all that explains it, is there as plain files."""
    try:
        return all(stat.S_ISREG(os.lstat(folder / name).st_mode) for name in LOGS)
    except OSError:
        return False


def listed(manifest: object) -> Iterator[str]:
    """Patterns of the files in a record's manifest (kind -> [{path, ...}]), checkpoints left out."""
    if isinstance(manifest, Mapping):
        for kind, files in manifest.items():
            for file in files if kind != _CHECKPOINTS and isinstance(files, list) else ():
                path = file.get("path") if isinstance(file, Mapping) else None
                if isinstance(path, str):
                    # A path, not a pattern: what is special in patterns stands for itself.
                    yield "".join(f"[{c}]" if c in "*?[" else c for c in path)


def prune(folder: Path, patterns: Iterable[str]) -> None:
    """Remove everything below ``folder`` whose path within it matches none of ``patterns``.

    Links are removed and never followed: every step is taken from the descriptor of the folder above, so
    nothing outside can be reached, whatever is exchanged meanwhile.
    """
    wanted = tuple(patterns)
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _prune(descriptor, "", wanted)
        finally:
            os.close(descriptor)


def _prune(descriptor: int, prefix: str, patterns: Sequence[str]) -> bool:
    """Prune an open folder; whether anything is left in it."""
    left = False
    for name in os.listdir(descriptor):
        path = f"{prefix}{name}"
        try:
            is_folder = stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
            if is_folder:
                left |= _prune_below(descriptor, name, path, patterns)
            elif any(fnmatchcase(path, pattern) for pattern in patterns):
                left = True
            else:
                os.unlink(name, dir_fd=descriptor)
        except OSError:
            left = True
    return left


def _prune_below(parent: int, name: str, path: str, patterns: Sequence[str]) -> bool:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        left = _prune(descriptor, f"{path}/", patterns)
    finally:
        os.close(descriptor)
    if not left:
        os.rmdir(name, dir_fd=parent)
    return left
