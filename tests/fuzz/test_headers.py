"""Header blocks that are damaged, or encode heads no client would send, in frames that are whole."""

from __future__ import annotations

import asyncio
import random

import hpack

from tests.fuzz.cases import batches, blamed
from tests.fuzz.mutations import cut, spoil
from tests.fuzz.target import Target, fuzzed
from tests.support import h2peer as h2
from tests.support.h2peer import Header, frame, grpc_headers, message

AT_ONCE = 8
PATH = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
NAMES = [":path", ":method", ":status", ":scheme", "te", "content-type", "grpc-timeout", "grpc-encoding", "x-namespace",
         "x-request-id", "cookie", "x-data-bin", "connection", "transfer-encoding", "host", "content-length", "x-", "Ü"]
VALUES = ["", "/", PATH, "POST", "GET", "trailers", "application/grpc", "application/grpc+json", "gzip", "1S",
          "99999999H", "-1S", "default", "\x00", "a b", "=", "x" * 5000, "é", "0", "18446744073709551616"]


def odd_head(rng: random.Random) -> list[Header]:
    """A proper head with fields lost, repeated, moved and made up."""
    head = list(grpc_headers(PATH))
    for _ in range(rng.choice([1, 1, 3, 40])):
        at = rng.randrange(len(head) + 1)
        match rng.randrange(4):
            case 0 if at < len(head):
                del head[at]
            case 1 if at < len(head):
                head.insert(rng.randrange(len(head) + 1), head[at])
            case _:
                head.insert(at, (rng.choice(NAMES), rng.choice(VALUES)))
    return head


async def spoiled(target: Target, rng: random.Random) -> None:
    encoder = hpack.Encoder()
    frames = [h2.PREFACE, h2.settings()]
    for stream in range(1, 2 * rng.randint(1, 8), 2):
        block = encoder.encode(odd_head(rng) if rng.random() < 0.7 else grpc_headers(PATH), huffman=rng.random() < 0.5)
        if rng.random() < 0.5:
            block = spoil(rng, block)
        frames.append(frame(h2.HEADERS, h2.END_HEADERS, stream, block[:16_000]))
        frames.append(frame(h2.DATA, h2.END_STREAM, stream, message(b"\n\x01k")))
    await target.throw(cut(rng, b"".join(frames)), rng.choice([0, 0.002, 0.02]))


async def test_spoiled_header_blocks_harm_nobody() -> None:
    async with fuzzed() as target:
        for number, generators in enumerate(batches(AT_ONCE)):
            with blamed(number, AT_ONCE):
                await asyncio.gather(*(spoiled(target, rng) for rng in generators))
                await target.assert_serves()
