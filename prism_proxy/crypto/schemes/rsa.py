"""RSA-OAEP with SHA-256: a random session key, wrapped for the receiver; and small payloads without one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from prism_proxy.crypto.keys import Key
from prism_proxy.crypto.schemes.contract import DataKey

PART = "rsa"
OVERHEAD_BYTES = 66  # of OAEP with SHA-256


def oaep(label: bytes = b"") -> padding.OAEP:
    """The padding; it authenticates the label, which does not travel."""
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label or None)


def limit(key: Any) -> int:
    """The payload bytes that one block of the key takes: 446 for 4096 bits."""
    return int(key.key_size) // 8 - OVERHEAD_BYTES


class RsaSession:
    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        key = os.urandom(32)
        return DataKey(key, public.objects[PART].encrypt(key, oaep()), {})

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        return bytes(private.objects[PART].decrypt(encapsulated, oaep()))
