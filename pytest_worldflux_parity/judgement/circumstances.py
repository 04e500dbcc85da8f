"""What a run was judged with that its records do not hold: ``circumstances.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import gates
from .gates import Finding
from .run_log import RunLog

CIRCUMSTANCES = "circumstances.json"
CIRCUMSTANCES_SCHEMA = "worldflux.parity.circumstances.v1"


@dataclass(frozen=True)
class Circumstances:
    """What a run was judged with that its records do not hold.

    None of it can make a verdict better: what is selected, changed or found can only be missing or broken,
    and names and machine are words in documents.

    Attributes:
        resumed: whether the last session resumed the run. selected: names of its test items.
        changed: what changed since the run was sealed.
        noted: what came beside it, and changed nothing that ran.
        findings: of what only the run's host could see.
        history: names of the earlier reports that it was held against, in their order.
        names: ``lock``, and ``tables`` by system: the paths that documents name them by.
        machine: the judging process, as ``evaluation_manifest`` has it.
        log: the log as it was judged; None of a run of an earlier version.
    """

    resumed: bool = False
    selected: frozenset[str] = frozenset()
    changed: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    history: tuple[str, ...] = ()
    names: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    log: RunLog | None = None

    def to_dict(self, suite_id: str, time: str) -> dict[str, Any]:
        """As ``schemas/circumstances.v1.json`` has it."""
        return {
            "schema_version": CIRCUMSTANCES_SCHEMA,
            "suite_id": suite_id,
            "generated_at_utc": time,
            "resumed": self.resumed,
            "selected": sorted(self.selected),
            "changed": list(self.changed),
            "noted": list(self.noted),
            "findings": [gates.finding_dict(f) for f in self.findings],
            "history": list(self.history),
            "names": dict(self.names),
            "machine": dict(self.machine),
            "log": self.log.to_dict() if self.log is not None else None,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Circumstances:
        """From a document that its JSON Schema accepts."""
        return cls(
            resumed=document["resumed"],
            selected=frozenset(document["selected"]),
            changed=tuple(document["changed"]),
            noted=tuple(document.get("noted", ())),
            findings=tuple(Finding(**f) for f in document["findings"]),
            history=tuple(document["history"]),
            names=document.get("names", {}),
            machine=document.get("machine", {}),
            log=RunLog.from_dict(document["log"]) if document.get("log") else None,
        )
