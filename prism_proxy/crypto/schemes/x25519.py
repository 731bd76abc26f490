"""X25519 with an ephemeral key of the sender (RFC 7748), the data key by HKDF-SHA256 with a random salt."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from prism_proxy.crypto import kdf
from prism_proxy.crypto.keys import Key
from prism_proxy.crypto.schemes.contract import DataKey

PART = "x25519"
EPHEMERAL = "x25519_ephemeral_public"
SALT = "kdf_salt"
KDF = "hkdf-sha256"


def send(public: Any) -> tuple[bytes, str]:
    """(shared secret, ephemeral public key in base64)."""
    ephemeral = X25519PrivateKey.generate()
    return ephemeral.exchange(public), b64encode(ephemeral.public_key().public_bytes_raw()).decode()


def receive(private: Any, params: Mapping[str, str]) -> bytes:
    """The shared secret of a message's ephemeral key. ValueError when it has none."""
    encoded = params.get(EPHEMERAL)
    if not isinstance(encoded, str):
        raise ValueError(f"{EPHEMERAL} is missing")
    return bytes(private.exchange(X25519PublicKey.from_public_bytes(b64decode(encoded, validate=True))))


class X25519:
    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        shared, ephemeral = send(public.objects[PART])
        salt = os.urandom(kdf.HASH_BYTES)
        return DataKey(_derive(shared, salt), b"",
                       {EPHEMERAL: ephemeral, "kdf": KDF, SALT: b64encode(salt).decode()})

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        if params.get("kdf") != KDF or not isinstance(params.get(SALT), str):
            raise ValueError(f"kdf must be {KDF}, with a {SALT}")
        return _derive(receive(private.objects[PART], params), b64decode(params[SALT], validate=True))


def _derive(shared: bytes, salt: bytes) -> bytes:
    return kdf.expand(kdf.extract(shared, salt), b"", kdf.HASH_BYTES)
