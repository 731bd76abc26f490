"""Data that only one proxy has go over to another one, while clients write: every value arrives, and no call fails."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism import transfer_pb2, transfer_pb2_grpc
from prism.admin.v1 import admin_pb2, admin_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_grpc
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as transactional
from prism.interfaces.keyvalue import keyvalue_transactional_pb2_grpc as transactional_grpc
from prism.interfaces.keyvalue import keyvalue_ttl_pb2 as ttl
from prism.interfaces.keyvalue import keyvalue_ttl_pb2_grpc as ttl_grpc
from tests.services.admin import AdminProcess
from tests.services.proxy import ProxyProcess, proxy

pytestmark = pytest.mark.serial

QUICK = ("--admin-heartbeat-s", "0.2", "--admin-reconnect-s", "0.3")
BACKENDS = {"mem": pb.BackendConfig(backend_type="memstore"),
            "disk": pb.BackendConfig(backend_type="sqlite", connection_string="store.db")}


class Cluster:
    """An admin, and proxies by id, each in a folder of its own. `a` has the namespaces."""

    def __init__(
        self, folder: Path, token: str = "", workers: int = 1, backends: Mapping[str, pb.BackendConfig] = BACKENDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._backends = backends
        self._environment = environment
        self._workers = ("--workers", str(workers)) if workers > 1 else ()
        file = folder / "token"
        file.write_text(token)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._shown = ("--admin-token-file", str(file)) if token else ()
        self._admin_token = ("--token-file", str(file)) if token else ()
        self.admin = self._make_admin(0)
        self.proxies: dict[str, ProxyProcess] = {}
        self._stack = contextlib.AsyncExitStack()

    def _make_admin(self, port: int) -> AdminProcess:
        return AdminProcess(f"sqlite:///{self.folder / 'admin.db'}", *self._admin_token, port=port,
                            environment=self._environment)

    async def restart_admin(self) -> None:
        """After it was killed."""
        self.admin = await self._make_admin(self.admin.port).start()

    async def __aenter__(self) -> Cluster:
        await self.admin.start()
        await self.join("a", *self._workers)
        for name, backend in self._backends.items():
            await self.call("CreateNamespace", admin_pb2.CreateNamespaceRequest(
                name=name, config=pb.NamespaceConfig(backends={"store": backend})))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self.admin.process.returncode is None:
            await self.admin.kill()

    async def join(self, proxy_id: str, *arguments: str, port: int = 0) -> ProxyProcess:
        folder = self.folder / proxy_id
        folder.mkdir(exist_ok=True)
        self.proxies[proxy_id] = await self._stack.enter_async_context(proxy(
            "--admin-endpoint", f"127.0.0.1:{self.admin.port}", "--proxy-id", proxy_id, *QUICK, *self._shown,
            "--admin-data-dir", str(folder / "data"), *arguments, "--listen", f"127.0.0.1:{port}", folder=folder,
            environment=self._environment))
        return self.proxies[proxy_id]

    async def call(self, method: str, request: Any) -> Any:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.admin.port}") as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            return await getattr(stub, method)(request, timeout=10, metadata=self._metadata)

    async def owners(self) -> dict[str, str]:
        """The owner of each namespace by the map; nothing while any partition is on its way."""
        found = await self.call("GetPartitionMap", admin_pb2.GetPartitionMapRequest())
        if found.moving:
            return {}
        return {name: owner.proxy_id for partition, names in found.namespaces.items() for name in names.names
                for owner in found.map.owners if owner.start <= partition <= owner.end}

    async def move(self, source: str, target: str) -> None:
        """Let everything leave `source`, and wait until it has."""
        await self.call("Rebalance", admin_pb2.RebalanceRequest(leave=source))
        async with asyncio.timeout(30):
            while await self.owners() != dict.fromkeys(self._backends, target):
                await asyncio.sleep(0.05)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as found:
        yield found


@dataclass
class Load:
    """Clients that write through every proxy; `known` is what they were told, `failures` what they should not see."""

    known: dict[tuple[str, str], bytes] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    calls: int = 0
    longest_s: float = 0.0
    _ending: bool = False

    async def client(self, process: ProxyProcess, name: str, writer: int) -> None:
        chance, loop = random.Random(writer), asyncio.get_running_loop()
        metadata = (("x-namespace", name),)
        async with grpc.aio.insecure_channel(process.address) as channel:
            stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
            while not self._ending:
                key = f"{writer}:{chance.randrange(50)}"
                value = b"%d" % self.calls + chance.randbytes(chance.choice((3, 2000)))
                began = loop.time()
                try:
                    if chance.random() < 0.3:
                        found = await stub.Get(basic.GetRequest(key=key), metadata=metadata, timeout=5)
                        if found.value != self.known.get((name, key), b""):
                            self.failures.append(f"{name} {key}: read a value that is not the last one written")
                    else:
                        await stub.Set(basic.SetRequest(key=key, value=value), metadata=metadata, timeout=5)
                        self.known[name, key] = value
                except grpc.aio.AioRpcError as error:
                    self.failures.append(f"{name}: {error.code()} {error.details()}")
                self.calls += 1
                self.longest_s = max(self.longest_s, loop.time() - began)

    @contextlib.asynccontextmanager
    async def running(self, *processes: ProxyProcess) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.client(process, name, 10 * index + number))
                 for index, process in enumerate(processes) for number, name in enumerate((*BACKENDS, *BACKENDS))]
        await asyncio.sleep(0.3)
        yield
        self._ending = True
        await asyncio.gather(*tasks)

    async def check(self, process: ProxyProcess) -> None:
        """Everything that was acknowledged is there."""
        async with grpc.aio.insecure_channel(process.address) as channel:
            stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
            for (name, key), value in self.known.items():
                found = await stub.Get(basic.GetRequest(key=key), metadata=(("x-namespace", name),))
                assert found.value == value, f"{name} {key}"


async def test_data_move_under_load_without_a_failed_call(cluster: Cluster) -> None:
    a, b = cluster.proxies["a"], await cluster.join("b")
    async with grpc.aio.insecure_channel(a.address) as channel:
        stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
        for name in BACKENDS:
            await stub.Set(basic.SetRequest(key="brief", value=b"1"), metadata=(("x-namespace", name),))
            await ttl_grpc.KeyValueTTLInterfaceStub(channel).Expire(
                ttl.ExpireRequest(key="brief", ttl_seconds=100), metadata=(("x-namespace", name),))
    load = Load()
    async with load.running(a, b):
        await cluster.move("a", "b")
        await asyncio.sleep(0.3)
        await cluster.move("b", "a")
        await asyncio.sleep(0.3)
        await cluster.move("a", "b")
        await asyncio.sleep(0.3)
    assert not load.failures
    assert load.longest_s < 2
    for process in (a, b):
        await load.check(process)
    async with grpc.aio.insecure_channel(b.address) as channel:
        for name in BACKENDS:
            call = ttl_grpc.KeyValueTTLInterfaceStub(channel).GetTTL(
                ttl.GetTTLRequest(key="brief"), metadata=(("x-namespace", name),))
            assert 60 < (await call).ttl_seconds <= 100
            assert dict(await call.initial_metadata())["x-prism-owner"] == "b"


async def test_with_a_token_data_move_between_those_who_have_it(tmp_path: Path) -> None:
    async with Cluster(tmp_path, "open sesame") as cluster:
        a, b = cluster.proxies["a"], await cluster.join("b")
        load = Load()
        async with load.running(a), grpc.aio.insecure_channel(a.address) as channel:
            stub = transactional_grpc.KeyValueTransactionalInterfaceStub(channel)
            metadata = (("x-namespace", "mem"),)
            begun = await stub.BeginTransaction(transactional.BeginTransactionRequest(), metadata=metadata)
            await cluster.move("a", "b")
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stub.Commit(transactional.CommitRequest(transaction_id=begun.transaction_id), metadata=metadata)
            assert ended.value.code() is grpc.StatusCode.ABORTED
        assert not load.failures
        await load.check(b)
        async with grpc.aio.insecure_channel(b.address) as channel:
            stub = transfer_pb2_grpc.TransferStub(channel)  # type: ignore[no-untyped-call]
            for request in (stub.Abandon(transfer_pb2.MoveRequest()), stub.Open(transfer_pb2.OpenRequest())):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await request
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_target_that_cannot_take_the_data_leaves_them_where_they_are(cluster: Cluster) -> None:
    """Both proxies have the same file: the second cannot open it."""
    a = cluster.proxies["a"]
    (cluster.folder / "b").symlink_to(cluster.folder / "a")
    await cluster.join("b")
    load = Load()
    async with load.running(a):
        await cluster.call("Rebalance", admin_pb2.RebalanceRequest(leave="a"))
        async with asyncio.timeout(30):
            while await cluster.owners() != {"mem": "b", "disk": "a"}:
                await asyncio.sleep(0.1)
    assert not load.failures
    await load.check(a)
