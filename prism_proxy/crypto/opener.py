"""Decrypts payloads. Whatever was altered, moved or sealed under another key gives one and the same error."""

from __future__ import annotations

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Callable

from prism_proxy._native.crypto.aead import Aead, AuthenticationError
from prism_proxy.crypto import errors, kdf
from prism_proxy.crypto.algorithms import RSA_DIRECT, Algorithm, algorithm, refused
from prism_proxy.crypto.keyring import KeyRing, KeyVersion, split_key_id
from prism_proxy.crypto.message import bind
from prism_proxy.crypto.schemes import rsa
from prism_proxy.crypto.schemes.registry import scheme
from prism_proxy.crypto.sealer import COMMITMENT
from prism_proxy.envelope.parts import Encryption

EPOCHS_KEPT = 1024
MAX_PARAMS_BYTES = 4096


class Opener:
    """`ring(reference)` gives the versions of a key reference, or None for one that this namespace does not use.
    Messages of a version superseded longer than `overlap` seconds are refused; None opens them for ever, as stored
    values need."""

    def __init__(self, ring: Callable[[str], KeyRing | None], namespace: str, *, overlap: float | None = None,
                 now: Callable[[], float] = time.time) -> None:
        self._ring = ring
        self._namespace = namespace
        self._overlap = overlap
        self._now = now
        self._seen: dict[str, KeyRing] = {}
        self._epochs: OrderedDict[tuple[str, str, bytes, str], Aead] = OrderedDict()

    def open(self, sealed: bytes, metadata: Encryption, aad: bytes) -> bytes:
        """The payload. `aad` is made of the message as it was delivered; empty where nothing is bound.

        PrismError ENC_AUTH_FAILED, ENC_KEY_NOT_FOUND, KEY_RETIRED, ENC_ALGORITHM_REFUSED.
        """
        named = algorithm(metadata.algorithm)
        version = self._version(metadata.key_id)
        if named.key_type != version.key.type:
            raise refused(f"encryption algorithm {metadata.algorithm!r} is not what key {metadata.key_id!r} is for")
        if not hmac.compare_digest(metadata.aad or b"", aad):
            raise errors.auth_failed()
        if named.name == RSA_DIRECT:
            return self._open_direct(sealed, version, metadata.key_id, aad)
        try:
            return self._aead(named, version, metadata).open(metadata.iv or b"", sealed, aad)
        except AuthenticationError:
            raise errors.auth_failed() from None

    def data_key(self, metadata: Encryption) -> Aead:
        """The data key of a payload that was opened. PrismError as `open`."""
        return self._aead(algorithm(metadata.algorithm), self._version(metadata.key_id), metadata)

    def _version(self, key_id: str) -> KeyVersion:
        reference, name = split_key_id(key_id)
        ring = self._ring(reference)
        if ring is None:
            raise errors.key_not_found(key_id, "is not one of this namespace")
        if ring is not self._seen.get(reference):  # versions may be gone: their data keys go too
            self._seen[reference] = ring
            self._epochs.clear()
        version = ring.find(name)
        if version is None:
            raise errors.key_not_found(key_id, "has no such version")
        superseded = ring.superseded_at(version)
        if self._overlap is not None and superseded is not None and self._now() > superseded + self._overlap:
            raise errors.key_retired(key_id)
        return version

    def _aead(self, named: Algorithm, version: KeyVersion, metadata: Encryption) -> Aead:
        epoch = (metadata.key_id, named.name, metadata.encapsulated_key or b"", metadata.algorithm_params or "")
        found = self._epochs.get(epoch)
        if found is None:
            found = Aead(named.cipher, self._data_key(named, version, metadata))
            self._epochs[epoch] = found
            if len(self._epochs) > EPOCHS_KEPT:
                self._epochs.popitem(last=False)
        return found

    def _data_key(self, named: Algorithm, version: KeyVersion, metadata: Encryption) -> bytes:
        params = _params(metadata.algorithm_params or "")
        if version.key.symmetric:
            if metadata.encapsulated_key:
                raise errors.auth_failed()
            key = version.key.secret
        elif not version.key.private:
            raise errors.public_key(metadata.key_id)
        else:
            info = bind(self._namespace.encode(), metadata.key_id.encode())
            try:
                key = scheme(named.name).decapsulate(version.key, metadata.encapsulated_key or b"", params, info)
            except (ValueError, TypeError):
                raise errors.auth_failed() from None
        committed = params.get(COMMITMENT)
        if committed is not None and not hmac.compare_digest(committed, kdf.commitment(key)):
            raise errors.auth_failed()
        return key

    def _open_direct(self, sealed: bytes, version: KeyVersion, key_id: str, aad: bytes) -> bytes:
        if not version.key.private:
            raise errors.public_key(key_id)
        try:
            return bytes(version.key.objects[rsa.PART].decrypt(sealed, rsa.oaep(aad)))
        except ValueError:
            raise errors.auth_failed() from None


def _params(text: str) -> dict[str, str]:
    """algorithm_params as strings by name; ENC_AUTH_FAILED when it is no such object."""
    if not text:
        return {}
    try:
        found = json.loads(text) if len(text) <= MAX_PARAMS_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
            isinstance(value, str) and value.isascii() for value in found.values()):
        raise errors.auth_failed()
    return found
