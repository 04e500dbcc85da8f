"""The errors that a user can meet.

    ParityError                 what, where, the valid values, the command that mends it
    ├── SuiteError              a suite file does not say what it must
    ├── ScoreTableError         a score table holds something that is not a score
    ├── BackendError            a backend cannot be found, started or believed
    │   ├── RunFailed           the program ran and did not deliver (crash, deadline, signal)
    │   ├── RecordError         metrics.json is absent, stale, torn, or answers another request
    │   ├── MatchError          a match program left nothing that could be compared, or what differs
    │   └── IsolationError      a program cannot be walled in on this machine
    ├── GoldenError             a golden folder is not what the official code was recorded into
    ├── StoreError              the run directory cannot be read or written
    ├── DocumentError           a policy or a document of a run is not what it must be
    ├── SourceError             an official checkout, oracle file or environment cannot be brought
    ├── EvidenceError           an evidence bundle cannot be built or read
    │   └── TamperedError       an evidence bundle is not what it was when it was built
    └── StatisticsError         the data do not allow the statistic that was asked for

Each prints as one line, whatever names and logs hold. Fields are kept, so that reports need not parse text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

# What CI servers take for a command of theirs: ``::error`` at the start of a line, ``##vso[`` anywhere in it.
_COMMAND = re.compile(r"^(?P<space>\s*):(?=:)|#(?=#\w*\[)")


def printable(text: str) -> str:
    """A text on one line, in which nothing moves a cursor and no CI server finds a command.

    Somebody else may have written it: a program in its log, or whoever named a task.
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return _COMMAND.sub(lambda found: f"{found[0]} ", text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, of a text of several lines; a carriage return ends one too."""
    return "\n".join(map(printable, text.expandtabs().splitlines()))


class ParityError(Exception):
    """A mistake or a lack that its reader can mend.

    Args:
        what: what is wrong, in one clause.
        where: ``file``, ``file:line``, or the name of the thing.
        valid: the values that would have been accepted.
        got: the value found; the nearest of ``valid`` is suggested from it.
        hint: the command or change that mends it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        valid: Iterable[object] = (),
        got: object = None,
        hint: str = "",
    ) -> None:
        self.what = what
        self.where = where
        self.valid = tuple(str(v) for v in valid)
        self.got = got
        self.hint = hint
        super().__init__(self.line())

    @property
    def nearest(self) -> str | None:
        """The accepted value that looks most like the one found, or None."""
        if self.got is None:
            return None
        import difflib

        close = difflib.get_close_matches(str(self.got), self.valid, n=1, cutoff=0.6)
        return close[0] if close else None

    def line(self) -> str:
        """The error as one line."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.nearest:
            parts.append(f"did you mean {self.nearest!r}?")
        if self.valid:
            parts.append(f"valid: {', '.join(self.valid)}")
        if self.hint:
            parts.append(f"to mend: {self.hint}")
        return printable("; ".join(parts).replace("\n", " "))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only fields do not survive the default pickling, and xdist sends errors home.
        return (_rebuild, (type(self), self.what, self.where, self.valid, self.got, self.hint))


def _rebuild(
    kind: type[ParityError], what: str, where: str, valid: tuple[str, ...], got: object, hint: str
) -> ParityError:
    return kind(what, where=where, valid=valid, got=got, hint=hint)


class SuiteError(ParityError):
    """A suite file does not say what it must."""


class ScoreTableError(ParityError):
    """A score table holds something that is not a score."""


class BackendError(ParityError):
    """A backend cannot be found, started or believed."""


class RunFailed(BackendError):
    """The program ran and did not deliver: crash, deadline or signal."""


class RecordError(BackendError):
    """metrics.json is absent, stale, torn, or answers another request."""


class MatchError(BackendError):
    """A match program left nothing that could be compared, or what it computed differs."""


class IsolationError(BackendError):
    """A program cannot be walled in on this machine."""


class GoldenError(ParityError):
    """A golden folder is not what the official code was recorded into."""


class StoreError(ParityError):
    """The run directory cannot be read or written."""


class DocumentError(ParityError):
    """A policy or a document of a run is not what it must be."""


class SourceError(ParityError):
    """An official checkout, an oracle file or an environment cannot be brought."""


class EvidenceError(ParityError):
    """An evidence bundle cannot be built or read."""


class TamperedError(EvidenceError):
    """An evidence bundle is not what it was when it was built; ``findings`` has one line for each proof."""

    def __init__(self, what: str, *, findings: Sequence[str] = (), **fields: Any) -> None:
        super().__init__(what, **fields)
        self.findings = tuple(findings) or (what,)


class StatisticsError(ParityError):
    """The data do not allow the statistic that was asked for."""
