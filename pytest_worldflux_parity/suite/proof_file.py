"""A file with a proof suite, in our format or the earlier system's -> :class:`~.proof.ProofSuite`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import suite_file
from .claims import refuse_beyond_bounds
from .manifest import parse_manifest
from .proof import ProofSuite, parse_proof


def load(path: Path) -> ProofSuite:
    """Read, validate and parse the file of a proof suite.

    Raises:
        SuiteError: the file cannot be read, is not YAML, is not a proof suite, or claims parity beyond the
            bounds of a claim.
    """
    source = suite_file.read_track(path, "proof", "proof suite")
    if source.schema == "suite.proof_v1":
        proof = parse_proof(source.document, path.parent, source.locate)
    else:
        proof = parse_manifest(source.document, source.locate)
    refuse_beyond_bounds(proof, source.document, source.locate)
    parts = (replace(part, path=path, sha256=source.sha256) for part in proof.parts)
    return replace(proof, parts=tuple(parts), warnings=(*proof.warnings, *source.warnings))
