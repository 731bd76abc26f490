"""A real proxy with a real admin, asked by a stock client: it joins, serves what it is given, outlives the admin."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AdminProcess]:
    process = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}").start()
    yield process
    if process.process.returncode is None:
        await process.kill()


@asynccontextmanager
async def joined(port: int, *arguments: str, proxy_id: str = "proxy-01") -> AsyncIterator[ProxyProcess]:
    async with proxy("--admin-endpoint", f"127.0.0.1:{port}", "--proxy-id", proxy_id, *QUICK, *arguments) as process:
        yield process


@asynccontextmanager
async def client(process: ProxyProcess) -> AsyncIterator[tuple[Any, Any]]:
    """Stubs of the control plane and of KeyValue."""
    async with grpc.aio.insecure_channel(process.address) as channel:
        yield (control_plane_pb2_grpc.ControlPlaneStub(channel),
               keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel))


async def status(process: ProxyProcess) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((await process.get("/ready"))[1])["admin"]
    return found


async def until_state(process: ProxyProcess, state: str) -> None:
    while (await status(process))["state"] != state:
        await asyncio.sleep(0.05)


def in_namespace(name: str) -> tuple[tuple[str, str], ...]:
    return (("x-namespace", name),)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_namespace_created_through_a_proxy_is_served_when_the_call_returns(
    admin: AdminProcess, workers: str
) -> None:
    async with joined(admin.port, "--workers", workers) as process, client(process) as (control, store):
        assert (await status(process))["state"] == "joined"
        made = await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        assert (made.success, made.assigned_partition, made.assigned_proxy) == (True, 238, "proxy-01")
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
        found = await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))
        assert found.value == b"1"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await store.Get(kv.GetRequest(key="a"))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND, "a joined proxy invents no default namespace"


async def test_what_no_proxy_can_serve_is_refused_before_it_is_stored(admin: AdminProcess) -> None:
    async with joined(admin.port) as process, client(process) as (control, _):
        wrong = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstor")})
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError, match="did you mean 'memstore'") as error:
                await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=wrong))
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_admin_being_away_stops_creation_only(admin: AdminProcess, tmp_path: Path, workers: str) -> None:
    async with joined(admin.port, "--workers", workers) as process, client(process) as (control, store):
        await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
        await admin.kill()
        await until_state(process, "away")
        assert (await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))).value == b"1"
        with pytest.raises(grpc.aio.AioRpcError, match="is away") as error:
            await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="later", config=MEMSTORE))
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        again = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}", port=admin.port).start()
        await until_state(process, "joined")
        assert (await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))).value == b"1", "as it was"
        await again.kill()


async def test_without_an_admin_the_file_is_served_and_kept_when_it_comes(tmp_path: Path, unused_tcp_port: int) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces: {mine: {backends: {store: {driver: memstore}}}}")
    async with joined(unused_tcp_port, "--config", str(file)) as process, client(process) as (control, store):
        assert "the admin is away: serving goes on without it" in [line["event"] for line in process.lines]
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("mine"))
        admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}", port=unused_tcp_port).start()
        await until_state(process, "joined")
        await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        await store.Set(kv.SetRequest(key="a", value=b"2"), metadata=in_namespace("orders"))
        file.write_text(file.read_text() + "  # changed")
        process.signal(signal.SIGHUP)
        await process.line("configuration reloaded")
        assert (await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("mine"))).value == b"1"
        assert (await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))).value == b"2"
        await admin.kill()


async def test_versions_decide_and_the_same_again_changes_nothing(admin: AdminProcess) -> None:
    async with joined(admin.port) as process, client(process) as (control, store):
        def assign(version: int, **options: str) -> Any:
            config = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore", options=options)})
            return control.AssignNamespace(pb.NamespaceAssignment(
                namespace="orders", partition_id=238, config=config, version=version, revision=1))

        assert (await assign(2)).success
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
        assert (await assign(1, max_keys="5")).success
        assert (await assign(2)).message == "in force already"
        refused = await assign(3, max_keys="-1")
        assert not refused.success
        assert "max_keys" in refused.message
        assert (await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))).value == b"1"
        assert (await status(process))["namespaces"] == 1


async def test_a_revoked_namespace_finishes_its_calls_and_takes_no_new_ones(admin: AdminProcess) -> None:
    async with joined(admin.port) as process, client(process) as (control, store):
        await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
        revision = (await status(process))["map_revision"]
        gone = await control.RevokeNamespace(pb.NamespaceRevocation(
            proxy_id="proxy-01", namespace="orders", graceful_timeout_seconds=5, revision=revision))
        assert gone.success
        assert gone.revoked_at > 0
        with pytest.raises(grpc.aio.AioRpcError):
            await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))
        again = await control.RevokeNamespace(pb.NamespaceRevocation(proxy_id="proxy-01", namespace="orders"))
        assert again.success
        assert again.message == "not served here"


async def test_with_a_token_only_who_shows_it_tells_the_proxy_what_to_serve(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("open sesame\n")
    admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}", "--token-file", str(token)).start()
    async with joined(admin.port, "--admin-token-file", str(token)) as process, client(process) as (control, store):
        request = pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE)
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            for call in (control.CreateNamespace(request, metadata=metadata),
                         control.AssignNamespace(pb.NamespaceAssignment(namespace="x"), metadata=metadata),
                         control.RevokeNamespace(pb.NamespaceRevocation(namespace="x"), metadata=metadata)):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await control.CreateNamespace(request, metadata=(("authorization", "Bearer open sesame"),))
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
    await admin.kill()


async def test_a_proxy_that_starts_again_gets_its_namespaces_before_it_serves(admin: AdminProcess) -> None:
    async with joined(admin.port) as process, client(process) as (control, _):
        await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
    async with joined(admin.port) as process, client(process) as (_, store):
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
