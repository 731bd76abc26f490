"""The codec against the protobuf runtime, which is the oracle."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from prism.envelope.v1 import envelope_pb2 as pb
from prism_proxy._native.envelope.codec import (
    MalformedEnvelopeError,
    fields,
    new_message_id,
    now_ms,
    scan,
    scan_beginning,
)
from prism_proxy.envelope.attributes import Attributes
from prism_proxy.envelope.parts import Encryption, Observability, Schema, Security
from prism_proxy.envelope.reader import in_order, read, recognise, require
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.errors import PrismError, StatusCode
from tests.unit.envelope.strategies import envelopes

ID = "0190b6a0-0000-7000-8000-000000000001"


def check_scan(data: bytes, wanted: pb.PrismEnvelope, *, strict: bool = True) -> None:
    found = read(data)
    head, meta = found.head, wanted.metadata
    assert (head.version, head.message_id, head.topic, head.namespace, head.content_type, head.content_encoding,
            head.priority, head.ttl_seconds, head.correlation_id, head.causality_parent) == (
        wanted.envelope_version, meta.message_id, meta.topic, meta.namespace, meta.content_type,
        meta.content_encoding, meta.priority, meta.ttl_seconds, meta.correlation_id, meta.causality_parent)
    assert head.published_ms == meta.published_at.seconds * 1000 + meta.published_at.nanos // 1_000_000
    assert (head.type_url, head.payload) == (wanted.payload.type_url, wanted.payload.value)
    # the runtime leaves out an entry that has more than a key and a value
    assert dict(wanted.extensions).items() <= head.extensions().items()
    assert len(head.extensions()) == len(wanted.extensions) or not strict
    assert [head.has(field) for field in (2, 3, 4, 5, 6)] == [
        wanted.HasField(name) for name in ("metadata", "payload", "security", "observability", "schema")]
    assert found.security() == (wanted.security if wanted.HasField("security") else None)
    assert found.observability() == (wanted.observability if wanted.HasField("observability") else None)
    assert found.schema() == (wanted.schema if wanted.HasField("schema") else None)


@settings(max_examples=30)
@given(envelopes)
def test_a_scan_finds_what_the_runtime_finds(wanted: pb.PrismEnvelope) -> None:
    check_scan(wanted.SerializeToString(), wanted)


@settings(max_examples=30)
@given(envelopes)
def test_our_order_has_the_payload_last_and_means_the_same(wanted: pb.PrismEnvelope) -> None:
    data = in_order(wanted.SerializeToString())
    assert pb.PrismEnvelope.FromString(data) == wanted
    assert [number for number, _ in fields(data)][-1] == 3
    check_scan(data, wanted)


@settings(max_examples=20)
@given(envelopes, envelopes)
def test_parts_that_occur_twice_are_merged_as_the_runtime_does(
    first: pb.PrismEnvelope, second: pb.PrismEnvelope
) -> None:
    data = first.SerializeToString() + second.SerializeToString()
    check_scan(data, pb.PrismEnvelope.FromString(data))


@settings(max_examples=80)
@given(st.binary(max_size=60) | st.tuples(envelopes, st.integers(0, 400), st.integers(0, 255)).map(
    lambda it: _flipped(it[0].SerializeToString(), it[1], it[2])))
def test_a_scan_refuses_no_less_than_it_must(data: bytes) -> None:
    """What the scan does not look into, the optional parts, it need not refuse; what the runtime takes, it takes."""
    try:
        wanted = pb.PrismEnvelope.FromString(data)
    except DecodeError:
        return
    check_scan(data, wanted, strict=False)


def _flipped(data: bytes, at: int, value: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([value]) + data[at + 1:]


ATTRIBUTES = Attributes(
    content_type="application/json", correlation_id="c-1", reply_to="answers", priority=7, ttl_seconds=60,
    causality_parent="p-1", contains_pii=True, data_classification="internal", deduplication_id="d-1",
    user={"colour": "blue", "Größe": "ж"})
PARTS: dict[str, Any] = {
    "attributes": ATTRIBUTES,
    "security": Security("spiffe://a", "team", b"sig", "hmac-sha256",
                         Encryption("kms://a", 1, "aes-256-gcm", "p", b"iv", b"", b"k", "{}"), True, "internal"),
    "observability": Observability("0" * 31 + "1", "0" * 15 + "2", "0" * 15 + "3", 1, {"b": "1", "a": "2"}, {"l": ""}),
    "extensions": {"x-b": b"\xff", "x-a": b""},
    "content_encoding": "zstd",
    "type_url": "type.googleapis.com/shop.Item",
}


@pytest.mark.parametrize("with_schema", [False, True])
def test_ENV1_round_trip_with_every_subset_of_the_optional_parts(with_schema: bool) -> None:
    schema = Schema("http://r/1", "1", "protobuf", "sha256:ab", "shop.Item", "backward", ("old",))
    writer = EnvelopeWriter("shop", "orders.new", schema if with_schema else None)
    for count in range(len(PARTS) + 1):
        for names in itertools.combinations(PARTS, count):
            given = {name: PARTS[name] for name in names}
            data = writer.write(b"payload", message_id=ID, published_ms=1_700_000_000_123, **given)
            wanted = pb.PrismEnvelope.FromString(data)
            check_scan(data, wanted)
            assert in_order(data) == data, "the writer has its own order"
            _check_written(wanted, given, schema if with_schema else None)
            found = read(data)
            require(found)
            assert found.attributes().user == (ATTRIBUTES.user if "attributes" in given else {})


def _check_written(wanted: pb.PrismEnvelope, given: dict[str, Any], schema: Schema | None) -> None:
    assert wanted.metadata.message_id == ID
    assert (wanted.metadata.namespace, wanted.metadata.topic) == ("shop", "orders.new")
    assert wanted.metadata.published_at.ToMilliseconds() == 1_700_000_000_123
    assert wanted.payload.value == b"payload"
    assert wanted.payload.type_url == given.get("type_url", "")
    assert wanted.metadata.content_encoding == given.get("content_encoding", "")
    assert wanted.HasField("observability") == ("observability" in given)
    assert wanted.HasField("schema") == (schema is not None)
    assert wanted.HasField("security") == bool({"security", "attributes"} & given.keys())
    if "attributes" in given:
        assert wanted.metadata.priority == 7
        assert wanted.metadata.ttl_seconds == 60
        assert wanted.extensions["x-meta-colour"] == b"blue"
        assert wanted.security.contains_pii
    if "security" in given:
        assert wanted.security.encryption.encapsulated_key == b"k"
        assert wanted.security.encryption.HasField("aad")
    if "observability" in given:
        assert dict(wanted.observability.baggage) == {"a": "2", "b": "1"}
    if "extensions" in given:
        assert wanted.extensions["x-b"] == b"\xff"


@settings(max_examples=40)
@given(st.builds(Attributes, content_type=st.text(max_size=5), priority=st.integers(0, 10),
                 ttl_seconds=st.integers(0, 2**40), user=st.dictionaries(st.text(min_size=1, max_size=4),
                                                                         st.text(max_size=4), max_size=3)),
       st.binary(max_size=300), st.integers(1, 2**42))
def test_what_is_written_is_read_again(attributes: Attributes, payload: bytes, published_ms: int) -> None:
    data = EnvelopeWriter("ns", "t").write(payload, attributes, message_id=ID, published_ms=published_ms)
    found = read(data)
    assert found.attributes() == attributes
    assert (found.payload, found.head.published_ms) == (payload, published_ms)
    assert pb.PrismEnvelope.FromString(data).payload.value == payload


def test_ENV2_fields_of_a_newer_version_survive() -> None:
    newer = pb.PrismEnvelope(envelope_version=2, metadata=pb.PrismMetadata(message_id=ID, topic="t", namespace="ns"))
    newer.payload.value = b"p"
    data = newer.SerializeToString() + b"\x3a\x03abc"  # field 7, a string
    found = read(data)
    require(found)
    assert found.is_newer
    assert found.head.unknown_fields == 1
    assert found.payload == b"p"
    assert b"\x3a\x03abc" in in_order(data)
    assert in_order(in_order(data)) == in_order(data)


def _envelope(**changes: Any) -> pb.PrismEnvelope:
    made = pb.PrismEnvelope(envelope_version=1, metadata=pb.PrismMetadata(message_id=ID, topic="t", namespace="ns"))
    made.payload.value = b"p"
    for name in changes:
        target = made.metadata if name in ("message_id", "topic", "namespace") else made
        target.ClearField(name)
    return made


@pytest.mark.parametrize(("left_out", "field"), [
    ("envelope_version", "envelope_version"), ("metadata", "metadata"), ("message_id", "metadata.message_id"),
    ("topic", "metadata.topic"), ("namespace", "metadata.namespace"), ("payload", "payload")])
def test_ENV3_each_required_field_is_named_when_missing(left_out: str, field: str) -> None:
    data = _envelope(**{left_out: True}).SerializeToString()
    with pytest.raises(PrismError) as caught:
        require(read(data))
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == "ENVELOPE_FIELD_MISSING"
    assert caught.value.field_name == field
    assert recognise(data) is None


def test_an_empty_payload_is_a_payload() -> None:
    data = EnvelopeWriter("ns", "t").write(b"", message_id=ID, published_ms=1)
    require(read(data))
    assert read(data).payload == b""


def test_ENV7_the_beginning_of_a_large_envelope_is_enough() -> None:
    payload = bytes(10 * 1024 * 1024)
    data = EnvelopeWriter("ns", "t").write(payload, ATTRIBUTES, message_id=ID, published_ms=1)
    head = scan_beginning(data[:1024], len(data))
    assert (head.topic, head.message_id, head.payload_length) == ("t", ID, len(payload))
    assert head.extensions()["x-meta-colour"] == b"blue"
    with pytest.raises(MalformedEnvelopeError):
        scan(data[:1024])
    with pytest.raises(MalformedEnvelopeError):
        scan_beginning(b"\x08\x01\x12\xff\xff\x03" + data[5:1024], len(data))


def test_ENV8_an_envelope_adds_at_most_150_bytes() -> None:
    standard = Attributes(content_type="application/json", correlation_id="0190b6a0")
    data = EnvelopeWriter("payments", "orders.created").write(
        b"x" * 200, standard, message_id=new_message_id(), published_ms=now_ms())
    assert len(data) - 200 <= 150


def test_expiry_is_told_without_the_payload() -> None:
    data = EnvelopeWriter("ns", "t").write(b"p", Attributes(ttl_seconds=2), message_id=ID, published_ms=10_500)
    assert read(data).head.expires_ms == 12_500
    assert not read(data).expired(12_499)
    assert read(data).expired(12_500)
    forever = EnvelopeWriter("ns", "t").write(b"p", message_id=ID, published_ms=10_500)
    assert not read(forever).expired(2**60)


def test_message_ids_are_version_7_and_increase() -> None:
    before = now_ms()
    ids = [new_message_id() for _ in range(20_000)]
    after = now_ms()
    assert ids == sorted(set(ids))
    for text in (ids[0], ids[-1], ids[777]):
        made = uuid.UUID(text)
        assert (made.version, made.variant, str(made)) == (7, uuid.RFC_4122, text)
        assert before <= made.int >> 80 <= after + 1
