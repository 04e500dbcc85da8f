"""``parity_runs.jsonl`` on its way into a bundle, and what its lines say of the run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import EvidenceError
from ..execution.store import safe_name
from ..schemas.json_text import loads
from ..suite.suite import SYSTEMS
from .cleaning import Cleaner
from .container import MAX_MEMBER_BYTES

ENVIRONMENT_SCHEMA = "worldflux.parity.environment.v1"
# What a program states of where it ran, in its record's metadata or its match.json.
_CIRCUMSTANCES = (
    "packages", "python", "platform", "host", "processor", "gpu", "gpus", "driver", "cuda", "threads",
    "mujoco_gl",
)  # fmt: skip
# What is held in memory at a time.
_BATCH = 1 << 18
# In a line of JSON a hash that names a file is a text of its own.
_HASH = re.compile(rb'"[0-9a-f]{64}"')
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
        artifacts = line.get("artifacts")
        path = artifacts.get("metrics") if isinstance(artifacts, dict) else None
        if isinstance(path, str):
            self.metrics.append(path)
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

    def environment_document(self, redacted: Iterable[str]) -> dict[str, Any]:
        """``environment.json``: where each side's programs ran, as their records state it.

        Args:
            redacted: names of variables whose values were looked for.
        """
        return {
            "schema_version": ENVIRONMENT_SCHEMA,
            "systems": {s: [rows[key] for key in sorted(rows)] for s, rows in self.environments.items()},
            "redacted": list(redacted),
        }


def summarised(lines: Iterable[bytes]) -> LogSummary:
    """What lines say."""
    summary = LogSummary()
    for raw in lines:
        summary.add(raw)
    return summary


@dataclass(frozen=True)
class Head:
    """What a log says of the run, and what it was.

    Attributes:
        sha256_before: of the log as it is; empty where there is none, since no attempt was made.
    """

    summary: LogSummary
    sha256_before: str


@dataclass(frozen=True)
class CleanedLog:
    """A log without paths and secrets, in a file of its own, whose lines still name files as they were."""

    handle: BinaryIO
    head: Head

    def pieces(self, ties: Mapping[str, str]) -> Iterator[bytes]:
        """The log, with the hashes of files as they are in the bundle.

        Args:
            ties: sha256 of a file as it was -> of what it becomes.
        """
        texts = {b'"%s"' % before.encode(): b'"%s"' % after.encode() for before, after in ties.items()}
        self.handle.seek(0)
        for piece in _batches(self.handle):
            yield _HASH.sub(lambda m: texts.get(m[0], m[0]), piece)


def cleaned_log(path: Path, clean: Cleaner, out: BinaryIO) -> CleanedLog:
    """Clean a log into ``out``.

    Raises:
        EvidenceError: it cannot be read or is too large.
    """
    summary, digest = LogSummary(), hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for batch in _batches(handle):
                digest.update(batch)
                text = clean.data(batch)
                out.write(text)
                for raw in text.split(b"\n"):
                    summary.add(raw)
                if out.tell() > MAX_MEMBER_BYTES:
                    what = f"has more than the {MAX_MEMBER_BYTES} bytes that a member of a bundle may have"
                    raise EvidenceError(what, where=str(path), mend="evaluate less often")
    except FileNotFoundError:
        return CleanedLog(out, Head(summary, ""))
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return CleanedLog(out, Head(summary, digest.hexdigest()))


def _batches(handle: BinaryIO) -> Iterator[bytes]:
    """Whole lines, some at a time."""
    while lines := handle.readlines(_BATCH):
        yield b"".join(lines)
