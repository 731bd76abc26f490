"""Calls forwarded to the server that owns their namespace: heads, kinds, time, and how calls end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from prism_proxy._native.grpc.metrics import MethodStats
from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.server.limits import Limits
from tests.support.echo import CHAT, HANG, SINK, SOURCE, STALL, UNARY, Echo, OneMethod
from tests.support.forwarding import NAMESPACE, forwarding, until
from tests.support.h2peer import DATA, END_STREAM, H2Peer, frame, message

Context = grpc.aio.ServicerContext


async def test_all_four_kinds() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        assert await channel.unary_unary(UNARY)(b"hello", timeout=5) == b"hello"
        assert await channel.unary_unary(UNARY)(b"") == b""
        big = bytes(1_000_000)
        assert await channel.unary_unary(UNARY)(big) == big
        assert await channel.stream_unary(SINK)(iter([b"x" * 100] * 50)) == b"5000"
        assert [len(item) async for item in channel.unary_stream(SOURCE)(b"30 70000")] == [70000] * 30
        assert [item async for item in channel.stream_stream(CHAT)(iter([b"a", b"b", b"c" * 100_000]))] == [
            b"a", b"b", b"c" * 100_000]


async def test_messages_pass_as_they_come_before_the_request_ends() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        chat = channel.stream_stream(CHAT)()
        for item in (b"one", b"two", b""):
            await chat.write(item)
            assert await chat.read() == item
        await chat.done_writing()
        assert await chat.read() is grpc.aio.EOF


async def test_the_owner_sees_the_head_as_the_caller_sent_it() -> None:
    seen: list[tuple[str, Any]] = []
    left: list[float] = []

    async def behaviour(request: bytes, context: Context[Any, Any]) -> bytes:
        seen.extend(context.invocation_metadata() or ())
        left.append(context.time_remaining())
        return request

    pairs = (("x-namespace", NAMESPACE), ("x-bytes-bin", bytes(range(256))), ("x-request-id", "r1"),
             ("traceparent", "00-" + "a" * 32 + "-b-01"), ("authorization", "Bearer t"), ("x-twice", "1"),
             ("x-twice", "2"))
    async with forwarding(OneMethod(behaviour)) as pair, pair.channel() as channel:
        call = channel.unary_unary(OneMethod.PATH)(b"", metadata=pairs, timeout=5, compression=grpc.Compression.Gzip)
        await call
        assert set(pairs) <= set(seen)
        assert any(key == "user-agent" and "grpc-python-asyncio" in value for key, value in seen)
        assert 4 < left[0] <= 5.1   # grpcio rounds timeouts up
        assert ("x-request-id", "r1") in list(await call.initial_metadata() or ())


async def test_without_a_deadline_there_is_none() -> None:
    async def behaviour(request: bytes, context: Context[Any, Any]) -> bytes:
        remaining = context.time_remaining()
        return b"none" if remaining is None or remaining > 1e6 else b"some"

    async with forwarding(OneMethod(behaviour)) as pair, pair.channel() as channel:
        assert await channel.unary_unary(OneMethod.PATH)(b"") == b"none"


async def test_a_deadline_ends_the_call_for_a_servicer_that_does_not_stop() -> None:
    echo = Echo()
    async with forwarding(echo) as pair, H2Peer(pair.port) as peer:     # a raw peer keeps no time itself
        stream = await peer.start(HANG, ("grpc-timeout", "200m"))
        await peer.send(frame(DATA, END_STREAM, stream, message(b"")))
        reply = await peer.reply(stream)
        assert (reply.status, reply.text) == (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], "Deadline Exceeded")
        echo.release.set()


async def test_calls_with_many_deadlines_end_each_in_its_time() -> None:
    async with forwarding(Echo()) as pair, H2Peer(pair.port) as peer:
        loop = asyncio.get_running_loop()
        timeouts = [300, 50, 200, 100, 250, 150] * 3
        began = loop.time()

        async def lateness(milliseconds: int) -> float:
            stream = await peer.start(STALL, ("grpc-timeout", f"{milliseconds}m"))
            assert (await peer.reply(stream)).status == 4
            return loop.time() - began - milliseconds / 1000

        late = await asyncio.gather(*(lateness(timeout) for timeout in timeouts))
        assert all(-0.01 < delay < 0.5 for delay in late), late


async def test_a_cancelled_call_is_cancelled_at_the_owner() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def behaviour(requests: AsyncIterator[bytes], context: Context[Any, Any]) -> AsyncIterator[bytes]:
        yield b"first"
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with forwarding(OneMethod(behaviour, "stream_stream")) as pair, pair.channel() as channel:
        call = channel.stream_stream(OneMethod.PATH)()
        assert await call.read() == b"first"
        await started.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 30)


async def test_256_calls_cancelled_at_once_cost_the_owners_connection_nothing() -> None:
    echo = Echo()
    async with (forwarding(echo, limits=Limits(reset_burst=10_000), owner_limits=Limits(reset_burst=20)) as pair,
                pair.channel() as channel):
        await channel.unary_unary(UNARY)(b"")
        calls = [channel.stream_unary(STALL)() for _ in range(250)]
        await until(lambda: pair.owner.server.stats()["handlers_running"] == 250)
        for call in calls:
            call.cancel()
        await until(lambda: pair.owner.server.stats()["handlers_running"] == 0)
        assert await channel.unary_unary(UNARY)(b"still") == b"still"
        assert pair.peer.stats()["connections"] == 1


async def test_an_answer_before_the_request_has_ended_ends_the_call() -> None:
    async def behaviour(requests: AsyncIterator[bytes], context: Context[Any, Any]) -> bytes:
        await anext(aiter(requests))
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")
        return b""

    async with forwarding(OneMethod(behaviour, "stream_unary")) as pair, H2Peer(pair.port) as peer:
        stream = await peer.start(OneMethod.PATH)
        await peer.send(frame(DATA, 0, stream, message(b"one")))
        reply = await peer.reply(stream)
        assert (reply.status, reply.text) == (9, "enough")
        await peer.send(frame(DATA, 0, stream, message(b"late")))
        await until(lambda: pair.peer.stats()["calls"] == 0)


async def test_too_large_a_message_is_refused_here() -> None:
    async with forwarding(Echo(), limits=Limits(max_message_bytes=1024)) as pair, H2Peer(pair.port) as peer:
        stream = await peer.start(SINK)
        await peer.send(frame(DATA, 0, stream, message(bytes(1000)) + message(bytes(1025))[:100]))
        reply = await peer.reply(stream)
        assert reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert "1025 vs. 1024" in reply.text
        assert pair.front.limit_hits()["max_message_bytes"] == 1
        assert pair.owner.server.limit_hits()["max_message_bytes"] == 0


@pytest.mark.parametrize("cut", [1, 4, 5, 6])
async def test_messages_may_be_cut_anywhere(cut: int) -> None:
    async with forwarding(Echo()) as pair, H2Peer(pair.port) as peer:
        stream = await peer.start(SINK)
        sent = b"".join(message(bytes(n)) for n in (0, 1, 7, 300))
        await peer.send(*(frame(DATA, 0, stream, sent[at:at + cut]) for at in range(0, len(sent), cut)),
                        frame(DATA, END_STREAM, stream))
        assert (await peer.reply(stream)).messages() == [b"308"]


async def test_only_a_trusted_peer_may_say_that_a_call_was_forwarded() -> None:
    seen: list[str] = []

    async def behaviour(request: bytes, context: Context[Any, Any]) -> bytes:
        seen.extend(key for key, _ in context.invocation_metadata() or ())
        return request

    async with forwarding(OneMethod(behaviour)) as pair:
        async with pair.channel() as channel:   # the front forwards it all the same
            assert await channel.unary_unary(OneMethod.PATH)(b"x", metadata=[("x-prism-forwarded", "1")]) == b"x"
        assert "user-agent" in seen
        assert "x-prism-forwarded" not in seen


async def test_replies_name_the_owner_when_the_route_does() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        call = channel.unary_unary(UNARY)(b"")
        assert "x-prism-owner" not in dict(await call.initial_metadata() or ())
        pair.owner.server.set_routes(
            RouteTable(2, [NativeRoute(None, NAMESPACE, None, owner="worker-1")], NAMESPACE))
        call = channel.unary_unary(UNARY)(b"")
        assert dict(await call.initial_metadata() or ())["x-prism-owner"] == "worker-1"


async def test_drain_waits_for_forwarded_calls() -> None:
    echo = Echo()
    async with forwarding(echo) as pair, pair.channel() as channel:
        call = asyncio.ensure_future(_sum(channel))
        await until(lambda: pair.owner.server.stats()["handlers_running"] == 1)
        assert pair.front.stats()["handlers_running"] == 1
        stopping = asyncio.ensure_future(pair.front.stop(10))
        await until(lambda: pair.front.stats()["connections"] == 1)
        assert not stopping.done()
        echo.release.set()
        assert await call == b"3"
        assert await stopping == 0


async def _sum(channel: grpc.aio.Channel) -> bytes:
    return bytes(await channel.stream_unary(STALL)(iter([b"abc"])))


async def test_at_the_end_of_a_drain_forwarded_calls_are_ended() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        call = channel.stream_unary(STALL)()
        await until(lambda: pair.owner.server.stats()["handlers_running"] == 1)
        assert await pair.front.stop(0.05) == 1
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_is_counted_once_where_it_arrived() -> None:
    counted: dict[str, MethodStats] = {}

    def stats_for(namespace: str | None, path: str, backend: str) -> MethodStats:
        return counted.setdefault(path, MethodStats(namespace or "", "", path, backend))

    async with forwarding(Echo(), stats_for=stats_for) as pair, pair.channel() as channel:
        for _ in range(3):
            await channel.unary_unary(UNARY)(b"")
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_stream(SOURCE)(b"no numbers").read()
        (stats,) = counted.values()  # of all methods that only a generic handler knows
        assert stats.status_counts() == [3, 0, 1] + [0] * 14
