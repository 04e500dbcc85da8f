"""What already stands against a pass before anything has run, while it costs nothing to mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, stated
from .assemble import named_sides
from .gates import Finding
from .gates.codes import CODES
from .gates.compared import find_partial
from .gates.environments import environment_findings
from .gates.programs import find_not_shown, program_findings
from .gates.recipes import unknown_to_table


def foresee(file: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> Iterator[str]:
    """A sentence for each finding that the verdict on a suite will have, whatever its programs do.

    Args:
        entry: what the session seals of the suite.
    """
    if file.campaign is None:
        for finding in dict.fromkeys(_foresee_all(file, entry, context)):
            yield f"{file.suite_id} cannot pass: {finding.line()}. {CODES[finding.code].to_do}"


def _foresee_all(file: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> Iterator[Finding]:
    for part in file.parts:
        named = named_sides(part, entry, context)
        yield from program_findings(part.suite, named)
        if part.match is not None:
            yield from find_partial(part.suite, part.match.golden)
        recipes = stated(part, part.pairs, {}, "effective_recipe")
        yield from unknown_to_table(part.pairs, recipes, part.suite.recipe_terms)
        if file.proof is not None:
            yield from find_not_shown(named)
            if file.proof.is_claim:
                yield from environment_findings(entry, part.key)
