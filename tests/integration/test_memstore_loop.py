"""Calls beside a memory store that grows to a million keys, and loses them all at one moment.

Client, server and store share one thread. What is measured is the time that this thread worked between a Get and its
reply: all that the store can add to a call is in it, and what else the machine does is not.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.server.channel import Channel
from tests.support.memstore_server import GET, served

KEYS = 1_000_000
BATCH = 1000
BYSTANDER_P99_S = 0.005
HOUR_NS = 3600 * 1_000_000_000

Get = Callable[[], Awaitable[bytes]]

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer is slower"),
]


class Clock:
    ahead_ns = 0

    def __call__(self) -> int:
        return time.monotonic_ns() + self.ahead_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def driver(clock: Clock) -> MemstoreDriver:
    return MemstoreDriver(MemstoreConfig(max_bytes=1 << 30), clock)


@pytest.fixture
async def bystander(driver: MemstoreDriver) -> AsyncIterator[Get]:
    """Gets one key over a connection of its own."""
    await driver.set(b"bystander", b"v" * 100)
    request = pb.GetRequest(key="bystander").SerializeToString()
    async with served(driver) as port:
        channel = Channel(f"127.0.0.1:{port}")

        async def get() -> bytes:
            return pb.GetResponse.FromString(await channel.unary(GET, request)).value

        yield get
        await channel.close()


async def p99_beside(get: Get, work: Awaitable[None]) -> float:
    """99th percentile, in seconds of the loop's work, of Gets one after the other until `work` is done."""
    task, times = asyncio.ensure_future(work), []
    while not task.done():
        began = time.thread_time()
        assert await get() == b"v" * 100
        times.append(time.thread_time() - began)
    await task
    assert len(times) >= 100, "too few calls to judge by"
    return sorted(times)[len(times) * 99 // 100]


async def grow(driver: MemstoreDriver) -> None:
    for first in range(0, KEYS, BATCH):
        await driver.batch_set([(b"key:%08d" % number, b"v" * 100) for number in range(first, first + BATCH)])


async def let_expire(driver: MemstoreDriver) -> None:
    """All within the same tick of the store's timing wheel, or nearly."""
    for number in range(KEYS):
        driver.native_store.expire(b"key:%08d" % number, HOUR_NS)
        if number % 200 == 0:
            await asyncio.sleep(0)


async def gone(driver: MemstoreDriver) -> None:
    while driver.native_store.counters()["keys"] > 1:
        await asyncio.sleep(0.01)


async def test_a_million_keys_come_and_go_beside_other_calls(
    bystander: Get, driver: MemstoreDriver, clock: Clock
) -> None:
    growing = await p99_beside(bystander, grow(driver))
    await let_expire(driver)
    assert driver.native_store.counters()["keys"] == KEYS + 1

    clock.ahead_ns = 2 * HOUR_NS
    assert not await driver.exists(b"key:00000000"), "invisible when due, freed or not"
    expiring = await p99_beside(bystander, gone(driver))
    assert driver.native_store.counters()["expired"] == KEYS
    assert max(growing, expiring) <= BYSTANDER_P99_S, (
        f"p99 is {growing * 1000:.1f} ms while growing, {expiring * 1000:.1f} ms while expiring")
