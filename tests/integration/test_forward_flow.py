"""Forwarded calls hold a bounded number of bytes: a slow side stops the other one, and nothing is left at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.server.channel import Channel
from prism_proxy.server.limits import Limits
from tests.support.echo import CHAT, SOURCE, STALL, UNARY, Echo
from tests.support.forwarding import Pair, forwarding, until
from tests.support.h2peer import DATA, END_STREAM, WINDOW_SETTING, WINDOW_UPDATE, H2Peer, frame, message

WINDOW = 1 << 18
LIMITS = Limits(stream_window_bytes=WINDOW)
MANY = 64 << 20
SOAK = bool(os.environ.get("PRISM_SOAK"))


async def settled(value: object) -> int:
    """The value once it has not grown for a while."""
    assert callable(value)
    before, same = -1, 0
    while same < 10:
        await asyncio.sleep(0.02)
        now = value()
        same = same + 1 if now == before else 0
        before = now
    return before


async def test_a_slow_reader_stops_the_owner() -> None:
    echo = Echo()
    async with (forwarding(echo, limits=LIMITS) as pair,
                H2Peer(pair.port, initial=((WINDOW_SETTING, 65535),)) as peer):
        stream = await peer.start(SOURCE)
        await peer.send(frame(DATA, END_STREAM, stream, message(b"400 16384")))
        # 64 KiB the reader took; the front's queue and window; what a servicer may write ahead at the owner.
        assert await settled(lambda: echo.sent) <= 65535 + 2 * WINDOW + (1 << 19)
        for _ in range(3):
            before = echo.sent
            await peer.send(frame(WINDOW_UPDATE, 0, stream, (1 << 19).to_bytes(4, "big")))
            await until(lambda before=before: echo.sent > before)  # type: ignore[misc]
        await peer.send(frame(WINDOW_UPDATE, 0, stream, (1 << 24).to_bytes(4, "big")))
        reply = await peer.reply(stream)
        assert (reply.status, len(reply.body)) == (0, 400 * (16384 + 5))


async def test_a_slow_owner_stops_the_caller() -> None:
    echo = Echo()
    sent = 0

    async def requests() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < MANY:
            sent += 16384
            yield bytes(16384)

    async with forwarding(echo, limits=LIMITS) as pair, pair.channel() as channel:
        call = channel.stream_unary(STALL)(requests())
        await settled(lambda: sent)
        assert sent < MANY // 8
        assert 0 < pair.front.stats()["bytes_held"] <= WINDOW * 3 // 2
        echo.release.set()
        assert await call == b"%d" % MANY


async def test_one_stalled_call_stops_no_other_on_the_same_connections() -> None:
    echo = Echo()
    async with forwarding(echo, limits=LIMITS) as pair, H2Peer(pair.port) as peer:
        stalled = await peer.start(STALL)
        await peer.send(*(frame(DATA, 0, stalled, message(bytes(16000))) for _ in range(16)))
        await until(lambda: pair.owner.server.stats()["bytes_held"] > 100_000)
        for number in range(100):
            reply = await peer.unary(UNARY, b"%d" % number)
            assert reply.messages() == [b"%d" % number]
        echo.release.set()
        await peer.send(frame(DATA, END_STREAM, stalled))
        assert (await peer.reply(stalled)).messages() == [b"256000"]


async def test_a_cancelled_slow_reader_leaves_nothing() -> None:
    echo = Echo()
    async with forwarding(echo, limits=LIMITS) as pair:
        for _ in range(3):
            async with H2Peer(pair.port, initial=((WINDOW_SETTING, 1000),)) as peer:
                stream = await peer.start(SOURCE)
                await peer.send(frame(DATA, END_STREAM, stream, message(b"1000 16384")))
                await until(lambda: pair.owner.server.stats()["handlers_running"] == 1)
                await settled(lambda: echo.sent)
            await pair.at_rest()


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer keeps freed memory")
@pytest.mark.timeout(600)
async def test_many_forwarded_calls_leave_no_memory() -> None:
    """Growth in the second half of the calls, after warming up."""
    rounds = 50 if SOAK else 4
    async with forwarding(Echo()) as pair:
        await load(pair, 2)
        before = resident()
        await load(pair, rounds)
        assert resident() - before < 2 << 20
        await pair.at_rest()


async def load(pair: Pair, rounds: int) -> None:
    """2,000 calls a round over 4 connections of our own client (grpcio's keeps memory): most unary, some cancelled."""
    async def calls(channel: Channel) -> None:
        for index in range(500):
            if index % 25 == 0:
                chat = await channel.call(CHAT)
                for _ in range(3):
                    await chat.send(bytes(20_000))
                chat.half_close()
                assert [len(await chat.read() or b"") for _ in range(4)] == [20_000, 20_000, 20_000, 0]
            elif index % 40 == 0:
                stalled = await channel.call(STALL)
                await stalled.send(bytes(5000))
                stalled.cancel()
            else:
                assert await channel.unary(UNARY, b"%d" % index, timeout_s=20) == b"%d" % index

    channels = [Channel(f"127.0.0.1:{pair.port}") for _ in range(4)]
    for _ in range(rounds):
        await asyncio.gather(*map(calls, channels))
    for channel in channels:
        await channel.close()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
