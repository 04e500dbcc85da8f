"""The policy file: which suites speak for each family, and whether a release needs them to pass.

``worldflux.parity.policy.v1``: ``families{<family>{stage, suites[]}}``; the stage ``required`` binds a
release, every other word is for people.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import DocumentError
from ..schemas.json_text import read_json

POLICY_SCHEMA = "worldflux.parity.policy.v1"
REQUIRED = "required"


@dataclass(frozen=True)
class FamilyPolicy:
    """The suites of one family, in the file's order."""

    family: str
    stage: str
    suites: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether a release needs every suite of the family to pass."""
        return self.stage == REQUIRED


@dataclass(frozen=True)
class Policy:
    """A policy file."""

    path: Path
    families: Mapping[str, FamilyPolicy]


def read_policy(path: Path) -> Policy:
    """Read and validate a policy file.

    Raises:
        DocumentError: it cannot be read, is not JSON, does not keep the schema, names a suite twice, or
            has a stage that looks like a misspelt ``required``.
    """
    _, document = read_json(path, DocumentError, mend="name it with --policy FILE")
    schemas.check(document, "policy.v1", lambda at: str(path), DocumentError)
    _refuse_shared_suites(document["families"], path)
    families = {}
    for name, own in document["families"].items():
        _refuse_misspelt(own["stage"], name, path)
        families[name] = FamilyPolicy(name, own["stage"], tuple(own["suites"]))
    return Policy(path, families)


def _refuse_shared_suites(families: Mapping[str, Any], path: Path) -> None:
    owners: dict[str, str] = {}
    for name, own in families.items():
        for suite in own["suites"]:
            other = owners.setdefault(suite, name)
            if other != name:
                raise DocumentError(
                    f"families.{name}.suites: {suite!r} is also a suite of {other}", where=str(path)
                )


def _refuse_misspelt(stage: str, family: str, path: Path) -> None:
    """Another word is allowed, but a misspelling would let a release pass that was to be stopped."""
    if stage != REQUIRED and difflib.SequenceMatcher(None, stage, REQUIRED).ratio() > 0.7:
        raise DocumentError(
            f"families.{family}.stage is {stage!r}; did you mean {REQUIRED!r}?",
            where=str(path),
            mend=f"write {REQUIRED!r}, or a word that does not look like it",
        )
