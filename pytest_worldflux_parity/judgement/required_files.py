"""What a run must have left behind: files that only the host of the run can look for."""

from __future__ import annotations

import glob
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..execution.attempts import request_id
from ..execution.records import REUSED
from ..execution.store import Line, Stored, SuiteStore
from ..inputs.command_program import CommandProgram, placeholder_values
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite
from ..suite import pairs
from ..suite.commands import fill, value_at
from ..suite.pairs import Pair
from ..suite.proof import ProofSuite
from .gates import Finding, line_finding

MISSING = "missing_artifact"
CHECKPOINTS = "checkpoint_paths"


def artifact_findings(
    part: PreparedSuite, proof: ProofSuite, context: RunContext, stored: Stored
) -> Iterator[Finding]:
    """A finding for each required file that is not there, of every successful run of one part."""
    for pair in part.pairs:
        for system in pair.systems:
            line = stored.successes.get(request_id(part, pair, system, context))
            if line is not None:
                yield from missing_findings(part, proof, context, pair, line)


def missing_findings(
    part: PreparedSuite, proof: ProofSuite, context: RunContext, pair: Pair, line: Line
) -> Iterator[Finding]:
    """As :func:`artifact_findings`, of the successful line of one run."""
    # What an earlier run made was looked at there, before it counted here.
    if REUSED not in line:
        store = SuiteStore(context.run_dir, part.suite.suite_id)
        folder = store.attempt_folder(pair.task.id, pair.seed, line["system"], line["attempt"])
        texts = missing_files(part, proof, context, pair, line, folder)
        yield from (line_finding(MISSING, text, line) for text in texts)


def missing_files(
    part: PreparedSuite, proof: ProofSuite, context: RunContext, pair: Pair, line: Line, folder: Path
) -> Iterator[str]:
    """What the attempt of a line should have left in its folder and did not, a sentence each."""
    # What a minimal retention takes away on purpose is not looked for.
    removed = {CHECKPOINTS} if context.retention == "minimal" else set()
    program = part.backends[line["system"]]
    if isinstance(program, CommandProgram):
        return _find_unmatched(part, program, context, pair, folder, removed)
    kinds = proof.requirements[pair.task.id].artifacts.get(line["system"], ())
    return _find_unlisted(line, [k for k in kinds if k not in removed], folder)


def _find_unlisted(line: Line, kinds: Iterable[str], folder: Path) -> Iterator[str]:
    """Kinds of files that a record's manifest does not list, or lists and that are not in its folder."""
    manifest = value_at(line["metrics"], "metadata", "artifact_manifest")
    for kind in kinds:
        names = list(_listed_paths(kind, value_at(manifest, kind)))
        if not names:
            yield f"{kind}: the record lists no file"
        for name in names:
            path = (folder / name).resolve()
            if not (path.is_relative_to(folder.resolve()) and path.is_file()):
                yield f"{kind}: {name} is not in the folder of the run"


def _listed_paths(kind: str, files: Any) -> Iterator[str]:
    """The paths that a kind of a record's manifest lists: [{path, ...}], or its sha256 where it is a file."""
    if isinstance(files, str) and len(files) == 64:
        yield kind
    for row in files if isinstance(files, list) else ():
        if isinstance(path := value_at(row, "path"), str):
            yield path


def _find_unmatched(
    part: PreparedSuite,
    program: CommandProgram,
    context: RunContext,
    pair: Pair,
    folder: Path,
    removed: Container[str],
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
    values = placeholder_values(request, context.root)
    start = program.working_folder(request, context.root)
    for kind, patterns in program.sides[pair.task.id].artifact_requirements.items():
        for pattern in () if kind in removed else patterns:
            if not glob.glob(str(start / fill(pattern, values)), recursive=True):
                yield f"{kind}: nothing matches {pattern}"
