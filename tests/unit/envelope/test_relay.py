"""Envelopes that clients made: what is checked, what is replaced, and that the rest stays."""

from __future__ import annotations

from typing import Any

import pytest

from prism.envelope.v1 import envelope_pb2 as pb
from prism_proxy.envelope.reader import in_order
from prism_proxy.envelope.relay import admit
from prism_proxy.errors import PrismError, StatusCode

ID = "0190b6a0-0000-7000-8000-000000000001"


def client_envelope(**security: Any) -> pb.PrismEnvelope:
    made = pb.PrismEnvelope(envelope_version=1, metadata=pb.PrismMetadata(message_id=ID, topic="t", namespace="ns"),
                            extensions={"x-b": b"2", "x-a": b"1"})
    made.payload.value = b"p"
    made.payload.type_url = "type.googleapis.com/a.B"
    if security:
        made.security.CopyFrom(pb.SecurityContext(**security))
    return made


def test_ENV4_the_token_is_gone_and_the_publisher_is_the_verified_one() -> None:
    sent = client_envelope(auth_token="secret-token", publisher_id="somebody else", publisher_team="theirs",
                           signature=b"sig", signature_algorithm="ed25519", data_classification="internal")
    found = admit(sent.SerializeToString(), "ns", "t", "spiffe://me")
    assert b"secret-token" not in found.data
    wanted = pb.PrismEnvelope()
    wanted.CopyFrom(sent)
    wanted.security.ClearField("auth_token")
    wanted.security.ClearField("publisher_team")
    wanted.security.publisher_id = "spiffe://me"
    assert pb.PrismEnvelope.FromString(found.data) == wanted


def test_without_a_verified_publisher_none_is_named() -> None:
    found = admit(client_envelope(publisher_id="forged").SerializeToString(), "ns", "t")
    assert b"forged" not in found.data
    assert pb.PrismEnvelope.FromString(found.data).payload.value == b"p"


def test_a_token_in_a_repeated_security_part_is_gone_too() -> None:
    data = b"".join(client_envelope(auth_token=f"token {n}").SerializeToString() for n in range(2))
    assert b"token" in data
    assert b"token" not in admit(data, "ns", "t").data


def test_what_needs_no_change_is_passed_on_as_it_is() -> None:
    data = client_envelope().SerializeToString() + b"\x3a\x03abc"
    assert admit(data, "ns", "t").data == data


def test_fields_that_are_unknown_survive_a_change() -> None:
    data = client_envelope(auth_token="secret").SerializeToString() + b"\x3a\x03abc"
    found = admit(data, "ns", "t", "me")
    assert b"\x3a\x03abc" in found.data
    assert found.data == in_order(found.data)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda made: made.metadata.ClearField("topic"), "ENVELOPE_FIELD_MISSING"),
    (lambda made: setattr(made.metadata, "topic", "other"), "ENVELOPE_MISMATCH"),
    (lambda made: setattr(made.metadata, "namespace", "other"), "ENVELOPE_MISMATCH"),
    (lambda made: setattr(made.metadata, "message_id", "not-a-uuid"), "INVALID_ARGUMENT"),
    (lambda made: setattr(made.metadata, "message_id", "x" * 36), "INVALID_ARGUMENT")])
def test_what_does_not_fit_the_call_is_refused(change: Any, reason: str) -> None:
    made = client_envelope()
    change(made)
    with pytest.raises(PrismError) as caught:
        admit(made.SerializeToString(), "ns", "t")
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, b"hello", b"\x12\x05abc"])
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(PrismError) as caught:
        admit(data, "ns", "t")
    assert caught.value.reason in ("ENVELOPE_MALFORMED", "ENVELOPE_FIELD_MISSING")
