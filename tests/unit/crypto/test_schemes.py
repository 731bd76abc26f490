"""Sealer and Opener over every algorithm: what opens, and that nothing else does."""

from __future__ import annotations

import contextlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest

from prism_proxy.crypto.algorithms import ALGORITHMS, RSA_DIRECT, algorithm, choose
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.message import bind
from prism_proxy.crypto.opener import Opener
from prism_proxy.crypto.sealer import Sealer
from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError
from tests.unit.crypto import rings

AAD = bind(b"0192f7a0-0000-7000-8000-000000000001", b"orders", b"shop")
SIZES = (0, 1, 446, 447, 1024 * 1024)
WITH_DATA_KEY = [name for name in ALGORITHMS if name not in ("aes-256-gcm", "chacha20-poly1305", RSA_DIRECT)]


def opener(known: KeyRing, **settings: object) -> Opener:
    return Opener(lambda reference: known if reference == known.reference else None, "shop", **settings)


def pair(name: str) -> tuple[Sealer, Opener]:
    found = algorithm(name)
    known = rings.ring(found.key_type)
    return Sealer(found, lambda: known, "shop"), opener(known)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PrismError) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("size", SIZES)
def test_ENC_1_round_trip(name: str, size: int) -> None:
    sealer, reader = pair(name)
    payload = os.urandom(size)
    if name == RSA_DIRECT and size > 446:
        with pytest.raises(PrismError, match="446") as caught:
            sealer.seal(payload, AAD)
        assert caught.value.reason == "ENC_PAYLOAD_TOO_LARGE"
        return
    sealed, metadata = sealer.seal(payload, AAD)
    assert reader.open(sealed, metadata, AAD) == payload
    assert payload == b"" or payload not in sealed or size == 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_ENC_3_every_flipped_byte_is_refused(name: str) -> None:
    sealer, reader = pair(name)
    size = 300 if name == RSA_DIRECT else 1024
    sealed, metadata = sealer.seal(os.urandom(size), AAD)
    for at in range(len(sealed)):
        assert refusal(lambda at=at: reader.open(flip(sealed, at), metadata, AAD)) == "ENC_AUTH_FAILED"
    for at in range(len(AAD)):
        assert refusal(lambda at=at: reader.open(sealed, metadata, flip(AAD, at))) == "ENC_AUTH_FAILED"
        assert refusal(lambda at=at: reader.open(
            sealed, replace(metadata, aad=flip(metadata.aad, at)), AAD)) == "ENC_AUTH_FAILED"
    iv, encapsulated = metadata.iv or b"", metadata.encapsulated_key or b""
    for at in range(len(iv)):
        assert refusal(lambda at=at: reader.open(
            sealed, replace(metadata, iv=flip(iv, at)), AAD)) == "ENC_AUTH_FAILED"
    for at in range(0, len(encapsulated), 1 if len(encapsulated) <= 1600 else 7):
        assert refusal(lambda at=at: reader.open(
            sealed, replace(metadata, encapsulated_key=flip(encapsulated, at)), AAD)) == "ENC_AUTH_FAILED"
    assert reader.open(sealed, metadata, AAD)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1:]


@pytest.mark.parametrize("name", WITH_DATA_KEY)
def test_params_altered_are_refused(name: str) -> None:
    sealer, reader = pair(name)
    sealed, metadata = sealer.seal(b"payload", AAD)
    params = json.loads(metadata.algorithm_params)
    for field, value in params.items():
        if field == "kdf":
            wrong = "none"
        else:
            raw = b64decode(value)
            wrong = b64encode(flip(raw, 0)).decode()
        altered = replace(metadata, algorithm_params=json.dumps({**params, field: wrong}))
        assert refusal(lambda altered=altered: reader.open(sealed, altered, AAD)) == "ENC_AUTH_FAILED", field
    for rubbish in ("[", "[]", '"x"', '{"x": 1}', '{"kdf": "\\ud800"}', "[" * 3000, "x" * 5000):
        reason = refusal(lambda rubbish=rubbish: reader.open(
            sealed, replace(metadata, algorithm_params=rubbish), AAD))
        assert reason == "ENC_AUTH_FAILED"


