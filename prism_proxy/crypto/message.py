"""What an encrypted message carries beside its ciphertext, and what its AAD binds."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.crypto.algorithms import EncryptionType


@dataclass(frozen=True, slots=True)
class EncryptionMetadata:
    """The fields of prism.envelope.v1.EncryptionMetadata. `key_id` is a reference and a version, never a key."""

    key_id: str
    type: EncryptionType
    algorithm: str
    public_key_id: str = ""
    iv: bytes = b""
    aad: bytes = b""
    encapsulated_key: bytes = b""
    algorithm_params: str = ""


def bind(*fields: bytes) -> bytes:
    """The AAD of a message: message id, topic, namespace (a stored value: namespace, key), each behind its length in
    four bytes, big-endian."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)
