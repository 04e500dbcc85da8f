"""What the log of a run says of the run itself: whether it is whole, and how its attempts ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..execution.chain import EMPTY
from ..execution.records import SUCCESS
from ..execution.retry import KILLED, UNSEEN, is_excused
from ..execution.sessions import Sessions
from ..execution.store import Stored
from .gates import Finding

UNCHAINED = "{} lines of parity_runs.jsonl are of a version that did not chain them: a gap would not show"


@dataclass(frozen=True)
class Attempts:
    """How the attempts of one side ended: each counts once, but for ``excused``, a part of ``lost``.

    Attributes:
        repeated: successes at what had succeeded before.
        lost: cut off, so that nobody saw an end. excused: of these, what the program cannot have caused.
    """

    ok: int = 0
    failed: int = 0
    killed: int = 0
    lost: int = 0
    repeated: int = 0
    excused: int = 0

    @property
    def total(self) -> int:
        return self.ok + self.failed + self.killed + self.lost + self.repeated

    @property
    def counted(self) -> int:
        """Those that count as failures."""
        return self.failed + self.killed + self.lost - self.excused

    def exceed(self, share: float) -> bool:
        """Whether more failed than a share of them, of which one may always have."""
        return self.counted > max(share * self.total, 1 if share else 0)

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    def line(self) -> str:
        """In words, without what did not happen."""
        words = ("ok", "failed", "killed", "lost", "repeated")
        found = [f"{getattr(self, word)} {word}" for word in words if word == "ok" or getattr(self, word)]
        excused = f" ({self.excused} of them by no doing of the program)" if self.excused else ""
        return ", ".join(f"{text}{excused}" if text.endswith("lost") else text for text in found)


@dataclass(frozen=True)
class RunLog:
    """A log and its sessions, as they were when the run was judged.

    Attributes:
        head: sha256 of the log. sessions_head: of ``sessions.jsonl``; both hashes of nothing where none is.
        sessions: how many there were. unchained: lines of the log that carry no hash.
        problems: how lines were changed, taken away or put in, a sentence each.
    """

    head: str = EMPTY
    sessions_head: str = EMPTY
    sessions: int = 0
    unchained: int = 0
    problems: tuple[str, ...] = ()

    def findings(self, *, claim: bool) -> Iterator[Finding]:
        yield from (Finding("log_broken", text) for text in self.problems)
        if claim:
            yield from (Finding("log_unchained", text) for text in self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is none of a claim."""
        return (UNCHAINED.format(self.unchained),) if self.unchained else ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "problems": list(self.problems)}

    def summary(self) -> dict[str, Any]:
        """For a verdict, whose gates have the problems."""
        return {key: value for key, value in self.to_dict().items() if key != "problems"}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> RunLog:
        return cls(**{**document, "problems": tuple(document["problems"])})


def run_log(stored: Stored, before: RunLog | None = None) -> RunLog:
    """What the lines of a log and of its sessions come to.

    Args:
        before: what they came to when the run was judged; they may have grown since.
    """
    found = _run_log(stored)
    if before is None or _goes_on(stored, before):
        return found
    text = "parity_runs.jsonl or sessions.jsonl does not begin with what was judged: lines are gone"
    return replace(found, problems=(*found.problems, text))


def _goes_on(stored: Stored, before: RunLog) -> bool:
    return before.head in stored.chain.heads and before.sessions_head in stored.sessions.chain.heads


def _run_log(stored: Stored) -> RunLog:
    sessions = stored.sessions
    return RunLog(
        head=stored.chain.head,
        sessions_head=sessions.chain.head,
        sessions=sessions.begun,
        unchained=stored.chain.unchained,
        problems=tuple(_problems(stored, sessions)),
    )


def _problems(stored: Stored, sessions: Sessions) -> Iterator[str]:
    after = "does not follow from what stands before it: a line was changed, taken away or put in"
    if stored.chain.broken:
        yield f"line {stored.chain.broken} of parity_runs.jsonl {after}"
    if sessions.chain.broken or sessions.chain.unchained:
        yield f"line {sessions.chain.broken or 1} of sessions.jsonl {after}"
    for number in sessions.unreadable:
        yield f"line {number} of sessions.jsonl is none that this plugin writes"
    for number, event in enumerate(sessions.events, start=1):
        if event["log_sha256"] not in stored.chain.heads:
            text = f"{event['event']} with a log that parity_runs.jsonl does not begin with"
            yield f"line {number} of sessions.jsonl says that a session {text}: lines are gone or changed"
            break
    if not stored.lines:
        return
    begun_empty = bool(sessions.events) and sessions.events[0]["log_sha256"] == EMPTY
    if stored.chain.unchained and begun_empty:
        yield f"{stored.chain.unchained} lines of parity_runs.jsonl carry no hash, and its sessions wrote one"
    if not sessions.begun and stored.chain.unchained < len(stored.lines):
        yield "sessions.jsonl is gone: no session says that it wrote parity_runs.jsonl"


def attempts_of(lines: Iterable[Mapping[str, Any]]) -> Attempts:
    """How the attempts of one side ended, by their lines."""
    counts = dict.fromkeys((*Attempts.__dataclass_fields__,), 0)
    done: set[object] = set()
    for line in lines:
        kind = line.get("error_kind")
        if line.get("status") == SUCCESS:
            counts["repeated" if line.get("request_id") in done else "ok"] += 1
            done.add(line.get("request_id"))
        elif kind in UNSEEN:
            counts["lost"] += 1
            counts["excused"] += is_excused(kind, line.get("isolation"))
        else:
            counts["killed" if kind == KILLED else "failed"] += 1
    return Attempts(**counts)
