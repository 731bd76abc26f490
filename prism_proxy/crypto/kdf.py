"""HKDF-SHA256 (RFC 5869) and the commitment to a data key."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode

HASH_BYTES = 32
_COMMITMENT = b"prism key commitment v1"


def extract(secret: bytes, salt: bytes = b"") -> bytes:
    """HKDF-Extract: 32 bytes. An empty salt is a salt of zeros, as the RFC has it."""
    return hmac.digest(salt or bytes(HASH_BYTES), secret, hashlib.sha256)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand, at most 8,160 bytes."""
    out, block = b"", b""
    for count in range(1, -(-length // HASH_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes([count]), hashlib.sha256)
        out += block
    return out[:length]


def commitment(key: bytes) -> str:
    """Commits to a data key without revealing it: AES-GCM alone lets one ciphertext open under two keys."""
    return b64encode(hmac.digest(key, _COMMITMENT, hashlib.sha256)).decode()
