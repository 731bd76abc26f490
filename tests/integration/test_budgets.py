"""Nobody holds the server's budgets: unfinished and slow requests, slow readers, and who else is served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time

import grpc
import pytest

from tests.support.echo import CHAT, FRESH, SINK, SOURCE, UNARY, Served, echo_server
from tests.support.h2peer import (
    CANCEL,
    DATA,
    END_STREAM,
    WINDOW_SETTING,
    WINDOW_UPDATE,
    H2Peer,
    Reply,
    frame,
    grpc_headers,
    message,
)

MiB = 1024 * 1024
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


async def fill(peer: H2Peer, size: int) -> int:
    """Send `size` bytes of a larger message as far as the server gives credit, and then nothing any more."""
    stream = await peer.start(UNARY)
    await peer.send(frame(DATA, 0, stream, struct.pack(">BI", 0, 15 * MiB)))
    for _ in range(0, size, 50_000):
        credit = peer.window_updates.get(stream, 0)
        await peer.send(*(frame(DATA, 0, stream, bytes(10_000)) for _ in range(5)))
        await peer.ping()
        if peer.window_updates.get(stream, 0) == credit:
            break
    return stream


async def test_requests_that_are_never_finished_hold_up_nobody() -> None:
    """18 connections with more unfinished bytes than the budget; others, with requests above a window, are served."""
    limits = {"receive_budget_bytes": 4 * MiB, "stream_window_bytes": 100_000}
    async with echo_server(**limits) as served, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(H2Peer(served.port)) for _ in range(18)]
        streams = [await fill(peer, 400_000) for peer in peers]
        assert served.server.stats()["bytes_held"] > 4 * MiB
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", options=FRESH) as channel:
            began = time.monotonic()
            for _ in range(5):
                assert await channel.unary_unary(UNARY)(bytes(200_000), timeout=5) == bytes(200_000)
            assert time.monotonic() - began < 1.5
        assert served.server.stats()["bytes_held"] <= 9 * MiB
        async with asyncio.timeout(10):  # then those that could send and do not are refused
            while served.server.stats()["bytes_held"] > 4 * MiB:
                await asyncio.sleep(0.05)
        refused = [peer.replies[stream] for peer, stream in zip(peers, streams, strict=True) if peer.replies]
        assert refused
        assert all(reply.status == RESOURCE_EXHAUSTED for reply in refused)


async def trickled(peer: H2Peer, path: str, seconds: float = 6) -> Reply:
    """The reply to a message that comes byte by byte."""
    stream = await peer.start(path)
    await peer.send(frame(DATA, 0, stream, struct.pack(">BI", 0, MiB)))
    async with asyncio.timeout(seconds):
        while stream not in peer.replies or not peer.replies[stream].ended:
            await peer.send(frame(DATA, 0, stream, b"x"))
            await asyncio.sleep(0.05)
    return peer.replies[stream]


@pytest.mark.parametrize("path", [SINK, CHAT])
async def test_a_message_that_comes_byte_by_byte_is_refused(path: str) -> None:
    async with echo_server(request_age_s=1) as served, H2Peer(served.port) as peer:
        reply = await trickled(peer, path)
        assert reply.status == RESOURCE_EXHAUSTED
        assert "request_min_bytes_per_s" in reply.text
        assert served.hits("request_min_bytes_per_s") == 1


async def test_a_unary_request_has_an_age() -> None:
    """Whether its bytes come or not; a stream of requests may last, also between its messages."""
    async with echo_server(request_age_s=0.5, request_min_bytes_per_s=0) as served, H2Peer(served.port) as peer:
        chat = await peer.start(CHAT)
        await peer.send(frame(DATA, 0, chat, message(b"first")))
        reply = await trickled(peer, UNARY)
        assert (reply.status, "request_age_s" in reply.text) == (RESOURCE_EXHAUSTED, True)
        silent = await peer.start(UNARY)
        assert (await peer.reply(silent, 5)).status == RESOURCE_EXHAUSTED
        assert served.hits("request_age_s") == 2
        await peer.send(frame(DATA, END_STREAM, chat, message(b"last")))
        assert (await peer.reply(chat)).messages() == [b"first", b"last"]


async def read_slowly(peer: H2Peer, served: Served, step: int, pause: float, seconds: float) -> Reply:
    """A reply of 400 kB, of which `step` bytes are taken each `pause`."""
    stream = peer.next_stream()
    await peer.send(peer.head(stream, grpc_headers(SOURCE)), frame(DATA, END_STREAM, stream, message(b"1 400000")))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while stream not in peer.replies or not peer.replies[stream].ended:
                await peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", step)))
                await asyncio.sleep(pause)
    return peer.replies[stream]


async def test_a_reader_of_a_byte_now_and_then_is_cut() -> None:
    narrow = ((WINDOW_SETTING, 100),)
    async with echo_server(zero_window_timeout_s=0.5, reply_drain_s=20) as served:
        async with H2Peer(served.port, initial=narrow) as peer:
            assert (await read_slowly(peer, served, 1, 0.1, 5)).reset == CANCEL
            assert (served.hits("reply_drain_s"), served.hits("zero_window_timeout_s")) == (1, 0)
        async with H2Peer(served.port, initial=narrow) as peer:
            reply = await read_slowly(peer, served, 15_000, 0.1, 10)  # 150 kB/s; 20 kB/s would do
            assert (reply.status, len(reply.body)) == (0, 400_005)
        assert served.hits("reply_drain_s") == 1


async def test_slow_readers_are_cut_sooner_while_they_hold_too_much() -> None:
    async with echo_server(reply_budget_bytes=300_000) as served, H2Peer(
            served.port, initial=((WINDOW_SETTING, 100),)) as peer:
        assert (await read_slowly(peer, served, 1, 0.1, 8)).reset == CANCEL
        assert served.hits("reply_budget_bytes") == 1
