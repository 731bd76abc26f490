"""Spoiled replies: whatever a server sends, a call of the native client ends, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from typing import Any

import pytest
import uvloop

from prism_proxy._native.grpc.client import CallError, ClientCall, ClientConnection
from prism_proxy.server.channel import Channel
from tests.fuzz.cases import batches, blamed
from tests.fuzz.mutations import cut, spoil, spoil_frames
from tests.fuzz.replies import Replies

AT_ONCE = 8
CALL_SECONDS = 0.15
PATH = "/test.Service/Method"


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that the proxy runs on."""
    return uvloop.EventLoopPolicy()


class SpoiledServer:
    """Answers a connection, once something was asked, with the bytes of one case."""

    def __init__(self, rng: random.Random) -> None:
        frames = Replies(rng).conversation()
        match rng.randrange(8):
            case 0:
                data = b"".join(frames)
            case 1:
                data = spoil(rng, b"".join(frames))
            case _:
                data = b"".join(spoil_frames(rng, frames))
        self._pieces = cut(rng, data)
        self._stays = rng.random() < 0.5

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
            await asyncio.sleep(0)
            for piece in self._pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while self._stays and await reader.read(65536):
                pass
        writer.close()


async def ended(call: Any) -> None:
    """The call has an outcome: replies, a CallError, or nothing from a silent server until its caller gives up."""
    with contextlib.suppress(CallError, TimeoutError):
        async with asyncio.timeout(CALL_SECONDS):
            await call


async def streamed(channel: Channel) -> None:
    async for _ in channel.stream(PATH, b"request", timeout_s=CALL_SECONDS):
        pass


async def conversed(channel: Channel) -> None:
    call = await channel.call(PATH, timeout_s=CALL_SECONDS)
    for _ in range(3):
        await call.send(bytes(30_000))
    call.half_close()
    while await call.read() is not None:
        pass


async def case(rng: random.Random) -> None:
    server = await asyncio.start_server(SpoiledServer(rng).serve, "127.0.0.1", 0)
    channel = Channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        await asyncio.gather(ended(channel.unary(PATH, b"request", timeout_s=CALL_SECONDS)), ended(streamed(channel)),
                             ended(conversed(channel)))
    finally:
        await channel.close()
        server.close()


async def test_spoiled_replies_end_calls_and_harm_nothing() -> None:
    defects: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))
    for number, generators in enumerate(batches(AT_ONCE)):
        with blamed(number, AT_ONCE):
            await asyncio.gather(*(case(rng) for rng in generators))
            assert not defects, defects[0]
    await at_rest()


async def at_rest() -> None:
    """No call and no connection outlives its test."""
    async with asyncio.timeout(60):
        while any(isinstance(found, (ClientCall, ClientConnection)) for found in gc.get_objects()):
            await asyncio.sleep(0.05)
            gc.collect()
