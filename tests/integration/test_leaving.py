"""A proxy that stops cleanly has left at once; what only it has waits for it, and counts as without a living owner."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from prism.admin.v1 import admin_pb2
from tests.services.admin import run
from tests.services.cluster import MEMSTORE, Cluster, cluster

SOON_SECONDS = 3.0


async def statuses(found: Cluster) -> dict[str, str]:
    listed = await found.ask_admin("ListProxies", admin_pb2.ListProxiesRequest())
    return {proxy.proxy_id: proxy.status for proxy in listed.proxies}


async def owners(found: Cluster) -> dict[str, int]:
    answer = await found.ask_admin("GetPartitionMap", admin_pb2.GetPartitionMapRequest())
    count: dict[str, int] = {}
    for item in answer.map.owners:
        count[item.proxy_id] = count.get(item.proxy_id, 0) + item.end - item.start + 1
    return count


async def check(found: Cluster) -> tuple[int, str]:
    code, _, errors = await run("--endpoint", found.admin_address, "partitions", "check")
    return code, errors


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_proxy_that_stops_has_left_at_once(tmp_path: Path, workers: str) -> None:
    async with cluster(tmp_path, 2, "--workers", workers) as found:
        await found.create(["orders"], MEMSTORE)
        owner = await found.client(1).owner((("x-namespace", "orders"),))
        keeper = int(owner[-2:])
        assert (await check(found))[0] == 0

        stopping = found.proxies.pop(3 - keeper)  # which has nothing of its own
        assert await stopping.stop() == 0
        async with asyncio.timeout(SOON_SECONDS):
            while await owners(found) != {owner: 256}:
                await asyncio.sleep(0.05)
        assert (await statuses(found))[f"proxy-{3 - keeper:02}"] == "left"
        assert (await check(found))[0] == 0

        began = time.monotonic()
        await found.start(3 - keeper)
        await found.settled()
        assert await found.proxies.pop(keeper).stop() == 0
        async with asyncio.timeout(SOON_SECONDS):
            while (await owners(found)).get(owner) != 1:
                await asyncio.sleep(0.05)
        assert (await statuses(found))[owner] == "left"
        code, errors = await check(found)
        assert code == 1
        assert f"{owner} (left) owns 1 partitions" in errors
        info = (await found.ask_admin("GetNamespace", admin_pb2.GetNamespaceRequest(name="orders"))).namespace
        assert (info.health, info.reason) == ("owner_down", f"{owner} has left")
        await found.admin.kill()
        await found.restart_admin()
        assert (await statuses(found))[owner] == "left"
        await found.start(keeper)
        await found.settled()
        assert (await check(found))[0] == 0
        assert time.monotonic() - began < 40, "long before it would have counted as silent"
