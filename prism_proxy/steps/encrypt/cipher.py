"""What one namespace encrypts and decrypts with: its sealer and opener over the key store."""

from __future__ import annotations

import time
from collections.abc import Callable

from prism_proxy.crypto import errors
from prism_proxy.crypto.algorithms import Algorithm, choose
from prism_proxy.crypto.keyring import KeyRing
from prism_proxy.crypto.opener import Opener
from prism_proxy.crypto.sealer import Sealer
from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError
from prism_proxy.secrets.key_store import KeyStore
from prism_proxy.secrets.reference import KeyReference
from prism_proxy.steps.encrypt.options import EncryptionOptions


class NamespaceCipher:
    """`in_flight` bounds how old a key version of a message may be (`overlap_period`); what is stored has no bound."""

    def __init__(self, namespace: str, options: EncryptionOptions, keys: KeyStore, *,
                 now: Callable[[], float] = time.time) -> None:
        self._options = options
        self._keys = keys
        self.algorithm: Algorithm = choose(options.type, options.algorithm or None, fips_mode=options.fips_mode)
        self._write = options.key_ref or options.public_key_ref
        self._read = options.key_ref or options.private_key_ref
        self._known = self._references()
        self._sealer = Sealer(self.algorithm, self._writing_ring, namespace, epoch_seconds=options.epoch_max_age,
                              now=now)
        overlap = options.key_rotation.overlap_period
        self._openers = {True: Opener(self._reading_ring, namespace, overlap=overlap, now=now),
                         False: Opener(self._reading_ring, namespace, now=now)}

    async def open_keys(self) -> None:
        """Fetch what is needed. PrismError when a key cannot be had: then the namespace is not activated."""
        for reference in {self._write, self._read} - {""}:
            await self._keys.ring(reference, self.algorithm.key_type)

    def seal(self, payload: bytes, aad: bytes) -> tuple[bytes, Encryption]:
        """Ciphertext and what travels with it. PrismError."""
        if not self._write:
            raise errors.key_not_found("", "is not configured: writing needs public_key_ref")
        return self._sealer.seal(payload, aad)

    def open(self, sealed: bytes, found: Encryption, aad: bytes, *, in_flight: bool) -> bytes:
        """The payload. PrismError; an unknown key version starts a fetch, so that a later try may succeed."""
        try:
            return self._openers[in_flight].open(sealed, found, aad)
        except PrismError as error:
            if error.reason == "ENC_KEY_NOT_FOUND" and self._read:
                self._keys.look_again(self._read)
            raise

    def _writing_ring(self) -> KeyRing:
        return self._keys.current(self._write, self.algorithm.key_type)

    def _reading_ring(self, reference: str) -> KeyRing | None:
        if reference not in self._known or not self._read:
            return None
        return self._keys.current(self._read, self.algorithm.key_type)

    def _references(self) -> frozenset[str]:
        """Key ids name the reference that was written with: for a key pair the public one."""
        return frozenset(KeyReference.parse(text).base for text in (self._write, self._read) if text)
