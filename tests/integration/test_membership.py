"""A real proxy with a real admin, asked by a stock client: it joins, serves what it is given, outlives the admin."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
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
async def joined(
    port: int, *arguments: str, proxy_id: str = "proxy-01", environment: Mapping[str, str] | None = None
) -> AsyncIterator[ProxyProcess]:
    async with proxy("--admin-endpoint", f"127.0.0.1:{port}", "--proxy-id", proxy_id, *QUICK, *arguments,
                     environment=environment) as process:
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


def sqlite_at(path: Path | str) -> pb.NamespaceConfig:
    return pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="sqlite", connection_string=str(path))})


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_files_of_assigned_namespaces_stay_within_the_folder_for_them(
    admin: AdminProcess, tmp_path: Path, workers: str
) -> None:
    folder, outside = tmp_path / "deep" / "data", tmp_path / "outside"
    outside.mkdir()
    async with joined(admin.port, "--workers", workers, "--admin-data-dir", str(folder)) as process:
        async with client(process) as (control, store):
            assert not folder.exists(), "nobody has needed it yet"
            await control.CreateNamespace(
                pb.CreateNamespaceRequest(namespace="orders", config=sqlite_at("a/orders.db")))
            await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
            assert (folder / "a" / "orders.db").is_file()
            assert {path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / "a")} == {0o700}
            (folder / "link").symlink_to(outside)
            for path in (outside / "x.db", "../x.db", "link/x.db", "a/../../x.db"):
                with pytest.raises(grpc.aio.AioRpcError, match="--admin-data-dir") as error:
                    await control.CreateNamespace(
                        pb.CreateNamespaceRequest(namespace="later", config=sqlite_at(path)))
                assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                refused = await control.AssignNamespace(pb.NamespaceAssignment(
                    namespace="later", partition_id=0, config=sqlite_at(path), version=1, revision=99))
                assert not refused.success
                assert "--admin-data-dir" in refused.message
        async with grpc.aio.insecure_channel(f"127.0.0.1:{admin.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="--admin-data-dir"):  # it knows no driver: the owner refuses
                await control_plane_pb2_grpc.ControlPlaneStub(channel).CreateNamespace(
                    pb.CreateNamespaceRequest(namespace="at-admin", config=sqlite_at(outside / "x.db")))
        assert not [*outside.iterdir(), *tmp_path.rglob("x.db*")]


async def test_two_proxies_of_one_machine_have_a_file_each_for_the_same_path(
    admin: AdminProcess, tmp_path: Path
) -> None:
    home = {"HOME": str(tmp_path)}
    for name in ("one", "two/.."):
        async with joined(admin.port, proxy_id=name, environment=home) as process, client(process) as (control, _):
            assigned = await control.AssignNamespace(pb.NamespaceAssignment(
                namespace="orders", partition_id=238, config=sqlite_at("orders.db"), version=1, revision=99))
            assert assigned.success, assigned.message
    assert sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / ".prism").rglob("*.db")) == [
        ".prism/proxies/one/orders.db", ".prism/proxies/two%2F../orders.db"]


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


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_a_proxy_could_not_serve_when_it_registered_is_unavailable_and_tried_again(
    admin: AdminProcess, tmp_path: Path, workers: str
) -> None:
    """The file is in use when the proxy starts again, as it is by a worker that outlives its supervisor."""
    arguments = ("--workers", workers, "--admin-data-dir", str(tmp_path))
    async with joined(admin.port, *arguments) as process, client(process) as (control, store):
        await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=sqlite_at("orders.db")))
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=in_namespace("orders"))
    config = tmp_path / "other.yaml"
    config.write_text(f"namespaces: {{other: {{backends: {{store: {{driver: sqlite, config: {{path: "
                      f"{tmp_path / 'orders.db'}}}}}}}}}}}")
    async with AsyncExitStack() as stack:
        async with proxy("--config", str(config)):
            process = await stack.enter_async_context(joined(admin.port, *arguments))
            assert "STORE_IN_USE" in (await process.line("an assignment was refused"))["problem"]
            _, store = await stack.enter_async_context(client(process))
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "could not be activated" in error.value.details()
        found = None
        async with asyncio.timeout(10):
            while found is None:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    found = await store.Get(kv.GetRequest(key="a"), metadata=in_namespace("orders"))
        assert found.value == b"1"