def test_a_message_without_a_commitment_opens_too() -> None:
    sealer, reader = pair("aes-256-gcm")
    sealed, metadata = sealer.seal(b"from another producer", AAD)
    assert reader.open(sealed, replace(metadata, algorithm_params=""), AAD) == b"from another producer"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_another_key_does_not_open(name: str) -> None:
    sealer, _ = pair(name)
    sealed, metadata = sealer.seal(b"payload", AAD)
    stranger = opener(rings.ring(algorithm(name).key_type, number=2))
    assert refusal(lambda: stranger.open(sealed, metadata, AAD)) == "ENC_AUTH_FAILED"


@pytest.mark.parametrize("name", ["x25519-kyber1024", "rsa4096-kyber768", "x-wing"])
def test_ENC_8_one_half_of_a_hybrid_key_does_not_open(name: str) -> None:
    sealer, _ = pair(name)
    sealed, metadata = sealer.seal(b"payload", AAD)
    right, other = rings.key(name), rings.key(name, 2)
    for part in right.parts:
        mixed = type(right)(name, {**right.parts, part: other.parts[part]}, private=True)
        reader = opener(KeyRing(rings.REFERENCE, [KeyVersion("1", mixed)]))
        assert refusal(lambda reader=reader: reader.open(sealed, metadata, AAD)) == "ENC_AUTH_FAILED", part


@pytest.mark.parametrize("name", ["aes-128-gcm", "rsa-2048", "rc4", "3des", "des", "md5", "sha-1", "ed25519", "", "x"])
def test_ENC_6_refused_names(name: str) -> None:
    assert refusal(lambda: choose("symmetric", name, fips_mode=False)) == "ENC_ALGORITHM_REFUSED"
    sealer, reader = pair("aes-256-gcm")
    sealed, metadata = sealer.seal(b"payload", AAD)
    renamed = replace(metadata, algorithm=name)
    assert refusal(lambda: reader.open(sealed, renamed, AAD)) == "ENC_ALGORITHM_REFUSED"


def test_an_algorithm_the_key_is_not_for_is_refused() -> None:
    sealer, reader = pair("aes-256-gcm")
    sealed, metadata = sealer.seal(b"payload", AAD)
    renamed = replace(metadata, algorithm="chacha20-poly1305")
    assert refusal(lambda: reader.open(sealed, renamed, AAD)) == "ENC_ALGORITHM_REFUSED"


def test_defaults_and_fips_mode() -> None:
    assert choose("hybrid", None, fips_mode=False).name == "x-wing"
    assert choose("hybrid", None, fips_mode=True).name == "x25519-kyber1024"
    assert choose("post_quantum", "kyber1024", fips_mode=True).name == "ml-kem-1024"
    for type_name, name in (("symmetric", "chacha20-poly1305"), ("hybrid", "x-wing"), ("hybrid", "aes-256-gcm")):
        assert refusal(lambda type_name=type_name, name=name: choose(
            type_name, name, fips_mode=True)) == "ENC_ALGORITHM_REFUSED"


def test_ENC_7_a_superseded_version_opens_within_the_overlap() -> None:
    day = 86400.0
    now = 0.0
    found = algorithm("aes-256-gcm")
    old, new = (KeyVersion(str(n), rings.key("aes-256-gcm", n), active_from=at) for n, at in ((1, 0.0), (2, day)))
    known = KeyRing(rings.REFERENCE, [old])
    sealer = Sealer(found, lambda: known, "shop", now=lambda: now)
    first = sealer.seal(b"first", AAD)
    known, now = KeyRing(rings.REFERENCE, [old, new]), day
    second = sealer.seal(b"second", AAD)
    assert [metadata.key_id for _, metadata in (first, second)] == [f"{rings.REFERENCE}#1", f"{rings.REFERENCE}#2"]
    in_flight = opener(known, overlap=7 * day, now=lambda: now)
    stored = opener(known, now=lambda: now)
    now = day + 6 * day
    assert in_flight.open(*first, AAD) == b"first"
    now = day + 8 * day
    assert refusal(lambda: in_flight.open(*first, AAD)) == "KEY_RETIRED"
    assert in_flight.open(*second, AAD) == b"second"
    now = 365 * day
    assert stored.open(*first, AAD) == b"first"


