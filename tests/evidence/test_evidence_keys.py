"""Keys as openssl makes them, what is said of others, and that a signature is one by any other program."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
from evidence_examples import Example, Verify
from manipulations import members_of

from pytest_worldflux_parity.errors import EvidenceError
from pytest_worldflux_parity.evidence import read_sign_key, statement
from pytest_worldflux_parity.evidence.signing import read_public_key


def openssl(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def test_a_signed_bundle_verifies_by_its_key(signed: bytes, keys: Path, verify: Verify) -> None:
    code, said = verify(signed, keys / "own.pub")
    assert (code, "signature: valid, by the key" in said) == (0, True), said
    code, said = verify(signed)
    assert (code, "signature: NOT CHECKED" in said) == (5, True), said


def test_an_unsigned_bundle_says_so(unsigned: bytes, keys: Path, verify: Verify) -> None:
    code, said = verify(unsigned)
    assert (code, "signature: NONE, the bundle is unsigned" in said) == (5, True), said
    assert verify(unsigned, keys / "own.pub")[0] == 3


def test_openssl_agrees_with_the_signature(signed: bytes, keys: Path, tmp_path: Path) -> None:
    """What is signed is the DSSE encoding, written out here by hand."""
    envelope = json.loads(members_of(signed)["statement.dsse.json"])
    payload = base64.b64decode(envelope["payload"])
    text = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    (tmp_path / "text").write_bytes(text)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    arguments = ("-pubin", "-inkey", str(keys / "own.pub"), "-rawin", "-in", "text", "-sigfile", "sig")
    assert "Verified Successfully" in openssl(tmp_path, "pkeyutl", "-verify", *arguments)


def test_the_key_id_is_the_hash_of_the_public_key(keys: Path) -> None:
    private, public = read_sign_key(keys / "own.pem"), read_public_key(keys / "own.pub")
    assert private.keyid == public.keyid != read_public_key(keys / "other.pub").keyid
    assert private.warning == ""


def test_a_key_that_others_can_read_is_said(keys: Path, tmp_path: Path, example: Example) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes((keys / "own.pem").read_bytes())
    path.chmod(0o644)
    assert "others can read this private key (mode 644); chmod 600 key.pem" in read_sign_key(path).warning
    assert example.build("warned.zip", path).warnings == (read_sign_key(path).warning,)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            ("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:1024"),
            "of the type RSA, not Ed25519",
        ),
        (("genpkey", "-algorithm", "ed448"), "of the type Ed448, not Ed25519"),
        (("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"), "the private key is encrypted"),
        (("genpkey", "-algorithm", "ed25519", "-outform", "DER"), "is no private key in PEM"),
    ],
)
def test_other_keys_are_refused(make: tuple[str, ...], text: str, tmp_path: Path) -> None:
    openssl(tmp_path, *make, "-out", "key.pem")
    with pytest.raises(EvidenceError, match=text):
        read_sign_key(tmp_path / "key.pem")


def test_keys_in_the_wrong_place_are_told_apart(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="is a public key; to mend: openssl genpkey"):
        read_sign_key(keys / "own.pub")
    with pytest.raises(EvidenceError, match="is a private key; to mend: openssl pkey"):
        read_public_key(keys / "own.pem")
    for read in (read_sign_key, read_public_key):
        with pytest.raises(EvidenceError, match="absent: the key cannot be read: "):
            read(tmp_path / "absent")
        with pytest.raises(EvidenceError, match=f"{re.escape(str(tmp_path))}: the key cannot be read: "):
            read(tmp_path)
        (tmp_path / "empty").write_bytes(b"")
        with pytest.raises(EvidenceError, match=r"is no (private|public) key in PEM"):
            read(tmp_path / "empty")


def test_a_statement_is_only_read_in_the_form_in_which_it_is_written() -> None:
    with pytest.raises(EvidenceError):
        statement.decode(b'{"_type": NaN}', "statement.json", "statement.v1")
    with pytest.raises(EvidenceError):
        statement.decode(b"[" * 100_000, "statement.json", "statement.v1")
