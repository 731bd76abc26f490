"""A connection that the server ends must not be reset: a reset takes replies from a peer that has not read them yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from prism_proxy.server.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
GOAWAY = b"\0\0\x08\7\0\0\0\0\0" + bytes(8)
PING = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"
PUSH_PROMISE = b"\0\0\0\5\0\0\0\0\0"  # from a client: a connection error
FRAME_TYPE_GOAWAY = 7


@pytest.fixture
async def running() -> AsyncIterator[tuple[Server, int]]:
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, port
    await server.stop(0)


def frame_types(data: bytes) -> list[int]:
    types = []
    while data:
        types.append(data[3])
        data = data[9 + int.from_bytes(data[:3], "big"):]
    return types


@pytest.mark.parametrize("last", [GOAWAY, PUSH_PROMISE], ids=["the peer leaves", "the peer errs"])
async def test_frames_behind_the_last_one_do_not_reset_the_connection(running: tuple[Server, int], last: bytes) -> None:
    server, port = running
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + last)
    received = frame_types(await reader.read())  # until the server has ended its side
    assert (FRAME_TYPE_GOAWAY in received) == (last == PUSH_PROMISE)
    writer.write(3 * PING)
    await writer.drain()
    assert server.stats()["connections"] == 1  # it listens on, so no frame of ours meets a closed socket
    assert reader.exception() is None
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(5):
        while server.stats()["connections"]:
            await asyncio.sleep(0.005)


async def test_a_peer_that_never_ends_its_side_is_cut(running: tuple[Server, int]) -> None:
    server, port = running
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + GOAWAY)
    async with asyncio.timeout(10):
        while not server.stats()["connections"]:
            await asyncio.sleep(0.005)
        while server.stats()["connections"]:
            await asyncio.sleep(0.05)
    writer.close()
