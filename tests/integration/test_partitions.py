"""Partitions and the namespaces in them as proxies come and go: real processes, on each database.

What needs no process, such as that every partition has one owner for any number of proxies, is in
`tests/unit/admin/test_layout.py`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism_admin.assignments import to_json
from prism_admin.layout import partition_of
from prism_admin.storage import tables
from tests.integration.test_protocol import needs_redis, owners, redis, storage, until_state
from tests.services.cluster import Cluster, cluster
from tests.services.redis import RedisServer

NAMES = [f"tenant-{number}" for number in range(1000)]


async def bind(found: Cluster, urn: str, config: pb.NamespaceConfig) -> None:
    """Have every namespace exist, as if it had been created long ago: one by one takes a minute."""
    assert await found.admin.stop() == 0
    async with storage(urn) as store, store.engine.begin() as connection:
        await connection.execute(tables.namespaces.insert(), [
            {"name": name, "partition_id": partition_of(name), "config": to_json(config), "config_version": 1}
            for name in NAMES])
    await found.restart_admin()
    for number in found.proxies:
        await until_state(found, number, "joined")


async def served(found: Cluster) -> dict[str, int]:
    """How many namespaces each proxy serves."""
    return {f"proxy-{number:02}": (await found.status(number))["namespaces"] for number in sorted(found.proxies)}


async def until_served(found: Cluster, wanted: dict[str, int]) -> None:
    """A source lets go once the map has switched."""
    async with asyncio.timeout(30):
        while await served(found) != wanted:
            await asyncio.sleep(0.05)


def expected(layout: dict[int, str]) -> dict[str, int]:
    homes = [layout[partition_of(name)] for name in NAMES]
    return {proxy: homes.count(proxy) for proxy in sorted(set(layout.values()))}


@needs_redis
@pytest.mark.timeout(120)
async def test_a_fifth_proxy_takes_51_partitions_and_leaves_only_its_own(tmp_path: Path, urn: str) -> None:
    """Join of a 5th proxy with 1000 bound namespaces moves exactly 51 partitions and only their namespaces; leave moves
    only the leaver's."""
    async with RedisServer() as server, cluster(tmp_path, 4, urn=urn) as found:
        await bind(found, urn, redis(server))
        before = owners(await found.settled())
        await until_served(found, expected(before))
        await found.start(5)
        joined = owners(await found.settled(60))
        moved = {partition for partition in before if joined[partition] != before[partition]}
        assert len(moved) == 51
        assert {joined[partition] for partition in moved} == {"proxy-05"}
        await until_served(found, expected(joined))
        await found.ask_admin("Rebalance", admin_pb2.RebalanceRequest(leave="proxy-05"))
        left = owners(await found.settled(60))
        assert {partition for partition in joined if left[partition] != joined[partition]} == moved
        await until_served(found, {**expected(left), "proxy-05": 0})
