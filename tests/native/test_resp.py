"""The pipelined RESP connection against hiredis, and what becomes of commands when a connection goes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_proxy._native.redis.resp import ConnectionLost, FairShare, PipelineFull, RespConnection, RespError


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.aborted = True


class Setup:
    def __init__(self, **bounds: Any) -> None:
        self.reasons: list[str] = []
        self.connection = RespConnection(
            asyncio.get_running_loop(), lambda connection, reason: self.reasons.append(reason), **bounds)
        self.wire = Wire()
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        self.connection.set_ready()

    def receive(self, data: bytes) -> None:
        """Bytes from the server, to which all commands so far have gone."""
        self.connection.flush()  # type: ignore[attr-defined]
        self.connection.data_received(data)


def plain(reply: Any) -> Any:
    """Errors by their text, which can be compared; maps as pairs in a row, sets sorted, as ours and theirs differ."""
    if isinstance(reply, (RespError, hiredis.ReplyError)):
        return ("error", str(reply))
    if isinstance(reply, dict):
        return [plain(item) for pair in reply.items() for item in pair]
    if isinstance(reply, (list, tuple)):
        return [plain(item) for item in reply]
    return reply


def encode(reply: Any) -> bytes:
    if reply is None:
        return b"_\r\n"
    if isinstance(reply, bool):
        return b"#t\r\n" if reply else b"#f\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, str):
        return b"+%b\r\n" % reply.encode()
    if isinstance(reply, tuple):
        return b"-%b\r\n" % reply[0].encode()
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encode, reply)))


texts = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20)
scalars = (st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.binary(max_size=60) | texts
           | st.tuples(texts.map(lambda text: "ERR " + text)))
replies = st.recursive(scalars, lambda children: st.lists(children, max_size=4), max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(replies, min_size=1, max_size=6), st.data())
def test_replies_are_what_hiredis_reads_however_they_are_cut(wanted: list[Any], data: st.DataObject) -> None:
    stream = b"".join(map(encode, wanted))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    oracle = hiredis.Reader()
    oracle.feed(stream)
    expected = [oracle.gets() for _ in wanted]

    async def run() -> list[Any]:
        setup = Setup()
        futures = [setup.connection.execute(b"PING") for _ in wanted]
        for piece in pieces:
            if piece:
                setup.receive(piece)
        assert not setup.reasons
        return list(await asyncio.gather(*futures, return_exceptions=True))

    assert plain(asyncio.run(run())) == plain(expected)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=80))
def test_rubbish_never_answers_wrongly_and_never_breaks(rubbish: bytes) -> None:
    """Either it was RESP, or the connection is closed and the caller knows; no more replies than commands."""

    async def run() -> None:
        setup = Setup()
        future = setup.connection.execute(b"GET", b"key")
        for at in range(len(rubbish)):
            if not setup.reasons:
                setup.receive(rubbish[at:at + 1])
        assert setup.wire.aborted == bool(setup.reasons)
        if setup.reasons:
            assert future.done()
        future.cancel()
        await asyncio.sleep(0)

    asyncio.run(run())


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=10), min_size=1, max_size=5))
def test_commands_are_what_redis_reads(commands: list[list[bytes]]) -> None:
    async def run() -> bytes:
        setup = Setup()
        for command in commands:
            setup.connection.execute(*command).cancel()
        await asyncio.sleep(0)
        return setup.wire.sent

    oracle = hiredis.Reader()
    oracle.feed(asyncio.run(run()))
    assert [oracle.gets() for _ in commands] == commands


async def test_one_write_carries_a_tick_of_commands() -> None:
    setup = Setup()
    for number in range(100):
        setup.connection.execute(b"GET", b"%d" % number)
    assert setup.wire.sent == b""
    await asyncio.sleep(0)
    assert setup.wire.sent.count(b"GET") == 100


async def test_what_was_not_sent_is_told_from_what_was() -> None:
    setup = Setup()
    sent = setup.connection.execute(b"SET", b"a", b"1")
    await asyncio.sleep(0)
    unsent = setup.connection.execute(b"SET", b"b", b"2")
    setup.connection.connection_lost(None)
    with pytest.raises(ConnectionLost) as first:
        await sent
    with pytest.raises(ConnectionLost) as second:
        await unsent
    assert (first.value.sent, second.value.sent) == (True, False)
    with pytest.raises(ConnectionLost):
        setup.connection.execute(b"PING")
    assert len(setup.reasons) == 1


async def test_while_the_socket_is_full_commands_stay_unsent() -> None:
    setup = Setup()
    setup.connection.pause_writing()
    future = setup.connection.execute(b"SET", b"a", b"1")
    await asyncio.sleep(0.01)
    assert setup.wire.sent == b""
    setup.connection.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(ConnectionLost) as caught:
        await future
    assert not caught.value.sent


async def test_no_more_is_taken_than_the_bounds_allow() -> None:
    setup = Setup(max_pending=10)
    futures = [setup.connection.execute(b"PING") for _ in range(10)]
    with pytest.raises(PipelineFull, match="10 commands"):
        setup.connection.execute(b"PING")
    setup.receive(b"+PONG\r\n" * 10)
    assert await asyncio.gather(*futures) == [b"PONG"] * 10
    setup.connection.execute(b"PING").cancel()
    large = Setup(max_queued_bytes=1000)
    large.connection.pause_writing()
    large.connection.execute(b"SET", b"a", bytes(100_000)).cancel()  # one alone may be as large as it likes
    with pytest.raises(PipelineFull):
        large.connection.execute(b"SET", b"a", bytes(100_000))


async def test_a_reply_nobody_asked_for_ends_the_connection() -> None:
    setup = Setup()
    setup.receive(b"+OK\r\n")
    assert setup.wire.aborted
    assert setup.reasons == ["the server sent a reply that nothing waits for"]


async def test_a_caller_that_gave_up_gets_nobody_else_s_reply() -> None:
    setup = Setup()
    first, second = setup.connection.execute(b"GET", b"a"), setup.connection.execute(b"GET", b"b")
    first.cancel()
    setup.receive(b"$1\r\nA\r\n$1\r\nB\r\n")
    assert await second == b"B"


async def test_waiting_for_a_reply_costs_no_processor_time() -> None:
    setup = Setup(read_timeout_s=60)
    waiting = setup.connection.execute(b"GET", b"a")
    worked = time.thread_time()
    await asyncio.sleep(0.3)
    assert time.thread_time() - worked < 0.1, "the loop slept but for a timer every few milliseconds"
    setup.receive(b"$1\r\n1\r\n")
    assert await waiting == b"1"


async def test_silence_over_the_read_timeout_ends_the_connection() -> None:
    setup = Setup(read_timeout_s=0.05)
    future = setup.connection.execute(b"GET", b"a")
    with pytest.raises(ConnectionLost) as caught:
        await asyncio.wait_for(future, 30)
    assert caught.value.sent
    assert setup.reasons == ["no reply within 0.05 s"]


@pytest.mark.parametrize("kind", ["READONLY", "LOADING", "MASTERDOWN"])
async def test_a_server_that_cannot_serve_is_left(kind: str) -> None:
    setup = Setup()
    first, second = setup.connection.execute(b"SET", b"a", b"1"), setup.connection.execute(b"GET", b"a")
    setup.receive(f"-{kind} not now\r\n$1\r\n1\r\n".encode())
    with pytest.raises(RespError, match=kind):
        await first
    assert await second == b"1"  # it came with it, and belongs to it
    assert setup.wire.aborted


async def test_what_was_sent_to_a_server_that_cannot_serve_is_answered_first() -> None:
    setup = Setup()
    first, second = setup.connection.execute(b"SET", b"a", b"1"), setup.connection.execute(b"GET", b"a")
    setup.receive(b"-LOADING not now\r\n")
    with pytest.raises(RespError, match="LOADING"):
        await first
    assert (setup.connection.usable, setup.wire.aborted) == (False, False)
    setup.receive(b"$1\r\n1\r\n")
    assert (await second, setup.wire.aborted) == (b"1", True)


async def test_a_replica_is_kept_for_reads_where_somebody_looks_for_its_primary() -> None:
    told: list[int] = []
    setup = Setup()
    setup.connection.set_ready(lambda: told.append(1))
    for _ in range(2):
        write, read = setup.connection.execute(b"SET", b"a", b"1"), setup.connection.execute(b"GET", b"a")
        setup.receive(b"-READONLY a replica\r\n$1\r\n1\r\n")
        with pytest.raises(RespError, match="READONLY"):
            await write
        assert (await read, setup.connection.usable) == (b"1", True)
    assert (told, setup.connection.refused) == ([1], True)
    last = setup.connection.execute(b"GET", b"a")
    setup.connection.retire()
    assert (setup.connection.usable, setup.wire.aborted) == (False, False)
    setup.receive(b"$1\r\n1\r\n")
    assert (await last, setup.wire.aborted) == (b"1", True)


async def test_a_value_larger_than_the_bound_is_an_error_of_its_command() -> None:
    """However it arrives, and whatever comes with it."""
    sent = b"$1\r\n1\r\n" + b"$5000\r\n" + bytes(5000) + b"\r\n" + b"*3\r\n$1\r\na\r\n$2000\r\n" + bytes(2000) + (
        b"\r\n:7\r\n$3\r\nend\r\n")
    for piece in (len(sent), 1, 7, 1000, 5007):
        setup = Setup(max_value_bytes=1000)
        futures = [setup.connection.execute(*command) for command in (
            (b"GET", b"a"), (b"GET", b"b"), (b"MGET", b"c"), (b"GET", b"d"))]
        for start in range(0, len(sent), piece):
            setup.receive(sent[start:start + piece])
        assert await futures[0] == b"1"
        with pytest.raises(RespError, match="VALUETOOLARGE 5000 1000"):
            await futures[1]
        first, second, third = await futures[2]
        assert (first, second.kind, third) == (b"a", "VALUETOOLARGE", 7)
        assert await futures[3] == b"end"
        assert setup.reasons == []


async def test_values_that_are_too_much_for_one_reply_are_left_out() -> None:
    setup = Setup(max_value_bytes=1000, max_reply_bytes=2000)
    future = setup.connection.execute(b"MGET", b"a")
    setup.receive(b"*4\r\n" + (b"$900\r\n" + bytes(900) + b"\r\n") * 3 + b"$1\r\n1\r\n")
    assert [value if isinstance(value, bytes) else value.kind for value in await future] == [
        bytes(900), bytes(900), "REPLYTOOLARGE", b"1"]


async def test_a_value_that_is_left_out_keeps_nobody_waiting_for_ever() -> None:
    """A length that is garbage is waited for no longer than its bytes come."""
    setup = Setup(max_value_bytes=1000, read_timeout_s=0.05)
    large, later = setup.connection.execute(b"GET", b"a"), setup.connection.execute(b"GET", b"b")
    setup.receive(b"$500000000\r\n" + bytes(2000))
    with pytest.raises(RespError, match="VALUETOOLARGE"):
        await large
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(later, 30)
    assert setup.reasons == ["no reply within 0.05 s"]


async def test_no_value_is_as_large_as_garbage_may_say() -> None:
    setup = Setup(max_value_bytes=1000, max_reply_bytes=1000)
    future = setup.connection.execute(b"GET", b"a")
    setup.receive(b"$600000000\r\n" + bytes(2000))
    with pytest.raises(ConnectionLost):
        await future
    assert setup.reasons == ["a reply is larger than 1000 bytes"]


REPLIES = {b"$1\r\n1\r\n", b"_\r\n", b"+OK\r\n", b"+QUEUED\r\n", b":1\r\n", b"#t\r\n", b",1\r\n", b"(1\r\n",
           b"*1\r\n$1\r\n1\r\n", b"%1\r\n+a\r\n:1\r\n", b"~0\r\n"}


@pytest.mark.parametrize(("command", "right"), [
    ((b"GET", b"a"), {b"$1\r\n1\r\n", b"_\r\n"}),
    ((b"SET", b"a", b"1"), {b"+OK\r\n"}),
    ((b"SET", b"a", b"1", b"PX", b"9"), {b"+OK\r\n"}),
    ((b"DEL", b"a"), {b":1\r\n"}), ((b"EXISTS", b"a"), {b":1\r\n"}), ((b"PEXPIRE", b"a", b"9"), {b":1\r\n"}),
    ((b"PTTL", b"a"), {b":1\r\n"}), ((b"PERSIST", b"a"), {b":1\r\n"}), ((b"EVALSHA", b"", b"0"), REPLIES),
], ids=lambda it: it[0].decode() if isinstance(it, tuple) else None)
async def test_a_reply_of_another_kind_than_the_command_has_ends_the_connection(
    command: tuple[bytes, ...], right: set[bytes]
) -> None:
    for reply in REPLIES:
        setup = Setup()
        future, later = setup.connection.execute(*command), setup.connection.execute(b"GET", b"b")
        setup.receive(reply)
        assert setup.wire.aborted == (reply not in right), reply
        if setup.wire.aborted:
            assert setup.reasons == ["the server answered a command with what is no reply to it"]
            for lost in (future, later):
                with pytest.raises(ConnectionLost) as caught:
                    await lost
                assert caught.value.sent
        else:
            await future
            later.cancel()


async def test_news_of_the_server_is_not_a_reply() -> None:
    setup = Setup()
    future = setup.connection.execute(b"GET", b"a")
    setup.receive(b">2\r\n+invalidate\r\n*1\r\n+x\r\n$1\r\n1\r\n")
    assert await future == b"1"


async def test_shares_of_a_connection_are_equal_and_nobody_gets_none() -> None:
    setup = Setup(max_pending=10)
    shares = [FairShare(10) for _ in range(20)]

    def take(share: FairShare) -> int:
        """How many more commands it gets."""
        before = share.pending
        with contextlib.suppress(PipelineFull):
            while True:
                setup.connection.execute(b"PING", share=share).cancel()
        return share.pending - before

    assert [take(share) for share in shares] == [10, 5, 4, 3, 2, 2, 2, 2, 2, *[1] * 11]
    setup.receive(b"+PONG\r\n" * setup.connection.pending)
    assert [share.pending for share in shares] == [0] * 20
    assert take(shares[7]) == 10
    setup.connection.abort("over")
    assert shares[7].pending == 0


async def test_shares_of_a_connection_s_bytes() -> None:
    setup = Setup(max_queued_bytes=0)  # and 32 KiB in any case
    setup.connection.pause_writing()
    one, other = FairShare(1000), FairShare(1000)
    for _ in range(3):
        setup.connection.execute(b"SET", b"a", bytes(10_000), share=one).cancel()
    with pytest.raises(PipelineFull):
        setup.connection.execute(b"SET", b"a", bytes(10_000), share=one)
    setup.connection.execute(b"SET", b"a", bytes(10_000), share=other).cancel()
    with pytest.raises(PipelineFull):
        setup.connection.execute(b"SET", b"a", bytes(10_000), share=other)
    setup.connection.resume_writing()
    await asyncio.sleep(0)
    setup.connection.execute(b"SET", b"a", bytes(10_000), share=other).cancel()
    setup.connection.abort("over")
    assert (one.pending, other.pending) == (0, 0)
