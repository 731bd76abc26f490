"""Several real proxies joined to one admin: each serves every namespace, by itself or by way of the owner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc
from tests.services.admin import AdminProcess
from tests.services.proxy import ProxyProcess, proxy

MEMSTORE = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore")})
QUICK = ("--admin-heartbeat-s", "0.2", "--admin-reconnect-s", "0.3")
ORDERS = (("x-namespace", "orders"),)  # partition 238, of the last of a few proxies


class Client:
    """A stock client of one proxy."""

    def __init__(self, process: ProxyProcess) -> None:
        self.channel = grpc.aio.insecure_channel(process.address)
        self.control: Any = control_plane_pb2_grpc.ControlPlaneStub(self.channel)  # type: ignore[no-untyped-call]
        self.store: Any = keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(  # type: ignore[no-untyped-call]
            self.channel)

    async def owner(self, metadata: Sequence[tuple[str, str]] = ORDERS) -> str:
        """Which proxy answered, as the reply says."""
        call = self.store.Exists(kv.ExistsRequest(key="a"), metadata=metadata)
        head = dict(await call.initial_metadata())
        await call
        return str(head["x-prism-owner"])


@contextlib.asynccontextmanager
async def cluster(folder: Path, count: int, *arguments: str) -> AsyncIterator[tuple[list[ProxyProcess], list[Client]]]:
    """`count` proxies that all have the same map, in the order of their names."""
    admin = await AdminProcess(f"sqlite:///{folder / 'admin.db'}").start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(admin.kill)
        processes = [await stack.enter_async_context(proxy(
            "--admin-endpoint", f"127.0.0.1:{admin.port}", "--proxy-id", f"proxy-{number:02}", *QUICK, *arguments))
            for number in range(1, count + 1)]
        clients = [Client(process) for process in processes]
        for client in clients:
            stack.push_async_callback(client.channel.close)
        while len({await revision(process) for process in processes}) > 1:
            await asyncio.sleep(0.05)
        yield processes, clients


async def revision(process: ProxyProcess) -> int:
    return int(json.loads((await process.get("/ready"))[1])["admin"]["map_revision"])


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_any_proxy_serves_any_namespace_and_says_who_owns_it(tmp_path: Path, workers: str) -> None:
    async with cluster(tmp_path, 4, "--workers", workers) as (_, clients):
        made = await clients[0].control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        assert (made.assigned_partition, made.assigned_proxy) == (238, "proxy-04")
        for number, client in enumerate(clients):
            await client.store.Set(kv.SetRequest(key=f"k{number}", value=b"v"), metadata=ORDERS)
        for client in clients:
            assert await client.owner() == "proxy-04"
            for number in range(len(clients)):
                found = await client.store.Get(kv.GetRequest(key=f"k{number}"), metadata=ORDERS)
                assert found.value == b"v"


async def test_a_namespace_that_exists_nowhere_is_not_found_by_way_of_the_owner_of_its_partition(
    tmp_path: Path
) -> None:
    async with cluster(tmp_path, 2) as (_, clients):
        for client in clients:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.store.Get(kv.GetRequest(key="a"), metadata=ORDERS)
            assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_dead_owner_of_local_data_is_unavailable_and_never_an_empty_store(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as (processes, clients):
        await clients[0].control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        await clients[0].store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS)
        processes[1].process.kill()
        await processes[1].process.wait()
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await clients[0].store.Get(kv.GetRequest(key="a"), metadata=ORDERS, timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "proxy-02" in str(error.value.details())
        assert time.monotonic() - began < 4
        assert "OWNER_DOWN" in str(error.value.trailing_metadata())


async def test_a_client_that_says_it_forwards_gains_nothing_and_maps_that_disagree_make_no_loop(
    tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("open sesame")
    admin_arguments = ("--admin-token-file", str(token))
    admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}", "--token-file", str(token)).start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(admin.kill)
        processes = [await stack.enter_async_context(proxy(
            "--admin-endpoint", f"127.0.0.1:{admin.port}", "--proxy-id", name, *QUICK, *admin_arguments))
            for name in ("proxy-01", "proxy-02")]
        clients = [Client(process) for process in processes]
        while len({await revision(process) for process in processes}) > 1:
            await asyncio.sleep(0.05)
        bearer = (("authorization", "Bearer open sesame"),)
        await clients[0].control.CreateNamespace(
            pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE), metadata=bearer)
        for spoof in ("1", "0" * 64):
            metadata = (*ORDERS, ("x-prism-forwarded", spoof))
            await clients[0].store.Set(kv.SetRequest(key="a", value=b"1"), metadata=metadata)
            assert await clients[0].owner(metadata) == "proxy-02", "it is a client's call, and forwarded"
        for client in clients:
            await client.channel.close()


async def test_a_call_that_was_forwarded_once_goes_no_further(tmp_path: Path) -> None:
    """Without a token callers of this machine are believed: the proxy takes us for another proxy."""
    async with cluster(tmp_path, 2) as (_, clients):
        await clients[0].control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        metadata = (*ORDERS, ("x-prism-forwarded", "1"))
        with pytest.raises(grpc.aio.AioRpcError, match="does not own") as error:
            await clients[0].store.Get(kv.GetRequest(key="a"), metadata=metadata)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await clients[1].owner(metadata) == "proxy-02"
