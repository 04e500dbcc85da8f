"""The sessions of a run: when each began, went on or ended, by which command, and the log's head then.

``sessions.jsonl`` stands beside ``parity_runs.jsonl``, and its lines are chained as those are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, BinaryIO, Literal

from .. import schemas
from ..errors import StoreError
from .chain import Chain, Follower, parse_line

SESSIONS = "sessions.jsonl"
EVENT_SCHEMA = "worldflux.parity.session_event.v1"
SessionEvent = Literal["started", "resumed", "ended"]


@dataclass(frozen=True)
class Sessions:
    """The lines of a ``sessions.jsonl`` in order.

    Attributes:
        unreadable: numbers of those that are none of ours. torn: of those that a crash cut off.
    """

    events: tuple[Mapping[str, Any], ...] = ()
    unreadable: tuple[int, ...] = ()
    torn: tuple[int, ...] = ()
    chain: Chain = field(default_factory=Chain)

    @property
    def begun(self) -> int:
        """How many sessions there were."""
        return sum(event["event"] != "ended" for event in self.events)

    @property
    def unended(self) -> int:
        """How many of them wrote down no end: they were killed, or still go on."""
        words = [event["event"] for event in self.events]
        return sum("ended" not in both for both in pairwise([*words, "none"]))


def read_events(handle: BinaryIO) -> Sessions:
    """Every line; one that was torn, or is none of ours, is numbered."""
    follower = Follower()
    events: list[Mapping[str, Any]] = []
    unreadable: list[int] = []
    torn: list[int] = []
    for number, text in enumerate(handle, start=1):
        event = parse_line(text)
        if _is_event(event):
            follower.add(text, event)
            events.append(event)
            continue
        # What such a line says of the bytes before it counts for nothing.
        follower.add(text, None)
        if text.strip():
            (torn if event is None else unreadable).append(number)
    return Sessions(tuple(events), tuple(unreadable), tuple(torn), follower.chain())


def _is_event(line: object) -> bool:
    try:
        schemas.check(line, "session_event.v1", str, StoreError)
    except StoreError:
        return False
    return True
