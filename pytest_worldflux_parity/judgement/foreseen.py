"""What already stands against a pass before anything has run, while it costs nothing to mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile
from .assemble import named_sides
from .gates import Finding
from .gates.codes import CODES
from .gates.environments import environment_findings
from .gates.programs import not_shown, program_findings


def foreseen(file: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> Iterator[str]:
    """A sentence for each finding that the verdict on a suite will have, whatever its programs do.

    Args:
        entry: what the session seals of the suite.
    """
    if file.campaign is None:
        for finding in dict.fromkeys(_findings(file, entry, context)):
            yield f"{file.suite_id} cannot pass: {finding.line()}. {CODES[finding.code].to_do}"


def _findings(file: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> Iterator[Finding]:
    for part in file.parts:
        named = named_sides(part, entry, context)
        yield from program_findings(part.suite, named)
        if file.proof is not None:
            yield from not_shown(named)
            if file.proof.is_claim:
                yield from environment_findings(entry, part.key)
