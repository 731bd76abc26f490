"""The published vectors of C2SP chunked encryption, and Cobblestone-256 beside them.

The vectors of `cryptography_vectors` derive their keys by HKDF-SHA-256, and Cobblestone-256 is the same construction by
HKDF-SHA-512: they cannot open each other's bytes. So a reader and a writer written here from the specification are
held against all vectors with the one hash, and our contract against them with the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from prism_proxy.claim_check import encryption
from prism_proxy.claim_check.pipeline import pack, unpack
from tests.unit.claim_check.test_pipeline import BOUND, KEY, unpacker

cryptography_vectors = pytest.importorskip("cryptography_vectors", reason="the package cryptography-vectors is missing")
FILE = Path(cryptography_vectors.__path__[0]) / "chunked-encryption/vectors.json"
VECTORS = {vector["name"]: vector for vector in json.loads(FILE.read_text())["vectors"]
           if vector["aead"] == "AEAD_AES_256_GCM"}
SALT, HEAD, CHUNK, TAG = 24, 56, 16 * 1024, 16
CHUNK_AND_TAG = CHUNK + TAG


def derive(algorithm: str, key: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, base nonce and commitment."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    block, out = b"", b""
    for number in range(1, 4):
        block = hmac.new(key, block + info + bytes([number]), algorithm).digest()
        out += block
    return out[:32], out[32:44], out[44:76]


def nonce(base: bytes, number: int) -> bytes:
    return (int.from_bytes(base, "big") ^ number).to_bytes(12, "big")


def seal(algorithm: str, key: bytes, context: bytes, payload: bytes) -> bytes:
    salt = os.urandom(SALT)
    aead_key, base, commitment = derive(algorithm, key, salt, context)
    chunks = [payload[at:at + CHUNK] for at in range(0, len(payload) + 1, CHUNK)]
    found = [AESGCM(aead_key).encrypt(nonce(base, number), chunk, b"") for number, chunk in enumerate(chunks)]
    return salt + commitment + b"".join(found)


def unseal(algorithm: str, key: bytes, context: bytes, data: bytes) -> bytes:
    """InvalidTag."""
    if len(key) != 32 or len(data) < HEAD:
        raise InvalidTag
    aead_key, base, commitment = derive(algorithm, key, data[:SALT], context)
    if commitment != data[SALT:HEAD]:
        raise InvalidTag
    chunks = [data[at:at + CHUNK_AND_TAG] for at in range(HEAD, len(data), CHUNK_AND_TAG)]
    if not chunks or len(chunks[-1]) == CHUNK_AND_TAG:  # the last one is always shorter
        raise InvalidTag
    return b"".join(AESGCM(aead_key).decrypt(nonce(base, number), chunk, b"") for number, chunk in enumerate(chunks))


def bytes_of(vector: dict[str, Any]) -> bytes:
    data = base64.b64decode(vector["ciphertext"] or "")
    return zlib.decompress(data) if vector.get("compressed") else data


@pytest.mark.parametrize("name", VECTORS)
def test_the_construction_agrees_with_its_published_vectors(name: str) -> None:
    vector = VECTORS[name]
    key, context, data = bytes.fromhex(vector["key"]), vector["context"].encode(), bytes_of(vector)
    if vector["expect"] == "failure":
        with pytest.raises(InvalidTag):
            unseal("sha256", key, context, data)
        return
    aead_key, base, _ = derive("sha256", key, data[:SALT], context)
    assert (aead_key.hex(), base.hex()) == (vector["aead_key"], vector["base_nonce"])
    assert hashlib.sha256(unseal("sha256", key, context, data)).hexdigest() == vector["payload_sha256"]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 257 * CHUNK + 1])
def test_objects_are_that_construction_with_sha_512(size: int) -> None:
    payload = os.urandom(size)
    stored, digests = pack(payload, "none", KEY, BOUND)
    assert unseal("sha512", KEY, BOUND, stored) == payload
    made = seal("sha512", KEY, BOUND, payload)
    cipher = encryption.decryptor(KEY, BOUND)
    assert cipher.update(made) + cipher.finalize() == payload
    assert len(made) == len(stored)
    assert unpack(stored, unpacker(digests, "none", KEY)) == payload
