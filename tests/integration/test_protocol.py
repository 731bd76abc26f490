"""What the protocol between proxies and their admin promises, line by line: real processes, on each database.

Each test is one line of the specification's list, in its order; the first lines of a docstring are that line. The admin
that is killed under load is in `tests/chaos/test_cluster.py`. Storage is asked itself for the rows it should have.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism_admin.storage.audit import Audit
from prism_admin.storage.store import Store, open_store
from prism_proxy._native.runtime.crc32 import partition_of
from prism_runtime.storage.database_url import parse
from tests.services.cluster import MEMSTORE, Cluster, cluster
from tests.services.redis import RedisServer, binary

STALE_SECONDS = 3
ORDERS = (("x-namespace", "orders"),)  # partition 238, of the last of a few proxies
needs_redis = pytest.mark.skipif(binary() is None, reason="no redis-server")


def redis(server: RedisServer, **options: str) -> pb.NamespaceConfig:
    return pb.NamespaceConfig(backends={"store": pb.BackendConfig(
        backend_type="redis", connection_string=server.url, options=options)})


@contextlib.asynccontextmanager
async def storage(urn: str) -> AsyncIterator[Store]:
    """The admin's database, beside the admin."""
    store = await open_store(parse(urn))
    try:
        yield store
    finally:
        await store.close()


async def until_state(found: Cluster, number: int, state: str) -> None:
    async with asyncio.timeout(20):
        while (await found.status(number))["state"] != state:
            await asyncio.sleep(0.02)


async def test_a_first_proxy_has_every_partition_and_a_healthy_row(tmp_path: Path, urn: str) -> None:
    """Register proxy-01 at 127.0.0.1:P: ack success, ranges [0-255], row healthy, last_seen within 1 s of now."""
    async with cluster(tmp_path, 1, urn=urn) as found:
        (listed,) = (await found.ask_admin("ListProxies", admin_pb2.ListProxiesRequest())).proxies
        assert [(item.start, item.end) for item in listed.partition_ranges] == [(0, 255)]
        assert abs(listed.last_seen.ToNanoseconds() / 1e9 - time.time()) < 1
        async with storage(urn) as store:
            row = await store.proxies.get("proxy-01")
        assert (row.status, row.address) == ("healthy", found.proxies[1].address)
        assert (await found.status(1))["state"] == "joined"


async def test_four_proxies_have_the_four_ranges(tmp_path: Path, urn: str) -> None:
    """Four proxies proxy-01..04: ranges exactly [0-63], [64-127], [128-191], [192-255]. They register in any order."""
    async with cluster(tmp_path, 4, urn=urn) as found:
        assert [(owner.proxy_id, owner.start, owner.end) for owner in (await found.settled()).owners] == [
            ("proxy-01", 0, 63), ("proxy-02", 64, 127), ("proxy-03", 128, 191), ("proxy-04", 192, 255)]


async def test_a_namespace_created_through_one_proxy_is_served_by_its_owner(tmp_path: Path, urn: str) -> None:
    """CreateNamespace "orders" through proxy-01: partition 238, owner proxy-04, and proxy-04 (not 01) serves a KeyValue
    Set/Get for it within 1 s; row in namespaces; audit row present."""
    async with cluster(tmp_path, 4, urn=urn) as found:
        made = await found.client(1).control.CreateNamespace(
            pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        began = time.monotonic()
        assert (made.assigned_partition, made.assigned_proxy) == (238, "proxy-04")
        await found.client(4).store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS)
        assert (await found.client(4).store.Get(kv.GetRequest(key="a"), metadata=ORDERS)).value == b"1"
        assert time.monotonic() - began < 1
        assert [(await found.status(number))["namespaces"] for number in range(1, 5)] == [0, 0, 0, 1]
        async with storage(urn) as store, asyncio.timeout(10):
            row = await store.namespaces.get("orders")
            assert (row.partition, row.assigned_proxy, row.version) == (238, "proxy-04", 1)
            audit = Audit(store.engine, b"")
            while not (entries := await audit.query(namespace="orders", action="CreateNamespace")):
                await asyncio.sleep(0.05)  # it is written behind the call
        (_, entry), = entries
        assert (entry.resource_type, entry.resource_id, entry.error) == ("namespace", "orders", "")


