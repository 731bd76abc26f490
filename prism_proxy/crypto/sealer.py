"""Encrypts the payloads of one key reference.

    key version, epoch --seal--> message, message, … --2^20 messages, max age, or a new key version--> next epoch

A scheme with a data key makes one per epoch and repeats its encapsulation in each message. Its ivs are counted, for
this process alone knows the key. Under a key that a reference gave, which others hold too, ivs are random and their
number is bounded. No (key, iv) pair repeats either way, and no counter is stored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple

from prism_proxy._native.crypto.aead import Aead, CounterIv, IvSource, RandomIv
from prism_proxy.crypto import errors, kdf
from prism_proxy.crypto.algorithms import RSA_DIRECT, Algorithm
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.message import bind
from prism_proxy.crypto.schemes import rsa
from prism_proxy.crypto.schemes.registry import scheme
from prism_proxy.envelope.parts import Encryption

EPOCH_MESSAGES = 2**20
EPOCH_SECONDS = 3600.0
RANDOM_ALERT = 2**30
RANDOM_LIMIT = 2**32
COMMITMENT = "key_commitment"


class SharedKey(NamedTuple):
    """`most_ivs` is how many of `ivs` may be used before the sealer is asked again, `seconds` how long the key is good.
    `common` is what the metadata of all payloads under it say, without iv and aad."""

    aead: Aead
    ivs: IvSource
    most_ivs: int
    common: Encryption
    seconds: float


class _Epoch:
    """One data key and what its messages have in common. `pool` counts the random ivs of the key version."""

    def __init__(self, algorithm: Algorithm, ring: KeyRing, version: KeyVersion, namespace: str, pool: RandomIv,
                 ends: float) -> None:
        self.ring = ring
        self.version = version
        self.ends = ends
        self.key_id = ring.key_id(version)
        self.encapsulated: bytes | None = None
        params: dict[str, str] = {}
        if version.key.symmetric:
            key = version.key.secret
            self.ivs: IvSource = pool
        else:
            info = bind(namespace.encode(), self.key_id.encode())
            key, self.encapsulated, found = scheme(algorithm.name).encapsulate(version.key.public(), info)
            params.update(found)
            self.ivs = CounterIv()
        self.random = version.key.symmetric
        self.public_id = None if version.key.symmetric else self.key_id
        self.aead = Aead(algorithm.cipher, key)
        params[COMMITMENT] = kdf.commitment(key)
        self.params = json.dumps(params, sort_keys=True, separators=(",", ":"))
        before = Encryption(self.key_id, algorithm.type, algorithm.name, self.public_id)
        after = Encryption("", 0, "", encapsulated_key=self.encapsulated, algorithm_params=self.params)
        self.around = before.encode(), after.encode()


class Sealer:
    """`ring()` gives the key's versions as they are known now; `on_alert(key_id)` hears once per key version that
    random ivs come near their bound. `pools` counts the random ivs by key id: all sealers of a process share one, so
    that a bound is one of the process. `now` is wall time, which key versions are dated by."""

    def __init__(self, algorithm: Algorithm, ring: Callable[[], KeyRing], namespace: str, *,
                 epoch_messages: int = EPOCH_MESSAGES, epoch_seconds: float = EPOCH_SECONDS,
                 on_alert: Callable[[str], None] = lambda key_id: None, pools: dict[str, RandomIv] | None = None,
                 now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        self._algorithm = algorithm
        self._kind, self._name, self._direct = algorithm.type, algorithm.name, algorithm.name == RSA_DIRECT
        self._ring = ring
        self._namespace = namespace
        self._messages, self._seconds = epoch_messages, epoch_seconds
        self._on_alert = on_alert
        self._now, self._clock = now, clock
        self._pools = {} if pools is None else pools
        self._alerted: set[str] = set()
        self._epoch: _Epoch | None = None
        self.epochs = 0

    def seal(self, payload: bytes, aad: bytes) -> tuple[bytes, Encryption]:
        """Ciphertext and metadata. PrismError KEY_EXHAUSTED, ENC_PAYLOAD_TOO_LARGE."""
        if self._direct:
            return self._seal_direct(payload, aad)
        epoch = self._current()
        iv = epoch.ivs.next()
        made = Encryption(
            epoch.key_id, self._kind, self._name, epoch.public_id, iv, aad, epoch.encapsulated, epoch.params)
        made.around = epoch.around
        return epoch.aead.seal(iv, payload, aad), made

    def epoch(self) -> SharedKey:
        """The data key in use, for native code that seals by itself under it. ValueError for a scheme without one."""
        if self._direct:
            raise ValueError(f"{RSA_DIRECT} has no data key")
        epoch = self._current()
        common = Encryption(epoch.key_id, self._kind, self._name, epoch.public_id, None, None, epoch.encapsulated,
                            epoch.params)
        return SharedKey(epoch.aead, epoch.ivs, RANDOM_ALERT if epoch.random else self._messages, common,
                         epoch.ends - self._clock())

    def _seal_direct(self, payload: bytes, aad: bytes) -> tuple[bytes, Encryption]:
        """One RSA block. OAEP's label takes the place of an AAD."""
        ring = self._ring()
        version = ring.current(self._now())
        key = version.key.public().objects[rsa.PART]
        if len(payload) > rsa.limit(key):
            raise errors.payload_too_large(len(payload), rsa.limit(key))
        key_id = ring.key_id(version)
        return bytes(key.encrypt(payload, rsa.oaep(aad))), Encryption(
            key_id, self._algorithm.type, self._algorithm.name, key_id, aad=aad)

    def _current(self) -> _Epoch:
        epoch, ring = self._epoch, self._ring()
        if epoch is None or epoch.ring is not ring or self._clock() >= epoch.ends:
            return self._next(ring)
        if epoch.random:
            if epoch.ivs.used >= RANDOM_ALERT:
                self._check_bound(epoch)
        elif epoch.ivs.used >= self._messages:
            return self._next(ring)
        return epoch

    def _next(self, ring: KeyRing) -> _Epoch:
        version = ring.current(self._now())
        pool = self._pools.setdefault(ring.key_id(version), RandomIv())
        self._epoch = _Epoch(self._algorithm, ring, version, self._namespace, pool, self._clock() + self._seconds)
        self.epochs += 1
        return self._epoch

    def _check_bound(self, epoch: _Epoch) -> None:
        if epoch.ivs.used >= RANDOM_LIMIT:
            raise errors.key_exhausted(epoch.key_id, RANDOM_LIMIT)
        if epoch.key_id not in self._alerted:
            self._alerted.add(epoch.key_id)
            self._on_alert(epoch.key_id)
