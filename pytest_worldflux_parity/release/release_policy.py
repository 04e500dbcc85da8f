"""The policy file: which suites a release needs, and what it admits of each that is otherwise a finding.

``worldflux.parity.policy.v2`` names suite files. ``worldflux.parity.policy.v1`` names ids by family: it binds
as strictly as evidence can be held, and admits only what nothing could have done when it was written.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import DocumentError, EvidenceError
from ..evidence.signing import PublicKey, parse_public_key
from ..schemas.json_text import read_json

POLICY_SCHEMA = "worldflux.parity.policy.v1"
POLICY_V2 = "worldflux.parity.policy.v2"
REQUIRED, LISTED, WHERE_TABLE = "required", "listed", "required_where_table"
BUNDLE, DOCUMENTS = "bundle", "documents"
# Machines fail too.
FAILED_SHARE = 0.02


@dataclass(frozen=True)
class SuiteRule:
    """What a policy says of one suite.

    Attributes:
        suite: path of the suite file, or, of a v1 policy, the id of the suite.
        stage: ``required``, ``required_where_table``, or another word, which asks for nothing.
        admit: names of what is no finding. failed_attempts: the share of a side's attempts that may
            fail, of which one may in any case but where it is 0.
        least_seeds, largest_margin, largest_age_days: bounds; None: none.
    """

    suite: str
    family: str
    stage: str
    evidence: str = BUNDLE
    admit: frozenset[str] = frozenset()
    failed_attempts: float = FAILED_SHARE
    least_seeds: int | None = None
    largest_margin: float | None = None
    largest_age_days: float | None = None

    @property
    def required(self) -> bool:
        """Whether a release needs the suite, at least where its table is there."""
        return self.stage in (REQUIRED, WHERE_TABLE)


# Of a suite that a command line requires and no policy names.
STRICT = SuiteRule("", "", REQUIRED)
# Of what a policy of the earlier system names, which had no way to isolate a program.
_EARLIER = frozenset(["no_isolation"])


@dataclass(frozen=True)
class Policy:
    """A policy file.

    Attributes:
        rules: by path of the suite file; of a v1 policy by id.
        by_id: whether it is a v1 policy.
        signers: name -> key that may sign evidence.
    """

    path: Path
    rules: Mapping[str, SuiteRule]
    by_id: bool = False
    signers: Mapping[str, PublicKey] = field(default_factory=dict)


def read_policy(path: Path) -> Policy:
    """Read and validate a policy file.

    Raises:
        DocumentError: it cannot be read, is not JSON, does not keep the schema, names a suite, a signer or
            a thing to admit twice, holds what is no key, or has a stage that looks like a misspelt
            ``required``.
    """
    _, document = read_json(path, DocumentError, hint="name it with --policy FILE")
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version == POLICY_V2:
        schemas.check(document, "policy.v2", lambda at: str(path), DocumentError)
        rules = {name: _read_rule(name, own, path) for name, own in document["suites"].items()}
        return Policy(path, rules, signers=_read_signers(document["signers"], path))
    if isinstance(document, dict) and version != POLICY_SCHEMA:
        what = f"schema_version is {version!r}"
        raise DocumentError(what, where=str(path), valid=[POLICY_SCHEMA, POLICY_V2], got=version)
    schemas.check(document, "policy.v1", lambda at: str(path), DocumentError)
    return Policy(path, _rules_of_families(document["families"], path), by_id=True)


def _read_rule(suite: str, own: Mapping[str, Any], path: Path) -> SuiteRule:
    bounds = ("least_seeds", "largest_margin", "largest_age_days")
    names = [next(iter(a)) if isinstance(a, dict) else a for a in own.get("admit", ())]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DocumentError(f"suites.{suite}.admit: {twice[0]!r} stands twice", where=str(path))
    shares = [a["failed_attempts"] for a in own.get("admit", ()) if isinstance(a, dict)]
    return SuiteRule(
        suite,
        own["family"],
        own["stage"],
        own["evidence"],
        frozenset(a for a in own.get("admit", ()) if isinstance(a, str)),
        shares[0] if shares else FAILED_SHARE,
        **{key: own.get(key) for key in bounds},
    )


def _read_signers(rows: list[Mapping[str, str]], path: Path) -> dict[str, PublicKey]:
    found: dict[str, PublicKey] = {}
    for row in rows:
        name, where = row["name"], f"{path}: signers: {row['name']}"
        if name in found:
            raise DocumentError(f"the signer {name!r} stands twice", where=str(path))
        try:
            found[name] = parse_public_key(row["public_key"].encode(), where)
        except EvidenceError as error:
            raise DocumentError(error.what, where=where, hint=error.hint) from None
    return found


def _rules_of_families(families: Mapping[str, Any], path: Path) -> dict[str, SuiteRule]:
    rules: dict[str, SuiteRule] = {}
    for family, own in families.items():
        _refuse_misspelt(own["stage"], family, path)
        for suite in own["suites"]:
            if suite in rules:
                what = f"families.{family}.suites: {suite!r} is also a suite of {rules[suite].family}"
                raise DocumentError(what, where=str(path))
            rules[suite] = SuiteRule(suite, family, own["stage"], admit=_EARLIER)
    return rules


def _refuse_misspelt(stage: str, family: str, path: Path) -> None:
    """Another word is allowed, but a misspelling would let a release pass that was to be stopped."""
    if stage == WHERE_TABLE or (
        stage != REQUIRED and difflib.SequenceMatcher(None, stage, REQUIRED).ratio() > 0.7
    ):
        raise DocumentError(
            f"families.{family}.stage is {stage!r}; did you mean {REQUIRED!r}?",
            where=str(path),
            hint=f"write {REQUIRED!r}, or a word that does not look like it",
        )
