"""The NATS connection: what it writes, what it reads in whatever pieces, and what hostile servers cannot do to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_proxy._native.nats.connection import NatsClosed, NatsConnection, NatsDenied, headers_block, parse_headers

INFO = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1024}\r\n'
Message = tuple[bytes, bytes | None, bytes | None, bytes]


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 0


class Setup:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.strays: list[Message] = []
        self.found: list[Message] = []
        self.connection = NatsConnection(asyncio.get_running_loop(), lambda _, reason: self.reasons.append(reason),
                                         lambda *message: self.strays.append(message))
        self.wire = Wire()
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        self.number = self.connection.subscribe(b"t.>", None, lambda *message: self.found.append(message))

    def sent(self) -> bytes:
        self.connection.flush()  # type: ignore[attr-defined]
        found, self.wire.sent = self.wire.sent, b""
        return found


async def test_what_is_written() -> None:
    setup = Setup()
    connection = setup.connection
    assert connection.subscribe(b"a", b"g", lambda *_: None) == 2
    connection.publish(b"a.b", None, None, b"one")
    connection.publish(b"a.b", b"r", headers_block([(b"K", b"v")]), b"")
    connection.unsubscribe(2)
    connection.unsubscribe(2)
    assert setup.sent() == (b"SUB t.> 1\r\nSUB a g 2\r\nPUB a.b 3\r\none\r\n"
                            b"HPUB a.b r 18 18\r\nNATS/1.0\r\nK: v\r\n\r\n\r\nUNSUB 2\r\n")


async def test_messages_of_a_tick_share_one_confirmation() -> None:
    setup = Setup()
    first, second = setup.connection.confirm(b"a"), setup.connection.confirm(b"b")
    assert setup.sent().count(b"PING\r\n") == 1
    later = setup.connection.confirm()
    assert setup.sent() == b"PING\r\n"
    setup.connection.data_received(b"-ERR 'Permissions Violation for Publish to \"b\"'\r\nPONG\r\n")
    await first
    with pytest.raises(NatsDenied):
        await second
    assert not later.done()
    setup.connection.data_received(b"pong\r\n")
    await later
    assert setup.reasons == []


async def test_a_lost_connection_leaves_a_doubt_about_what_was_sent() -> None:
    setup = Setup()
    sent = setup.connection.confirm()
    setup.sent()
    unsent = setup.connection.confirm()
    setup.connection.data_received(b"-ERR 'Stale Connection'\r\n")
    setup.connection.eof_received()
    for future, doubt in ((sent, True), (unsent, False)):
        with pytest.raises(NatsClosed, match="Stale Connection") as caught:
            await future
        assert caught.value.sent is doubt
    assert setup.reasons == ["Stale Connection"]
    assert setup.wire.aborted
    with pytest.raises(NatsClosed):
        setup.connection.publish(b"a", None, None, b"")


async def test_a_ping_is_answered_and_a_stray_handed_over() -> None:
    setup = Setup()
    setup.sent()
    setup.connection.data_received(INFO + b"PING\r\n+OK\r\nMSG x 77 $JS.ACK.s 2\r\nhi\r\n")
    assert setup.sent() == b"PONG\r\n"
    assert setup.strays == [(b"x", b"$JS.ACK.s", None, b"hi")]
    assert setup.connection.max_payload == 1024


@pytest.mark.parametrize(("sent", "why"), [
    (b"HTTP/1.1 400 Bad Request\r\n", "not NATS"),
    (b"MSG\r\n", "not NATS"),
    (b"MSG a\r\n", "malformed head"),
    (b"MSG a 1 r r r 2\r\n", "malformed head"),
    (b"MSG a 1 -1\r\n", "malformed head"),
    (b"MSG a 1 99999999999999999999\r\n", "malformed head"),
    (b"MSG a x 1\r\n", "malformed head"),
    (b"MSG a 1 99999999\r\n", "max_payload is 1024"),
    (b"HMSG a 1 9 8\r\n", "headers are larger"),
    (b"HMSG a 1 x 8\r\n", "headers are larger"),
    (b"MSG a 1 2\r\nabcd", "no end"),
    (b"PONG\r\n", "without a PING"),
    (b"INFO nonsense\r\n", "malformed INFO"),
    (b"INFO []\r\n", "malformed INFO"),
    (b'INFO {"max_payload":-1}\r\n', "malformed INFO"),
    (b"INFO " + b"[" * 100_000 + b"\r\n", "malformed INFO"),
    (b"MSG " + b"a" * (1 << 20), "a line of more than"),
])
async def test_what_is_no_nats_ends_the_connection(sent: bytes, why: str) -> None:
    setup = Setup()
    setup.connection.data_received(INFO + sent)
    assert why in setup.reasons[0], setup.reasons
    assert setup.wire.aborted
    assert setup.found == []
    setup.connection.data_received(b"PING\r\n")  # what still comes is nobody's


async def test_bytes_before_tls_are_not_taken_for_bytes_within() -> None:
    setup = Setup()
    setup.connection.data_received(INFO + b"MSG t.a")
    setup.connection.use(Wire())  # type: ignore[arg-type]
    assert "before TLS" in setup.reasons[0]


TOKEN = st.text("abcXYZ.$", min_size=1, max_size=12).map(str.encode)
HEADER = st.tuples(st.text("abc-", min_size=1, max_size=8).map(str.encode), st.binary(max_size=20).filter(
    lambda value: not set(value) & set(b"\r\n")))
MESSAGES = st.lists(st.tuples(TOKEN, st.none() | TOKEN, st.none() | st.lists(HEADER, max_size=4),
                              st.binary(max_size=700)), max_size=12)


def encoded(number: int, message: tuple[bytes, bytes | None, list[tuple[bytes, bytes]] | None, bytes]) -> bytes:
    subject, reply, pairs, data = message
    way = b"%b %d%b" % (subject, number, b"" if reply is None else b" " + reply)
    if pairs is None:
        return b"MSG %b %d\r\n%b\r\n" % (way, len(data), data)
    block = headers_block(pairs)
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (way, len(block), len(block) + len(data), block, data)


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.data())
def test_messages_come_whole_however_they_are_split(messages: list[Any], draw: Any) -> None:
    async def run() -> None:
        setup = Setup()
        wire = INFO + b"".join(encoded(1, message) + b"PING\r\n" for message in messages)
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            setup.connection.data_received(wire[start:end])
        assert setup.reasons == []
        assert [(subject, reply, None if headers is None else parse_headers(headers)[2], data)
                for subject, reply, headers, data in setup.found] == messages
        assert setup.sent().count(b"PONG\r\n") == len(messages)

    asyncio.run(run())


async def test_mutated_conversations_never_crash() -> None:
    """Each byte stream ends in messages, silence or an ended connection."""
    rng = random.Random(4222)
    block = headers_block([(b"Prism-Message-ID", b"1"), (b"k", b"v")])
    whole = INFO + encoded(1, (b"t.a", b"r", [(b"k", b"v")], b"payload")) + b"PING\r\n" + encoded(
        1, (b"t.b", None, None, b"x" * 40)) + b"-ERR 'x'\r\n+OK\r\n"
    for _ in range(20_000):
        wire = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(wire))
            choice = rng.random()
            if choice < 0.5:
                wire[at] = rng.randrange(256)
            elif choice < 0.75:
                del wire[at:at + rng.randint(1, 8)]
            else:
                wire[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        setup = Setup()
        cut = rng.randrange(len(wire))
        setup.connection.data_received(bytes(wire[:cut]))
        setup.connection.data_received(bytes(wire[cut:]))
        assert len(setup.reasons) <= 1
        mutated = bytearray(block)
        mutated[rng.randrange(len(block))] = rng.randrange(256)
        with contextlib.suppress(ValueError):
            parse_headers(bytes(mutated))


def test_headers() -> None:
    assert parse_headers(b"NATS/1.0\r\n\r\n") == (0, "", [])
    assert parse_headers(b"NATS/1.0 503\r\n\r\n") == (503, "", [])
    assert parse_headers(b"NATS/1.0 100 Idle Heartbeat\r\nA:b\r\nA:  c \r\n\r\n") == (
        100, "Idle Heartbeat", [(b"A", b"b"), (b"A", b" c ")])
    for wrong in (b"", b"HTTP/1.1 200", b"NATS/1.0 9\r\n", b"NATS/1.0\r\n: x\r\n", b"NATS/1.0\r\nx\r\n"):
        with pytest.raises(ValueError, match=r"header"):
            parse_headers(wrong)
    for name, value in ((b"a:b", b""), (b"", b""), (b"a\n", b""), (b"a", b"b\r\nPUB x 0")):
        with pytest.raises(ValueError, match="colon"):
            headers_block([(name, value)])


async def test_a_listener_that_raises_ends_nothing() -> None:
    setup = Setup()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def broken(*_: Any) -> None:
        raise RuntimeError("mine")

    number = setup.connection.subscribe(b"x", None, broken)
    setup.connection.data_received(b"MSG x %d 0\r\n\r\nMSG t.x 1 0\r\n\r\n" % number)
    assert len(setup.found) == 1
    assert [str(error) for error in told] == ["mine"]
    assert setup.reasons == []
