"""What a run lacks -> ``missing_pairs.yaml`` beside its documents: a suite of exactly those tasks and seeds.

It is a suite like any other, in the format of the one that it comes from: it can be moved to another machine
and run there. Its runs answer the same requests. It makes no claim, since it is a part of what was asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..execution.store import translated, write_text
from ..inputs.prepare import PreparedFile
from ..judgement.stats.measurements import Missing
from ..suite import suite_file
from ..suite.suite import ArtifactSide

FILE = "missing_pairs.yaml"
SUFFIX = "_missing"


def write_missing_suite(folder: Path, prepared: PreparedFile, missing: Iterable[Missing]) -> Path | None:
    """Write the suite of what a live side lacks; where that is nothing, take away one from earlier.

    Args:
        folder: of the suite's documents.

    Raises:
        StoreError: it cannot be written.
        SuiteError: the suite file is gone.
    """
    path = folder / FILE
    wanted = _seeds_to_run(prepared, missing)
    if not wanted:
        with translated(path):
            path.unlink(missing_ok=True)
        return None
    document = _document_of_missing(prepared, wanted, folder)
    count = sum(map(len, wanted.values()))
    head = f"# {count} (task, seed) that a run of {prepared.suite_id} lacks; run it as a suite"
    write_text(path, f"{head}\n{json.dumps(document, indent=1, ensure_ascii=False)}\n")
    return path


def _seeds_to_run(prepared: PreparedFile, missing: Iterable[Missing]) -> dict[str, list[int]]:
    """Task -> seeds that running can bring, in the order of the suite; a row of a table it cannot."""
    live = {t.id: set(part.suite.live_systems) for part in prepared.parts for t in part.suite.tasks}
    lacking: dict[str, set[int]] = {}
    for m in missing:
        if m.system in live.get(m.task_id, ()):
            lacking.setdefault(m.task_id, set()).add(m.seed)
    return {task: sorted(lacking[task]) for task in live if task in lacking}


def _document_of_missing(
    prepared: PreparedFile, wanted: Mapping[str, Sequence[int]], folder: Path
) -> dict[str, Any]:
    source = suite_file.read(prepared.suite.path)
    base = os.path.relpath(source.path.resolve().parent, folder.resolve())
    own_id = prepared.suite_id.removesuffix(SUFFIX) + SUFFIX
    document = {**source.document, "suite_id": own_id}
    if source.schema == "suite.v1":
        return _quick_suite(document, prepared, wanted, base)
    policy = _fixed_policy(prepared, wanted)
    if source.schema == "suite.proof_v1":
        return {**_proof_suite(document, wanted), "claim": "none", "seed_policy": policy}
    defaults = {k: v for k, v in document.get("defaults", {}).items() if k != "parity_claim_level"}
    rows = [_manifest_row(row, wanted, base) for row in document["tasks"] if row["task_id"] in wanted]
    return {**document, "defaults": defaults, "seed_policy": policy, "tasks": rows}


def _task_rows_of(rows: Iterable[Any], wanted: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    whole = (row if isinstance(row, Mapping) else {"id": row} for row in rows)
    return [{**row, "seeds": list(wanted[row["id"]])} for row in whole if row["id"] in wanted]


def _quick_suite(
    document: dict[str, Any], prepared: PreparedFile, wanted: Mapping[str, Sequence[int]], base: str
) -> dict[str, Any]:
    for system, side in prepared.suite.sides.items():
        if isinstance(side, ArtifactSide):
            # Also where the command line gave another table than the suite names.
            own = document[system]["artifact"] if system not in prepared.suite.replaced else {}
            named = own.get("path") or os.path.abspath(side.path)
            read = {key: value for key, value in side.reading.items() if value is not None}
            table = {**own, **read, "path": os.path.join(base, named), "format": side.format}
            document[system] = {"artifact": table}
    metrics = []
    for metric in document["metrics"]:
        judged = [task for task in metric.get("tasks", wanted) if task in wanted]
        if judged:
            metrics.append({**metric, **({"tasks": judged} if "tasks" in metric else {})})
    return {**document, "tasks": _task_rows_of(document["tasks"], wanted), "metrics": metrics}


def _proof_suite(document: dict[str, Any], wanted: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    if "groups" not in document:
        return {**document, "tasks": _task_rows_of(document["tasks"], wanted)}
    groups = [{**group, "tasks": _task_rows_of(group["tasks"], wanted)} for group in document["groups"]]
    return {**document, "groups": [group for group in groups if group["tasks"]]}


def _fixed_policy(prepared: PreparedFile, wanted: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """A fixed policy: every task names its own seeds, and a pilot was run already."""
    assert prepared.proof is not None
    own = prepared.proof.settings.seed_policy
    values = sorted({*own.at_first, *(n for seeds in wanted.values() for n in seeds)})
    # A policy wants two seeds at least; no task has these.
    values += [n for n in range(3) if n not in values][: max(0, 2 - len(values))]
    return {"mode": "fixed", "values": values, "min_seeds": max(2, min(own.min_seeds, len(values)))}


def _manifest_row(row: Mapping[str, Any], wanted: Mapping[str, Sequence[int]], base: str) -> dict[str, Any]:
    """A task of a manifest, its folders as they are seen from where the suite is written."""
    moved = {}
    for system in ("official", "worldflux"):
        cwd = row[system].get("cwd", ".")
        # A folder that begins with a placeholder is absolute already.
        moved[system] = {**row[system], "cwd": cwd if cwd.startswith("{") else os.path.join(base, cwd)}
    policy = {"mode": "fixed", "values": list(wanted[row["task_id"]])}
    return {**row, **moved, "seed_policy": policy}