async def test_without_proxies_a_namespace_has_no_owner(tmp_path: Path, urn: str) -> None:
    """No proxies registered: creation gives FAILED_PRECONDITION naming partition 238."""
    async with cluster(tmp_path, 0, urn=urn) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="no proxy assigned to partition 238") as error:
            await found.ask_admin("CreateNamespace", admin_pb2.CreateNamespaceRequest(name="orders", config=MEMSTORE))
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_with_a_dead_endpoint_the_file_is_served_and_kept_when_the_admin_comes(tmp_path: Path, urn: str) -> None:
    """Start proxy with a dead endpoint and a local file with one namespace: that namespace serves; log has the
    warning."""
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces: {mine: {backends: {store: {driver: memstore}}}}")
    mine = (("x-namespace", "mine"),)
    async with cluster(tmp_path, 0, urn=urn) as found:
        await found.admin.kill()
        process = await found.start(1, "--config", str(file))
        assert [line["level"] for line in process.lines
                if line["event"] == "the admin is away: serving goes on without it"] == ["warning"]
        store = found.client(1).store
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=mine)
        await found.restart_admin()
        await until_state(found, 1, "joined")
        await found.create(["orders"], MEMSTORE)
        await store.Set(kv.SetRequest(key="a", value=b"2"), metadata=ORDERS)
        file.write_text(file.read_text() + "  # changed")
        process.signal(signal.SIGHUP)
        await process.line("configuration reloaded")
        assert (await store.Get(kv.GetRequest(key="a"), metadata=mine)).value == b"1"
        assert (await store.Get(kv.GetRequest(key="a"), metadata=ORDERS)).value == b"2"


async def test_an_older_version_changes_nothing_and_the_same_is_activated_once(tmp_path: Path, urn: str) -> None:
    """Push version 2 then version 1: version 2 stays. Push 2 twice: one activation."""
    async with cluster(tmp_path, 1, urn=urn) as found:
        control, store = found.client(1).control, found.client(1).store
        await found.create(["orders"], MEMSTORE)
        await found.ask_admin("UpdateNamespace", admin_pb2.UpdateNamespaceRequest(name="orders", config=limited("9")))
        revision = (await found.status(1))["map_revision"]

        def assign(version: int, most: str) -> Any:
            return control.AssignNamespace(pb.NamespaceAssignment(
                namespace="orders", partition_id=238, config=limited(most), version=version, revision=revision))

        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS)
        activations = await assigned(found)
        assert (await assign(1, "5")).success
        assert (await assign(2, "9")).message == "already active"
        assert await assigned(found) == activations
        refused = await assign(3, "-1")
        assert not refused.success
        assert "max_keys" in refused.message
        assert (await store.Get(kv.GetRequest(key="a"), metadata=ORDERS)).value == b"1"
        for number in range(8):
            await store.Set(kv.SetRequest(key=f"more {number}", value=b"1"), metadata=ORDERS)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await store.Set(kv.SetRequest(key="one too many", value=b"1"), metadata=ORDERS)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "version 2, of 9 keys, is active"


def limited(most: str) -> pb.NamespaceConfig:
    return pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore", options={"max_keys": most})})


async def assigned(found: Cluster) -> str:
    """How often the first proxy activated a pushed namespace."""
    _, text = await found.proxies[1].get("/metrics")
    return next(line for line in text.splitlines() if line.startswith('prism_admin_events_total{event="assigned"}'))


