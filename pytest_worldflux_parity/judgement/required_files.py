"""What a run must have left behind: files that only the host of the run can look for."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..execution.attempts import request_id
from ..execution.store import Line, Stored, SuiteStore
from ..inputs.command_program import CommandProgram, placeholders
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite
from ..suite import pairs
from ..suite.commands import fill
from ..suite.pairs import Pair
from ..suite.proof import ProofSuite
from .gates import Finding

CODE = "missing_artifact"
# What a minimal retention takes away on purpose.
CHECKPOINTS = "checkpoint_paths"


def artifact_findings(
    part: PreparedSuite, proof: ProofSuite, context: RunContext, stored: Stored
) -> Iterator[Finding]:
    """A finding for each required file that is not there, of every successful run of one part."""
    store = SuiteStore(context.run_dir, part.suite.suite_id)
    for pair in part.pairs:
        for system in pair.systems:
            line = stored.successes.get(request_id(part, pair, system, context))
            if line is None:
                continue
            folder = store.attempt_folder(pair.task.id, pair.seed, system, line["attempt"])
            for text in _absent(part, proof, context, pair, system, line, folder):
                yield Finding(CODE, text, pair.task.id, pair.seed, system)


def _absent(
    part: PreparedSuite,
    proof: ProofSuite,
    context: RunContext,
    pair: Pair,
    system: str,
    line: Line,
    folder: Path,
) -> Iterator[str]:
    program = part.backends[system]
    if isinstance(program, CommandProgram):
        yield from _unmatched(part, program, context, pair, folder)
        return
    metadata = (line["metrics"] or {}).get("metadata") or {}
    manifest = metadata.get("artifact_manifest") if isinstance(metadata, Mapping) else None
    for kind in proof.requirements[pair.task.id].artifacts.get(system, ()):
        if kind == CHECKPOINTS and context.retention == "minimal":
            continue
        names = list(_paths(kind, manifest.get(kind) if isinstance(manifest, Mapping) else None))
        if not names:
            yield f"{kind}: the record lists no file"
        for name in names:
            path = (folder / name).resolve()
            if not (path.is_relative_to(folder.resolve()) and path.is_file()):
                yield f"{kind}: {name} is not in the folder of the run"


def _paths(kind: str, files: Any) -> Iterator[str]:
    """The paths that a kind of a record's manifest lists: [{path, ...}], or its sha256 where it is a file."""
    if isinstance(files, str) and len(files) == 64:
        yield kind
    for row in files if isinstance(files, list) else ():
        if isinstance(row, Mapping) and isinstance(row.get("path"), str):
            yield row["path"]


def _unmatched(
    part: PreparedSuite, program: CommandProgram, context: RunContext, pair: Pair, folder: Path
) -> Iterator[str]:
    """Patterns of a manifest's ``artifact_requirements`` that no file matches."""
    request = pairs.request(
        part.suite,
        pair,
        program.system,
        adapter=program.adapter,
        device=context.device,
        source=part.sources[program.system],
        run_id=context.run_id,
        out_dir=str(folder.resolve()),
        attempt=1,
    )
    values = placeholders(request, context.root)
    start = program.working_folder(request, context.root)
    for kind, patterns in program.sides[pair.task.id].artifact_requirements.items():
        removed = kind == CHECKPOINTS and context.retention == "minimal"
        for pattern in () if removed else patterns:
            filled = fill(pattern, values)
            if not glob.glob(str(start / filled), recursive=True):
                yield f"{kind}: nothing matches {pattern}"
