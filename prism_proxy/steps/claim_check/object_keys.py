"""Keys of single objects, kept beside them in sealed form: under the keys that the namespace encrypts messages with."""

from __future__ import annotations

from typing import Protocol

from prism_proxy.claim_check import encryption
from prism_proxy.claim_check.errors import corrupt
from prism_proxy.crypto.message import bind
from prism_proxy.envelope.parts import Encryption

KEY_BYTES = 32
PURPOSE = b"claim"


class Cipher(Protocol):
    """What the encrypt step offers."""

    def seal(self, payload: bytes, aad: bytes) -> tuple[bytes, Encryption]: ...

    async def open_message(
        self, sealed: bytes, found: Encryption, aad: bytes, *, in_flight: bool, message_id: str, in_thread: bool
    ) -> bytes: ...


class ObjectKeys:
    """Of one namespace."""

    def __init__(self, namespace: str, cipher: Cipher) -> None:
        self._namespace = namespace
        self._cipher = cipher

    def make(self, topic: str, message_id: str) -> tuple[bytes, bytes, Encryption]:
        """A new key, its sealed form, and how it was sealed. PrismError."""
        key = encryption.new_key()
        sealed, made = self._cipher.seal(key, self._aad(topic, message_id))
        return key, sealed, made

    async def open(self, sealed: bytes, found: Encryption | None, topic: str, message_id: str) -> bytes:
        """PrismError when the key cannot be had, or is another message's."""
        if found is None or not sealed:
            raise corrupt("its object is not encrypted, and this namespace encrypts")
        key = await self._cipher.open_message(
            sealed, found, self._aad(topic, message_id), in_flight=False, message_id=message_id, in_thread=False)
        if len(key) != KEY_BYTES:
            raise corrupt("the key of its object has another length")
        return key

    def _aad(self, topic: str, message_id: str) -> bytes:
        return bind(PURPOSE, message_id.encode(), topic.encode(), self._namespace.encode())
