"""The attempts at a suite and their log as they stand in a bundle: cleaned, in rows, compressed.

That is most of the work on a bundle, and needs nothing of the verdict. So for a long run a process of its own
does it while the run is judged: :func:`ahead`. What it gives is what :func:`packed` gives here, and where it
gives nothing, for whatever reason, it is not missed.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from .. import wire
from ..errors import EvidenceError, ParityError
from .attempts import File, parts
from .cleaning import Cleaner
from .container import Squeezed, squeeze
from .log import Head, cleaned_log
from .members import LINES
from .reading import content

# The modules are found where this process finds them: the paths come first in what is asked.
_PROGRAM = """
import pickle, sys
asked = open(int(sys.argv[1]), "rb")
sys.path[:] = pickle.load(asked)
from pytest_worldflux_parity.evidence import packing
packing.main(asked, int(sys.argv[2]))
"""
# Seconds for which a process may write nothing before it counts as one that hangs.
STALL_SEC = 30.0
_DONE = b"all is packed"


@dataclass(frozen=True)
class Packed:
    """One member: its name below the suite's folder, the files of attempts that it holds, its content."""

    name: str
    files: tuple[File, ...]
    content: Squeezed


Item: TypeAlias = Head | Squeezed | Packed


class PackingLost(Exception):
    """What a process should have packed is not to be had from it, and is to be made here."""


def packed(run_dir: Path, suite_id: str, clean: Cleaner, arrays: Iterable[Path] = ()) -> Iterator[Item]:
    """The head, then the members: those of the attempts in the order of their names, then the log.

    Args:
        arrays: files that go in as they are, and are compressed after the head; one that cannot be is left
            to whoever puts it in.

    Raises:
        EvidenceError: a file cannot be read or is too large.
    """
    with tempfile.TemporaryFile() as spare:
        log = cleaned_log(run_dir / suite_id / LINES, clean, spare)
        yield log.head
        for path in arrays:
            with suppress(EvidenceError):
                yield squeeze(content(path), path.name)
        ties: dict[str, str] = {}
        for part in parts(run_dir, suite_id, clean):
            ties.update(file.tie for file in part.files if file.tie)
            yield Packed(part.name, part.files, squeeze(part.data, part.name))
        if log.head.sha256_before:
            yield Packed(LINES, (), squeeze(lambda: log.pieces(ties), LINES))


class Ahead:
    """What another process packs.

    Attributes:
        clean: what it takes out of texts.
    """

    def __init__(
        self,
        run_dir: Path,
        suite_id: str,
        clean: Cleaner,
        arrays: Sequence[Path],
        asked: BinaryIO,
        out: BinaryIO,
    ) -> None:
        self.clean = clean
        self._log = run_dir / suite_id / LINES
        self._out = out
        paths = [path for path in sys.path if isinstance(path, str) and os.path.exists(path or ".")]
        # Not through a command line, which others can read: there are the secrets to look for.
        pickle.dump(paths, asked)
        pickle.dump((run_dir, suite_id, clean, arrays), asked)
        asked.seek(0)
        files = [asked.fileno(), out.fileno()]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM, *map(str, files)],
            # Nothing is written to it; it ends with this process.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=files,
        )

    def items(self) -> Iterator[Item]:
        """As :func:`packed`, once the process has done it.

        Raises:
            EvidenceError: as there. PackingLost: the process ended early or hangs, or the log has changed.
        """
        self._wait()
        size = self._out.seek(0, os.SEEK_END)
        self._out.seek(max(0, size - len(_DONE)))
        if self._process.returncode or self._out.read() != _DONE:
            raise PackingLost
        self._out.seek(0)
        while self._out.tell() < size - len(_DONE):
            item = pickle.load(self._out)
            if isinstance(item, ParityError):
                raise item
            if isinstance(item, Head) and item.sha256_before != (wire.file_sha256(self._log) or ""):
                raise PackingLost
            yield item

    def _wait(self) -> None:
        """Wait for the process while it goes on.

        Raises:
            PackingLost: it does not.
        """
        written = -1
        while self._process.poll() is None:
            if written == (written := os.fstat(self._out.fileno()).st_size):
                raise PackingLost
            try:
                self._process.wait(STALL_SEC)
            except subprocess.TimeoutExpired:
                continue

    def end(self) -> None:
        """End the process, whether or not it has done its work."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def ahead(
    run_dir: Path, suite_id: str, clean: Cleaner, arrays: Sequence[Path] = ()
) -> Iterator[Ahead | None]:
    """A process that packs for as long as the block lasts; None where none can be started.

    Args:
        arrays: as :func:`packed` has them; whether they are still the same is for the caller to see.
    """
    with ExitStack() as stack:
        try:
            asked, out = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            packing = Ahead(run_dir, suite_id, clean, arrays, asked, out)
        # Of these are what there is no room for, and paths and interpreters that are none.
        except (OSError, ValueError, TypeError):
            yield None
            return
        stack.callback(packing.end)
        yield packing


def main(asked: BinaryIO, out: int) -> None:
    """The other process.

    Args:
        asked: what is left to read of it. out: descriptor of the file that takes the items.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run_dir, suite_id, clean, arrays = pickle.load(asked)
    with os.fdopen(out, "wb") as file:
        try:
            for item in packed(run_dir, suite_id, clean, arrays):
                pickle.dump(item, file)
                # Whoever waits sees that it goes on.
                file.flush()
        except ParityError as error:
            pickle.dump(error, file)
        file.write(_DONE)


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)
