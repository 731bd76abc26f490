"""Generated calls to the owner itself and through a server that forwards: the outcomes must be equal."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.support.echo import FRESH
from tests.support.forwarding import Pair, forwarding
from tests.support.scripted import Scripted, generate, on_the_wire, perform

# Response metadata that may differ, and why. Nothing else may.
PERMITTED = {
    "x-request-id": "made up for each failure of a call that was sent without one",
    "grpc-status-details-bin": "holds that id, and the time",
}


@contextlib.asynccontextmanager
async def direct(pair: Pair) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{pair.owner.port}", options=FRESH) as channel:
        yield channel


@pytest.mark.parametrize("seed", range(20))
async def test_generated_calls_end_alike(seed: int) -> None:
    rng = random.Random(seed)
    async with forwarding(Scripted()) as pair, direct(pair) as reference, pair.channel() as channel:
        for _ in range(25):
            call = generate(rng)
            expected, got = await asyncio.gather(
                perform(reference, call, PERMITTED), perform(channel, call, PERMITTED))
            if not got.messages or not expected.messages:
                # The client drops initial metadata that arrive together with a status; the wire is compared below.
                expected, got = expected._replace(initial=[]), got._replace(initial=[])
            assert got == expected, f"{call}"


@pytest.mark.parametrize("seed", range(100, 110))
async def test_generated_calls_look_alike_on_the_wire(seed: int) -> None:
    rng = random.Random(seed)
    async with forwarding(Scripted()) as pair:
        for _ in range(20):
            call = generate(rng)
            expected = await on_the_wire(pair.owner.port, call, PERMITTED)
            assert await on_the_wire(pair.port, call, PERMITTED) == expected, f"{call}"
