"""Several real proxies joined to one admin: each serves every namespace, by itself or by way of the owner."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from tests.services.cluster import MEMSTORE, cluster

ORDERS = (("x-namespace", "orders"),)  # partition 238, of the last of a few proxies
SET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Set"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_any_proxy_serves_any_namespace_and_says_who_owns_it(tmp_path: Path, workers: str) -> None:
    async with cluster(tmp_path, 4, "--workers", workers) as proxies:
        clients = [proxies.client(number) for number in range(1, 5)]
        made = await clients[0].control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        assert (made.assigned_partition, made.assigned_proxy) == (238, "proxy-04")
        for number, client in enumerate(clients):
            await client.store.Set(kv.SetRequest(key=f"k{number}", value=b"v"), metadata=ORDERS)
        for client in clients:
            assert await client.owner(ORDERS) == "proxy-04"
            for number in range(len(clients)):
                found = await client.store.Get(kv.GetRequest(key=f"k{number}"), metadata=ORDERS)
                assert found.value == b"v"


async def test_a_namespace_that_exists_nowhere_is_not_found_by_way_of_the_owner_of_its_partition(
    tmp_path: Path
) -> None:
    async with cluster(tmp_path, 2) as proxies:
        clients = [proxies.client(1), proxies.client(2)]
        for client in clients:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.store.Get(kv.GetRequest(key="a"), metadata=ORDERS)
            assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_dead_owner_of_local_data_is_unavailable_and_never_an_empty_store(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as proxies:
        clients = [proxies.client(1), proxies.client(2)]
        await clients[0].control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        await clients[0].store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS)
        await proxies.kill(2)
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await clients[0].store.Get(kv.GetRequest(key="a"), metadata=ORDERS, timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "proxy-02" in str(error.value.details())
        assert time.monotonic() - began < 4
        assert "OWNER_DOWN" in str(error.value.trailing_metadata())
        took = []
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError, match="proxy-02"):
                await clients[0].store.Get(kv.GetRequest(key="a"), metadata=ORDERS, timeout=10)
            took.append(time.monotonic() - began)
        assert min(took) < 0.2, "the first one waited for a return, for all"
        await proxies.start(2)
        async with asyncio.timeout(20):
            while True:
                try:
                    found = await clients[0].store.Exists(kv.ExistsRequest(key="a"), metadata=ORDERS)
                    break
                except grpc.aio.AioRpcError as again:
                    if again.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.05)
        assert not found.exists, "its memory ended with it"


async def test_a_client_that_says_it_forwards_gains_nothing_and_maps_that_disagree_make_no_loop(
    tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("open sesame")
    async with cluster(tmp_path, 2, "--admin-token-file", str(token), admin=("--token-file", str(token))) as proxies:
        clients = [proxies.client(1), proxies.client(2)]
        bearer = (("authorization", "Bearer open sesame"),)
        await clients[0].control.CreateNamespace(
            pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE), metadata=bearer)
        for spoof in ("1", "0" * 64):
            metadata = (*ORDERS, ("x-prism-forwarded", spoof))
            await clients[0].store.Set(kv.SetRequest(key="a", value=b"1"), metadata=metadata)
            assert await clients[0].owner(metadata) == "proxy-02", "it is a client's call, and forwarded"


async def test_a_call_that_was_forwarded_once_goes_no_further(tmp_path: Path) -> None:
    """Without a token callers of this machine are believed: the proxy takes us for another proxy."""
    async with cluster(tmp_path, 2) as proxies:
        clients = [proxies.client(1), proxies.client(2)]
        await clients[0].control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        metadata = (*ORDERS, ("x-prism-forwarded", "1"))
        with pytest.raises(grpc.aio.AioRpcError, match="does not own") as error:
            await clients[0].store.Get(kv.GetRequest(key="a"), metadata=metadata)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await clients[1].owner(metadata) == "proxy-02"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_admin_is_told_how_many_calls_of_each_namespace_are_in_progress(tmp_path: Path, workers: str) -> None:
    async with cluster(tmp_path, 2, "--workers", workers) as proxies:
        await proxies.create(["orders", "default"], MEMSTORE)

        async def told(wanted: dict[str, int]) -> None:
            found: dict[str, int] = {}
            async with asyncio.timeout(20):
                while found != wanted:
                    await asyncio.sleep(0.05)
                    for process in proxies.proxies.values():
                        await process.get("/metrics")  # a supervisor asks its workers for a scrape, else every 5 s
                    listed = await proxies.ask_admin("ListNamespaces", admin_pb2.ListNamespacesRequest())
                    found = {item.name: item.metrics.active_sessions for item in listed.namespaces}

        await told({"orders": 0, "default": 0})
        client = proxies.client(2)  # the owner of one, and the way to the other
        begun = [client.channel.stream_unary(SET)(metadata=metadata) for metadata in (ORDERS, ORDERS, ORDERS)]
        await told({"orders": 3, "default": 0})
        begun += [proxies.client(1).channel.stream_unary(SET)(metadata=ORDERS) for _ in range(2)]
        await told({"orders": 5, "default": 0})
        for call in begun[:2]:
            call.cancel()
        for call in begun[2:]:
            await call.write(kv.SetRequest(key="a", value=b"1").SerializeToString())
            await call.done_writing()
            await call
        await told({"orders": 0, "default": 0})