def test_a_new_version_decrypts_before_it_encrypts() -> None:
    versions = [KeyVersion("1", rings.key("aes-256-gcm", 1), 0.0), KeyVersion("2", rings.key("aes-256-gcm", 2), 600.0)]
    known = KeyRing(rings.REFERENCE, versions)
    ahead = Sealer(algorithm("aes-256-gcm"), lambda: known, "shop", now=lambda: 601.0)
    behind = Sealer(algorithm("aes-256-gcm"), lambda: known, "shop", now=lambda: 599.0)
    assert behind.seal(b"", AAD)[1].key_id.endswith("#1")
    assert opener(known, now=lambda: 599.0).open(*ahead.seal(b"early", AAD), AAD) == b"early"


@pytest.mark.parametrize("name", ["ml-kem-768", "x-wing", "rsa-oaep-4096+aes-256-gcm", "x25519-chacha20-poly1305"])
def test_one_encapsulation_per_epoch(name: str) -> None:
    clock = 0.0
    found = algorithm(name)
    known = rings.ring(found.key_type)
    sealer = Sealer(found, lambda: known, "shop", epoch_messages=3, epoch_seconds=60, clock=lambda: clock)
    messages = [sealer.seal(b"payload", AAD)[1] for _ in range(7)]
    assert sealer.epochs == 3
    assert len({(each.encapsulated_key, each.algorithm_params, each.iv) for each in messages}) == 7
    clock = 61.0
    sealer.seal(b"payload", AAD)
    assert sealer.epochs == 4


def test_unknown_references_and_versions() -> None:
    sealer, reader = pair("aes-256-gcm")
    sealed, metadata = sealer.seal(b"payload", AAD)
    for key_id in ("disk://other#1", f"{rings.REFERENCE}#9", rings.REFERENCE, ""):
        renamed = replace(metadata, key_id=key_id)
        assert refusal(lambda renamed=renamed: reader.open(sealed, renamed, AAD)) == "ENC_KEY_NOT_FOUND"


def test_random_ivs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_proxy.crypto.sealer.RANDOM_ALERT", 2)
    monkeypatch.setattr("prism_proxy.crypto.sealer.RANDOM_LIMIT", 4)
    known = rings.ring("aes-256-gcm")
    heard: list[str] = []
    sealer = Sealer(algorithm("aes-256-gcm"), lambda: known, "shop", on_alert=heard.append)
    for _ in range(4):
        sealer.seal(b"", AAD)
    assert heard == [f"{rings.REFERENCE}#1"]
    assert refusal(lambda: sealer.seal(b"", AAD)) == "KEY_EXHAUSTED"


def test_no_key_material_in_what_travels() -> None:
    for name, found in ALGORITHMS.items():
        sealer, _ = pair(name)
        sealed, metadata = sealer.seal(b"payload", AAD)
        travelling = metadata.encode() + sealed
        for secret in rings.key(found.key_type).parts.values():
            assert secret not in travelling
        assert "parts" not in repr(rings.key(found.key_type))



@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_travels_is_read_as_it_was_written(name: str) -> None:
    metadata = pair(name)[0].seal(b"payload", AAD)[1]
    assert Encryption.decode(metadata.encode()) == metadata
    assert replace(metadata).encode() == metadata.encode()  # without what the sealer encoded before
    for at in range(0, len(metadata.encode()), 7):
        with contextlib.suppress(ValueError):
            Encryption.decode(metadata.encode()[:at])
