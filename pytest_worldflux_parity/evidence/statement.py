"""The statement of a bundle: an in-toto Statement v1 on the other members, with the verdict as its predicate.

Signed, it is the payload of a DSSE envelope. Either text has one form only (sorted, compact JSON), so that
two statements are the same where their bytes are.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import schemas, wire
from ..errors import EvidenceError, TamperedError

UNSIGNED, SIGNED = "statement.json", "statement.dsse.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://worldflux.ai/parity/verdict/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
EVIDENCE_SCHEMA = "worldflux.parity.evidence.v3"
CLAIM_NONE = "none"
MAX_STATEMENT_BYTES = 64 << 20
_VERSION = re.compile(r"worldflux\.parity\.evidence\.v[0-9]{1,9}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# What the predicate says of the verdict of a proof -> (document, keys that lead to it within).
_PROOF: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "suite_id": ("equivalence_report.json", ("suite_id",)),
    "verdict": ("equivalence_report.json", ("global", "verdict")),
    "verdict_reason": ("equivalence_report.json", ("global", "verdict_reason")),
    "parity_pass_final": ("equivalence_report.json", ("global", "parity_pass_final")),
    "claim": ("equivalence_report.json", ("config", "parity_claim_level")),
    "global": ("equivalence_report.json", ("global",)),
    "coverage_pass": ("coverage_report.json", ("pass",)),
    "validity_pass": ("validity_report.json", ("pass",)),
    "component_match_pass": ("component_match_report.json", ("all_pass",)),
    "stability_status": ("stability_report.json", ("status",)),
}
# As above, of a quick run; gates say a word.
_QUICK: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(_PROOF, ("", ())),
    "suite_id": ("run.json", ("suite", "suite_id")),
    "verdict": ("run.json", ("verdict",)),
    "verdict_reason": ("run.json", ("verdict_reason",)),
    "parity_pass_final": ("run.json", ("pass",)),
    "coverage_pass": ("run.json", ("gates", "coverage", "verdict")),
    "validity_pass": ("run.json", ("gates", "validity", "verdict")),
    "component_match_pass": ("run.json", ("gates", "components", "verdict")),
}
_PASSED = {"pass": True, "fail": False, "inconclusive": None}


def summary(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the documents of a suite come to, in the words of the predicate.

    Args:
        reports: name of a document (``equivalence_report.json``, ...) -> it; what an absent one would say is
            None.
    """
    table = _QUICK if "run.json" in reports else _PROOF
    said = {word: _value(reports.get(name), keys) for word, (name, keys) in table.items()}
    if table is _QUICK:
        gates = ("coverage_pass", "validity_pass", "component_match_pass")
        said.update({word: _PASSED.get(said[word]) for word in gates})
    fixture = any(_value(report, ("fixture",)) is True for report in reports.values())
    return {**said, "fixture": True} if fixture else said


def _value(document: object, keys: Sequence[str]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def statement(
    subjects: Mapping[str, str], predicate: Mapping[str, Any], bundle: Mapping[str, Any]
) -> dict[str, Any]:
    """The statement on members (name -> sha256).

    Args:
        bundle: how the bundle was made: ``archive_sha256``, ``redacted``, ``cleaned``.

    Raises:
        EvidenceError: the predicate is not one, which is a mistake of ours.
    """
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {**predicate, "schema_version": EVIDENCE_SCHEMA, "bundle": dict(bundle)},
    }
    _check(document, "statement", "statement.v1", EvidenceError)
    return document


def _check(document: Any, name: str, schema: str, error: type[EvidenceError]) -> None:
    """Hold a document to its schema; of long lists, which would take seconds, what stands out."""
    if schema == "statement.v1" and isinstance(document, dict):
        document = {**document, "subject": _telling(document.get("subject"), _is_subject)}
        bundle = _value(document, ("predicate", "bundle"))
        if isinstance(bundle, dict):
            bundle = {**bundle, "cleaned": _telling(bundle.get("cleaned"), _is_cleaned)}
            document["predicate"] = {**document["predicate"], "bundle": bundle}
    schemas.check(document, schema, lambda at: f"{name}: {'.'.join(map(str, at))}", error)


def _telling(rows: Any, regular: Callable[[Any], bool]) -> Any:
    """The first row that is not regular; where all are, the first."""
    if not isinstance(rows, list):
        return rows
    return [row for row in rows if not regular(row)][:1] or rows[:1]


def _is_subject(row: Any) -> bool:
    digest = _value(row, ("digest",))
    return _has(row, "name", "digest") and _has(digest, "sha256") and _is_text(row["name"], digest["sha256"])


def _is_cleaned(row: Any) -> bool:
    return _has(row, "name", "taken_out") and isinstance(row["name"], str) and _counts(row["taken_out"])


def _counts(words: Any) -> bool:
    return isinstance(words, dict) and all(type(n) is int and n > 0 for n in words.values())


def _has(row: Any, *keys: str) -> bool:
    return isinstance(row, dict) and row.keys() == set(keys)


def _is_text(name: Any, *hashes: Any) -> bool:
    return isinstance(name, str) and all(isinstance(h, str) and _SHA256.fullmatch(h) for h in hashes)


def encoded(document: Mapping[str, Any]) -> bytes:
    """The one form of a statement or an envelope.

    Raises:
        EvidenceError: it holds NaN, or what JSON has no form for.
    """
    try:
        return wire.canonical_json(document).encode()
    except wire.WireError as error:
        raise EvidenceError(str(error), where="statement") from None


def envelope(payload: bytes, keyid: str, signature: bytes) -> dict[str, Any]:
    """A DSSE envelope with one signature."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }


def signed_bytes(payload: bytes) -> bytes:
    """What is signed: the DSSE pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def opened_envelope(data: bytes) -> tuple[bytes, str, bytes]:
    """(payload, key id, signature) of an envelope.

    Raises:
        TamperedError: it is not one as it is written here.
    """
    document = decoded(data, SIGNED, "dsse.v1")
    row = document["signatures"][0]
    return _base64(document["payload"], "payload"), row["keyid"], _base64(row["sig"], "signature")


def _base64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != text:
        raise TamperedError(f"{SIGNED}: its {what} is not base64 as it is written here")
    return data


def _refuse_other_version(document: Any) -> None:
    version = _value(document, ("predicate", "schema_version"))
    if version != EVIDENCE_SCHEMA and _VERSION.fullmatch(str(version)):
        mend = "run `worldflux-parity verify` of the project's commit that built it, or build it anew"
        raise EvidenceError(f"is {version}, and {EVIDENCE_SCHEMA} is read here", mend=mend)


def decoded(data: bytes, name: str, schema: str) -> dict[str, Any]:
    """A statement or an envelope from its bytes.

    Raises:
        EvidenceError: it is a statement of another version.
        TamperedError: it is not JSON in its one form, or does not keep its schema.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise TamperedError(f"{name} is not JSON") from None
    _refuse_other_version(document)
    _check(document, name, schema, TamperedError)
    try:
        same = wire.canonical_json(document).encode() == data
    except wire.WireError:
        same = False
    if not same:
        raise TamperedError(f"{name} is not JSON in the form that it is written in here")
    return dict(document)
