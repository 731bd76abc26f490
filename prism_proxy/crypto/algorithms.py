"""The encryption algorithms by their names on the wire: what each needs, and which names are refused.

The table is the specification's; a name outside it is refused at configuration and at receipt alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from prism_proxy.errors import PrismError, StatusCode


class EncryptionType(IntEnum):
    """Values are those of prism.envelope.v1.EncryptionType."""

    UNSPECIFIED = 0
    SYMMETRIC = 1
    ASYMMETRIC = 2
    POST_QUANTUM = 3
    HYBRID = 4


@dataclass(frozen=True, slots=True)
class Algorithm:
    """`key_type` is the kind of key it takes, `cipher` the AEAD of the payload ("" for direct RSA), `fips` whether
    fips_mode allows it."""

    name: str
    type: EncryptionType
    key_type: str
    cipher: str
    fips: bool


_AES, _CHACHA = "aes-256-gcm", "chacha20-poly1305"
RSA_DIRECT = "rsa-oaep-4096"
RSA_SESSION = "rsa-oaep-4096+aes-256-gcm"
X_WING = "x-wing"
ALGORITHMS = {algorithm.name: algorithm for algorithm in (
    Algorithm(_AES, EncryptionType.SYMMETRIC, _AES, _AES, True),
    Algorithm(_CHACHA, EncryptionType.SYMMETRIC, _CHACHA, _CHACHA, False),
    Algorithm(RSA_DIRECT, EncryptionType.ASYMMETRIC, "rsa-4096", "", True),
    Algorithm(RSA_SESSION, EncryptionType.ASYMMETRIC, "rsa-4096", _AES, True),
    Algorithm("x25519-chacha20-poly1305", EncryptionType.ASYMMETRIC, "x25519", _CHACHA, False),
    Algorithm("ml-kem-768", EncryptionType.POST_QUANTUM, "ml-kem-768", _AES, True),
    Algorithm("ml-kem-1024", EncryptionType.POST_QUANTUM, "ml-kem-1024", _AES, True),
    Algorithm("x25519-kyber1024", EncryptionType.HYBRID, "x25519-kyber1024", _AES, True),
    Algorithm("rsa4096-kyber768", EncryptionType.HYBRID, "rsa4096-kyber768", _AES, True),
    Algorithm(X_WING, EncryptionType.HYBRID, X_WING, _AES, False),
)}
# Round-3 Kyber names stand for the FIPS 203 variant.
ALIASES = {"kyber768": "ml-kem-768", "kyber1024": "ml-kem-1024"}
DEFAULTS = {EncryptionType.SYMMETRIC: _AES, EncryptionType.ASYMMETRIC: RSA_SESSION,
            EncryptionType.POST_QUANTUM: "ml-kem-1024", EncryptionType.HYBRID: X_WING}
FIPS_HYBRID = "x25519-kyber1024"
# Refused name -> what to use.
DEPRECATED = {"aes-128-gcm": _AES, "3des": _AES, "des": _AES, "rsa-2048": RSA_SESSION, "rsa-oaep-2048": RSA_SESSION,
              "md5": "sha-256", "sha-1": "sha-256", "rc4": _CHACHA}


def algorithm(name: str) -> Algorithm:
    """The algorithm of a name or alias. PrismError ENC_ALGORITHM_REFUSED for every other one."""
    found = ALGORITHMS.get(ALIASES.get(name, name))
    if found is not None:
        return found
    if name.lower() in DEPRECATED:
        advice = f"is deprecated: use {DEPRECATED[name.lower()]}"
    elif name == "ed25519":
        advice = "signs and does not encrypt"
    else:
        advice = f"is unknown: use one of {', '.join(ALGORITHMS)}"
    raise refused(f"encryption algorithm {name!r} {advice}")


def choose(type_name: str, name: str | None, *, fips_mode: bool) -> Algorithm:
    """The algorithm of a configuration: `name` of `type_name` (symmetric, asymmetric, post_quantum, hybrid), or the
    default of the type. PrismError ENC_ALGORITHM_REFUSED when they do not fit, or fips_mode forbids it."""
    kind = EncryptionType.__members__.get(type_name.upper(), EncryptionType.UNSPECIFIED)
    if kind is EncryptionType.UNSPECIFIED:
        raise refused(f"encryption type {type_name!r} is unknown: use symmetric, asymmetric, post_quantum or hybrid")
    if name is None:
        name = FIPS_HYBRID if fips_mode and kind is EncryptionType.HYBRID else DEFAULTS[kind]
    found = algorithm(name)
    if found.type is not kind:
        fitting = ", ".join(each.name for each in ALGORITHMS.values() if each.type is kind)
        raise refused(f"encryption algorithm {name!r} is {found.type.name.lower()}, not {type_name}: use {fitting}")
    if fips_mode and not found.fips:
        allowed = ", ".join(each.name for each in ALGORITHMS.values() if each.fips)
        raise refused(f"encryption algorithm {name!r} is not approved for fips_mode: use {allowed}")
    return found


def refused(message: str) -> PrismError:
    return PrismError(StatusCode.INVALID_ARGUMENT, "ENC_ALGORITHM_REFUSED", message)
