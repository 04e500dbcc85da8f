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

PROGRAM_LOGS = ("stdout.log", "stderr.log")
# The record of a failed attempt that ran elsewhere: not to be taken for a success before its line is there.
FAILED_RECORD = "failed_metrics.json"
KEPT_FILES = ("metrics.json", FAILED_RECORD, "request.json", "progress.jsonl", *PROGRAM_LOGS)
_CHECKPOINTS = "checkpoint_paths"


def apply_retention(retention: str, folder: Path, line: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
    """Remove what an attempt no longer needs; nothing under ``full``.

    Args:
        folder: of the attempt. line: its stored line.
        keep: further patterns of paths within the folder (as in :mod:`fnmatch`) that a gate asks for.

    What cannot be removed stays: the result is stored, and a file too many is no reason to lose it.
    """
    if retention == "full" or not (line.get("success") or _has_logs(folder)):
        return
    prune(folder, (*KEPT_FILES, *listed_patterns(line.get("artifact_manifest")), *keep))


def _has_logs(folder: Path) -> bool:
    """Whether the output of a failed attempt, which is all that explains it, is there as plain files."""
    try:
        return all(stat.S_ISREG(os.lstat(folder / name).st_mode) for name in PROGRAM_LOGS)
    except OSError:
        return False


def listed_patterns(manifest: object) -> Iterator[str]:
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
    nothing outside can be reached, whatever is exchanged meanwhile. What cannot be removed stays.
    """
    wanted = tuple(patterns)
    with contextlib.suppress(OSError):
        for place, folders, names, descriptor in os.fwalk(folder, topdown=False):
            below = os.path.relpath(place, folder)
            for name in (*names, *folders):
                path = os.path.normpath(f"{below}/{name}")
                with contextlib.suppress(OSError):
                    _remove_unless(any(fnmatchcase(path, p) for p in wanted), name, descriptor)


def _remove_unless(kept: bool, name: str, parent: int) -> None:
    """Remove a file or a link, unless it is kept, or a folder, unless it is not empty."""
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.rmdir(name, dir_fd=parent)
    elif not kept:
        os.unlink(name, dir_fd=parent)
