"""Queues over real Redis servers, alone and as a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import (
    Counts,
    DeadLetters,
    Outcome,
    QueuedMessage,
    QueueItem,
    QueueSettings,
    Settlement,
)
from tests.services.redis import RedisCluster, RedisServer, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

DONE = Settlement(Outcome.DONE)


def item(data: bytes, *, priority: int = 5, later_s: float = 0, expires_s: float = 0, **more: str) -> QueueItem:
    now = int(time.time() * 1000)
    message = StoredMessage(str(uuid.uuid4()), data, {"k": f"ä {len(data)}"}, now,
                            now + int(expires_s * 1000) if expires_s else 0, **more)
    return QueueItem(message, priority, now + int(later_s * 1000) if later_s else 0)


@contextlib.asynccontextmanager
async def opened(config: RedisConfig, settings: QueueSettings | None = None) -> AsyncIterator[RedisDriver]:
    driver = RedisDriver(config.within("test"))
    driver.queue.configure(settings or QueueSettings())
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


@pytest.fixture(params=["alone", "cluster"])
async def config(request: pytest.FixtureRequest) -> AsyncIterator[RedisConfig]:
    if request.param == "cluster":
        async with RedisCluster() as cluster:
            yield RedisConfig(mode="cluster", nodes=(cluster.nodes[0].address,))
    else:
        async with RedisServer() as server:
            yield RedisConfig(server.url)


def data(found: list[QueuedMessage]) -> list[bytes]:
    return [message.data for message in found]


async def test_messages_are_leased_by_priority_and_settled_from_anywhere(config: RedisConfig) -> None:
    async with opened(config) as one, opened(config) as other:
        ids = await one.queue.enqueue("q", [item(b"1"), item(b"2", priority=10), item(b"3"), item(b"4", priority=0)])
        assert await other.queue.counts("q") == Counts(4, 0, 0, (await other.queue.counts("q")).oldest_ms)
        assert data(await other.queue.peek("q", 10, 0)) == [b"2", b"1", b"3", b"4"]
        found = await other.queue.lease("q", 3, 30, 0)
        assert data(found) == [b"2", b"1", b"3"]
        assert [message.message_id for message in found] == [ids[1], ids[0], ids[2]]
        assert (found[0].headers, found[0].priority, found[0].receive_count) == ({"k": "ä 1"}, 10, 1)
        assert data(await one.queue.lease("q", 3, 30, 0)) == [b"4"]
        assert (await one.queue.counts("q"))[:3] == (0, 4, 0)
        receipts = [message.receipt for message in found]
        assert await one.queue.settle("q", receipts[:2], DONE) == [None, None]
        again, kept = await one.queue.settle("q", [receipts[0], receipts[2]], Settlement(Outcome.RETRY))
        assert isinstance(again, PrismError)
        assert (again.reason, kept) == ("RECEIPT_EXPIRED", None)
        second, = await other.queue.lease("q", 9, 30, 0)
        assert (second.data, second.receive_count) == (b"3", 2)
        assert await one.queue.queues(10) == ["q"]
        assert await one.queue.take("q", 10, 0) == []


async def test_a_lease_that_ends_gives_the_message_back(config: RedisConfig) -> None:
    async with opened(config) as one, opened(config) as other:
        await one.queue.enqueue("q", [item(b"1")])
        first, = await one.queue.lease("q", 1, 0.3, 0)
        began = time.monotonic()
        second, = await other.queue.lease("q", 1, 30, 5)
        assert 0.25 < time.monotonic() - began < 0.45
        assert second.receive_count == 2
        with pytest.raises(PrismError, match="lease of this receipt"):
            await one.queue.extend("q", first.receipt, 5)
        await other.queue.extend("q", second.receipt, 0.2)
        await asyncio.sleep(0.25)
        with pytest.raises(PrismError, match="lease of this receipt"):
            await one.queue.extend("q", second.receipt, 5)


async def test_who_waits_gets_what_arrives_and_when_it_is_due(config: RedisConfig) -> None:
    async with opened(config) as one, opened(config) as other:
        waiting = asyncio.ensure_future(one.queue.lease("q", 5, 30, 10))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        began = time.monotonic()
        await other.queue.enqueue("q", [item(b"now")])
        assert data(await waiting) == [b"now"]
        assert time.monotonic() - began < 0.1
        began = time.monotonic()
        await other.queue.enqueue("q", [item(b"later", later_s=0.5)])
        assert (await one.queue.scheduled("q")).messages == 1
        assert data(await one.queue.take("q", 5, 10)) == [b"later"]
        assert 0.4 < time.monotonic() - began < 0.6
        began = time.monotonic()
        assert await one.queue.lease("q", 1, 30, 0.2) == []
        assert 0.15 < time.monotonic() - began < 0.35


async def test_dead_letters_and_their_way_back(config: RedisConfig) -> None:
    async with opened(config, QueueSettings(max_receives=2)) as one, opened(config) as other:
        await one.queue.enqueue("q", [item(b"lease ends"), item(b"fails"), item(b"given back")])
        ends, fails, back = await one.queue.lease("q", 3, 0.2, 0)
        await one.queue.settle("q", [fails.receipt], Settlement(Outcome.FAIL, "no good"))
        assert await one.queue.dead_letters("q") == DeadLetters("q.dlq", 2, 1)
        await one.queue.settle("q", [back.receipt], Settlement(Outcome.RETRY, "not yet"))
        back, = await one.queue.lease("q", 1, 0.2, 0)
        await one.queue.settle("q", [back.receipt], Settlement(Outcome.RETRY, "never"))
        ends, = await one.queue.lease("q", 1, 0.1, 2)
        assert (ends.data, ends.receive_count) == (b"lease ends", 2)
        async with asyncio.timeout(5):
            while (await other.queue.counts("q.dlq")).ready < 3:
                await asyncio.sleep(0.01)
        dead = {message.data: message.headers for message in await other.queue.peek("q.dlq", 10, 0)}
        assert dead[b"fails"] == {"k": "ä 5", "x-dlq-source": "q", "x-error": "no good", "x-retry-count": "1"}
        assert dead[b"given back"]["x-error"] == "never"
        assert dead[b"lease ends"]["x-retry-count"] == "2"
        tried = await other.queue.redrive("q", {"x-error": "never"}, 10, None, dry_run=True)
        assert (tried.moved, tried.skipped, tried.cursor) == (1, 2, None)
        first = await other.queue.redrive("q", {}, 2, None, dry_run=False)
        rest = await other.queue.redrive("q", {}, 2, first.cursor, dry_run=False)
        assert (first.moved, rest.moved, rest.cursor) == (2, 1, None)
        found = await other.queue.take("q", 10, 0)
        assert sorted(data(found)) == [b"fails", b"given back", b"lease ends"]
        assert all(set(message.headers) == {"k"} for message in found)
        await other.queue.configure_dead_letter("q", "elsewhere", 7)
        assert await one.queue.dead_letters("q") == DeadLetters("elsewhere", 7, 0)


async def test_without_dead_letters_what_fails_is_deleted(config: RedisConfig) -> None:
    async with opened(config) as driver:
        await driver.queue.enqueue("q", [item(b"x")])
        found, = await driver.queue.lease("q", 1, 30, 0)
        assert await driver.queue.settle("q", [found.receipt], Settlement(Outcome.FAIL)) == [None]
        assert (await driver.queue.counts("q"))[:3] == (0, 0, 0)
        assert await driver.queue.queues(10) == []


async def test_duplicates_and_expired_messages() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url)) as driver:
        first = await driver.queue.enqueue("q", [item(b"1", deduplication_id="a"), item(b"2", deduplication_id="a")])
        assert first[0] == first[1] == (await driver.queue.enqueue("q", [item(b"3", deduplication_id="a")]))[0]
        await driver.queue.enqueue("q", [item(b"short", expires_s=0.1)])
        await asyncio.sleep(0.15)
        assert data(await driver.queue.take("q", 10, 0)) == [b"1"]
        assert (await driver.queue.counts("q"))[:3] == (0, 0, 0)


async def test_a_caller_who_goes_away_loses_nothing() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url)) as driver:
        for method in (lambda: driver.queue.lease("q", 10, 30, 10), lambda: driver.queue.take("q", 10, 10)):
            for turn in range(30):
                await driver.queue.enqueue("q", [item(b"%d" % turn)])
                call = asyncio.ensure_future(method())
                await asyncio.sleep(0.0001 * turn)
                call.cancel()
                found = await asyncio.gather(call, return_exceptions=True)
                if isinstance(found[0], list):
                    continue
                async with asyncio.timeout(5):
                    assert data(await driver.queue.take("q", 1, 5)) == [b"%d" % turn]
            await driver.queue.take("q", 100, 0)


async def test_kills_of_the_server_lose_nothing_and_leave_no_doubt_behind() -> None:
    """Acknowledged messages of a server with appendonly always are all there, each once settled."""
    async with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server, opened(
            RedisConfig(server.url), QueueSettings(visibility_s=1)) as driver:
        acknowledged: set[bytes] = set()
        attempted: set[bytes] = set()
        settled: Counter[bytes] = Counter()
        doubtful: set[bytes] = set()
        over = asyncio.Event()

        async def produce(number: int) -> None:
            count = 0
            while not over.is_set():
                name = b"%d.%d" % (number, count)
                count += 1
                attempted.add(name)
                with contextlib.suppress(ConnectionLost):
                    await driver.queue.enqueue("q", [item(name)])
                    acknowledged.add(name)
                await asyncio.sleep(0.001)

        async def settle(found: QueuedMessage) -> None:
            """The reply may be lost: then it is settled, or comes again."""
            doubtful.add(found.data)
            if await driver.queue.settle("q", [found.receipt], DONE) == [None]:
                settled[found.data] += 1

        async def consume() -> None:
            while not over.is_set() or (await driver.queue.counts("q"))[:2] != (0, 0):
                with contextlib.suppress(ConnectionLost):
                    for found in await driver.queue.lease("q", 20, 0.5, 0.2):
                        await settle(found)
                await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(produce(number)) for number in range(4)]
        consumers = [asyncio.ensure_future(consume()) for _ in range(4)]
        for _ in range(5):
            await asyncio.sleep(0.3)
            await server.kill()
            await server.start()
        await asyncio.sleep(0.3)
        over.set()
        await asyncio.gather(*tasks)
        async with asyncio.timeout(20):
            await asyncio.gather(*consumers)
        assert len(acknowledged) > 100, "there was a load"
        assert acknowledged <= set(settled) | doubtful <= attempted
        assert len(doubtful - set(settled)) <= 5 * 4 * 20, "no more than were on their way at a kill"
        assert max(settled.values()) == 1
        assert "nothing" in (driver.queue.traits.delivery.process_loss, driver.queue.traits.delivery.power_loss)
