"""Which files of a run go into a bundle, under which names, and in which form."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EvidenceError
from ..suite import SYSTEMS
from .cleaning import Cleaner
from .container import MAX_MEMBER_BYTES

RUN, INPUTS = "run/", "inputs/"
EQUIVALENCE = "equivalence_report.json"
REPORTS = (
    "coverage_report.json",
    "validity_report.json",
    "component_match_report.json",
    EQUIVALENCE,
    "equivalence_report.md",
    "stability_report.json",
)
LINES = "parity_runs.jsonl"
ENVIRONMENT = "environment.json"
ENVIRONMENT_SCHEMA = "worldflux.parity.environment.v1"
CIRCUMSTANCES = "circumstances.json"
# What the run was sealed with, and what was recorded from the official code: not only files name these by
# their hash, but also requests, whose ids are hashes themselves.
VERBATIM = (
    f"{INPUTS}suite.yaml", f"{INPUTS}upstream_lock.json", f"{INPUTS}suite_policy.json", f"{INPUTS}golden/",
    f"{INPUTS}backends/",
)  # fmt: skip
_RECORDED = re.compile(rf"{RUN}[^/]+/component_match[^/]*/golden/manifest\.json")

LOG_TAIL_BYTES = 4000
_TAILS = {
    "stdout.log": "stdout.tail.log",
    "stderr.log": "stderr.tail.log",
    "progress.jsonl": "progress.tail.jsonl",
}
_OF_ATTEMPT = ("request.json", "metrics.json")
_OF_MATCH = (
    "match_request.json", "match.json", "outputs.npz", "perturbed.npz", "match_run.json",
    "match_run.failed.json",
)  # fmt: skip
# Recorded from a run's own checkpoint; what a match program is given of a golden is not collected.
_OF_GOLDEN = ("manifest.json", "arrays.npz")
# What a program states of where it ran, in its record's metadata or its match.json.
_CIRCUMSTANCES = (
    "packages", "python", "platform", "host", "processor", "gpu", "gpus", "driver", "cuda", "threads",
    "mujoco_gl",
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One file of a bundle before it is written.

    Attributes:
        source: where its bytes are.
        tail: whether only its end goes in.
        rank: members of a lower rank are named by their hash in those of a higher one, never the reverse.
    """

    name: str
    source: Path | bytes
    rank: int = 0
    tail: bool = False

    @property
    def is_text(self) -> bool:
        return not self.name.endswith(".npz")

    @property
    def is_verbatim(self) -> bool:
        return self.name.startswith(VERBATIM) or _RECORDED.fullmatch(self.name) is not None

    def original(self) -> bytes:
        """All of its bytes as they are.

        Raises:
            EvidenceError: they cannot be read, or are too many.
        """
        return self.source if isinstance(self.source, bytes) else _content(self.source)

    def read(self, cleaner: Cleaner) -> tuple[bytes, bytes]:
        """Its bytes as they are, and as they go into the bundle.

        Raises:
            EvidenceError: they cannot be read, are too many, or hold what must not leave the machine where
                nothing may be changed.
        """
        if self.tail:
            assert isinstance(self.source, Path)
            data = _tail(self.source, cleaner)
            return data, data
        data = self.original()
        if not self.is_text:
            return data, data
        if not self.is_verbatim:
            return data, cleaner.data(data)
        if word := cleaner.found(data):
            what = f"holds what would be replaced by {word}, and is not to be changed"
            mend = "write its paths relative to the file; or, if that is no secret, unset the variable"
            raise EvidenceError(what, where=self.name, mend=mend)
        return data, data


