"""Signatures over envelopes: hmac-sha256 and ed25519.

What is signed is the envelope in our writer's order without its security context, so that a proxy may fill in who
published it. Keys come from files: an hmac key is the file's bytes (at least 32), an ed25519 key is PEM.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prism_proxy._native.envelope.codec import MalformedEnvelopeError
from prism_proxy.envelope.errors import signature_invalid
from prism_proxy.envelope.reader import Envelope, in_order

HMAC = "hmac-sha256"
ED25519 = "ed25519"
ALGORITHMS = (HMAC, ED25519)
MIN_HMAC_BYTES = 32
_SECURITY = frozenset({4})


class Signer(Protocol):
    @property
    def algorithm(self) -> str: ...

    def sign(self, unsigned: bytes) -> bytes:
        """The signature over an envelope without security context, in our writer's order."""
        ...


class Verifier(Protocol):
    @property
    def algorithm(self) -> str: ...

    def matches(self, unsigned: bytes, signature: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class HmacKey:
    """Signs and verifies."""

    key: bytes
    algorithm: str = HMAC

    def sign(self, unsigned: bytes) -> bytes:
        return hmac.digest(self.key, unsigned, hashlib.sha256)

    def matches(self, unsigned: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(unsigned), signature)


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """`private` is None where only the public key is known, which verifies."""

    public: Any
    private: Any = None
    algorithm: str = ED25519

    def sign(self, unsigned: bytes) -> bytes:
        signature: bytes = self.private.sign(unsigned)
        return signature

    def matches(self, unsigned: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self.public.verify(signature, unsigned)
        except InvalidSignature:
            return False
        return True


def load_key(algorithm: str, path: Path) -> HmacKey | Ed25519Key:
    """ValueError says what is wrong with the file; OSError when it cannot be read."""
    data = path.read_bytes()
    if algorithm == HMAC:
        if len(data) < MIN_HMAC_BYTES:
            raise ValueError(f"{path} has {len(data)} bytes: an hmac-sha256 key has at least {MIN_HMAC_BYTES}")
        return HmacKey(data)
    if algorithm != ED25519:
        raise ValueError(f"there is no signature algorithm {algorithm!r}, only {' and '.join(ALGORITHMS)}")
    return _load_ed25519(path, data)


def _load_ed25519(path: Path, data: bytes) -> Ed25519Key:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ValueError("ed25519 needs the package cryptography: install prism-proxy[encryption]") from error
    private = b"PRIVATE KEY" in data
    key = serialization.load_pem_private_key(data, None) if private else serialization.load_pem_public_key(data)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Ed25519Key(key.public_key(), key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Ed25519Key(key)
    raise ValueError(f"{path} holds another kind of key than ed25519")


def verify(envelope: Envelope, verifier: Verifier, *, required: bool = True) -> None:
    """PrismError SIGNATURE_INVALID unless the envelope is signed with this key; unsigned ones pass where that is not
    `required`."""
    try:
        security = envelope.security()
        unsigned = in_order(envelope.data, without=_SECURITY)
    except MalformedEnvelopeError as error:
        raise signature_invalid(str(error)) from error
    if security is None or not security.signature:
        if required:
            raise signature_invalid("it has none")
        return
    if security.signature_algorithm != verifier.algorithm:
        raise signature_invalid(f"it is not {verifier.algorithm}")
    if not verifier.matches(unsigned, security.signature):
        raise signature_invalid("the message or the signature was changed, or made with another key")
