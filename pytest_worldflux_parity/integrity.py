"""Integrity: a stored line is about the run that it is used for, and is what the program wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import wire
from .gates import Finding
from .plan import RunKey
from .records import is_readable, record_of


def line_findings(
    line: Mapping[str, Any], key: RunKey, adapter: str, device: str, run_dir: Path
) -> list[Finding]:
    """Findings about one line that is used as the result of ``key``; empty for what the plugin wrote.

    A line is a file's text, which anyone may edit, and no request id protects what it holds.

    Args:
        adapter, device: what the request for ``key`` names.
        run_dir: what the paths of a line's artifacts are relative to.
    """
    system, task_id, seed = key
    about: dict[str, Any] = {"task_id": task_id, "seed": seed, "system": system}
    if not is_readable(line):
        return [Finding("unreadable_record", "the stored line is not one that this plugin writes", **about)]
    wanted = {**about, "adapter": adapter, "device": device}
    found = [Finding("foreign_record", text, **about) for text in _foreign(line, wanted)]
    text = _difference(line, run_dir)
    return [*found, Finding("record_differs_from_artifact", text, **about)] if text else found


def _foreign(line: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterable[str]:
    metrics = line["metrics"]
    for what, stated, fields in (
        ("the line", line, wanted),
        ("its record", metrics, {k: v for k, v in wanted.items() if k != "system"}),
    ):
        for name, value in fields.items():
            if stated.get(name) != value:
                yield f"{what} has {name} {stated.get(name)!r}, not {value!r}"
    if metrics.get("request_id", "") not in ("", line["request_id"]):
        yield "its record answers another request"


def _difference(line: Mapping[str, Any], run_dir: Path) -> str:
    """How a line differs from the metrics.json that it was made of; empty where that file is gone."""
    text = line["artifacts"].get("metrics")
    path = run_dir / text if text else None
    try:
        raw = path.read_bytes() if path else None
    # ValueError: an edited path may be none.
    except (OSError, ValueError):
        raw = None
    if path is None or raw is None:
        return ""
    sealed = line.get("artifacts_sha256", {}).get("metrics")
    if sealed is not None and hashlib.sha256(raw).hexdigest() != sealed:
        return f"{path.name} is not the file that was stored"
    try:
        same = wire.read_record(path) == record_of(line)
    except (OSError, wire.WireError) as error:
        return str(error)
    return "" if same else f"the stored record is not what {path.name} says"


def file_sha256(path: Path) -> str | None:
    """sha256 of a file's bytes, None where there is no file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
