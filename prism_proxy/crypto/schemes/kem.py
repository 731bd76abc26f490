"""ML-KEM (FIPS 203): the shared secret is the data key."""

from __future__ import annotations

from collections.abc import Mapping

from prism_proxy.crypto.keys import Key
from prism_proxy.crypto.schemes.contract import DataKey


class MlKem:
    """`part` is ml-kem-768 or ml-kem-1024."""

    def __init__(self, part: str) -> None:
        self._part = part

    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        secret, ciphertext = public.objects[self._part].encapsulate()
        return DataKey(secret, ciphertext, {})

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        return bytes(private.objects[self._part].decapsulate(encapsulated))
