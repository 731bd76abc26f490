"""A classical and a post-quantum secret together: who breaks one of them has nothing.

The data key is HKDF-SHA256 extract over the classical secret followed by the KEM's. `x-wing` is HPKE in base mode over
MLKEM768-X25519, which seals a random data key; the library does it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from prism_proxy.crypto import kdf
from prism_proxy.crypto.keys import Key
from prism_proxy.crypto.schemes import rsa, x25519
from prism_proxy.crypto.schemes.contract import DataKey


class X25519Kyber1024:
    _KEM = "ml-kem-1024"

    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        classical, ephemeral = x25519.send(public.objects[x25519.PART])
        secret, ciphertext = public.objects[self._KEM].encapsulate()
        return DataKey(kdf.extract(classical + secret), ciphertext, {x25519.EPHEMERAL: ephemeral})

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        classical = x25519.receive(private.objects[x25519.PART], params)
        return kdf.extract(classical + private.objects[self._KEM].decapsulate(encapsulated))


class Rsa4096Kyber768:
    """The encapsulated key is the RSA block followed by the KEM ciphertext."""

    _KEM = "ml-kem-768"

    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        classical = os.urandom(32)
        wrapped = public.objects[rsa.PART].encrypt(classical, rsa.oaep())
        secret, ciphertext = public.objects[self._KEM].encapsulate()
        return DataKey(kdf.extract(classical + secret), wrapped + ciphertext, {})

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        key = private.objects[rsa.PART]
        block = key.key_size // 8
        classical = key.decrypt(encapsulated[:block], rsa.oaep())
        return kdf.extract(classical + private.objects[self._KEM].decapsulate(encapsulated[block:]))


class XWing:
    """The encapsulated key is HPKE's enc (1,120 bytes) followed by the sealed data key (48)."""

    def __init__(self) -> None:
        self._suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        key = os.urandom(32)
        receiver = hpke.MLKEM768X25519PublicKey(public.objects["ml-kem-768"], public.objects["x25519"])
        return DataKey(key, self._suite.encrypt(key, receiver, info), {})

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        receiver = hpke.MLKEM768X25519PrivateKey(private.objects["ml-kem-768"], private.objects["x25519"])
        try:
            return self._suite.decrypt(encapsulated, receiver, info)
        except InvalidTag as error:
            raise ValueError("the sealed data key does not open") from error
