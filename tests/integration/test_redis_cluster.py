"""A Redis cluster that changes under its callers: slots move, nodes die, replicas take over; namespaces share it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from prism_proxy._native.redis.resp import ConnectionLost, PipelineFull, RespError
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.shared_pools import SharedPools
from prism_proxy.contracts.driver import Health
from tests.services.redis import HOST, RedisCluster, RedisServer, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

CALLERS = 20


@contextlib.asynccontextmanager
async def drivers(cluster: RedisCluster, count: int, **settings: Any) -> AsyncIterator[list[RedisDriver]]:
    config = RedisConfig(mode="cluster", nodes=(cluster.nodes[1].address,), **settings)
    shared_pools = SharedPools()
    made = [RedisDriver(config.within(f"n{number}"), shared_pools) for number in range(count)]
    await asyncio.gather(*(driver.open() for driver in made))
    try:
        yield made
    finally:
        await asyncio.gather(*(driver.close() for driver in made))


class Load:
    """Callers that write, read and compare all the time; `failures` by the reason a caller would see."""

    def __init__(self, driver: RedisDriver, tag: bytes) -> None:
        self._driver, self._tag = driver, tag
        self.done, self.failures, self._over = 0, Counter[str](), False

    async def _turn(self, number: int) -> None:
        key, other, value = b"{%b}%d" % (self._tag, number), b"other%d" % number, b"%d" % self.done
        await self._driver.set(key, value)
        assert await self._driver.batch_get([other, key]) == [None, value]
        assert (await self._driver.compare_and_swap(key, value, b"swapped")).done
        assert await self._driver.get(key) == b"swapped"
        self.done += 1

    async def _call(self, number: int) -> None:
        while not self._over:
            try:
                await self._turn(number)
            except (ConnectionLost, RespError, PipelineFull) as error:
                meaning = self._driver.classify(error)
                self.failures[f"{meaning.reason} {meaning.metadata['outcome']}" if meaning else repr(error)] += 1
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]
        await self.progress()
        return self

    async def progress(self) -> None:
        wanted = self.done + 3 * CALLERS
        async with asyncio.timeout(20):
            while self.done < wanted and not any(task.done() for task in self._tasks):
                await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)


async def migrated(source: Redis, target: RedisServer, slot: int, most: int) -> None:
    for key in await source.execute_command("CLUSTER GETKEYSINSLOT", slot, most):
        await source.execute_command("MIGRATE", HOST, target.port, key, 0, 1000)


async def test_a_slot_moves_under_load_and_no_call_fails() -> None:
    slot = key_slot(b"tag")
    async with RedisCluster() as cluster, drivers(cluster, 1) as (driver,), Load(driver, b"tag") as load:
        source = cluster.owner(slot)
        target = next(node for node in cluster.nodes if node is not source)
        async with source.client() as old, target.client() as new:
            old_id, new_id = [await client.execute_command("CLUSTER MYID") for client in (old, new)]
            await new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            await old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
            await migrated(old, target, slot, CALLERS // 2)
            await load.progress()
            assert await driver.count(b"{tag}") == CALLERS
            await migrated(old, target, slot, 2 * CALLERS)
            await load.progress()
            for client in (new, old):
                await client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)
            await load.progress()
            assert await new.execute_command("CLUSTER COUNTKEYSINSLOT", slot) == CALLERS
        assert not load.failures


async def test_a_replica_takes_over() -> None:
    """While the primary is away, its keys fail, and those of others do not, until the cluster itself gives up."""
    async with RedisCluster(replicated=True) as cluster, drivers(cluster, 1) as (driver,):
        async with Load(driver, cluster.tag(0)) as load:
            await cluster.nodes[0].kill()
            async with asyncio.timeout(20):
                while driver.health().status is Health.HEALTHY:
                    await asyncio.sleep(0.01)
                while driver.health().status is not Health.HEALTHY:
                    await asyncio.sleep(0.01)
            await load.progress()
            seen = sum(load.failures.values())
            await load.progress()
            assert sum(load.failures.values()) == seen
        assert set(load.failures) <= {"BACKEND_UNAVAILABLE unknown", "BACKEND_UNAVAILABLE not_executed"}


async def test_a_node_that_refuses_all_keys_is_not_healthy() -> None:
    """It answers; but as long as the cluster is not whole as it sees it, it serves nobody."""
    async with RedisCluster() as cluster, drivers(cluster, 1) as (driver,):
        node, tag = cluster.nodes[0], cluster.tag(0)
        slot = key_slot(tag) - 1
        async with node.client() as client, asyncio.timeout(20):
            await client.execute_command("CLUSTER DELSLOTS", slot)
            with pytest.raises(RespError, match="CLUSTERDOWN"):
                await driver.get(b"{%b}" % tag)
            while driver.health().status is Health.HEALTHY:
                await asyncio.sleep(0.01)
            told = driver.health()
            assert told.status is Health.DEGRADED
            assert f"{node.address}: it says the cluster is down" in told.message
            await client.execute_command("CLUSTER ADDSLOTS", slot)
            while driver.health().status is not Health.HEALTHY:
                await asyncio.sleep(0.01)


async def test_a_user_who_may_not_ask_for_the_state_of_the_cluster_is_served() -> None:
    async with RedisCluster() as cluster:
        for node in cluster.nodes:
            async with node.client() as client:
                await client.execute_command("ACL SETUSER app on >secret ~* &* +@all -cluster|info")
        async with drivers(cluster, 1, username="app", password="secret") as (driver,):
            await driver.set(b"key", b"value")
            assert await driver.get(b"key") == b"value"
            assert driver.health().status is Health.HEALTHY


async def test_namespaces_share_the_connections_to_each_node() -> None:
    async with RedisCluster() as cluster, drivers(cluster, 200, cluster_connections=4) as made:
        for turn in range(3):
            await asyncio.gather(*(driver.set(b"key%d" % turn, b"value") for driver in made))
        for node in cluster.nodes:
            async with node.client() as client:
                found = [one for one in await client.client_list() if one["name"] == "prism-proxy"]
            assert 0 < len(found) <= 8 * 4 + 1  # and one that learns the topology
        assert {driver.health().details["pool_namespaces"] for driver in made} == {"200"}


async def test_a_namespace_has_no_more_than_its_part_of_the_connections_to_a_node() -> None:
    async with RedisCluster() as cluster, drivers(cluster, 2, cluster_connections=4, max_wait_s=0) as (one, other):
        node = cluster.owner(key_slot(b"tag"))
        async with node.client() as client:
            await client.client_pause(500)
            greedy = [asyncio.ensure_future(one.get(b"{tag}%d" % number)) for number in range(10)]
            await asyncio.sleep(0)
            modest = asyncio.ensure_future(other.get(b"{tag}"))
            ended = await asyncio.gather(*greedy, return_exceptions=True)
            assert [type(end) for end in ended] == [type(None)] * 4 + [PipelineFull] * 6
            assert await modest is None


@pytest.mark.parametrize("options", [
    ("--cluster-preferred-endpoint-type", "unknown-endpoint"), ("--rename-command", "HELLO", "")],
    ids=["no-host", "no-hello"])
async def test_slots_move_in_a_cluster_that_tells_no_hosts_or_knows_no_hello(options: tuple[str, ...]) -> None:
    """An address without a host is that of the host which answered, in MOVED, in ASK and in the list of slots."""
    async with RedisCluster(*options) as cluster, drivers(cluster, 1) as (driver,):
        assert driver.health().status is Health.HEALTHY, driver.health()
        tag = cluster.tag(0)
        slot = key_slot(tag)
        items = [(b"{%b}%d" % (tag, number), b"%d" % number) for number in range(50)]
        assert await driver.batch_set(items) == [None] * 50
        async with cluster.nodes[0].client() as source, cluster.nodes[2].client() as target:
            names = [await client.execute_command("CLUSTER MYID") for client in (source, target)]
            await target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            await source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
            await migrated(source, cluster.nodes[2], slot, 25)
            assert [await driver.get(key) for key, _ in items] == [value for _, value in items], "ASK"
            await migrated(source, cluster.nodes[2], slot, 1000)
            for client in (target, source):
                await client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])
            assert [await driver.get(key) for key, _ in items] == [value for _, value in items], "MOVED"
        assert await driver.batch_get([key for key, _ in items]) == [value for _, value in items]
        for number in range(100):
            await driver.set(b"key%d" % number, b"x")
        assert await driver.count(b"key") == 100
