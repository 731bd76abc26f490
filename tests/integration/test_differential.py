"""The same servicer under `grpc.aio.server` and under our server, call by call, before a stock client.

A call is a script (`Script`) that travels as the first message: what the servicer does, step by step. Scripts are
generated from seeds; the outcome of each must be the same under both servers, but for what `PERMITTED` names.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from prism_proxy.server.server import Server
from tests.support.echo import FRESH
from tests.support.h2peer import DATA, NO_ERROR, H2Peer, frame, message
from tests.support.scripted import KINDS, SERVICE, Call, Scripted, generate, on_the_wire, perform

# Response metadata that may differ, and why. Nothing else may.
PERMITTED = {
    "user-agent": "sent by grpcio's server as part of its own name; says nothing about the call",
    "grpc-accept-encoding": "an offer of the server: the compressions each one has",
    "grpc-encoding": "named by both when a reply is compressed; grpcio names identity elsewhere",
    ("grpc-message", ""): "grpcio sends an empty message with each status, ours none",
}


@contextlib.asynccontextmanager
async def both(handler: grpc.GenericRpcHandler) -> AsyncIterator[tuple[int, int]]:
    """The ports of grpc.aio's server and of ours."""
    reference, ours = grpc.aio.server(), Server()
    ports = []
    for server in (reference, ours):
        server.add_generic_rpc_handlers([handler])
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
    try:
        yield ports[0], ports[1]
    finally:
        await reference.stop(0)
        await ours.stop(0)


@contextlib.asynccontextmanager
async def channels() -> AsyncIterator[tuple[grpc.aio.Channel, grpc.aio.Channel]]:
    async with (both(Scripted()) as (reference, ours),
                grpc.aio.insecure_channel(f"127.0.0.1:{reference}", options=FRESH) as first,
                grpc.aio.insecure_channel(f"127.0.0.1:{ours}", options=FRESH) as second):
        yield first, second


def reference_of(call: Call) -> Call:
    """grpc.aio's synchronous streaming handlers write from a second thread and now and then lose the status to a
    message, or never end. What they would have said is what the asynchronous ones say."""
    return call._replace(method=call.method.removesuffix("_sync")) if call.method.endswith("stream_sync") else call


async def alike(call: Call, reference: grpc.aio.Channel, ours: grpc.aio.Channel) -> None:
    expected, got = await asyncio.gather(perform(reference, reference_of(call), PERMITTED),
                                         perform(ours, call, PERMITTED))
    if not got.initial and not got.messages:
        # The client drops initial metadata that arrive together with a status; the wire itself is compared below.
        expected = expected._replace(initial=[])
    assert got == expected, f"{call}"


@pytest.mark.parametrize("seed", range(100, 110))
async def test_generated_calls_look_alike_on_the_wire(seed: int) -> None:
    rng = random.Random(seed)
    async with both(Scripted()) as ports:
        for _ in range(20):
            call = generate(rng)
            # No compression: grpcio compresses for peers that do not offer to take it, ours does not.
            call = call._replace(script=[item for item in call.script if item[0] != "compress"])
            expected, got = (
                await on_the_wire(ports[0], reference_of(call), PERMITTED),
                await on_the_wire(ports[1], call, PERMITTED))
            assert got == expected, f"{call}"


@pytest.mark.parametrize("seed", range(20))
async def test_generated_calls_end_alike(seed: int) -> None:
    rng = random.Random(seed)
    async with channels() as (reference, ours):
        for _ in range(25):
            await alike(generate(rng), reference, ours)


# --- what scripts cannot say -----------------------------------------------------------------------------------------

class Plain(grpc.GenericRpcHandler):
    """One method, `/test.Scripted/plain`, of a kind and behaviour given."""

    def __init__(self, kind: str, behaviour: Any, **serializers: Any) -> None:
        self._handler = getattr(grpc, f"{kind}_rpc_method_handler")(behaviour, **serializers)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handler if details.method == PLAIN else None


PLAIN = f"/{SERVICE}/plain"


