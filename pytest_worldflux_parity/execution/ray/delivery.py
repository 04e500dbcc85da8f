"""Puts together, in the run directory, what a node tells of an attempt.

What comes from a node is not trusted with paths: a file is written below the attempt's folder or not at all.
metrics.json is written last and at once, and only where the attempt is a success: whoever finds it after this
process was killed takes the attempt for one that is whole. What a failed program left is ``FAILED_RECORD``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ... import wire
from ...errors import RunFailed
from ..left_files import write_at_once
from ..retention import FAILED_RECORD
from .node import OUR_FILES, Ended, FilePart

LEFT_OUT_FILE = "left_on_the_node.txt"


class Delivery:
    """One attempt's folder on the controller."""

    def __init__(self, folder: Path, request: wire.RunRequest) -> None:
        """Write the request, with the controller's paths.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder = folder
        self._links: list[tuple[Path, str]] = []
        (folder / "request.json").write_text(wire.request_to_json(request), encoding="utf-8")
        # As a local run has them from the start.
        for name in ("stdout.log", "stderr.log"):
            (folder / name).touch()

    def take(self, event: FilePart) -> None:
        """Write a piece of a file.

        Raises:
            OSError: it cannot be written.
            RunFailed: the path leads out of the folder, or is that of what is written here.
        """
        path = self._inside(event.path)
        if event.link is not None:
            # At the end: no file is ever written through one, nor a link below one.
            self._links.append((path, event.link))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb" if event.first else "ab") as handle:
            handle.write(event.data)

    def finish(self, end: Ended) -> None:
        """Write what is left: links, and last of all the record.

        Raises:
            OSError: it cannot be written.
            RunFailed: a path leads out of the folder.
        """
        if end.left_out:
            write_at_once(self.folder / LEFT_OUT_FILE, _left_out_note(end.left_out))
        for path, target in self._links:
            self._link(path, target)
        if end.metrics is not None:
            name = "metrics.json" if end.outcome.success else FAILED_RECORD
            write_at_once(self.folder / name, end.metrics)

    def _link(self, path: Path, target: str) -> None:
        above = [p for p in path.parents if p.is_relative_to(self.folder) and p != self.folder]
        if any(p.is_symlink() for p in above):
            raise RunFailed(f"a node sent a link below another: {path.name!r}", where=str(path.parent))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.symlink_to(target)

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        own = len(parts) == 1 and parts[0] in OUR_FILES
        if not parts or own or name.startswith("/") or ".." in parts or "\0" in name:
            raise RunFailed(f"a node sent a file named {name!r}", where=str(self.folder))
        return self.folder.joinpath(*parts)


def _left_out_note(left_out: Mapping[str, int]) -> bytes:
    lines = [f"{size} bytes: {path}\n" for path, size in sorted(left_out.items())]
    return "".join(["too large to be brought here, and gone with the node's copy:\n", *lines]).encode()
