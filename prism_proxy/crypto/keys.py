"""Key material in memory: a key type, and the parts it consists of.

A key pair has the parts' private bytes, a public key their public bytes, a secret key one part named `secret`. Parsed
key objects are made once, here; nothing in this module reads files or shows key bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, rsa, x25519

SECRET = "secret"
MIN_RSA_BITS = 3072
_RSA_BITS = 4096
# key type -> its parts
KEY_TYPES: dict[str, tuple[str, ...]] = {
    "aes-256-gcm": (SECRET,), "chacha20-poly1305": (SECRET,), "hmac-sha256": (SECRET,),
    "rsa-4096": ("rsa",), "x25519": ("x25519",), "ed25519": ("ed25519",),
    "ml-kem-768": ("ml-kem-768",), "ml-kem-1024": ("ml-kem-1024",),
    "x25519-kyber1024": ("x25519", "ml-kem-1024"), "rsa4096-kyber768": ("rsa", "ml-kem-768"),
    "x-wing": ("ml-kem-768", "x25519"),
}


class InvalidKeyError(ValueError):
    """The bytes are no key of the type."""


@dataclass(frozen=True)
class Key:
    """`parts` are private bytes where `private`, else public ones. The representation shows the type only."""

    type: str
    parts: Mapping[str, bytes] = field(repr=False)
    private: bool

    def __post_init__(self) -> None:
        wanted = KEY_TYPES.get(self.type)
        if wanted is None:
            raise InvalidKeyError(f"key type {self.type!r} is unknown: use one of {', '.join(KEY_TYPES)}")
        if set(self.parts) != set(wanted):
            raise InvalidKeyError(f"a key of type {self.type} has the parts {', '.join(wanted)}")
        for name in wanted:
            self.objects[name]

    @property
    def secret(self) -> bytes:
        """The bytes of a symmetric key."""
        return self.parts[SECRET]

    @property
    def symmetric(self) -> bool:
        return SECRET in self.parts

    @cached_property
    def objects(self) -> Mapping[str, Any]:
        """The parts as objects of `cryptography`. InvalidKeyError when bytes are no such key."""
        return {name: _load(self.type, name, data, private=self.private) for name, data in self.parts.items()}

    def public(self) -> Key:
        """The public part of a key pair. InvalidKeyError for a symmetric key, which has none."""
        if self.symmetric:
            raise InvalidKeyError(f"a key of type {self.type} has no public part")
        if not self.private:
            return self
        return Key(self.type, {name: _PARTS[name].public_bytes(part.public_key())
                               for name, part in self.objects.items()}, private=False)


def generate(key_type: str) -> Key:
    """A new key of a type. InvalidKeyError names the types."""
    if key_type not in KEY_TYPES:
        raise InvalidKeyError(f"key type {key_type!r} is unknown: use one of {', '.join(KEY_TYPES)}")
    return Key(key_type, {
        name: os.urandom(32) if name == SECRET else _PARTS[name].private_bytes(_PARTS[name].generate())
        for name in KEY_TYPES[key_type]}, private=True)


@dataclass(frozen=True, slots=True)
class _Part:
    generate: Callable[[], Any]
    load_private: Callable[[bytes], Any]
    load_public: Callable[[bytes], Any]
    private_bytes: Callable[[Any], bytes]
    public_bytes: Callable[[Any], bytes]


def _raw(private: Any, public: Any, load_private: Callable[[bytes], Any]) -> _Part:
    return _Part(private.generate, load_private, public.from_public_bytes, lambda key: key.private_bytes_raw(),
                 lambda key: key.public_bytes_raw())


def _load_rsa(data: bytes) -> Any:
    return serialization.load_der_private_key(data, None)


def _rsa_private_bytes(key: Any) -> bytes:
    return bytes(key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                   serialization.NoEncryption()))


def _rsa_public_bytes(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


_PARTS: dict[str, _Part] = {
    "x25519": _raw(x25519.X25519PrivateKey, x25519.X25519PublicKey, x25519.X25519PrivateKey.from_private_bytes),
    "ed25519": _raw(ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey.from_private_bytes),
    "ml-kem-768": _raw(mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey, mlkem.MLKEM768PrivateKey.from_seed_bytes),
    "ml-kem-1024": _raw(mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey,
                        mlkem.MLKEM1024PrivateKey.from_seed_bytes),
    "rsa": _Part(lambda: rsa.generate_private_key(65537, _RSA_BITS), _load_rsa, serialization.load_der_public_key,
                 _rsa_private_bytes, _rsa_public_bytes),
}


def _load(key_type: str, name: str, data: bytes, *, private: bool) -> Any:
    if name == SECRET:
        if len(data) != 32:
            raise InvalidKeyError(f"a key of type {key_type} has 32 bytes, not {len(data)}")
        return None
    part = _PARTS[name]
    try:
        found = part.load_private(data) if private else part.load_public(data)
    except (ValueError, TypeError) as error:
        raise InvalidKeyError(f"part {name} is no {'private' if private else 'public'} key of its kind") from error
    if name == "rsa" and found.key_size < MIN_RSA_BITS:
        raise InvalidKeyError(f"the RSA key has {found.key_size} bits: it needs {MIN_RSA_BITS}, better 4096")
    return found
