"""Ed25519 keys in PEM files, to sign with and to check signatures by."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import EvidenceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MAX_KEY_BYTES = 1 << 16
_MAKE = "openssl genpkey -algorithm ed25519 -out key.pem"
_DERIVE = "openssl pkey -in key.pem -pubout -out key.pub"


@dataclass(frozen=True)
class SignKey:
    """A private key.

    Attributes:
        keyid: sha256 (hex) of the public key in DER, by which a verifier tells keys apart.
        warning: what is to be said about the file; empty where there is nothing.
    """

    key: Ed25519PrivateKey
    keyid: str
    warning: str

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes, the same for the same data."""
        return self.key.sign(data)


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with."""

    key: Ed25519PublicKey
    keyid: str

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether a signature is by this key and of this data."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def read_sign_key(path: Path) -> SignKey:
    """An Ed25519 private key from a PEM file.

    Raises:
        EvidenceError: the file cannot be read, is encrypted, or is something else.
    """
    key: Ed25519PrivateKey = _parse_ed25519(_read_key_file(path), str(path), "private", "public", _MAKE)
    return SignKey(key, _keyid_of(key.public_key()), _rights_warning(path))


def read_public_key(path: Path) -> PublicKey:
    """An Ed25519 public key from a PEM file.

    Raises:
        EvidenceError: as :func:`read_sign_key`.
    """
    return parse_public_key(_read_key_file(path), str(path))


def parse_public_key(data: bytes, where: str) -> PublicKey:
    """An Ed25519 public key from the text of a PEM file.

    Args:
        where: it stands, for errors.

    Raises:
        EvidenceError: it is something else.
    """
    key: Ed25519PublicKey = _parse_ed25519(data, where, "public", "private", _DERIVE)
    return PublicKey(key, _keyid_of(key))


def _parse_ed25519(data: bytes, where: str, kind: Literal["private", "public"], other: str, hint: str) -> Any:
    """The key of one kind in the text of a PEM file; ``other`` is what it is often taken for."""
    # Brought in only where there is a key: the package takes 30 ms to import.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    try:
        key = (
            serialization.load_pem_private_key(data, password=None)
            if kind == "private"
            else serialization.load_pem_public_key(data)
        )
    except TypeError:
        decrypt = f"decrypt it for the job: openssl pkey -in {Path(where).name} -out plain.pem"
        raise EvidenceError("the private key is encrypted", where=where, hint=decrypt) from None
    except ValueError:
        mistaken = f"{other.upper()} KEY".encode() in data
        what = f"is a {other} key" if mistaken else f"is no {kind} key in PEM"
        raise EvidenceError(what, where=where, hint=hint) from None
    # What cryptography does not know, it says with an exception of its own.
    except Exception as error:
        raise EvidenceError(f"is no key that can be read: {error}", where=where, hint=hint) from None
    wanted = ed25519.Ed25519PrivateKey if kind == "private" else ed25519.Ed25519PublicKey
    if not isinstance(key, wanted):
        raise EvidenceError(f"is a key of the type {_key_type(key)}, not Ed25519", where=where, hint=hint)
    return key


def _read_key_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise EvidenceError(
            f"the key cannot be read: {error.strerror}", where=str(path), hint=_MAKE
        ) from None


def _rights_warning(path: Path) -> str:
    mode = os.stat(path).st_mode
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return (
            f"{path}: others can read this private key (mode {stat.S_IMODE(mode):o}); chmod 600 {path.name}"
        )
    return ""


def _key_type(key: object) -> str:
    name = type(key).__name__.removeprefix("_")
    return name.removesuffix("PrivateKey").removesuffix("PublicKey")


def _keyid_of(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
