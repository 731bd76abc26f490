"""A message that is framed once and sent by many streams: who gets it, how long it is held, and that it costs once."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from prism_proxy._native.envelope.framed import FramedMessage
from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server
from tests.support.echo import FRESH, OneMethod
from tests.support.h2peer import (
    CANCEL,
    DATA,
    END_STREAM,
    RST_STREAM,
    WINDOW_SETTING,
    WINDOW_UPDATE,
    H2Peer,
    frame,
    grpc_headers,
    message,
)

NARROW = ((WINDOW_SETTING, 1000),)


class Topic:
    """Its subscribers get what is in `published`, then the end."""

    def __init__(self, *published: Any) -> None:
        self.published = published

    async def yields(self, request: bytes, context: Any) -> AsyncIterator[Any]:
        for item in self.published:
            yield item

    async def writes(self, request: bytes, context: Any) -> None:
        for item in self.published:
            await context.write(item)


async def started(behaviour: Any, **limits: Any) -> tuple[Server, int]:
    server = Server(Limits(**limits))
    server.add_generic_rpc_handlers([OneMethod(behaviour, "unary_stream")])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def until_none_reads(framed: FramedMessage) -> None:
    async with asyncio.timeout(5):
        while framed.readers:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", ["yields", "writes"])
@pytest.mark.parametrize("size", [0, 1, 100, 300_000])
async def test_many_streams_get_it_whole_and_in_order(form: str, size: int) -> None:
    framed = FramedMessage(b"m" * size)
    assert (len(framed), framed.readers) == (size, 0)
    server, port = await started(getattr(Topic(b"before", framed, framed, b"after"), form))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH) as channel:
            async def got() -> list[bytes]:
                return [item async for item in channel.unary_stream(OneMethod.PATH)(b"")]

            for replies in await asyncio.gather(*(got() for _ in range(40))):
                assert replies == [b"before", b"m" * size, b"m" * size, b"after"]
        await until_none_reads(framed)
    finally:
        await server.stop(0)


async def subscribe(peer: H2Peer) -> int:
    stream = peer.next_stream()
    await peer.send(peer.head(stream, grpc_headers(OneMethod.PATH)), frame(DATA, END_STREAM, stream, message(b"")))
    return stream


async def test_slow_readers_share_one_copy_until_each_is_done_or_gone() -> None:
    """30 streams that took the first 1,000 bytes of 2 MB: one goes on, one is reset, the rest lose the connection."""
    framed = FramedMessage(bytes(2_000_000))
    server, port = await started(Topic(framed).yields)
    try:
        async with H2Peer(port, initial=NARROW) as peer:
            streams = [await subscribe(peer) for _ in range(30)]
            await peer.until(lambda: all(
                stream in peer.replies and len(peer.replies[stream].body) == 1000 for stream in streams))
            assert framed.readers == 30
            await peer.send(frame(WINDOW_UPDATE, 0, streams[0], struct.pack(">I", 2**30)))
            reply = await peer.reply(streams[0])
            assert (reply.status, reply.messages()) == (0, [bytes(2_000_000)])
            await peer.send(frame(RST_STREAM, 0, streams[1], struct.pack(">I", CANCEL)))
            await peer.ping()
            assert framed.readers == 28
        await until_none_reads(framed)
    finally:
        await server.stop(0)


async def test_it_keeps_the_limit_of_replies_and_what_was_compressed_before_stays_readable() -> None:
    class Mixed:
        async def yields(self, request: bytes, context: Any) -> AsyncIterator[Any]:
            context.set_compression(grpc.Compression.Gzip)
            yield b"c" * 500
            yield FramedMessage(b"plain")
            yield FramedMessage(bytes(2000))

    server, port = await started(Mixed().yields, max_reply_bytes=1000, max_message_bytes=4096)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH) as channel:
            call = channel.unary_stream(OneMethod.PATH)(b"")
            assert [await call.read(), await call.read()] == [b"c" * 500, b"plain"]
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "max_reply_bytes" in await call.details()
    finally:
        await server.stop(0)
