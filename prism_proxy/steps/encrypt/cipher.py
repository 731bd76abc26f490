"""What one namespace encrypts and decrypts with: its sealer and opener over the key store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prism_proxy.crypto import errors
from prism_proxy.crypto.algorithms import RSA_DIRECT, Algorithm, algorithm, choose
from prism_proxy.crypto.keyring import KeyRing, split_key_id
from prism_proxy.crypto.opener import Opener
from prism_proxy.crypto.sealer import Sealer, SharedKey
from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError
from prism_proxy.secrets.key_store import KeyStore
from prism_proxy.secrets.reference import KeyReference
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.usage import Usage

if TYPE_CHECKING:
    from prism_proxy._native.crypto.aead import Aead, RandomIv


class NamespaceCipher:
    """`in_flight` bounds how old a key version of a message may be (`overlap_period`); what is stored has no bound.
    `pools` are the random ivs of the process."""

    def __init__(self, namespace: str, options: EncryptionOptions, keys: KeyStore, usage: Usage, *,
                 pools: dict[str, RandomIv] | None = None, now: Callable[[], float] = time.time) -> None:
        self._options = options
        self._keys = keys
        self._usage = usage
        self._now = now
        self.algorithm: Algorithm = choose(options.type, options.algorithm or None, fips_mode=options.fips_mode)
        self._write = options.key_ref or options.public_key_ref
        self._read = options.key_ref or options.private_key_ref
        self._known = self._references()
        self.writes = bool(self._write)
        self._sealer = Sealer(self.algorithm, self._writing_ring, namespace, epoch_seconds=options.epoch_max_age,
                              on_alert=usage.near_bound, pools=pools, now=now)
        overlap = options.key_rotation.overlap_period
        self._openers = {True: Opener(self._reading_ring, namespace, overlap=overlap, now=now),
                         False: Opener(self._reading_ring, namespace, now=now)}

    @property
    def can_read(self) -> bool:
        return bool(self._read)

    async def open_keys(self) -> None:
        """Fetch what is needed. PrismError when a key cannot be had: then the namespace is not activated."""
        for reference in {self._write, self._read} - {""}:
            ring = await self._keys.ring(reference, self.algorithm.key_type)
            if reference == self._read and not ring.versions[-1].key.private:
                raise errors.public_key(reference)

    def seal(self, payload: bytes, aad: bytes) -> tuple[bytes, Encryption]:
        """Ciphertext and what travels with it. PrismError."""
        if not self._write:
            raise errors.key_not_found("", "is not configured: writing needs public_key_ref")
        try:
            sealed, made = self._sealer.seal(payload, aad)
        except PrismError as error:
            self._usage.refused(error)
            raise
        self._usage.sealed(made.key_id)
        return sealed, made

    def open(self, sealed: bytes, found: Encryption, aad: bytes, *, in_flight: bool, message_id: str = "") -> bytes:
        """The payload. PrismError."""
        try:
            opened = self._openers[in_flight].open(sealed, found, aad)
        except PrismError as error:
            if not self.unknown_version(found.key_id):  # else it is looked for, and tried again
                self._usage.failed(found, error, message_id)
            raise
        self._usage.opened(found.key_id)
        return opened

    def stored_key(self, found: Encryption) -> tuple[Aead, float] | None:
        """The data key of what `open` opened, and for how many seconds it is good; None where there is none."""
        if found.algorithm == RSA_DIRECT:
            return None
        return self._openers[False].data_key(found), self._keys.good_for(self._read)

    def sealing_key(self) -> SharedKey | None:
        """As `stored_key`, for sealing."""
        if self.algorithm.name == RSA_DIRECT:
            return None
        found = self._sealer.epoch()
        return found._replace(seconds=min(found.seconds, self._keys.good_for(self._write)))

    async def open_message(
        self, sealed: bytes, found: Encryption, aad: bytes, *, in_flight: bool, message_id: str, in_thread: bool
    ) -> bytes:
        """As `open`; a version that is not known is looked for first, and what takes long runs in a thread."""
        if self.unknown_version(found.key_id):
            await self.look_for(found.key_id)
        if not in_thread and found.algorithm != RSA_DIRECT:  # which takes milliseconds
            opened = self.open(sealed, found, aad, in_flight=in_flight, message_id=message_id)
        else:
            opened = await asyncio.to_thread(
                self.open, sealed, found, aad, in_flight=in_flight, message_id=message_id)
        return opened

    def unknown_version(self, key_id: str) -> bool:
        """Whether it is a version of this namespace's key that this process has not seen."""
        reference, version = split_key_id(key_id)
        try:
            ring = self._reading_ring(reference)
        except PrismError:
            return False
        return ring is not None and ring.find(version) is None

    async def look_for(self, key_id: str) -> None:
        """Fetch the key again. PrismError when its provider does not answer; a version that it does not have is counted
        as a failure."""
        await self._keys.renew(self._read, self.algorithm.key_type)
        if self.unknown_version(key_id):
            error = errors.key_not_found(key_id, "has no such version")
            self._usage.failed(Encryption(key_id, self.algorithm.type, self.algorithm.name), error, "")
            raise error

    def check_known(self, found: Encryption) -> None:
        """PrismError for what this namespace's readers could not open, whatever it holds."""
        named = algorithm(found.algorithm)
        reference, version = split_key_id(found.key_id)
        if reference not in self._known:
            raise errors.key_not_found(found.key_id, "is not one of this namespace")
        if named.key_type != self.algorithm.key_type:
            raise errors.key_not_found(found.key_id, f"is of type {self.algorithm.key_type}, not {named.key_type}")
        ring = self._keys.current(self._read or self._write, self.algorithm.key_type)
        if ring.find(version) is None:
            raise errors.key_not_found(found.key_id, "has no such version")

    def current_key_id(self) -> str:
        """What encrypts now."""
        ring = self._writing_ring()
        return ring.key_id(ring.current(self._now()))

    def age(self) -> tuple[str, float] | None:
        """The version that encrypts, and for how many seconds it has; None where nobody said when it began, or the key
        is not there."""
        try:
            ring = self._writing_ring()
        except PrismError:
            return None
        version = ring.current(self._now())
        return (ring.key_id(version), self._now() - version.active_from) if version.active_from > 0 else None

    def no_private_key(self, key_id: str) -> PrismError:
        return errors.public_key(key_id)

    def _writing_ring(self) -> KeyRing:
        return self._keys.current(self._write, self.algorithm.key_type)

    def _reading_ring(self, reference: str) -> KeyRing | None:
        if reference not in self._known or not self._read:
            return None
        return self._keys.current(self._read, self.algorithm.key_type)

    def _references(self) -> frozenset[str]:
        """Key ids name the reference that was written with: for a key pair the public one."""
        return frozenset(KeyReference.parse(text).base for text in (self._write, self._read) if text)
