"""Signatures, keys and members of a real bundle, manipulated; ``verify`` runs as a reader runs it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manipulations as m
import pytest

from tests.attacks.lab import Answer, ask
from tests.conftest import Project

Envelope = dict[str, Any]
SIGNED = "statement.dsse.json"
BELOW = "run/fake_proof"
ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group, RFC 8032


@pytest.fixture(scope="module")
def bundle(passed_proof: Project) -> bytes:
    return (passed_proof.run_dir("honest") / "fake_proof" / "evidence_bundle.zip").read_bytes()


def verify(project: Project, folder: Path, data: bytes, key: Path | None = None) -> Answer:
    path = m.saved(folder / "bundle.zip", data)
    return ask(project, "verify", path, *(("--key", key) if key else ()))


def canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def enveloped(change: Callable[[Envelope], object]) -> Callable[[bytes], bytes]:
    """The envelope changed and written in the one form that it has."""

    def apply(members: m.Members) -> None:
        envelope = json.loads(members[SIGNED])
        change(envelope)
        members[SIGNED] = canonical(envelope)

    return m.edited(apply)


def in_payload(change: Callable[[Envelope], object]) -> Callable[[Envelope], None]:
    def apply(envelope: Envelope) -> None:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(canonical(statement)).decode()

    return apply


def signature(edit: Callable[[bytes], bytes]) -> Callable[[Envelope], None]:
    def apply(envelope: Envelope) -> None:
        row = envelope["signatures"][0]
        row["sig"] = base64.b64encode(edit(base64.b64decode(row["sig"]))).decode()

    return apply


def malleable(sig: bytes) -> bytes:
    """S + L in the place of S: a second signature of the same text for who does not compare S with L."""
    return sig[:32] + (int.from_bytes(sig[32:], "little") + ORDER).to_bytes(32, "little")


def two_signers(envelope: Envelope) -> None:
    """A stranger's signature first, ours second."""
    envelope["signatures"].insert(0, {"keyid": "0" * 64, "sig": base64.b64encode(bytes(64)).decode()})


# What is done to a signed bundle, and what is said by who has the key of its signer.
SIGNATURES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "S + L": (enveloped(signature(malleable)), "the signature does not hold"),
    "two signers": (enveloped(two_signers), "signatures has 2 entries"),
    "a type that differs in case": (
        enveloped(lambda e: e.update(payloadType=e["payloadType"].upper())), "payloadType is ",
    ),
    "a key more in the envelope": (enveloped(lambda e: e.update(extra=1)), "unknown key 'extra'"),
    "a subject more in the payload": (
        enveloped(in_payload(lambda s: s["subject"].append({"name": "z", "digest": {"sha256": "0" * 64}}))),
        "the signature does not hold",
    ),
}  # fmt: skip


def test_the_bundle_as_it_is_verifies_by_its_key(
    passed_proof: Project, bundle: bytes, signing_keys: Path, tmp_path: Path
) -> None:
    """The control; written anew without a change, it is the same bundle."""
    assert enveloped(lambda envelope: None)(bundle) == bundle
    answer = verify(passed_proof, tmp_path, bundle, signing_keys / "own.pub")
    assert (answer.status, "signature: valid, by the key " in answer.text) == (0, True), answer.text


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_that_is_not_that_of_the_statement_is_tampering(
    name: str, passed_proof: Project, bundle: bytes, signing_keys: Path, tmp_path: Path
) -> None:
    change, text = SIGNATURES[name]
    answer = verify(passed_proof, tmp_path, change(bundle), signing_keys / "own.pub")
    assert (answer.status, text in answer.text) == (3, True), answer.text


# The key given to ``verify`` -> what is said of it.
KEYS = {
    "rsa.pub": "is a key of the type RSA, not Ed25519",
    "x25519.pub": "is a key of the type X25519, not Ed25519",
    "nothing": "is no public key in PEM",
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_another_kind_checks_nothing(
    name: str, passed_proof: Project, bundle: bytes, signing_keys: Path, tmp_path: Path
) -> None:
    key = Path("/dev/null") if name == "nothing" else signing_keys / name
    answer = verify(passed_proof, tmp_path, bundle, key)
    assert (answer.status, KEYS[name] in answer.text) == (4, True), answer.text


@pytest.mark.parametrize("order", [("other", "own"), ("rsa", "own")])
def test_a_key_behind_another_one_does_not_count(
    order: tuple[str, ...], passed_proof: Project, bundle: bytes, signing_keys: Path, tmp_path: Path
) -> None:
    """A file of two keys is read as its first: who adds a key to a file does not become a signer by it."""
    both = tmp_path / "both.pub"
    both.write_bytes(b"".join((signing_keys / f"{name}.pub").read_bytes() for name in order))
    answer = verify(passed_proof, tmp_path, bundle, both)
    assert answer.status in (3, 4), answer.text


def test_a_file_without_an_end_is_no_bundle(passed_proof: Project) -> None:
    answer = ask(passed_proof, "verify", "/dev/zero")
    assert (answer.status, "unreadable: " in answer.text) == (4, True), answer.text


# --- members, with all hashes mended and no signature ---


def line_said_twice(members: m.Members) -> None:
    """A status that a reader of the first key sees, before the one that a reader of the last sees."""
    name = f"{BELOW}/parity_runs.jsonl"
    members[name] = b'{"status":"failed",' + members[name].removeprefix(b"{")


def said_twice(name: str, key: str, lie: str) -> Callable[[m.Members], None]:
    return m.replaced(f"{BELOW}/{name}", f'"{key}"', f'"{key}": {lie}, "{key}"')


def carriage_returns(members: m.Members) -> None:
    """A text that a terminal shows as one line, the last."""
    name = f"{BELOW}/equivalence_report.md"
    members[name] = members[name].replace(b"\n", b"\r")


def more_members(members: m.Members) -> None:
    """Documents that nothing in a run writes, with a claim."""
    m.with_member("READ_ME_FIRST.md", b"# proof-grade parity\n")(members)
    m.with_member(f"{BELOW}/certificate.json", b'{"claim":"proof_grade"}')(members)


def later(members: m.Members) -> None:
    for name in [n for n in members if n.endswith("_report.json")]:
        m.document(name, lambda d: d.update(generated_at="2099-01-01T00:00:00+00:00"))(members)


def other_run(members: m.Members) -> None:
    m.document("run/run.json", lambda d: d.update(run_id="another"))(members)


Change = Callable[[m.Members], object]
HELD: dict[str, Change] = {
    "a key twice in a report": said_twice("equivalence_report.json", "global", '{"verdict": "fail"}'),
    "a time to come": later,
    "a key twice in a line": line_said_twice,
    "a text in one line": carriage_returns,
    "members that no run writes": more_members,
    "another run": other_run,
}


def test_a_bundle_whose_hashes_were_only_made_again_follows_from_its_data(
    passed_proof: Project, bundle: bytes, tmp_path: Path
) -> None:
    """The control: nothing was changed, and nobody vouches for that: it does not end with 0."""
    answer = verify(passed_proof, tmp_path, m.forged(lambda members: None)(bundle))
    assert (answer.status, "NOBODY VOUCHES for it" in answer.text) == (5, True), answer.text


@pytest.mark.parametrize("name", HELD)
def test_a_member_that_does_not_follow_is_found(
    name: str, passed_proof: Project, bundle: bytes, tmp_path: Path
) -> None:
    answer = verify(passed_proof, tmp_path, m.forged(HELD[name])(bundle))
    assert (answer.status, "does not follow: " in answer.text) == (2, True), answer.text
