"""What a proxy reports is what is: nothing is told healthy, or lost from a registration, without a look at it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism_proxy import __version__
from tests.services.cluster import MEMSTORE, cluster


async def test_only_namespaces_whose_backend_answers_are_told_healthy(tmp_path: Path, unused_tcp_port: int) -> None:
    nobody = pb.NamespaceConfig(backends={"store": pb.BackendConfig(
        backend_type="redis", connection_string=f"redis://127.0.0.1:{unused_tcp_port}")})
    async with cluster(tmp_path, 1) as proxies:
        await proxies.create(["orders"], MEMSTORE)
        await proxies.create(["cache"], nobody)
        found: dict[str, str] = {}
        async with asyncio.timeout(20):
            while found != {"orders": "healthy", "cache": "unhealthy"}:
                await asyncio.sleep(0.05)
                listed = await proxies.ask_admin("ListNamespaces", admin_pb2.ListNamespacesRequest())
                found = {item.name: item.health for item in listed.namespaces}


async def test_heartbeats_add_to_what_a_proxy_registered_and_take_nothing_away(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, "--region", "north") as proxies:
        await proxies.create(["orders"], MEMSTORE)

        async def shown() -> admin_pb2.ProxyInfo:
            listed = await proxies.ask_admin("ListProxies", admin_pb2.ListProxiesRequest())
            proxy, = listed.proxies
            assert isinstance(proxy, admin_pb2.ProxyInfo)
            return proxy

        first = await shown()
        async with asyncio.timeout(20):
            while (later := await shown()).last_seen.ToNanoseconds() <= first.last_seen.ToNanoseconds() or (
                    not later.resources.uptime_seconds):
                await asyncio.sleep(0.05)
        assert (later.address, later.region, later.version) == (proxies.proxies[1].address, "north", __version__)
        assert (list(later.capabilities), later.metadata["moves_data"]) == (
            ["keyvalue", "primitives"], "1")
        assert (later.status, later.namespaces) == ("healthy", 1)
        assert 10 < later.resources.memory_mb < 1000
        client = proxies.client(1)
        metadata = (("x-namespace", "orders"),)

        async def rate() -> int:
            await asyncio.gather(*(client.store.Get(kv.GetRequest(key="a"), metadata=metadata) for _ in range(50)))
            listed = await proxies.ask_admin("ListNamespaces", admin_pb2.ListNamespacesRequest())
            return int(listed.namespaces[0].metrics.requests_per_second)

        async with asyncio.timeout(20):
            while not await rate():
                await asyncio.sleep(0.02)
