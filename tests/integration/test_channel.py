"""The native client: against our server and against grpcio's, over every kind of call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from prism_proxy._native.grpc.client import CallError
from prism_proxy.server.channel import Channel
from prism_proxy.server.server import Server

SERVICE = "test.Echo"


class Echo:
    """Bytes in, bytes out."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def unary(self, request: bytes, context: Any) -> bytes:
        if request == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "nö 100%\n", (("why-bin", b"\x00\xff"), ("key", "value")))
        if request == b"sleep":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        await context.send_initial_metadata((("seen", str(dict(context.invocation_metadata()).get("sent"))),))
        return request

    async def replies(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            for number in range(int(request)):
                yield b"%d" % number * 1000
        finally:
            self.cancelled.set()

    async def both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request[::-1]

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(SERVICE, {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Replies": grpc.unary_stream_rpc_method_handler(self.replies),
            "Both": grpc.stream_stream_rpc_method_handler(self.both)})


@pytest.fixture(params=[Server, lambda: grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])],
                ids=["ours", "grpcio"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Channel, Echo]]:
    make: Callable[[], Any] = request.param
    server, echo = make(), Echo()
    server.add_generic_rpc_handlers((echo.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(f"127.0.0.1:{port}")
    yield channel, echo
    await channel.close()
    await server.stop(0)


async def test_unary(served: tuple[Channel, Echo]) -> None:
    channel, _ = served
    assert await channel.unary(f"/{SERVICE}/Unary", b"hello") == b"hello"
    assert await channel.unary(f"/{SERVICE}/Unary", b"") == b""
    large = bytes(range(256)) * 40_000
    assert await channel.unary(f"/{SERVICE}/Unary", large) == large
    replies = await asyncio.gather(*(channel.unary(f"/{SERVICE}/Unary", b"%d" % i) for i in range(90)))
    assert replies == [b"%d" % i for i in range(90)]


async def test_metadata_and_status(served: tuple[Channel, Echo]) -> None:
    channel, _ = served
    call = await channel.call(f"/{SERVICE}/Unary", [("sent", "x y")])
    await call.send(b"m")
    call.half_close()
    assert await call.read() == b"m"
    assert ("seen", "x y") in call.initial_metadata
    assert await call.read() is None
    with pytest.raises(CallError) as refused:
        await channel.unary(f"/{SERVICE}/Unary", b"abort")
    assert refused.value.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert refused.value.message == "nö 100%\n"
    assert {("why-bin", b"\x00\xff"), ("key", "value")} <= set(refused.value.trailers)
    with pytest.raises(CallError) as unknown:
        await channel.unary("/no.Such/Method", b"")
    assert unknown.value.code == grpc.StatusCode.UNIMPLEMENTED.value[0]


async def test_streams(served: tuple[Channel, Echo]) -> None:
    channel, echo = served
    got = [reply async for reply in channel.stream(f"/{SERVICE}/Replies", b"500")]
    assert got == [b"%d" % number * 1000 for number in range(500)]
    echo.cancelled.clear()
    stream = channel.stream(f"/{SERVICE}/Replies", b"1000000")
    assert await anext(stream) == b"0" * 1000
    await stream.aclose()
    await asyncio.wait_for(echo.cancelled.wait(), 5)
    call = await channel.call(f"/{SERVICE}/Both")
    for word in (b"one", b"two", b""):
        await call.send(word)
        assert await call.read() == word[::-1]
    call.half_close()
    assert await call.read() is None


async def test_deadline_and_cancellation_reach_the_servicer(served: tuple[Channel, Echo]) -> None:
    channel, echo = served
    with pytest.raises(CallError) as late:
        await channel.unary(f"/{SERVICE}/Unary", b"sleep", timeout_s=0.1)
    assert late.value.code in (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], grpc.StatusCode.CANCELLED.value[0])
    await asyncio.wait_for(echo.cancelled.wait(), 5)
    echo.cancelled.clear()
    task = asyncio.create_task(channel.unary(f"/{SERVICE}/Unary", b"sleep"))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait_for(echo.cancelled.wait(), 5)


async def test_a_deadline_ends_a_call_that_a_silent_server_does_not_end() -> None:
    """As one does that the network has been cut off from."""
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        channel = Channel(f"127.0.0.1:{silent.sockets[0].getsockname()[1]}")
        with pytest.raises(CallError, match=r"no answer within 0\.1 s") as late:
            await asyncio.wait_for(channel.unary(f"/{SERVICE}/Unary", b"1", timeout_s=0.1), 10)
        assert (late.value.code, late.value.executed) == (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], True)
        await channel.close()
        ended.set()


async def test_a_channel_that_is_closed_while_it_connects_keeps_no_connection() -> None:
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(f"127.0.0.1:{port}")
    call = asyncio.ensure_future(channel.unary("/test.Echo/Unary", b""))
    await asyncio.sleep(0)
    await channel.close()
    with pytest.raises(CallError) as error:
        await asyncio.wait_for(call, 5)
    assert error.value.code == 14
    async with asyncio.timeout(5):
        while server.stats()["connections"]:
            await asyncio.sleep(0.01)
    await server.stop(0)


async def test_reconnects_after_a_restart_and_fails_at_once_in_between() -> None:
    server = Server()
    server.add_generic_rpc_handlers((Echo().handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(f"127.0.0.1:{port}")
    assert await channel.unary(f"/{SERVICE}/Unary", b"1") == b"1"
    await server.stop(1)
    with pytest.raises(CallError) as refused:
        await channel.unary(f"/{SERVICE}/Unary", b"2")
    assert (refused.value.code, refused.value.executed) == (14, False)
    again = Server()
    again.add_generic_rpc_handlers((Echo().handler(),))
    again.add_insecure_port(f"127.0.0.1:{port}")
    await again.start()
    async with asyncio.timeout(10):
        reply = None
        while reply is None:
            with contextlib.suppress(CallError):
                reply = await channel.unary(f"/{SERVICE}/Unary", b"3")
            await asyncio.sleep(0.01)
        assert reply == b"3"
    await channel.close()
    await again.stop(0)
