"""ENV-5: a signature holds for what was signed and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from prism.envelope.v1 import envelope_pb2 as pb
from prism_proxy._native.envelope.codec import MalformedEnvelopeError, fields
from prism_proxy.envelope.attributes import Attributes
from prism_proxy.envelope.parts import Observability, Security
from prism_proxy.envelope.reader import read
from prism_proxy.envelope.relay import admit
from prism_proxy.envelope.signature import ALGORITHMS, ED25519, HMAC, Ed25519Key, HmacKey, load_key, verify
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.errors import PrismError, StatusCode

ID = "0190b6a0-0000-7000-8000-000000000001"


@pytest.fixture(params=ALGORITHMS)
def key(request: pytest.FixtureRequest, tmp_path: Path) -> HmacKey | Ed25519Key:
    path = tmp_path / "key"
    if request.param == HMAC:
        path.write_bytes(bytes(range(32)))
    else:
        path.write_bytes(Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return load_key(request.param, path)


def signed(key: HmacKey | Ed25519Key) -> bytes:
    return EnvelopeWriter("ns", "t", signer=key).write(
        b"payload", Attributes(content_type="text/plain", user={"b": "2", "a": "1"}), message_id=ID,
        published_ms=1_700_000_000_123, security=Security("spiffe://me"),
        observability=Observability("1" * 32, "2" * 16))


def test_what_was_signed_verifies(key: HmacKey | Ed25519Key) -> None:
    verify(read(signed(key)), key)
    assert read(signed(key)).attributes().user == {"a": "1", "b": "2"}


def test_ENV5_any_changed_byte_outside_the_security_context_is_found(key: HmacKey | Ed25519Key) -> None:
    data = signed(key)
    at = 0
    for number, body in fields(data):
        for index in range(at, at + len(body)):
            if number != 4:
                for bit in (1, 0x80):
                    _must_fail(data[:index] + bytes([data[index] ^ bit]) + data[index + 1:], key)
        at += len(body)


def _must_fail(data: bytes, key: HmacKey | Ed25519Key) -> None:
    try:
        envelope = read(data)
    except MalformedEnvelopeError:
        return
    with pytest.raises(PrismError) as caught:
        verify(envelope, key)
    assert caught.value.code is StatusCode.UNAUTHENTICATED
    assert caught.value.reason == "SIGNATURE_INVALID"


def test_a_changed_signature_algorithm_or_key_fails(key: HmacKey | Ed25519Key) -> None:
    made = pb.PrismEnvelope.FromString(signed(key))
    made.security.signature = bytes([made.security.signature[0] ^ 1]) + made.security.signature[1:]
    _must_fail(made.SerializeToString(), key)
    made = pb.PrismEnvelope.FromString(signed(key))
    made.security.signature_algorithm = ED25519 if key.algorithm == HMAC else HMAC
    _must_fail(made.SerializeToString(), key)
    _must_fail(signed(HmacKey(b"another key" * 4)), key)


def test_the_order_of_the_fields_does_not_matter(key: HmacKey | Ed25519Key) -> None:
    """Other writers, such as the protobuf runtime, put the payload before the rest."""
    verify(read(pb.PrismEnvelope.FromString(signed(key)).SerializeToString()), key)


def test_a_proxy_that_replaces_the_publisher_keeps_the_signature(key: HmacKey | Ed25519Key) -> None:
    passed_on = admit(signed(key), "ns", "t", "spiffe://verified")
    security = passed_on.security()
    assert security is not None
    assert security.publisher_id == "spiffe://verified"
    verify(passed_on, key)


def test_unsigned_messages_pass_only_where_that_is_allowed() -> None:
    data = EnvelopeWriter("ns", "t").write(b"p", message_id=ID, published_ms=1)
    key = HmacKey(bytes(32))
    verify(read(data), key, required=False)
    _must_fail(data, key)


def test_keys_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="at least 32"):
        load_key(HMAC, path)
    with pytest.raises(ValueError, match="no signature algorithm"):
        load_key("rsa", path)
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        load_key(ED25519, path)
    with pytest.raises(OSError, match="No such file"):
        load_key(HMAC, tmp_path / "absent")
