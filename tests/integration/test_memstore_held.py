"""A reply that its caller takes slowly holds the value as it was, whatever becomes of the key, and it stays counted."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism_proxy._native.memstore.store import StoreFull
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from tests.support.h2peer import DATA, END_STREAM, WINDOW_SETTING, WINDOW_UPDATE, H2Peer, frame, grpc_headers, message
from tests.support.memstore_server import GET, served

SIZE = 10 * 1024 * 1024
NARROW = ((WINDOW_SETTING, 16_384),)


@pytest.fixture
def driver() -> MemstoreDriver:
    return MemstoreDriver(MemstoreConfig())


def used(driver: MemstoreDriver) -> int:
    return driver.native_store.counters()["bytes"]


async def begin_get(peer: H2Peer) -> int:
    """A Get whose reply is under way: its first window is full, the rest waits in the server."""
    stream = peer.next_stream()
    await peer.send(peer.head(stream, grpc_headers(GET)),
                    frame(DATA, END_STREAM, stream, message(pb.GetRequest(key="key").SerializeToString())))
    await peer.until(lambda: stream in peer.replies and len(peer.replies[stream].body) == 16_384)
    return stream


async def finish(peer: H2Peer, stream: int) -> bytes:
    await peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**30)))
    reply = await peer.reply(stream)
    assert reply.status == 0
    return bytes(pb.GetResponse.FromString(reply.messages()[0]).value)


async def test_overwritten_and_deleted_while_replies_hold_it(driver: MemstoreDriver) -> None:
    first, second = b"1" * SIZE, b"2" * SIZE
    async with served(driver) as port, H2Peer(port, initial=NARROW) as one, H2Peer(port, initial=NARROW) as two:
        empty = used(driver)
        await driver.set(b"key", first)
        alone = used(driver)
        held_by_one = await begin_get(one)
        await driver.set(b"key", second)  # of equal size: would fit into the place of the first
        held_by_two = await begin_get(two)
        assert await driver.delete(b"key")
        assert used(driver) == empty, "what only readers hold is not counted to the namespace"
        assert driver.native_store.counters()["pinned"] > 2 * SIZE
        assert await finish(one, held_by_one) == first
        assert await finish(two, held_by_two) == second
        await driver.set(b"key", first)
        assert used(driver) == alone
        assert driver.native_store.counters()["pinned"] == 0


async def test_readers_that_take_no_byte_make_no_namespace_full() -> None:
    """Three overwritten values wait in replies, and a fourth is stored: more than the namespace may hold."""
    driver = MemstoreDriver(MemstoreConfig(max_bytes=2 * SIZE))
    async with served(driver) as port, contextlib.AsyncExitStack() as peers:
        for number in range(3):
            await driver.set(b"key", bytes([number]) * SIZE)
            await begin_get(await peers.enter_async_context(H2Peer(port, initial=NARROW)))
        for number in range(3, 9):
            await driver.set(b"key", bytes([number]) * SIZE)
        assert await driver.get(b"key") == b"\x08" * SIZE
        assert used(driver) < 2 * SIZE
        with pytest.raises(StoreFull):
            await driver.set(b"another", bytes(SIZE))


async def test_a_caller_that_goes_away_releases_what_it_held(driver: MemstoreDriver) -> None:
    async with served(driver) as port:
        await driver.set(b"key", bytes(SIZE))
        async with H2Peer(port, initial=NARROW) as peer:
            await begin_get(peer)
            await driver.delete(b"key")
            assert driver.native_store.counters()["pinned"] > SIZE
        async with asyncio.timeout(5):
            while driver.native_store.counters()["pinned"]:
                await asyncio.sleep(0)


async def test_a_store_that_ends_before_its_replies(driver: MemstoreDriver) -> None:
    """The driver is closed and its store gone while a reply still holds a value."""
    value = b"v" * SIZE
    await driver.set(b"key", value)
    async with served(driver) as port, H2Peer(port, initial=NARROW) as peer:
        stream = await begin_get(peer)
        await driver.close()
        assert driver.native_store.counters()["keys"] == 0
        assert await finish(peer, stream) == value
