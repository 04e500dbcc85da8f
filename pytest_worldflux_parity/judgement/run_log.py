"""What the log of a run says of the run itself: whether it is whole, and how its attempts ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..execution.chain import EMPTY
from ..execution.records import SUCCESS
from ..execution.retry import DISK_FULL, KILLED, UNSEEN, is_excused
from ..execution.sessions import SESSIONS, Sessions
from ..execution.store import Stored
from ..inputs.context import RETRIED
from .gates import Finding

# In what ``run.json`` has of a suite: the sha256 of its sessions.jsonl when the run was sealed.
SEALED = "sessions_sha256"
UNCHAINED = "{} lines of parity_runs.jsonl are of a version that did not chain them: a gap would not show"


@dataclass(frozen=True)
class AttemptCounts:
    """How the attempts of one side ended: each counts once, but for ``excused``, a part of ``lost``.

    Attributes:
        repeated: successes at what had succeeded before. disk_full: failed where the disk had no room,
            whoever filled it.
        lost: cut off, so that nobody saw an end. excused: of these, what the program cannot have caused.
    """

    ok: int = 0
    failed: int = 0
    killed: int = 0
    lost: int = 0
    repeated: int = 0
    excused: int = 0
    disk_full: int = 0

    @property
    def total(self) -> int:
        return self.ok + self.failed + self.killed + self.lost + self.repeated + self.disk_full

    @property
    def counted(self) -> int:
        """Those that count as failures."""
        return self.failed + self.killed + self.disk_full + self.lost - self.excused

    def exceed(self, share: float) -> bool:
        """Whether more failed than a share of them, of which one may always have."""
        return self.counted > max(share * self.total, 1 if share else 0)

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    def line(self) -> str:
        """In words, without what did not happen."""
        words = ("ok", "failed", "killed", "lost", "repeated", "disk_full")
        counts = {word.replace("_", " "): getattr(self, word) for word in words}
        found = [f"{count} {word}" for word, count in counts.items() if word == "ok" or count]
        excused = f" ({self.excused} of them by no doing of the program)" if self.excused else ""
        return ", ".join(f"{text}{excused}" if text.endswith("lost") else text for text in found)


@dataclass(frozen=True)
class RunLog:
    """A log and its sessions, as they were when the run was judged.

    Attributes:
        head: sha256 of the log. sessions_head: of ``sessions.jsonl``; both hashes of nothing where none is.
        sessions: how many there were. unended: those of which nobody wrote down an end.
        torn_sessions: lines of ``sessions.jsonl`` that were cut off. unchained: of the log, without a hash.
        problems: how lines were changed, taken away or put in, a sentence each.
    """

    head: str = EMPTY
    sessions_head: str = EMPTY
    sessions: int = 0
    unended: int = 0
    torn_sessions: int = 0
    unchained: int = 0
    problems: tuple[str, ...] = ()

    def findings(self, *, claim: bool) -> Iterator[Finding]:
        yield from (Finding("log_broken", text) for text in self.problems)
        if claim and self.unchained:
            yield Finding("log_unchained", UNCHAINED.format(self.unchained))

    @property
    def warnings(self) -> Iterator[str]:
        if self.torn_sessions:
            yield f"{self.torn_sessions} torn lines of {SESSIONS} were passed over"
        if self.unchained:
            yield UNCHAINED.format(self.unchained)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "problems": list(self.problems)}

    def summary(self) -> dict[str, Any]:
        """For a verdict, whose gates have the problems."""
        return {key: value for key, value in self.to_dict().items() if key != "problems"}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> RunLog:
        """What a document says.

        Raises:
            TypeError, ValueError: it says nothing that was written so.
        """
        log = cls(**{**document, "problems": tuple(document.get("problems", ()))})
        kinds = {name: str if name.endswith("head") else int for name in asdict(log) if name != "problems"}
        is_sound = all(type(getattr(log, name)) is kind for name, kind in kinds.items())
        if not is_sound or not all(isinstance(text, str) for text in log.problems):
            raise ValueError("a head or a sentence is no text, or a count no number")
        return log


def sealed_log(entry: Mapping[str, Any]) -> RunLog:
    """What a session knew of a suite's log when it sealed the run: ``started``, and no line.

    Args:
        entry: what it sealed of the suite; of an earlier version that knew nothing.
    """
    return RunLog(sessions_head=entry.get(SEALED, EMPTY))


def run_log(stored: Stored, *before: RunLog | None) -> RunLog:
    """What the lines of a log and of its sessions come to.

    Args:
        before: what they came to earlier. They may have grown since; what was wrong then stays so, or whoever
            took lines away would only have to have the run judged twice.
    """
    known = [log for log in before if log is not None]
    sessions = stored.sessions
    problems = (*(text for log in known for text in log.problems), *_find_broken_chain(stored, sessions))
    return RunLog(
        head=stored.chain.head,
        sessions_head=sessions.chain.head,
        sessions=sessions.begun,
        unended=sessions.unended,
        torn_sessions=len(sessions.torn),
        unchained=stored.chain.unchained,
        problems=tuple(dict.fromkeys((*problems, *_find_gone(stored, known)))),
    )


def hidden_choices(sessions: Sessions, choices: Mapping[str, str]) -> Iterator[Finding]:
    """That sessions tried anew what had failed, for reasons that ``run.json`` does not name.

    Args:
        choices: as ``run.json`` has them.
    """
    told = choices.get(RETRIED, "")
    for reason in dict.fromkeys(event.get("retry_failed", "") for event in sessions.events):
        if reason not in told:
            yield Finding("log_broken", f"run.json does not say that failed runs were tried again: {reason}")


def _find_gone(stored: Stored, known: Iterable[RunLog]) -> Iterator[str]:
    """That a file does not begin with what it was earlier."""
    for log in known:
        for name, head, heads in (
            ("parity_runs.jsonl", log.head, stored.chain.heads),
            (SESSIONS, log.sessions_head, stored.sessions.chain.heads),
        ):
            if head not in heads:
                yield f"{name} does not begin with what was sealed or judged: lines are gone or changed"


def _find_broken_chain(stored: Stored, sessions: Sessions) -> Iterator[str]:
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
    elif not begun_empty and not stored.chain.unchained and sessions.events[0]["event"] != "started":
        yield "sessions.jsonl does not say which session began parity_runs.jsonl: lines are gone"


def attempts_of(lines: Iterable[Mapping[str, Any]]) -> AttemptCounts:
    """How the attempts of one side ended, by their lines."""
    counts = dict.fromkeys((*AttemptCounts.__dataclass_fields__,), 0)
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
            counts[kind if kind in (KILLED, DISK_FULL) else "failed"] += 1
    return AttemptCounts(**counts)
