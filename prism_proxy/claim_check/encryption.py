"""Objects in encrypted form: C2SP chunked encryption, Cobblestone-256, with a key of the object's own.

The context binds an object to its namespace, topic and message, each prefixed by its length: an object opens in the
place of no other one. A chunk that was cut off, moved or exchanged is refused before any byte of it is handed out.
"""

from __future__ import annotations

from typing import Protocol

from prism_proxy.object_stores.contract import Chunk


class Cipher(Protocol):
    """Cobblestone-256 in one direction. `cryptography.exceptions.InvalidTag` where the bytes are not authentic."""

    def update(self, data: Chunk) -> bytes: ...

    def finalize(self) -> bytes: ...


class Plain:
    """No encryption."""

    def update(self, data: Chunk) -> bytes:
        return bytes(data)

    def finalize(self) -> bytes:
        return b""


def new_key() -> bytes:
    from cryptography.cobblestone import Cobblestone256Encryptor

    return Cobblestone256Encryptor.generate_key()


def context(namespace: str, topic: str, message_id: str) -> bytes:
    return b"".join(len(text).to_bytes(4, "big") + text
                    for text in (namespace.encode(), topic.encode(), message_id.encode()))


def encryptor(key: bytes | None, bound_to: bytes) -> Cipher:
    if key is None:
        return Plain()
    from cryptography.cobblestone import Cobblestone256Encryptor

    return Cobblestone256Encryptor(key, bound_to)


def decryptor(key: bytes | None, bound_to: bytes) -> Cipher:
    if key is None:
        return Plain()
    from cryptography.cobblestone import Cobblestone256Decryptor

    return Cobblestone256Decryptor(key, bound_to)
