"""Encrypted KeyValue values.

    "PRE1" | varint length | EncryptionMetadata | ciphertext

The AAD is namespace and key, so a value opens under its own key only. A value that begins with these four bytes and
does not parse is plaintext. With `required`, plaintext is refused: who can write to the store cannot slip a value in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from prism_proxy._native.crypto.aead import Aead
from prism_proxy._native.crypto.value_cipher import DataKey, ValueCipher
from prism_proxy.crypto.message import bind
from prism_proxy.envelope import wire
from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError
from prism_proxy.steps.encrypt.cipher import NamespaceCipher
from prism_proxy.steps.encrypt.errors import plaintext_value
from prism_proxy.steps.encrypt.usage import Usage
from prism_runtime import log

MAGIC = b"PRE1"
MAX_METADATA_BYTES = 16 * 1024
ASK_SECONDS = 5.0  # that native code uses a key before a call asks again: versions come and go


class EncryptedValues:
    """Of one namespace and configuration."""

    def __init__(self, namespace: str, cipher: NamespaceCipher, usage: Usage, *, required: bool) -> None:
        self._namespace = namespace.encode()
        self._cipher = cipher
        self._required = required
        self._usage = usage
        self._native: ValueCipher | None = None

    @property
    def required(self) -> bool:
        return self._required

    def is_current(self, stored: bytes) -> bool:
        """Whether the value is encrypted as a value written now would be."""
        parsed = parse(stored)
        return parsed is not None and (parsed[0].key_id, parsed[0].algorithm) == (
            self._cipher.current_key_id(), self._cipher.algorithm.name)

    def seal(self, key: bytes, value: bytes) -> bytes:
        """What is stored. PrismError."""
        sealed, metadata = self._cipher.seal(value, bind(self._namespace, key))
        self._teach_sealing()
        head = metadata.encode()
        return MAGIC + wire.varint(len(head)) + head + sealed

    def open(self, key: bytes, stored: bytes) -> bytes:
        """The value. PrismError ENC_PLAINTEXT_REFUSED for plaintext where encryption is required."""
        parsed = parse(stored)
        if parsed is None:
            self._usage.plaintext("", refused=self._required)
            if self._required:
                raise plaintext_value()
            return stored
        value = self._cipher.open(parsed[1], parsed[0], bind(self._namespace, key), in_flight=False)
        self._teach_opening(parsed[0])
        return value

    def close(self) -> None:
        """Native code knows nothing any more."""
        if self._native is not None:
            self._native.forget()
            self._usage.count_no_more(self._native.take_uses)

    def _teach_opening(self, found: Encryption) -> None:
        known = self._cipher.stored_key(found) if self._native is not None else None
        if known is not None and self._native is not None:
            self._native.learn(_data_key(known[0], found), *_window(known[1]))

    def _teach_sealing(self) -> None:
        known = self._cipher.sealing_key() if self._native is not None else None
        if known is not None and self._native is not None:
            key = _data_key(known.aead, known.common)
            self._native.seal_with(key, known.ivs, known.most_ivs, *_window(known.seconds))
            self._native.keep(key)


    def inspect(self, stored: Sequence[bytes]) -> None:
        """Say how many of these values would be refused."""
        plaintext = sum(parse(value) is None for value in stored)
        if plaintext and self._required:
            log.get("prism.encryption").warning(
                "stored values are plaintext, which encryption.required refuses: see `prism-proxy keys rewrite`",
                namespace=self._namespace.decode(), plaintext=plaintext, seen=len(stored))

    def native_cipher(self) -> ValueCipher:
        """Seals and opens small values for native handlers, with what each call that comes here teaches it."""
        if self._native is None:
            self._native = ValueCipher(self._namespace)
            self._usage.count_also(self._native.take_uses)
        return self._native

    async def renew(self, error: PrismError) -> bool:
        """Whether a value that did not open may open now: its key version was not known, and is."""
        key_id = error.metadata.get("key_id", "")
        if error.reason != "ENC_KEY_NOT_FOUND" or not self._cipher.unknown_version(key_id):
            return False
        await self._cipher.look_for(key_id)
        return True


def _data_key(aead: Aead, found: Encryption) -> DataKey:
    """As native code has it: what metadata under the key say before their iv and behind their aad."""
    before = replace(found, iv=None, aad=None, encapsulated_key=None, algorithm_params=None)
    after = Encryption("", 0, "", encapsulated_key=found.encapsulated_key, algorithm_params=found.algorithm_params)
    return DataKey(aead, before.encode(), after.encode(), found.key_id)


def _window(seconds: float) -> tuple[int, int]:
    """From when on one call asks again whether the key is still the one to use, and from when on all do."""
    now = time.monotonic_ns()
    return now + int(min(ASK_SECONDS, seconds) * 1e9), now + int(min(2 * ASK_SECONDS, seconds) * 1e9)


def parse(stored: bytes) -> tuple[Encryption, bytes] | None:
    """(metadata, ciphertext) of an encrypted value; None for plaintext."""
    if not stored.startswith(MAGIC):
        return None
    try:
        length, at = wire.read_varint(stored, len(MAGIC))
        if length > MAX_METADATA_BYTES or at + length > len(stored):
            return None
        metadata = Encryption.decode(stored[at:at + length])
    except ValueError:
        return None
    return (metadata, stored[at + length:]) if metadata.key_id and metadata.algorithm else None
