"""Topics over real Redis servers: who gets what, what a restart costs, and what redis-cli sees of them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.shared_pools import SharedPools
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Delivery, StoredMessage
from prism_proxy.models.pubsub.contract import Subscription
from tests.services.redis import RedisCluster, RedisServer, binary
from tests.support.sinks import CollectingSink

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")


def message(data: bytes, **more: str) -> StoredMessage:
    return StoredMessage(str(uuid.uuid4()), data, {}, 0, **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def drivers(*configs: RedisConfig) -> AsyncIterator[list[RedisDriver]]:
    """Of one process, in the namespaces n0, n1, and so on."""
    pools = SharedPools()
    made = [RedisDriver(config.within(f"n{number}"), pools) for number, config in enumerate(configs)]
    await asyncio.gather(*(driver.open() for driver in made))
    try:
        yield made
    finally:
        await asyncio.gather(*(driver.close() for driver in made))


async def subscribed(
    driver: RedisDriver, topic: str, *, pattern: bool = False
) -> tuple[CollectingSink[Delivery], object]:
    sink: CollectingSink[Delivery] = CollectingSink()
    return sink, await driver.pubsub.subscribe(Subscription(topic, "id", pattern), sink)


@pytest.mark.parametrize("form", ["resp3", "resp2", "cluster"])
async def test_messages_reach_who_listens(form: str) -> None:
    options = ("--rename-command", "HELLO", "") if form == "resp2" else ()
    async with contextlib.AsyncExitStack() as stack:
        if form == "cluster":
            cluster = await stack.enter_async_context(RedisCluster())
            config = RedisConfig(mode="cluster", nodes=(cluster.nodes[0].address,))
        else:
            server = await stack.enter_async_context(RedisServer(*options))
            config = RedisConfig(server.url)
        one, other = await stack.enter_async_context(drivers(config, config))
        exact, _ = await subscribed(one, "orders.created")
        again, second = await subscribed(one, "orders.created")
        stars, _ = await subscribed(one, "orders.*", pattern=True)
        tail, _ = await subscribed(one, "orders.>", pattern=True)
        elsewhere, _ = await subscribed(other, "orders.created")
        heard = (await one.pubsub.publish("orders.created", message(b"1"))).receivers
        assert heard >= 1 or form == "cluster"  # there it counts the listeners of one node
        await one.pubsub.publish("orders.created.late", message(b"2"))
        await one.pubsub.publish("orders", message(b"3"))
        assert [found.data for found in await tail.until(2)] == [b"1", b"2"]
        assert [(found.topic, found.data) for found in await exact.until(1)] == [("orders.created", b"1")]
        assert [found.data for found in await stars.until(1)] == [b"1"]
        assert [found.data for found in await again.until(1)] == [b"1"]
        await second.close()  # type: ignore[attr-defined]
        await second.close()  # type: ignore[attr-defined]
        await one.pubsub.publish("orders.created", message(b"4"))
        await exact.until(2)
        assert (len(again.found), elsewhere.found, len(stars.found)) == (1, [], 2)


async def test_messages_of_one_caller_arrive_in_order_and_whole() -> None:
    async with RedisServer() as server, drivers(RedisConfig(server.url)) as (driver,):
        sink, _ = await subscribed(driver, "t")
        sent = [b"%d" % number * (number % 700) for number in range(5000)]
        results = await driver.pubsub.publish_batch([("t", message(data)) for data in sent])
        assert not any(isinstance(result, PrismError) for result in results)
        assert [found.data for found in await sink.until(5000)] == sent


async def test_a_duplicate_is_answered_with_the_first_message() -> None:
    async with RedisServer() as server, drivers(RedisConfig(server.url)) as (driver,):
        sink, _ = await subscribed(driver, "t")
        first = await driver.pubsub.publish("t", message(b"1", deduplication_id="a"))
        second = await driver.pubsub.publish("t", message(b"2", deduplication_id="a"))
        third = await driver.pubsub.publish("t", message(b"3", deduplication_id="b"))
        assert first.message_id == second.message_id != third.message_id
        assert [found.data for found in await sink.until(2)] == [b"1", b"3"]


async def test_a_restart_ends_no_subscription_and_is_a_gap() -> None:
    async with RedisServer() as server, drivers(RedisConfig(server.url), RedisConfig(server.url)) as (one, other):
        sinks = [(await subscribed(driver, topic, pattern=pattern))[0]
                 for driver in (one, other) for topic, pattern in (("t", False), ("t.>", True))]
        for turn in range(3):
            await server.kill()
            await asyncio.sleep(0.1)
            await server.start()
            async with asyncio.timeout(20):
                while min(len(sink.gaps) for sink in sinks) <= turn:
                    await asyncio.sleep(0.01)
            for driver in (one, other):
                for topic in ("t", "t.x"):
                    async with asyncio.timeout(20):
                        while True:
                            with contextlib.suppress(Exception):
                                await driver.pubsub.publish(topic, message(b"%d" % turn))
                                break
                            await asyncio.sleep(0.02)
            for sink in sinks:
                await sink.until(turn + 1)
        assert [sink.ended for sink in sinks] == [[]] * 4
        assert all(len(sink.gaps) == 3 and "reconnected" in sink.gaps[0] for sink in sinks)


async def test_namespaces_share_one_connection_for_subscriptions() -> None:
    async with RedisServer() as server, drivers(*[RedisConfig(server.url)] * 20) as made:
        before = await _clients(server)
        open_ones = [await subscribed(driver, "t") for driver in made for _ in range(3)]
        assert await _clients(server) == before + 1
        async with server.client() as client:
            assert len(await client.pubsub_channels()) == 20
            for _, active in open_ones:
                await active.close()  # type: ignore[attr-defined]
            async with asyncio.timeout(10):
                while await client.pubsub_channels():
                    await asyncio.sleep(0.01)


async def _clients(server: RedisServer) -> int:
    async with server.client() as client:
        return sum(found["name"] == "prism-proxy" for found in await client.client_list())


def redis_cli() -> str | None:
    found = binary()
    beside = found.with_name("redis-cli") if found is not None else Path()
    return shutil.which("redis-cli") or (str(beside) if beside.exists() else None)


@pytest.mark.parametrize("prefix", [None, ""])
async def test_other_programs_hear_what_is_published_and_are_heard(prefix: str | None) -> None:
    async with RedisServer() as server, drivers(RedisConfig(server.url, topic_prefix=prefix)) as (driver,), \
            server.client() as client:
        channel = "prism:n0/topic/a.b" if prefix is None else "a.b"
        sink, _ = await subscribed(driver, "a.b")
        async with client.pubsub() as heard:
            await heard.subscribe(channel)
            await heard.get_message(timeout=5)
            await driver.pubsub.publish("a.b", message(b"ours"))
            found = await heard.get_message(timeout=5)
            assert found is not None
            assert (found["channel"], found["data"]) == (channel.encode(), b"ours")
        await client.publish(channel, b"theirs")
        assert [found.data for found in await sink.until(2)] == [b"ours", b"theirs"]
        assert await driver.count(b"") == 0


@pytest.mark.skipif(redis_cli() is None, reason="there is no redis-cli")
async def test_redis_cli_subscribe_prints_the_message() -> None:
    async with RedisServer() as server, drivers(RedisConfig(server.url)) as (driver,):
        cli = await asyncio.create_subprocess_exec(
            str(redis_cli()), "-p", str(server.port), "subscribe", "prism:n0/topic/t", stdout=asyncio.subprocess.PIPE)
        assert cli.stdout is not None
        try:
            for _ in range(3):
                await cli.stdout.readline()
            await driver.pubsub.publish("t", message(b"hello"))
            printed = [(await cli.stdout.readline()).strip() for _ in range(3)]
            assert printed == [b"message", b"prism:n0/topic/t", b"hello"]
        finally:
            cli.kill()
            await cli.wait()
