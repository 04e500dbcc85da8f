"""A file with a proof suite, in our format or the earlier system's -> :class:`~.proof.ProofSuite`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .. import schemas
from ..errors import SuiteError
from . import manifest_file, suite_file
from .proof import ProofSuite, from_manifest, parse_proof


def load(path: Path) -> ProofSuite:
    """Read, validate and parse the file of a proof suite.

    Raises:
        SuiteError: the file cannot be read, is not YAML, or is not a proof suite.
    """
    source = suite_file.read_track(path, "proof", "proof suite")
    if source.schema == "suite.proof_v1":
        schemas.check(source.document, source.schema, source.locate, SuiteError)
        proof = parse_proof(source.document, path.parent, source.locate)
    else:
        proof = from_manifest(manifest_file.load(path), path.parent)
    parts = (replace(part, path=path, sha256=source.sha256) for part in proof.parts)
    return replace(proof, parts=tuple(parts))
