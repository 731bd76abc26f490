"""What the AAD of a message binds."""

from __future__ import annotations


def bind(*fields: bytes) -> bytes:
    """The AAD of a message: message id, topic, namespace (a stored value: namespace, key), each behind its length in
    four bytes, big-endian."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)
