"""The words that records and suites may use of a run: what is not known to be right is not right.

One list for every track, in the schema of records, where each word stands with its meaning. A word counts as
it is written: nobody knows ``"mock "`` or ``"Mock"``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from .. import schemas
from ..errors import SuiteError
from .suite import At, Locate

_SCHEMA = schemas.load("record.v1")
_METADATA = _SCHEMA["properties"]["metadata"]["properties"]


def _words_of(part: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(row["const"] for row in part["anyOf"] if "const" in row))


# Words of the public manifests and programs of the earlier system, and ours beside them.
KNOWN: Mapping[str, tuple[str, ...]] = {
    key: _words_of(_METADATA[key]) for key in ("mode", "policy_mode", "env_backend")
}
# Known as well, and of nothing that a verdict may rest on.
NEVER = _words_of(_SCHEMA["$defs"]["never"])


def is_never(word: object) -> bool:
    """Whether no verdict may rest on what this word is said of."""
    return isinstance(word, str) and word in NEVER


def refusal(key: str, word: object, named: str | None = None) -> str:
    """Why a word cannot stand at a key, with the words that can; empty where it can.

    Args:
        key: one of :data:`KNOWN`. named: a word that the suite itself asks for at this key.
    """
    known = (*KNOWN[key], *([named] if named is not None and named not in KNOWN[key] else []))
    if isinstance(word, str) and word in known:
        return ""
    listed = f"known: {', '.join(known)}"
    if is_never(word):
        return f"{key} is {word!r}, and no verdict rests on that; {listed}"
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{key} is {word!r}, which is no known word; {hint}{listed}"


def refuse_words(own: Mapping[str, Any], at: At, locate: Locate) -> None:
    """Refuse words of a suite that no record could answer and be admitted.

    Args:
        own: its requirements. at: where they stand.

    Raises:
        SuiteError: one is never admitted, or is a policy mode that nobody knows.
    """
    for key, word in (("policy_mode", "policy_mode"), ("environment_backend", "env_backend")):
        wanted = own.get(key)
        if wanted is None or (word == "env_backend" and not is_never(wanted)):
            continue
        if refusal(word, wanted):
            what = f"{key} is {wanted!r}, and no verdict can rest on records that say so"
            raise SuiteError(what, where=locate((*at, key)), valid=KNOWN[word], got=wanted)
