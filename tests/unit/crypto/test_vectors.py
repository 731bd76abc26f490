"""ENC-2: published vectors, taken from the package cryptography-vectors, through our own contract."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, rsa, x25519

from prism_proxy._native.crypto.aead import Aead, AuthenticationError
from prism_proxy.crypto import kdf
from prism_proxy.crypto.keys import Key
from prism_proxy.crypto.schemes import x25519 as x25519_scheme
from prism_proxy.crypto.schemes.kem import MlKem
from prism_proxy.crypto.schemes.rsa import RsaSession

cryptography_vectors = pytest.importorskip("cryptography_vectors", reason="the package cryptography-vectors is missing")
VECTORS = Path(cryptography_vectors.__path__[0])


def records(path: str, start: str) -> Iterator[dict[str, str]]:
    """Records of `name = value` lines, each beginning with `start`."""
    found: dict[str, str] = {}
    for line in (VECTORS / path).read_text().splitlines():
        match = re.match(r"(\w+)\s*=\s*(.*)", line.strip())
        if match is None:
            continue
        name, value = match[1].lower(), match[2].strip()
        if name == start and found:
            yield found
            found = {}
        found[name] = value
    yield found


def unhex(found: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(found[name]) for name in names]


def test_ENC_2_aes_256_gcm_seals_as_nist_says() -> None:
    tried = 0
    for found in records("ciphers/AES/GCM/gcmEncryptExtIV256.rsp", "count"):
        if len(found["iv"]) != 24 or len(found["tag"]) != 32:
            continue
        key, iv, plain, aad, sealed, tag = unhex(found, "key", "iv", "pt", "aad", "ct", "tag")
        assert Aead("aes-256-gcm", key).seal(iv, plain, aad) == sealed + tag
        tried += 1
    assert tried >= 375


def test_ENC_2_aes_256_gcm_refuses_as_nist_says() -> None:
    text = (VECTORS / "ciphers/AES/GCM/gcmDecrypt256.rsp").read_text()
    refused = opened = 0
    for block in re.split(r"Count = \d+", text)[1:]:
        found = dict(re.findall(r"(\w+) = *(\w*)", block))
        if len(found["IV"]) != 24 or len(found["Tag"]) != 32:
            continue
        key, iv, aad, sealed, tag = unhex(found, "Key", "IV", "AAD", "CT", "Tag")
        if "FAIL" in block:
            with pytest.raises(AuthenticationError):
                Aead("aes-256-gcm", key).open(iv, sealed + tag, aad)
            refused += 1
        else:
            assert Aead("aes-256-gcm", key).open(iv, sealed + tag, aad) == bytes.fromhex(found["PT"])
            opened += 1
    assert refused > 50
    assert opened > 50


def test_ENC_2_chacha20_poly1305() -> None:
    tried = 0
    for found in records("ciphers/ChaCha20Poly1305/openssl.txt", "count"):
        key, iv, aad, tag, plain, sealed = unhex(found, "key", "iv", "aad", "tag", "plaintext", "ciphertext")
        if len(iv) != 12 or len(tag) != 16:
            continue
        if "result" in found:  # a tag that must be refused
            with pytest.raises(AuthenticationError):
                Aead("chacha20-poly1305", key).open(iv, sealed + tag, aad)
        else:
            assert Aead("chacha20-poly1305", key).seal(iv, plain, aad) == sealed + tag
        tried += 1
    assert tried


def test_ENC_2_hkdf_sha256() -> None:
    tried = 0
    for found in records("KDF/rfc-5869-HKDF-SHA256.txt", "count"):
        secret, salt, info, prk, okm = unhex(found, "ikm", "salt", "info", "prk", "okm")
        assert kdf.extract(secret, salt) == prk
        assert kdf.expand(prk, info, int(found["l"])) == okm
        tried += 1
    assert tried == 3


def test_ENC_2_x25519() -> None:
    for found in records("asymmetric/X25519/rfc7748.txt", "count"):
        scalar, point, output = unhex(found, "input_scalar", "input_u", "output_u")
        private = Key("x25519", {"x25519": scalar}, private=True)
        shared = private.objects["x25519"].exchange(x25519.X25519PublicKey.from_public_bytes(point))
        if int(found["count"]) <= 2:
            assert shared == output
    assert x25519_scheme.KDF == "hkdf-sha256"


@pytest.mark.parametrize(("part", "size"), [("ml-kem-768", "768"), ("ml-kem-1024", "1024")])
def test_ENC_2_ml_kem(part: str, size: str) -> None:
    tried = 0
    for found in records(f"asymmetric/MLKEM/kat_MLKEM_{size}.rsp", "count"):
        seed = bytes.fromhex(found["d"] + found["z"])
        private = Key(part, {part: seed}, private=True)
        assert private.public().parts[part] == bytes.fromhex(found["pk"])
        ciphertext, secret = unhex(found, "ct", "ss")
        assert MlKem(part).decapsulate(private, ciphertext, {}, b"") == secret
        tried += 1
    assert tried >= 25


def test_ENC_2_rsa_oaep_with_sha_256() -> None:
    """Keys of the vectors are smaller than we let anybody use: they go to the scheme without a `Key` around them."""
    values: list[tuple[str, str]] = []
    name, tried = "", 0
    private: rsa.RSAPrivateKey | None = None
    for line in (VECTORS / "asymmetric/RSA/oaep-custom/oaep-sha256-sha256.txt").read_text().splitlines():
        if line.startswith("#"):
            name = line.lstrip("# ").rstrip(":")
            if name.startswith("Example"):
                values = []
            continue
        values.append((name, line.strip()))
        found = dict(values)
        if name == "Coefficient":
            e, n, d, p, q, dmp1, dmq1, iqmp = (int(found[part], 16) for part in (
                "Public exponent", "Modulus", "Exponent", "Prime 1", "Prime 2", "Prime exponent 1",
                "Prime exponent 2", "Coefficient"))
            private = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n)).private_key()
        elif name == "Encryption":
            key: Any = SimpleNamespace(objects={"rsa": private})
            opened = RsaSession().decapsulate(key, bytes.fromhex(found["Encryption"]), {}, b"")
            assert opened == bytes.fromhex(found["Message"])
            tried += 1
    assert tried == 60


def test_ENC_2_x_wing_by_hpke() -> None:
    """The draft's vector of MLKEM768-X25519 with HKDF-SHA256; ours has AES-256-GCM, theirs ChaCha20-Poly1305."""
    vectors: list[dict[str, Any]] = json.loads((VECTORS / "HPKE/hpke-pq-test-vectors.json").read_text())
    [vector] = [each for each in vectors if (each["kem_id"], each["kdf_id"]) == (25722, 1)]
    expanded = hashlib.shake_256(bytes.fromhex(vector["skRm"])).digest(96)
    private = Key("x-wing", {"ml-kem-768": expanded[:64], "x25519": expanded[64:]}, private=True)
    public = private.public()
    assert public.parts["ml-kem-768"] + public.parts["x25519"] == bytes.fromhex(vector["pkRm"])
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    receiver = hpke.MLKEM768X25519PrivateKey(private.objects["ml-kem-768"], private.objects["x25519"])
    first = vector["encryptions"][0]
    sealed, plain, aad, info = (bytes.fromhex(text) for text in (
        vector["enc"] + first["ct"], first["pt"], first["aad"], vector["info"]))
    assert rust_openssl.hpke._decrypt_with_aad(suite, sealed, receiver, info, aad) == plain


@pytest.mark.parametrize("size", ["768", "1024"])
def test_pqcrypto_and_cryptography_understand_each_other(size: str) -> None:
    other: Any = pytest.importorskip(f"pqcrypto.kem.ml_kem_{size}", reason="the package pqcrypto is missing")
    part = f"ml-kem-{size}"
    kind = {"768": mlkem.MLKEM768PrivateKey, "1024": mlkem.MLKEM1024PrivateKey}[size]
    ours = Key(part, {part: kind.generate().private_bytes_raw()}, private=True)
    theirs = other.keygen()
    public, secret = theirs
    made = MlKem(part).encapsulate(Key(part, {part: bytes(public)}, private=False), b"")
    assert bytes(other.decaps(secret, made.encapsulated)) == made.key
    ciphertext, shared = other.encaps(type(public)(ours.public().parts[part]))
    assert MlKem(part).decapsulate(ours, bytes(ciphertext), {}, b"") == bytes(shared)