@needs_redis
async def test_a_silent_proxy_is_unhealthy_and_only_its_namespaces_move(tmp_path: Path, urn: str) -> None:
    """Stop one proxy's heartbeat: unhealthy and its namespaces moved in under 60 s; other proxies' namespaces
    untouched."""
    names = [f"shared-{number}" for number in range(12)]
    stale = ("--stale-after", str(STALE_SECONDS))
    async with RedisServer() as server, cluster(tmp_path, 3, admin=stale, urn=urn) as found:
        await found.create(names, redis(server))
        before = owners(await found.settled())
        theirs = [name for name in names if before[partition_of(name)] == "proxy-03"]
        assert theirs
        silent = found.proxies.pop(3)
        silent.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                while "proxy-03" in (after := owners(await found.settled())).values():
                    await asyncio.sleep(0.1)
            listed = (await found.ask_admin("ListProxies", admin_pb2.ListProxiesRequest())).proxies
            assert {item.proxy_id: item.status for item in listed} == {
                "proxy-01": "healthy", "proxy-02": "healthy", "proxy-03": "unhealthy"}
            assert {partition for partition in before if before[partition] != after[partition]} == {
                partition for partition, owner in before.items() if owner == "proxy-03"}
            for name in names:
                assert await found.client(1).owner((("x-namespace", name),)) == after[partition_of(name)]
        finally:
            silent.process.kill()
            await silent.process.wait()


def owners(found: pb.PartitionMap) -> dict[int, str]:
    return {partition: owner.proxy_id for owner in found.owners for partition in range(owner.start, owner.end + 1)}


async def begun(found: Cluster, call: Awaitable[kv.GetResponse]) -> asyncio.Future[kv.GetResponse]:
    """The call, once its proxy has it."""
    in_flight = asyncio.ensure_future(call)
    async with asyncio.timeout(2):
        while "prism_server_streams 1\n" not in (await found.proxies[1].get("/metrics"))[1]:
            await asyncio.sleep(0.01)
    return in_flight


@needs_redis
async def test_a_revoked_namespace_finishes_its_calls_and_takes_no_new_ones(tmp_path: Path, urn: str) -> None:
    """Revoke with 1 request of 2 s in flight and grace 5: request completes, new one refused."""
    async with RedisServer() as server, cluster(tmp_path, 1, urn=urn) as found, server.client() as behind:
        await found.create(["orders"], redis(server))
        control, store = found.client(1).control, found.client(1).store
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS)
        revision = (await found.status(1))["map_revision"]
        await behind.client_pause(2000)
        began = time.monotonic()
        in_flight = await begun(found, store.Get(kv.GetRequest(key="a"), metadata=ORDERS))
        revoked = control.RevokeNamespace(pb.NamespaceRevocation(
            proxy_id="proxy-01", namespace="orders", graceful_timeout_seconds=5, revision=revision))
        gone = await revoked
        assert gone.success
        assert gone.revoked_at > 0
        assert not in_flight.done()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await store.Get(kv.GetRequest(key="a"), metadata=ORDERS)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await in_flight).value == b"1"
        assert time.monotonic() - began >= 1.9
        again = await control.RevokeNamespace(pb.NamespaceRevocation(proxy_id="proxy-01", namespace="orders"))
        assert again.success
        assert again.message == "not served here"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_calls_of_a_revoked_namespace_that_outlast_its_grace_fail(tmp_path: Path, workers: str) -> None:
    async with RedisServer() as server, cluster(tmp_path, 1, "--workers", workers) as found, server.client() as behind:
        await found.create(["orders"], redis(server, read_timeout_s="30"))
        control, store = found.client(1).control, found.client(1).store
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS)
        await behind.client_pause(20_000)
        began = time.monotonic()
        in_flight = await begun(found, store.Get(kv.GetRequest(key="a"), metadata=ORDERS))
        assert (await control.RevokeNamespace(pb.NamespaceRevocation(
            proxy_id="proxy-01", namespace="orders", graceful_timeout_seconds=1,
            revision=(await found.status(1))["map_revision"]))).success
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await in_flight
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert 1 <= time.monotonic() - began < 4, "the grace, and what a busy machine adds"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await store.Get(kv.GetRequest(key="a"), metadata=ORDERS)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
