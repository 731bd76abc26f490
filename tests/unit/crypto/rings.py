"""Key rings for tests, made once: RSA keys take a second."""

from __future__ import annotations

import functools

from prism_proxy.crypto import keys
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.keys import Key

REFERENCE = "disk://payments"


@functools.cache
def key(key_type: str, number: int = 1) -> Key:
    return keys.generate(key_type)


def ring(key_type: str, number: int = 1, version: str = "1") -> KeyRing:
    return KeyRing(REFERENCE, [KeyVersion(version, key(key_type, number))])
