"""The scheme of each algorithm that has one: symmetric keys and direct RSA need none."""

from __future__ import annotations

from prism_proxy.crypto.algorithms import RSA_SESSION, X_WING
from prism_proxy.crypto.schemes.contract import Scheme
from prism_proxy.crypto.schemes.hybrid import Rsa4096Kyber768, X25519Kyber1024, XWing
from prism_proxy.crypto.schemes.kem import MlKem
from prism_proxy.crypto.schemes.rsa import RsaSession
from prism_proxy.crypto.schemes.x25519 import X25519


def scheme(algorithm: str) -> Scheme:
    """KeyError for an algorithm without one."""
    makers: dict[str, Scheme] = {
        RSA_SESSION: RsaSession(), "x25519-chacha20-poly1305": X25519(), "ml-kem-768": MlKem("ml-kem-768"),
        "ml-kem-1024": MlKem("ml-kem-1024"), "x25519-kyber1024": X25519Kyber1024(),
        "rsa4096-kyber768": Rsa4096Kyber768(), X_WING: XWing()}
    return makers[algorithm]
