"""What a run was judged with that its records do not hold: ``circumstances.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

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

    @property
    def change_findings(self) -> Iterator[Finding]:
        return (
            Finding("changed_since_sealed", f"{name} changed after the first run") for name in self.changed
        )

    def to_dict(self, suite_id: str, time: str) -> dict[str, Any]:
        """As ``schemas/circumstances.v1.json`` has it."""
        return {
            "schema_version": CIRCUMSTANCES_SCHEMA,
            "suite_id": suite_id,
            "generated_at_utc": time,
            **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()},
            "selected": sorted(self.selected),
            "log": self.log.to_dict() if self.log is not None else None,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Circumstances:
        """From a document that its JSON Schema accepts."""
        return cls(
            resumed=document["resumed"],
            selected=frozenset(document["selected"]),
            **{key: tuple(document.get(key, ())) for key in ("changed", "noted", "history")},
            findings=tuple(Finding(**f) for f in document["findings"]),
            names=document.get("names", {}),
            machine=document.get("machine", {}),
            log=RunLog.from_dict(document["log"]) if document.get("log") else None,
        )
