"""What a document says, beside what records or tables give: how the two differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..evidence.checking import differences
from ..judgement.gates import Finding
from ..reporting.documents import Document
from .run_documents import is_earlier

SHOWN = 5
# What a reader wants to know before anything that follows from it.
FIRST = ("fixture", "global.", "pass", "suite.", "verdict ")


def document_findings(stated: Document, made: Document, name: str) -> Iterator[Finding]:
    """How a document is not what is made anew, at most five places of it.

    The suite and the lock file may have changed where that changes nothing in the verdict: their hashes are
    not compared, and everything that follows from them is.
    """
    if is_earlier(stated) and "suite" in stated:
        stated, made = _earlier_view(stated, stated), _earlier_view(made, stated)
    else:
        stated, made = _without_hashes(stated), _without_hashes(made)
    found = sorted(differences(stated, made, ""), key=lambda text: not text.startswith(FIRST))
    for text in found[:SHOWN]:
        yield Finding("document_differs", f"{name}: {text}")
    if len(found) > SHOWN:
        yield Finding("document_differs", f"{name}: and {len(found) - SHOWN} more places")


def field_findings(stated: Document, expected: Document, at: str, name: str) -> Iterator[Finding]:
    """How keys of a document are not what is expected; keys that it has not count as the expected."""
    for key in sorted(stated.keys() & expected.keys()):
        if _with_floats(stated[key]) != _with_floats(expected[key]):
            text = f"{at}.{key} is {stated[key]!r}, {name} has {expected[key]!r}"
            yield Finding("document_differs", text)


def _without_hashes(document: Document) -> dict[str, Any]:
    kept = dict(document)
    if "artifact_integrity" in kept:
        hashes = ("suite_sha256", "upstream_lock_sha256")
        kept["artifact_integrity"] = {k: v for k, v in kept["artifact_integrity"].items() if k not in hashes}
    return kept


def _earlier_view(document: Document, like: Document) -> dict[str, Any]:
    """What both a document of the earlier system and one of ours say of the same.

    Args:
        like: the earlier document, whose keys count.
    """
    # Its lower bound decides nothing and its level is not documented; reasons are sentences of its own.
    left_out = {"ci_lower_ratio", "verdict_reason"}
    view: dict[str, Any] = {"pass": document["pass"], "fixture": document.get("fixture") is True}
    for part in ("suite", "counts", "stats"):
        view[part] = {k: document[part].get(k) for k in like[part].keys() - left_out}
    view["missing"] = {
        side: sorted([str(row["task"]), row["seed"]] for row in rows)
        for side, rows in document["missing"].items()
    }
    stated = {(p["task"], p["seed"]): p for p in like["pairs"]}
    view["pairs"] = {
        f"{p['task']} seed {p['seed']}": {
            k: p.get(k)
            for k, v in stated.get((p["task"], p["seed"]), p).items()
            if v is not None or not k.endswith("_step")
        }
        for p in document["pairs"]
    }
    view["number of pairs"] = len(document["pairs"])
    found: dict[str, Any] = _with_floats(view)
    return found


def _with_floats(value: Any) -> Any:
    """With every number as a float: earlier documents write 30 where ours write 30.0."""
    if isinstance(value, dict):
        return {k: _with_floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_floats(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