@contextlib.asynccontextmanager
async def each(handler: grpc.GenericRpcHandler) -> AsyncIterator[list[grpc.aio.Channel]]:
    async with both(handler) as ports, contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH))
               for port in ports]


async def test_a_cancelled_call_cancels_the_servicer_which_cannot_write_any_more() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def behaviour(request: bytes, context: Any) -> None:
        await context.write(b"first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await context.write(b"second")
            except (asyncio.CancelledError, grpc.aio.UsageError, grpc.aio.InternalError):
                told.put_nowait("refused")
            raise

    async with each(Plain("unary_stream", behaviour)) as channels_:
        for channel in channels_:
            rpc = channel.unary_stream(PLAIN)(b"")
            assert await rpc.read() == b"first"
            rpc.cancel()
            assert await rpc.code() is grpc.StatusCode.CANCELLED
            assert await asyncio.wait_for(told.get(), 5) == "refused"


async def test_deadlines_end_the_call_and_are_seen_by_the_servicer() -> None:
    seen_: list[Any] = []

    async def behaviour(request: bytes, context: Any) -> bytes:
        seen_.append(context.time_remaining())
        await asyncio.Event().wait()
        return b""

    async with each(Plain("unary_unary", behaviour)) as channels_:
        for channel in channels_:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(PLAIN)(b"", timeout=0.3)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(seen_) == 2
    assert all(0 < remaining <= 0.31 for remaining in seen_)


def refuse(payload: Any) -> Any:
    raise ValueError("not this one")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["request_deserializer", "response_serializer"])
async def test_serializers_that_raise(kind: str, which: str) -> None:
    """An undecodable request is INTERNAL, as in grpcio's synchronous server; grpc.aio says UNKNOWN."""
    async def unary(request: Any, context: Any) -> bytes:
        if kind.startswith("stream"):
            await anext(aiter(request))
        return b"reply"

    async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await unary(request, context)

    behaviour = unary if kind.endswith("unary") else stream
    async with each(Plain(kind, behaviour, **{which: refuse})) as channels_:
        codes = []
        for channel in channels_:
            rpc = getattr(channel, kind)(PLAIN)(iter([b"x"]) if kind.startswith("stream") else b"x")
            codes.append(await rpc.code())
        undecodable = which == "request_deserializer"
        assert codes == [grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL if undecodable else grpc.StatusCode.UNKNOWN]


async def test_unknown_methods() -> None:
    async with each(Plain("unary_unary", None)) as channels_:
        for channel in channels_:
            for path in ("/test.Scripted/none", "/", "/test.Scripted/plain/", "//plain"):
                assert await channel.unary_unary(path)(b"").code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_servicer_that_stops_reading_early_ends_the_call() -> None:
    async def behaviour(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return await anext(aiter(requests))

    async def send() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async with each(Plain("stream_unary", behaviour)) as channels_:
        for channel in channels_:
            assert await asyncio.wait_for(channel.stream_unary(PLAIN)(send()), 5) == b"first"


async def test_a_reply_before_the_end_of_the_request_asks_for_no_more_of_it() -> None:
    async def behaviour(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return await anext(aiter(requests))

    async with both(Plain("stream_unary", behaviour)) as ports:
        for port in ports:
            async with H2Peer(port) as peer:
                stream = await peer.start(PLAIN)
                await peer.send(frame(DATA, 0, stream, message(b"first")))
                reply = await peer.reply(stream)
                assert reply.messages() == [b"first"]
                await peer.until(lambda reply=reply: reply.reset is not None)  # type: ignore[misc]
                assert reply.reset == NO_ERROR


async def test_abort_with_ok_is_an_error_of_the_servicer() -> None:
    """grpc.aio leaves such a call without an answer."""
    async def behaviour(request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.OK, "not an abort")

    async with each(Plain("unary_unary", behaviour)) as (_, ours):
        assert await ours.unary_unary(PLAIN)(b"").code() is grpc.StatusCode.UNKNOWN
