"""Queues, streams and topics as release 0.1 left them, in Redis and in a SQLite file, are served by this one.

Both fixtures hold the same. Queue `jobs`: m1 and m3, m2 of a higher priority whose lease has ended, m4 for the year
2100. Queue `graves`: m5, dead. Stream `log`: four records; of group g one is acknowledged and two were delivered. The
file has a topic `orders` too, with three messages, of which `billing` acknowledged one.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.models.messages import Delivery
from prism_proxy.models.pubsub.contract import DurableSubscription, PubSubSettings
from prism_proxy.models.queue.contract import Outcome, Settlement
from prism_proxy.models.stream.contract import Membership, ReadFrom, Record
from tests.services.redis import RedisServer, binary
from tests.support.sinks import CollectingSink

FIXTURES = Path(__file__).parents[1] / "fixtures"
LATER_MS = 1_800_000_000_000  # when leases have ended, and 2100 has not come


async def check(driver: Any, attempts: list[int]) -> None:
    """`attempts`: of the group's records; a file does not keep them."""
    leased = await driver.queue.lease("jobs", 10, 30, 0)
    assert [(found.data, found.priority, found.receive_count, found.headers) for found in leased] == [
        (b"m2", 9, 2, {"colour": "grün"}), (b"m1", 5, 1, {"colour": "grün"}), (b"m3", 5, 1, {"colour": "grün"})]
    receipts = [found.receipt for found in leased]
    assert await driver.queue.settle("jobs", receipts, Settlement(Outcome.DONE)) == [None] * 3
    counts = await driver.queue.counts("jobs")
    assert (counts.ready, counts.in_flight, counts.scheduled) == (0, 0, 1)
    [dead] = await driver.queue.take("graves", 10, 0)
    assert (dead.data, dead.headers["x-dlq-source"], dead.headers["x-retry-count"]) == (b"m5", "poison", "2")
    read: CollectingSink[Record] = CollectingSink()
    await driver.stream.read(ReadFrom("log"), read)
    assert [(record.key, record.data, record.headers) for record in await read.until(4)] == [
        (b"k%d" % number, b"m%d" % number, {"colour": "grün"}) for number in range(10, 14)]
    shared: CollectingSink[Record] = CollectingSink()
    member = await driver.stream.join(Membership("log", "g", "another", 10), shared)
    found = sorted(await shared.until(3), key=lambda record: record.offset)
    assert [record.data for record in found] == [b"m11", b"m12", b"m13"]
    assert [record.attempt for record in found] == attempts
    assert await driver.stream.ack("log", "g", 0, [record.offset for record in found]) == 3
    await member.close()


@pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")
async def test_messages_in_redis() -> None:
    async with RedisServer() as server:
        async with server.client() as client:
            for line in (FIXTURES / "redis" / "release_0_1.jsonl").read_text().splitlines():
                await client.execute_command(*(argument.encode("latin-1") for argument in json.loads(line)))
        driver = RedisDriver(RedisConfig(server.url).within("orders"))
        await driver.open()
        try:
            assert await driver.get(b"k") == b"v"
            await check(driver, [2, 2, 1])
        finally:
            await driver.close()


async def test_messages_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FIXTURES / "sqlite" / "format_3.sql").read_text())
    driver = SqliteDriver(SqliteConfig(str(path)), lambda: LATER_MS * 1_000_000)
    driver.pubsub.configure(PubSubSettings(log_max_age_s=0))
    await driver.open()
    try:
        assert await driver.get(b"k") == b"v"
        await check(driver, [1, 1, 1])
        sink: CollectingSink[Delivery] = CollectingSink()
        active = await driver.pubsub.subscribe_durable(DurableSubscription("orders", "billing"), sink)
        assert [found.data for found in await sink.until(2)] == [b"m21", b"m22"]
        await active.close()
    finally:
        await driver.close()
