"""A failover under messages: with `wait_replicas` nothing that was acknowledged is lost, and nobody's call ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

import pytest

from prism_proxy._native.redis.resp import ConnectionLost, RespError
from prism_proxy.backends.redis.commands import NotReplicated
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import Outcome, QueueItem, Settlement
from prism_proxy.models.stream.contract import EARLIEST, Membership, NewRecord, ReadFrom, Record, StreamSettings
from tests.services.redis import Replicas, binary
from tests.support.sinks import CollectingSink

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

FAILED = (ConnectionLost, RespError, NotReplicated)


def message(name: bytes) -> StoredMessage:
    return StoredMessage(str(uuid.uuid4()), name, {}, int(time.time() * 1000))


async def test_a_failover_loses_no_acknowledged_message() -> None:
    async with Replicas() as replicas:
        driver = RedisDriver(RedisConfig(
            mode="sentinel", nodes=tuple(server.address for server in replicas.sentinels), master_name=Replicas.NAME,
            wait_replicas=1, read_timeout_s=1).within("test"))
        driver.stream.configure(StreamSettings(ack_timeout_s=1))
        await driver.open()
        follower: CollectingSink[Record] = CollectingSink()
        group: CollectingSink[Record] = CollectingSink()
        acknowledged: set[bytes] = set()
        over = asyncio.Event()

        async def produce(number: int) -> None:
            count = 0
            while not over.is_set():
                name = b"%d.%d" % (number, count)
                count += 1
                with contextlib.suppress(*FAILED):
                    await driver.stream.append("s", [NewRecord(b"", message(name))])
                    results = await driver.queue.enqueue("q", [QueueItem(message(name))])
                    assert isinstance(results[0], str)
                    acknowledged.add(name)
                await asyncio.sleep(0.002)

        try:
            await driver.stream.create_group("s", "g", EARLIEST)
            await driver.stream.read(ReadFrom("s", follow=True), follower)
            await driver.stream.join(Membership("s", "g", "a", 100_000), group)
            producers = [asyncio.ensure_future(produce(number)) for number in range(4)]
            await asyncio.sleep(0.5)
            before = len(acknowledged)
            assert before
            await replicas.primary.kill()
            async with asyncio.timeout(20):
                while True:  # the replica is the primary, and has no replica: a write is stored, and in doubt
                    with contextlib.suppress(ConnectionLost, RespError, NotReplicated):
                        await driver.queue.enqueue("probe", [QueueItem(message(b"x"))])
                    with contextlib.suppress(ConnectionLost, RespError):
                        if (await driver.queue.counts("probe")).ready:
                            break
                    await asyncio.sleep(0.05)
            over.set()
            await asyncio.gather(*producers)
            async with asyncio.timeout(20):
                while acknowledged - {record.data for record in follower.found} or (
                        acknowledged - {record.data for record in group.found}):
                    await asyncio.sleep(0.05)
            found: set[bytes] = set()
            while messages := await driver.queue.lease("q", 1000, 60, 0):
                found |= {leased.data for leased in messages}
                await driver.queue.settle("q", [leased.receipt for leased in messages], Settlement(Outcome.DONE))
            assert acknowledged <= found
            assert [follower.ended, group.ended] == [[], []]
        finally:
            await driver.close()


async def test_without_wait_a_failover_loses_what_the_replica_lacked_and_no_more() -> None:
    """The class says so. Readers and members go on with the new primary."""
    async with Replicas("--appendonly", "yes") as replicas:
        driver = RedisDriver(RedisConfig(
            mode="sentinel", nodes=tuple(server.address for server in replicas.sentinels), master_name=Replicas.NAME,
            read_timeout_s=1).within("test"))
        await driver.open()
        follower: CollectingSink[Record] = CollectingSink()
        group: CollectingSink[Record] = CollectingSink()
        try:
            notes = driver.stream.traits.delivery.notes
            assert any("A failover may lose messages" in note for note in notes), notes
            await driver.stream.create_group("s", "g", EARLIEST)
            await driver.stream.read(ReadFrom("s", follow=True), follower)
            await driver.stream.join(Membership("s", "g", "a", 1000), group)
            for number in range(50):
                await driver.stream.append("s", [NewRecord(b"", message(b"both %d" % number))])
            async with replicas.primary.client() as primary, replicas.replica.client() as replica:
                assert await primary.execute_command("WAIT", 1, 5000) == 1
                await replica.config_set("masterauth", "wrong")  # it comes back to nobody
                await primary.execute_command("CLIENT", "KILL", "TYPE", "replica")
                async with asyncio.timeout(10):
                    while (await replica.info("replication"))["master_link_status"] == "up":
                        await asyncio.sleep(0.02)
            for number in range(20):
                await driver.stream.append("s", [NewRecord(b"", message(b"one %d" % number))])
            await replicas.primary.kill()
            acknowledged = False
            async with asyncio.timeout(20):
                while not acknowledged:
                    with contextlib.suppress(*FAILED):
                        await driver.stream.append("s", [NewRecord(b"", message(b"after"))])
                        acknowledged = True
                    await asyncio.sleep(0.05)
                while b"after" not in {record.data for record in follower.found} & {
                        record.data for record in group.found}:
                    await asyncio.sleep(0.05)
            kept: CollectingSink[Record] = CollectingSink()
            await driver.stream.read(ReadFrom("s"), kept)
            found = {record.data for record in await kept.until(51)}
            lost = {b"both %d" % number for number in range(50)} | {b"one %d" % number for number in range(20)}
            assert lost - found == {b"one %d" % number for number in range(20)}
            assert [follower.ended, group.ended] == [[], []]
        finally:
            await driver.close()
