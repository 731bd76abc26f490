"""Damaged gRPC messages and damaged protobuf requests, in frames and heads that are whole."""

from __future__ import annotations

import asyncio
import gzip
import random

import hpack

from tests.fuzz.cases import batches, blamed
from tests.fuzz.conversations import Client
from tests.fuzz.mutations import cut, spoil
from tests.fuzz.target import Target, fuzzed
from tests.support import h2peer as h2
from tests.support.h2peer import Header, frame, grpc_headers, message

AT_ONCE = 8
ENCODINGS: list[list[Header]] = [[], [], [("grpc-encoding", "gzip")], [("grpc-encoding", "deflate")],
                                 [("grpc-encoding", "identity")], [("grpc-encoding", "snappy")]]


def body(rng: random.Random, payload: bytes) -> bytes:
    """What stands in the DATA frames: often one message with a damaged inside, sometimes a damaged outside."""
    if rng.random() < 0.3:
        payload = gzip.compress(payload)
    if rng.random() < 0.8:
        payload = spoil(rng, payload)
    whole = message(payload, flag=rng.choice([0, 0, 0, 1, 2, 255]))
    match rng.randrange(6):
        case 0:
            return spoil(rng, whole)
        case 1:
            return whole + whole
        case 2:
            return whole[:rng.randrange(len(whole))]
        case _:
            return whole


async def spoiled(target: Target, rng: random.Random) -> None:
    encoder, frames = hpack.Encoder(), [h2.PREFACE, h2.settings()]
    for stream in range(1, 2 * rng.randint(1, 10), 2):
        path, payload = rng.choice(Client(rng).requests())
        frames.append(frame(h2.HEADERS, h2.END_HEADERS, stream,
                            encoder.encode([*grpc_headers(path), *rng.choice(ENCODINGS)])))
        data = body(rng, payload)
        step = rng.choice([len(data) or 1, 1 + len(data) // 3, 7]) if len(data) < 2000 else 16_000
        for start in range(0, len(data), step):
            frames.append(frame(h2.DATA, 0, stream, data[start:start + step]))
        frames.append(frame(h2.DATA, h2.END_STREAM, stream, b""))
    await target.throw(cut(rng, b"".join(frames)), rng.choice([0, 0.002, 0.02]))


async def test_spoiled_messages_harm_nobody() -> None:
    async with fuzzed() as target:
        for number, generators in enumerate(batches(AT_ONCE)):
            with blamed(number, AT_ONCE):
                await asyncio.gather(*(spoiled(target, rng) for rng in generators))
                await target.assert_serves()
