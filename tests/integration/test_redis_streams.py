"""Streams over real Redis servers, alone and as a cluster; what other programs append and read."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis.commands import NotReplicated
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.stream.contract import (
    EARLIEST,
    LATEST,
    Membership,
    NewRecord,
    ReadFrom,
    Record,
    Retention,
    StreamSettings,
)
from tests.services.redis import HOST, RedisCluster, RedisServer, binary
from tests.support.sinks import CollectingSink

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")


def new(data: bytes, key: bytes = b"", **more: str) -> NewRecord:
    return NewRecord(key, StoredMessage(str(uuid.uuid4()), data, {"h": "ä"}, int(time.time() * 1000), **more))


@contextlib.asynccontextmanager
async def opened(config: RedisConfig, settings: StreamSettings | None = None) -> AsyncIterator[RedisDriver]:
    driver = RedisDriver(config.within("test"))
    driver.stream.configure(settings or StreamSettings())
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


async def all_of(driver: RedisDriver, stream: str, **more: int) -> list[Record]:
    sink: CollectingSink[Record] = CollectingSink()
    await driver.stream.read(ReadFrom(stream, **more), sink)
    assert await sink.over() is None
    return sink.found


def data(found: list[Record]) -> list[bytes]:
    return [record.data for record in found]


async def test_records_are_read_in_order_and_followed(config: RedisConfig) -> None:
    async with opened(config) as one, opened(config) as other:
        with pytest.raises(PrismError) as caught:
            await one.stream.latest_offset("s", 0)
        assert caught.value.code is StatusCode.NOT_FOUND
        follower: CollectingSink[Record] = CollectingSink(size=10)
        await other.stream.read(ReadFrom("s", follow=True), follower)
        appended = await one.stream.append("s", [new(b"%d" % number, b"key") for number in range(100)])
        assert await follower.take(10)
        last = await one.stream.append("s", [new(b"last")])
        assert appended.first < appended.last < last.first == last.last == await other.stream.latest_offset("s", 0)
        found = await all_of(other, "s")
        assert data(found) == [b"%d" % number for number in range(100)] + [b"last"]
        assert (found[0].key, found[0].headers, found[0].partition) == (b"key", {"h": "ä"}, 0)
        assert abs(found[0].timestamp_ms - time.time() * 1000) < 10_000
        assert [found[0].offset, found[-2].offset] == [appended.first, appended.last]
        assert data(await all_of(one, "s", offset=found[99].offset)) == [b"99", b"last"]
        assert data(await all_of(one, "s", offset=found[3].offset, until=found[4].offset)) == [b"3", b"4"]
        assert await all_of(one, "s", offset=last.last + 1) == []
        with pytest.raises(PrismError) as caught:
            await all_of(one, "s", offset=last.last + 2)
        assert caught.value.code is StatusCode.OUT_OF_RANGE
        rest = [record for _ in range(9) for record in await follower.take(10)] + await follower.take(1)
        assert data(rest) == data(found)[10:]


async def test_a_group_delivers_each_record_once_until_it_is_not_acknowledged(config: RedisConfig) -> None:
    async with opened(config, StreamSettings(ack_timeout_s=0.5)) as one, opened(
            config, StreamSettings(ack_timeout_s=0.5)) as other:
        await one.stream.create_group("s", "g", EARLIEST)
        with pytest.raises(PrismError, match="has a group"):
            await other.stream.create_group("s", "g", LATEST)
        with pytest.raises(PrismError) as caught:
            await one.stream.join(Membership("s", "none", "a", 10), CollectingSink())
        assert caught.value.code is StatusCode.NOT_FOUND
        sinks: list[CollectingSink[Record]] = [CollectingSink(), CollectingSink()]
        members = [await driver.stream.join(Membership("s", "g", name, 5), sink)
                   for driver, name, sink in zip((one, other), "ab", sinks, strict=True)]
        appended = await one.stream.append("s", [new(b"%d" % number) for number in range(10)])
        async with asyncio.timeout(5):
            while len(sinks[0].found) + len(sinks[1].found) < 10:
                await asyncio.sleep(0.01)
        assert [len(sink.found) for sink in sinks] == [5, 5]
        info = await one.stream.group_info("s", "g")
        assert (sorted(info.members), info.lag, info.pending, dict(info.committed)) == (["a", "b"], 0, 10, {})
        first = sorted(record.offset for sink in sinks for record in sink.found)
        assert [first[0], first[-1]] == [appended.first, appended.last]
        assert await other.stream.ack("s", "g", 0, first[:8]) == 8
        assert await other.stream.ack("s", "g", 0, first[:8]) == 0
        assert (await one.stream.group_info("s", "g")).committed == {0: first[7]}
        async with asyncio.timeout(5):
            while len(sinks[0].found) + len(sinks[1].found) < 12:
                await asyncio.sleep(0.01)
        again = [record for sink in sinks for record in sink.found[5:]]
        assert {record.offset for record in again} == set(first[8:])
        assert {record.attempt for record in again} == {2}
        await one.stream.ack("s", "g", 0, first[8:])
        assert (await one.stream.group_info("s", "g")).committed == {0: first[9]}
        for member in members:
            await member.close()
        assert (await one.stream.group_info("s", "g")).members == []


async def test_what_a_member_leaves_is_with_the_others_at_once(config: RedisConfig) -> None:
    async with opened(config) as one, opened(config) as other:
        await one.stream.create_group("s", "g", EARLIEST)
        sinks: list[CollectingSink[Record]] = [CollectingSink(), CollectingSink(), CollectingSink()]
        first = await one.stream.join(Membership("s", "g", "a", 100), sinks[0])
        await one.stream.append("s", [new(b"%d" % number) for number in range(10)])
        await sinks[0].until(10)
        await other.stream.join(Membership("s", "g", "b", 100), sinks[1])
        began = time.monotonic()
        await first.close()
        await first.close()
        found = await sinks[1].until(10)
        assert time.monotonic() - began < 0.1
        assert data(found) == [b"%d" % number for number in range(10)]
        assert {record.attempt for record in found} == {2}
        await one.stream.join(Membership("s", "g", "b", 100), sinks[2])
        error = await sinks[1].over()
        assert error is not None
        assert error.reason == "SUBSCRIBER_REPLACED"


async def test_a_member_that_died_with_its_hands_full_goes_on_under_its_name() -> None:
    """What it had counts as its own, and leaves it no room for more until it is delivered again."""
    async with RedisServer() as server:
        settings = StreamSettings(ack_timeout_s=0.3)
        sink: CollectingSink[Record] = CollectingSink()
        async with opened(RedisConfig(server.url), settings) as died:
            await died.stream.create_group("s", "g", EARLIEST)
            await died.stream.append("s", [new(b"%d" % number) for number in range(7)])
            await died.stream.join(Membership("s", "g", "a", 5), sink)
            await sink.until(5)
        async with opened(RedisConfig(server.url), settings) as driver:
            again: CollectingSink[Record] = CollectingSink()
            await driver.stream.join(Membership("s", "g", "a", 5), again)
            found = await again.until(5)
            assert [(record.data, record.attempt) for record in found] == [(b"%d" % number, 2) for number in range(5)]
            assert await driver.stream.ack("s", "g", 0, [record.offset for record in found]) == 5
            assert {record.data for record in await again.until(7)} >= {b"5", b"6"}


async def test_refused_records_come_later_and_go_to_the_dead_letters(config: RedisConfig) -> None:
    async with opened(config, StreamSettings(max_deliveries=2, ack_timeout_s=0.3)) as driver:
        await driver.stream.create_group("s", "g", EARLIEST)
        sink: CollectingSink[Record] = CollectingSink()
        await driver.stream.join(Membership("s", "g", "a", 10), sink)
        await driver.stream.append("s", [new(b"later", b"k"), new(b"never"), new(b"silent")])
        later, never, silent = await sink.take(3)
        began = time.monotonic()
        assert await driver.stream.nack("s", "g", 0, [later.offset], 0.2, "not yet") == 1
        assert await driver.stream.nack("s", "g", 0, [never.offset], 0, "no good", final=True) == 1
        found, = await sink.take(1)
        assert (found.data, found.attempt) == (b"later", 2)
        assert 0.15 < time.monotonic() - began < 0.4
        await driver.stream.nack("s", "g", 0, [found.offset], 0, "still not")
        found, = await sink.take(1)
        assert (found.data, found.attempt) == (b"silent", 2)
        async with asyncio.timeout(5):
            while (await driver.stream.group_info("s", "g")).pending:
                await asyncio.sleep(0.02)
        dead = {record.data: record for record in await all_of(driver, "s.dlq")}
        assert set(dead) == {b"later", b"never", b"silent"}
        assert dead[b"later"].key == b"k"
        assert {name: dead[b"never"].headers[name] for name in ("h", "x-dlq-source", "x-error", "x-retry-count")} == {
            "h": "ä", "x-dlq-source": "s", "x-error": "no good", "x-retry-count": "1"}
        assert (dead[b"later"].headers["x-error"], dead[b"silent"].headers["x-retry-count"]) == ("still not", "2")
        assert silent.offset == found.offset


async def test_groups_are_moved_and_streams_are_bounded(config: RedisConfig) -> None:
    async with opened(config) as one, opened(config) as other:
        appended = await one.stream.append("s", [new(b"%d" % number, b"%d" % (number % 3)) for number in range(9)])
        found = await all_of(one, "s")
        await one.stream.create_group("s", "g", LATEST)
        sink: CollectingSink[Record] = CollectingSink()
        await one.stream.join(Membership("s", "g", "a", 100), sink)
        assert await other.stream.seek_offset("s", "g", 0, found[6].offset) == found[6].offset
        assert data(await sink.take(3)) == [b"6", b"7", b"8"]
        assert await other.stream.seek_timestamp("s", "g", found[0].timestamp_ms - 1000) == appended.first
        assert data(await sink.take(9)) == [b"%d" % number for number in range(9)]
        assert await other.stream.seek_offset("s", "g", 0, LATEST) == appended.last + 1
        with pytest.raises(PrismError):
            await other.stream.seek_offset("s", "g", 0, appended.last + 2)
        assert await one.stream.compact("s", keep_latest_per_key=True) == 6
        assert data(await all_of(one, "s")) == [b"6", b"7", b"8"]
        await one.stream.set_retention("s", Retention(0, 0, 2))
        assert await other.stream.get_retention("s") == Retention(0, 0, 2)
        assert data(await all_of(other, "s")) == [b"7", b"8"]
        await other.stream.append("s", [new(b"9")])
        assert data(await all_of(other, "s")) == [b"8", b"9"]
        await one.stream.set_retention("s", Retention(0.3, 0, 0))
        await asyncio.sleep(0.35)
        assert await all_of(other, "s") == []
        with pytest.raises(PrismError, match="cannot bound a stream by bytes"):
            await one.stream.set_retention("s", Retention(0, 1000, 0))


async def test_other_programs_read_and_append() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url)) as driver, server.client() as client:
        await driver.stream.append("s", [new(b"ours", b"key")])
        (_, entries), = await client.xread({"prism:test/stream/s": 0})
        fields = entries[0][1]
        assert (fields[b"data"], fields[b"h"], fields[b"x-prism-key"]) == (b"ours", "ä".encode(), b"key")
        sink: CollectingSink[Record] = CollectingSink()
        await driver.stream.read(ReadFrom("s", LATEST, follow=True), sink)
        began = time.monotonic()
        await client.xadd("prism:test/stream/s", {"value": b"\xfftheirs", "source": "cli"})
        found, = await sink.take(1)
        assert time.monotonic() - began < 0.3
        assert (found.data, found.headers, found.message_id, found.key) == (b"\xfftheirs", {"source": "cli"}, "", b"")
        assert await driver.count(b"") == 0


async def test_a_write_is_acknowledged_when_the_replicas_have_it() -> None:
    async with RedisServer("--repl-diskless-sync-delay", "0") as server, opened(
            RedisConfig(server.url, wait_replicas=1)) as driver:
        with pytest.raises(NotReplicated) as caught:
            await driver.stream.append("s", [new(b"alone")])
        error = driver.classify(caught.value)
        assert error is not None
        assert (error.reason, error.metadata["outcome"]) == ("NOT_REPLICATED", "unknown")
        async with RedisServer("--replicaof", HOST, str(server.port)) as replica, replica.client() as client:
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(NotReplicated):
                        await driver.stream.append("s", [new(b"with")])
                        break
            found = await client.xrange("prism:test/stream/s")
            assert found[-1][1][b"data"] == b"with"
        assert "1 replicas have it" in driver.stream.traits.delivery.notes[0]


async def test_kills_of_the_server_lose_no_acknowledged_record() -> None:
    """A reader and a group go on; each has all that was acknowledged, in order."""
    async with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server, opened(
            RedisConfig(server.url), StreamSettings(ack_timeout_s=1)) as driver:
        await driver.stream.create_group("s", "g", EARLIEST)
        follower: CollectingSink[Record] = CollectingSink()
        group: CollectingSink[Record] = CollectingSink()
        await driver.stream.read(ReadFrom("s", follow=True), follower)
        await driver.stream.join(Membership("s", "g", "a", 100), group)
        over = asyncio.Event()
        acknowledged: list[bytes] = []
        settled: set[bytes] = set()

        async def produce() -> None:
            count = 0
            while not over.is_set():
                name = b"%d" % count
                count += 1
                with contextlib.suppress(ConnectionLost):
                    await driver.stream.append("s", [new(name)])
                    acknowledged.append(name)
                await asyncio.sleep(0.001)

        async def settle() -> None:
            while not over.is_set() or set(acknowledged) - settled:
                for record in group.found[:]:
                    with contextlib.suppress(ConnectionLost):
                        await driver.stream.ack("s", "g", 0, [record.offset])
                        settled.add(record.data)
                        group.found.remove(record)
                await asyncio.sleep(0.01)

        tasks = [asyncio.ensure_future(produce()), asyncio.ensure_future(settle())]
        for _ in range(5):
            await asyncio.sleep(0.3)
            await server.kill()
            await server.start()
        await asyncio.sleep(0.3)
        over.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
            while set(acknowledged) - set(data(follower.found)):
                await asyncio.sleep(0.01)
        numbers = [int(record.data) for record in follower.found]
        assert numbers == sorted(set(numbers)), "in order, and each once"
        assert len(acknowledged) > 50  # a busy machine stores few between two kills
