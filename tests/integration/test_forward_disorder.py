"""Everything at once: calls of all kinds, cancelled and timed out at random, while their owner dies and comes back.

Each call must end with what it asked for or with a status that may happen, and nothing may be left of any.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from prism_proxy._native.grpc.client import CallError
from prism_proxy.server.channel import Channel
from prism_proxy.server.limits import Limits
from tests.support.echo import CHAT, SINK, SOURCE, UNARY, Echo
from tests.support.forwarding import Pair, forwarding

SEEDS = range(40 if os.environ.get("PRISM_SOAK") else 4)
SECONDS = 1.0
CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE = 1, 4, 8, 14  # calls may be shed
LIMITS = Limits(stream_window_bytes=65535, reset_burst=100_000)


async def one_call(channel: Channel, rng: random.Random) -> None:
    """A call of any kind, cancelled by us one time in ten. CallError when it does not end well."""
    payload = rng.randbytes(rng.choice([0, 1, 1000, 20_000, 200_000]))
    timeout = rng.choice([None, None, 0.01, 0.05, 5])
    if rng.random() < 0.5:
        assert await channel.unary(UNARY, payload, timeout_s=timeout) == payload
        return
    path = rng.choice([SINK, SOURCE, CHAT])
    call = await channel.call(path, timeout_s=timeout)
    try:
        await call.send(b"5 %d" % len(payload) if path == SOURCE else payload)
        if path == CHAT:
            assert await call.read() == payload
            await call.send(payload)
        if rng.random() < 0.1:
            return
        call.half_close()
        sizes = []
        while (reply := await call.read()) is not None:
            sizes.append(len(reply))
        assert sizes == {
            SINK: [len(b"%d" % len(payload))], SOURCE: [len(payload)] * 5, CHAT: [len(payload)]}[path]
    finally:
        call.cancel()


async def caller(pair: Pair, rng: random.Random, until: float) -> None:
    channel = Channel(f"127.0.0.1:{pair.port}")
    while asyncio.get_running_loop().time() < until:
        try:
            await one_call(channel, rng)
        except CallError as error:
            if error.code not in (CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE):
                raise
    await channel.close()


async def disorder(pair: Pair, rng: random.Random, until: float) -> None:
    """The owner loses its connections, drains, is killed, and is away for a while."""
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(rng.uniform(0.01, 0.1))
        if rng.random() < 0.5:
            pair.owner.abort()
        else:
            await pair.owner.stop(rng.choice([0, 0.05]))
            await asyncio.sleep(rng.uniform(0, 0.05))
            await pair.owner.start()


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_call_ends_and_nothing_is_left(seed: int) -> None:
    rng = random.Random(seed)
    async with forwarding(Echo(), limits=LIMITS) as pair:
        until = asyncio.get_running_loop().time() + SECONDS
        callers = [caller(pair, random.Random(rng.random()), until) for _ in range(20)]
        await asyncio.gather(disorder(pair, rng, until), *callers)
        await pair.at_rest()
        final = Channel(f"127.0.0.1:{pair.port}")
        assert await final.unary(UNARY, b"still") == b"still"
        await final.close()
