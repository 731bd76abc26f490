"""Spoiled conversations: frames lost, repeated, moved, made up and damaged."""

from __future__ import annotations

import asyncio
import random

from tests.fuzz.cases import batches, blamed
from tests.fuzz.conversations import Client
from tests.fuzz.mutations import cut, spoil, spoil_frames
from tests.fuzz.target import Target, fuzzed

AT_ONCE = 8


async def spoiled(target: Target, rng: random.Random) -> None:
    frames = Client(rng).conversation()
    match rng.randrange(8):
        case 0:
            data = b"".join(frames)  # valid, but cut and ended anywhere
        case 1:
            data = spoil(rng, b"".join(frames))
        case _:
            data = b"".join(spoil_frames(rng, frames))
    await target.throw(cut(rng, data), rng.choice([0, 0.002, 0.02]))


async def test_spoiled_conversations_harm_nobody() -> None:
    async with fuzzed() as target:
        for number, generators in enumerate(batches(AT_ONCE)):
            with blamed(number, AT_ONCE):
                await asyncio.gather(*(spoiled(target, rng) for rng in generators))
                await target.assert_serves()
