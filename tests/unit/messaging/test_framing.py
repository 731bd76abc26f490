"""How a message stands at a backend, by carrier and mode, and what is made of it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prism.envelope.v1 import envelope_pb2 as pb
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.framing import Framing, Origin, Rejected
from prism_proxy.models.messages import Carrier, DeliveryClass, Guarantee, StoredMessage, Traits
from prism_proxy.models.messaging_options import EnvelopeOptions
from prism_proxy.slots.composition import Surroundings

METADATA = {"colour": "blue", "prism-content-type": "text/plain", "prism-priority": "7"}
ORIGIN = Origin("spiffe://me", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
_CLASS = DeliveryClass(Guarantee.AT_MOST_ONCE, "", "")
MODES = [(carrier, mode) for carrier in Carrier for mode in ("always", "headers", "raw")]


def framing(carrier: Carrier, **envelope: Any) -> Framing:
    options = {"envelope": EnvelopeOptions(**envelope)}
    return Framing(Surroundings("ns", options=options), Traits(carrier, _CLASS))


def opened(made: Framing, stored: StoredMessage) -> Any:
    return made.open("a.b", stored.data, stored.headers, stored.message_id, stored.published_ms)


@pytest.mark.parametrize(("carrier", "mode"), MODES)
async def test_what_is_published_is_received_in_every_mode(carrier: Carrier, mode: str) -> None:
    made = framing(carrier, mode=mode)
    stored = await made.frame("a.b", b"payload", METADATA, ORIGIN)
    found = opened(made, stored)
    assert found.payload == b"payload"
    bare = (mode == "raw" and carrier is not Carrier.PARTS) or (mode == "headers" and carrier is Carrier.BYTES)
    if not bare:
        assert METADATA.items() <= found.metadata.items()
        assert found.metadata["prism-trace-id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert found.message_id == stored.message_id
    assert found.metadata.keys() >= {"prism-published-at", "prism-encoding"}
    assert not {"prism-publisher-id", "prism-envelope-version", "prism-message-id"} & found.metadata.keys()


async def test_the_modes_are_told_apart_message_by_message() -> None:
    reader = framing(Carrier.HEADERS, mode="raw")
    for mode in ("always", "headers", "raw"):
        stored = await framing(Carrier.HEADERS, mode=mode).frame("a.b", b"payload", METADATA)
        assert opened(reader, stored).payload == b"payload"


async def test_an_envelope_has_what_tools_of_the_broker_read_in_headers() -> None:
    stored = await framing(Carrier.HEADERS).frame("a.b", b"payload", METADATA, ORIGIN)
    wire = pb.PrismEnvelope.FromString(stored.data)
    assert (wire.metadata.topic, wire.metadata.namespace, wire.payload.value) == ("a.b", "ns", b"payload")
    assert wire.security.publisher_id == "spiffe://me"
    assert stored.headers["prism-envelope-version"] == "1"
    assert stored.headers["prism-message-id"] == stored.message_id == wire.metadata.message_id
    assert stored.headers["prism-topic"] == "a.b"
    plain = await framing(Carrier.HEADERS, mode="headers").frame("a.b", b"payload", METADATA)
    assert plain.data == b"payload"
    assert "prism-envelope-version" not in plain.headers
    assert (await framing(Carrier.HEADERS, mode="raw").frame("a.b", b"payload", METADATA)).headers == {}


async def test_other_programs_messages_arrive_as_they_are() -> None:
    found = framing(Carrier.HEADERS).open("a.b", b"{}", {"Their-Key": "v"}, "", 1_700_000_000_000)
    assert found is not None
    assert (found.payload, found.metadata["Their-Key"], found.message_id) == (b"{}", "v", "")


@pytest.mark.parametrize("carrier", Carrier)
async def test_an_envelope_of_the_callers_own_keeps_all_but_its_token(carrier: Carrier) -> None:
    made = framing(carrier)
    own = pb.PrismEnvelope.FromString(EnvelopeWriter("ns", "a.b").write(
        b"inner", message_id="0190b6a0-0000-7000-8000-000000000001", published_ms=1_700_000_000_123))
    own.security.auth_token = "secret-token"
    stored = await made.frame("a.b", own.SerializeToString(), {"prism-envelope": "true"}, ORIGIN)
    assert b"secret-token" not in stored.data
    found = opened(made, stored)
    assert (found.payload, found.message_id) == (b"inner", "0190b6a0-0000-7000-8000-000000000001")


async def test_signed_messages_are_verified_and_others_rejected(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    signing: dict[str, Any] = {"signature": "hmac-sha256", "signature_key": key, "signature_required": True}
    made = framing(Carrier.HEADERS, **signing)
    stored = await made.frame("a.b", b"payload", METADATA)
    assert opened(made, stored).payload == b"payload"
    changed = StoredMessage(stored.message_id, stored.data.replace(b"payload", b"PAYLOAD"), stored.headers, 1)
    unsigned = await framing(Carrier.HEADERS).frame("a.b", b"payload", METADATA)
    foreign = StoredMessage("", b"{}", {}, 1)
    for bad in (changed, unsigned, foreign):
        with pytest.raises(Rejected, match="SIGNATURE_INVALID"):
            opened(made, bad)


def test_signature_settings_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="go together"):
        EnvelopeOptions(signature="ed25519")
    with pytest.raises(ValueError, match="mode always"):
        EnvelopeOptions(mode="raw", signature="ed25519", signature_key=tmp_path / "key")
    with pytest.raises(PrismError) as caught:
        framing(Carrier.BYTES, signature="ed25519", signature_key=tmp_path / "none")
    assert caught.value.reason == "SIGNATURE_KEY"


async def test_classified_messages_need_encryption() -> None:
    with pytest.raises(PrismError) as caught:
        await framing(Carrier.PARTS).frame("a.b", b"p", {"prism-data-classification": "restricted"})
    assert (caught.value.code, caught.value.reason) == (StatusCode.FAILED_PRECONDITION, "ENCRYPTION_REQUIRED")
