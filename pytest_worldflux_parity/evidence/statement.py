"""The statement of a bundle: an in-toto Statement v1 on the other members, with the verdict as its predicate.

Signed, it is the payload of a DSSE envelope. Either text has one form only (sorted, compact JSON), so that
two statements are the same where their bytes are.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
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


def summarise_reports(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the documents of a suite come to, in the words of the predicate.

    Args:
        reports: name of a document (``equivalence_report.json``, ...) -> it; what an absent one would say is
            None.
    """
    table = _QUICK if "run.json" in reports else _PROOF
    said = {word: _value_at(reports.get(name), keys) for word, (name, keys) in table.items()}
    if table is _QUICK:
        gates = ("coverage_pass", "validity_pass", "component_match_pass")
        said.update({word: _PASSED.get(said[word]) for word in gates})
    fixture = any(_value_at(report, ("fixture",)) is True for report in reports.values())
    return {**said, "fixture": True} if fixture else said


def _value_at(document: object, keys: Sequence[str]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def make_statement(
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
    _check_document(document, "statement", "statement.v1", EvidenceError)
    return document


def _check_document(document: Any, name: str, schema: str, error: type[EvidenceError]) -> None:
    schemas.check(document, schema, lambda at: f"{name}: {'.'.join(map(str, at))}", error)


def encode(document: Mapping[str, Any]) -> bytes:
    """The one form of a statement or an envelope.

    Raises:
        EvidenceError: it holds NaN, or what JSON has no form for.
    """
    try:
        return wire.canonical_json(document).encode()
    except wire.WireError as error:
        raise EvidenceError(str(error), where="statement") from None


def make_envelope(payload: bytes, keyid: str, signature: bytes) -> dict[str, Any]:
    """A DSSE envelope with one signature."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }


def bytes_to_sign(payload: bytes) -> bytes:
    """What is signed: the DSSE pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def open_envelope(data: bytes) -> tuple[bytes, str, bytes]:
    """(payload, key id, signature) of an envelope.

    Raises:
        TamperedError: it is not one as it is written here.
    """
    document = decode(data, SIGNED, "dsse.v1")
    row = document["signatures"][0]
    return _decode64(document["payload"], "payload"), row["keyid"], _decode64(row["sig"], "signature")


def _decode64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != text:
        raise TamperedError(f"{SIGNED}: its {what} is not base64 as it is written here")
    return data


def _refuse_other_version(document: Any) -> None:
    version = _value_at(document, ("predicate", "schema_version"))
    if version != EVIDENCE_SCHEMA and _VERSION.fullmatch(str(version)):
        hint = "run `worldflux-parity verify` of the project's commit that built it, or build it anew"
        raise EvidenceError(f"is {version}, and {EVIDENCE_SCHEMA} is read here", hint=hint)


def decode(data: bytes, name: str, schema: str) -> dict[str, Any]:
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
    _check_document(document, name, schema, TamperedError)
    try:
        same = wire.canonical_json(document).encode() == data
    except wire.WireError:
        same = False
    if not same:
        raise TamperedError(f"{name} is not JSON in the form that it is written in here")
    return dict(document)
