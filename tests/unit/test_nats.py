"""Names, addresses, credentials, headers and settings of the NATS backend, without a server."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied, parse_headers
from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats.addresses import Address, parse_url
from prism_proxy.backends.nats.config import NatsConfig, NatsTls
from prism_proxy.backends.nats.credentials import (
    CredentialsError,
    _checksum,
    connect_options,
    public_key,
    read_credentials,
    sign,
)
from prism_proxy.backends.nats.errors import NoAnswer, NoResponders, ended, meaning
from prism_proxy.backends.nats.names import MAX_STREAM_NAME, Names, text_of, token
from prism_proxy.errors import StatusCode
from prism_proxy.models.messages import StoredMessage

TEXT = st.text(min_size=1, max_size=40)
TOPIC = st.lists(st.text("ab_%5F2streamqu>*", min_size=1, max_size=9), min_size=1, max_size=3).map(".".join)


USER = 20  # the letter U


def seed_of(raw: bytes = bytes(range(32)), kind: int = USER) -> str:
    """The seed of an nkey."""
    kind <<= 3
    body = bytes([18 << 3 | kind >> 5, (kind & 31) << 3]) + raw
    return base64.b32encode(body + _checksum(body)).rstrip(b"=").decode()


@given(TEXT)
def test_any_text_is_one_token_and_back(text: str) -> None:
    made = token(text)
    assert text_of(made) == text
    assert not set(made) & set(" .*>\t\r\n")
    assert made.isascii()


@given(TOPIC, TOPIC)
def test_topics_are_reversible_and_meet_nothing_of_ours(one: str, other: str) -> None:
    names = Names("n.")
    subject = names.topic(one)
    assert names.topic_of(subject) == one
    assert (subject == names.topic(other)) is (one == other)
    assert subject.split(b".")[1] not in (b"_stream", b"_queue", b"_position", b"_control")


def test_what_is_ours_is_no_topic() -> None:
    names = Names("n.")
    for subject in (names.stream("a"), names.queue("a"), f"{names.later('a')}.1.x", names.position("t", "d"),
                    names.control("x")):
        assert names.topic_of(subject.encode()) is None
    assert names.topic("_queue.a") == b"n.%5Fqueue.a"
    assert names.stream("a.b *") == "n._stream.a%2Eb%20%2A"


def test_streams_of_jetstream_have_names_that_fit() -> None:
    names = Names("n.")
    assert names.log("queue", "jobs") == "PRISM_queue_n=2Ejobs"
    long = names.log("queue", "j" * 250)
    assert len(long) <= MAX_STREAM_NAME
    assert long != names.log("queue", "j" * 251)
    assert len(names.consumer("g" * 255)) <= MAX_STREAM_NAME


def test_urls() -> None:
    found = parse_url("nats://ann:p%40ss@one:4000,nats://[::1]")
    assert found.servers == (Address("one", 4000), Address("::1", 4222))
    assert (found.user, found.password, found.secure) == ("ann", "p@ss", False)
    assert parse_url("tls://host").secure
    assert "p@ss" not in repr(found)
    for wrong in ("", "host", "http://host", "nats://", "nats://a b", "nats://a:0", "nats://a:99999",
                  "nats://u:p@a,nats://v:p@b", "nats://a/x"):
        with pytest.raises(ValueError, match=r"must begin|host or port|two users"):
            parse_url(wrong)


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for settings in ({"token": "t", "username": "u"}, {"url": "nats://u:p@h", "username": "v"},
                     {"nkey_file": tmp_path, "credentials_file": tmp_path}, {"prefix": "a"}, {"prefix": "$JS."},
                     {"prefix": "a.*."}, {"prefix": "a b."}, {"prefix": "a..b."}, {"url": "redis://h"}):
        with pytest.raises(ValueError, match=r"."):
            NatsConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="belong together"):
        NatsTls(cert_file=tmp_path)
    assert NatsConfig("nats://secret@h").credentials == ("", "", "secret")
    assert NatsConfig(nkey_file=tmp_path / "none").trouble() == (
        "nkey_file", "cannot be read: No such file or directory")
    assert "p4ss" not in repr(NatsConfig("nats://u:p4ss@h"))


def test_areas_keep_namespaces_apart() -> None:
    one, other = NatsConfig().within("a"), NatsConfig().within("a.b")
    assert (one.names.prefix, other.names.prefix) == ("a.", "a%2Eb.")
    [area] = NatsConfig("nats://localhost", prefix="", shared_names=True).within("x").areas
    assert (area.server, area.prefix, area.shared) == ("nats localhost:4222", b"", True)


def test_an_nkey_signs_what_its_public_key_verifies(tmp_path: Path) -> None:
    seed = seed_of()
    public = public_key(seed)
    assert public.startswith("U")
    raw = base64.b32decode(public + "=" * (-len(public) % 8))[1:33]
    signature = base64.urlsafe_b64decode(sign(seed, b"nonce") + "==")
    Ed25519PublicKey.from_public_bytes(raw).verify(signature, b"nonce")
    for wrong in ("", seed[:-1], seed[:-1] + ("A" if seed[-1] != "A" else "B"), public, "S"):
        with pytest.raises(CredentialsError):
            sign(wrong, b"nonce")
    file = tmp_path / "user.creds"
    file.write_text(f"-----BEGIN NATS USER JWT-----\nabc.d-e_f---g\n------END NATS USER JWT------\n\n"
                    f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")
    assert read_credentials(file) == ("abc.d-e_f---g", seed)
    assert b'"jwt": "abc.d-e_f---g"' in connect_options(NatsConfig(credentials_file=file), {"nonce": "n"})
    file.write_text("nothing")
    with pytest.raises(CredentialsError):
        read_credentials(file)


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.text(st.characters(
    exclude_categories=("Cc", "Cs")), max_size=12), max_size=5))
def test_headers_come_back_as_they_were(found: dict[str, str]) -> None:
    """But for names that differ by the case of prism-* alone, which no caller may set."""
    kept = {name: value for name, value in found.items() if not name.lower().startswith(("prism-", "x-prism-"))}
    block = wire.to_wire(StoredMessage("id", b"", kept, 0), stored=True)
    assert wire.from_wire(block) == kept
    assert wire.message_id_of({}, block) == "id"


def test_headers_have_the_spelling_of_the_contract() -> None:
    message = StoredMessage("0190", b"", {
        "prism-envelope-version": "1", "prism-message-id": "0190", "prism-trace-id": "t", "x-prism-schema-url": "u",
        "colour": "blue", "Nats-Msg-Id": "x"}, 0, deduplication_id="once")
    block = wire.to_wire(message)
    assert block is not None
    assert parse_headers(block)[2] == [
        (b"Prism-Envelope-Version", b"1"), (b"Prism-Message-ID", b"0190"), (b"Prism-Trace-ID", b"t"),
        (b"X-Prism-Schema-URL", b"u"), (b"colour", b"blue"), (b"Prism-Name-Nats-Msg-Id", b"x"),
        (b"Nats-Msg-Id", b"once")]
    assert wire.from_wire(block) == dict(message.headers)
    assert wire.to_wire(StoredMessage("0190", b"", {}, 0)) is None
    assert wire.from_wire(b"garbage") == wire.from_wire(None) == {}


def test_what_errors_mean() -> None:
    for error, code, outcome in (
        (NatsClosed("x", True), StatusCode.UNAVAILABLE, "unknown"),
        (NatsClosed("x", False), StatusCode.UNAVAILABLE, "not_executed"),
        (NatsDenied("x"), StatusCode.FAILED_PRECONDITION, "not_executed"),
        (NoResponders("x"), StatusCode.UNAVAILABLE, "not_executed"),
        (NoAnswer("x"), StatusCode.UNAVAILABLE, "unknown"),
    ):
        found = meaning(error)
        assert found is not None
        assert (found.code, found.metadata["outcome"]) == (code, outcome)
    assert meaning(KeyError("x")) is None
    assert ended(KeyError("x"), "a read").reason == "INTERNAL"
    assert ended(NatsDenied("x"), "a read").reason == "BACKEND_PERMISSION"
