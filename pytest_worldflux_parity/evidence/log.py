"""What the lines of ``parity_runs.jsonl`` say of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..execution.records import reused_place
from ..execution.store import safe_name
from ..schemas.json_text import loads
from ..suite.suite import SYSTEMS

ENVIRONMENT_SCHEMA = "worldflux.parity.environment.v1"
# What a program states of where it ran, in its record's metadata or its match.json.
_CIRCUMSTANCES = (
    "packages", "python", "platform", "host", "processor", "gpu", "gpus", "driver", "cuda", "threads",
    "mujoco_gl",
)  # fmt: skip
# Attempts at one run; a forged number must not make a check count for hours.
_MOST = 9999

Attempts = dict[tuple[str, str, str], set[int]]


@dataclass
class LogSummary:
    """What lines say that a bundle states elsewhere or must hold.

    Attributes:
        metrics: paths of the ``metrics.json`` that they name. attempts: (task, seed, system), as folders
            name them -> the numbers of their attempts. environments: per system, text of a row -> the row.
    """

    metrics: list[str] = field(default_factory=list)
    attempts: Attempts = field(default_factory=dict)
    environments: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {system: {} for system in SYSTEMS}
    )

    def add(self, raw: bytes) -> None:
        """One line; the gates see to what is no JSON object."""
        try:
            line = loads(raw)
        except (ValueError, RecursionError):
            return
        if isinstance(line, dict):
            self._add_attempt(line)
            self._add_environment(line)

    def _add_attempt(self, line: Mapping[str, Any]) -> None:
        artifacts, kept = line.get("artifacts"), reused_place(line)
        path = artifacts.get("metrics") if isinstance(artifacts, dict) else None
        if isinstance(path, str):
            self.metrics.append(f"{kept}/{path}" if kept else path)
        if kept:
            # Which attempts an earlier run made, its own log tells.
            return
        attempt = line.get("attempt")
        if type(attempt) is int and 1 <= attempt <= _MOST:
            key = (safe_name(str(line.get("task_id"))), f"seed_{line.get('seed')}", str(line.get("system")))
            self.attempts.setdefault(key, set()).add(attempt)

    def _add_environment(self, line: Mapping[str, Any]) -> None:
        rows = self.environments.get(str(line.get("system")))
        if rows is None or not isinstance(line.get("metrics"), dict):
            return
        stated = line["metrics"].get("metadata")
        metadata = stated if isinstance(stated, dict) else {}
        row = {
            "adapter": line.get("adapter"),
            "device": line.get("device"),
            "stated": {key: metadata[key] for key in _CIRCUMSTANCES if key in metadata},
        }
        key = json.dumps(row, sort_keys=True)
        rows.setdefault(key, {**row, "records": 0})["records"] += 1

    def environment_document(self) -> dict[str, Any]:
        """``environment.json``: where each side's programs ran, as their records state it."""
        return {
            "schema_version": ENVIRONMENT_SCHEMA,
            "systems": {s: [rows[key] for key in sorted(rows)] for s, rows in self.environments.items()},
        }


def summarise_lines(lines: Iterable[bytes]) -> LogSummary:
    """What lines say."""
    summary = LogSummary()
    for raw in lines:
        summary.add(raw)
    return summary