def run_members(run_dir: Path, suite_id: str) -> Iterator[Member]:
    """The members that come from a run directory.

    Raises:
        EvidenceError: the run was not judged, or a folder cannot be read.
    """
    folder, below = run_dir / suite_id, f"{RUN}{suite_id}/"
    for path, name in ((run_dir / "run.json", "run.json"), (folder / EQUIVALENCE, EQUIVALENCE)):
        if not path.is_file():
            mend = "the bundle is built after the verdict, from what it rests on"
            raise EvidenceError(f"{name} is absent", where=str(path), mend=mend)
    yield Member(f"{RUN}run.json", run_dir / "run.json", rank=1)
    texts = ((LINES, 1), (CIRCUMSTANCES, 1), ("seed_plan.json", 1), *((r, 2) for r in REPORTS))
    for name, rank in texts:
        if (folder / name).exists():
            yield Member(f"{below}{name}", folder / name, rank)
    for part in sorted(p.name for p in folder.glob("component_match*") if p.is_dir()):
        for path in (folder / part / "golden" / file for file in _OF_GOLDEN):
            if path.is_file():
                yield Member(_named(below, path, folder), path)
        for path in _files(folder / part, _OF_MATCH):
            yield Member(_named(below, path, folder), path, int(path.name.startswith("match_run")))
    for path in _files(folder / "executions", (*_OF_ATTEMPT, *_TAILS)):
        name = _named(below, path.with_name(_TAILS.get(path.name, path.name)), folder)
        yield Member(name, path, tail=path.name in _TAILS)
    for attempt in sorted(folder.glob("executions/*/*/*/attempt_*")):
        if attempt.is_dir() and not any((attempt / file).is_file() for file in (*_OF_ATTEMPT, *_TAILS)):
            # A worker that was killed at once: that there was an attempt is told by its empty log.
            yield Member(_named(below, attempt / _TAILS["stdout.log"], folder), b"")


def input_members(inputs: Mapping[str, Path | bytes]) -> Iterator[Member]:
    """The members that the caller names.

    Raises:
        EvidenceError: a name does not stand below ``inputs/``.
    """
    for name, source in inputs.items():
        if not name.startswith(INPUTS):
            raise EvidenceError(f"an input is named {INPUTS}...", where=name, got=name)
        yield Member(name, source)


def _files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files of these names below a folder, in order."""
    wanted = frozenset(names)
    for here, folders, files in os.walk(folder):
        # A hidden folder is a lock or a half-written thing, never part of a result.
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(here, f) for f in sorted(files) if f in wanted)


def _named(below: str, path: Path, folder: Path) -> str:
    return below + path.relative_to(folder).as_posix()


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb") as handle:
            status = os.fstat(handle.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise EvidenceError("is no regular file", where=str(path))
            if status.st_size > MAX_MEMBER_BYTES:
                what = f"has {status.st_size} bytes, and a member of a bundle may have {MAX_MEMBER_BYTES}"
                raise EvidenceError(what, where=str(path), mend="evaluate or log less often")
            return handle.read()
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _tail(path: Path, cleaner: Cleaner) -> bytes:
    """The last lines of a log, cleaned before it is cut, so that no part of a secret is left over."""
    # JSON spells a character with up to six.
    margin = 6 * cleaner.longest
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            start = handle.seek(max(0, size - LOG_TAIL_BYTES - margin))
            data = handle.read(LOG_TAIL_BYTES + margin)
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", where=str(path)) from None
    text = cleaner.data(data).decode("utf-8", "replace")
    if start:
        # It begins with what may be the rest of a secret, and goes on with the rest of a line.
        _, cut, rest = text[margin:].partition("\n")
        text = rest if cut else text[margin:]
    return text[-LOG_TAIL_BYTES:].encode()


def environment_document(lines: Iterable[bytes], redacted: Iterable[str]) -> dict[str, Any]:
    """``environment.json``: where each side's programs ran, as their records state it.

    Args:
        lines: of ``parity_runs.jsonl``. redacted: names of variables whose values were looked for.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {system: {} for system in SYSTEMS}
    for raw in lines:
        line = _object(raw)
        rows = found.get(str(line.get("system")))
        if rows is None or not isinstance(line.get("metrics"), dict):
            continue
        row = _circumstances(line)
        key = json.dumps(row, sort_keys=True)
        rows.setdefault(key, {**row, "records": 0})["records"] += 1
    return {
        "schema_version": ENVIRONMENT_SCHEMA,
        "systems": {system: [rows[key] for key in sorted(rows)] for system, rows in found.items()},
        "redacted": list(redacted),
    }


def _circumstances(line: Mapping[str, Any]) -> dict[str, Any]:
    stated = line["metrics"].get("metadata")
    metadata = stated if isinstance(stated, dict) else {}
    return {
        "adapter": line.get("adapter"),
        "device": line.get("device"),
        "stated": {key: metadata[key] for key in _CIRCUMSTANCES if key in metadata},
    }


def _object(raw: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}
