"""The attempts at a suite and their log as they stand in a bundle: cleaned, in rows, compressed.

That is most of the work on a bundle, and needs nothing of the verdict. So for a long run a process of its own
does it while the run is judged: :func:`ahead`. What it gives is what :func:`packed` gives here.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ..errors import ParityError
from .attempts import File, parts
from .cleaning import Cleaner
from .container import Squeezed, squeeze
from .log import LogSummary, cleaned_log
from .members import LINES

# The modules are found where this process finds them.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from pytest_worldflux_parity.evidence import packing; packing.main()"
)


@dataclass(frozen=True)
class Head:
    """What comes first: what the log says of the run.

    Attributes:
        sha256_before: of the log as it is; empty where there is none, since no attempt was made.
    """

    summary: LogSummary
    sha256_before: str


@dataclass(frozen=True)
class Packed:
    """One member: its name below the suite's folder, the files of attempts that it holds, its content."""

    name: str
    files: tuple[File, ...]
    content: Squeezed


Item: TypeAlias = Head | Packed


class PackingLost(Exception):
    """The process that packed ended before it had done so: what it should give is to be made here."""


def packed(run_dir: Path, suite_id: str, clean: Cleaner) -> Iterator[Item]:
    """The head, then the members: those of the attempts in the order of their names, then the log.

    Raises:
        EvidenceError: a file cannot be read or is too large.
    """
    with tempfile.TemporaryFile() as spare:
        log = cleaned_log(run_dir / suite_id / LINES, clean, spare)
        yield Head(log.summary, log.sha256_before)
        ties: dict[str, str] = {}
        for part in parts(run_dir, suite_id, clean):
            ties.update(file.tie for file in part.files if file.tie)
            yield Packed(part.name, part.files, squeeze(part.data, part.name))
        if log.sha256_before:
            yield Packed(LINES, (), squeeze(lambda: log.pieces(ties), LINES))


class Ahead:
    """What another process packs.

    Attributes:
        clean: what it takes out of texts.
    """

    def __init__(self, run_dir: Path, suite_id: str, clean: Cleaner, out: BinaryIO) -> None:
        self.clean = clean
        self._out = out
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            # Not through a command line, which others can read: it holds the secrets to look for.
            pickle.dump((run_dir, suite_id, clean), pipe)

    def items(self) -> Iterator[Item]:
        """As :func:`packed`, once the process has done it.

        Raises:
            EvidenceError: as there. PackingLost: the process ended early.
        """
        if self._process.wait():
            raise PackingLost
        self._out.seek(0)
        while (item := pickle.load(self._out)) is not None:
            if isinstance(item, ParityError):
                raise item
            yield item

    def end(self) -> None:
        """End the process, whether or not it has done its work."""
        self._process.kill()
        self._process.wait()


@contextmanager
def ahead(run_dir: Path, suite_id: str, clean: Cleaner) -> Iterator[Ahead | None]:
    """A process that packs for as long as the block lasts; None where none can be started."""
    with tempfile.TemporaryFile() as out:
        try:
            packing = Ahead(run_dir, suite_id, clean, out)
        except OSError:
            yield None
            return
        try:
            yield packing
        finally:
            packing.end()


def main() -> None:
    """The other process: what is asked for comes through standard input, and goes to standard output."""
    run_dir, suite_id, clean = pickle.load(sys.stdin.buffer)
    try:
        for item in packed(run_dir, suite_id, clean):
            pickle.dump(item, sys.stdout.buffer)
    except ParityError as error:
        pickle.dump(error, sys.stdout.buffer)
    else:
        pickle.dump(None, sys.stdout.buffer)
