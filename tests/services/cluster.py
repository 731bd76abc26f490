"""A real admin and real proxies that joined it, and stock clients of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism.admin.v1 import admin_pb2, admin_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc
from tests.services.admin import AdminProcess
from tests.services.proxy import ProxyProcess, proxy

MEMSTORE = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore")})
QUICK = ("--admin-heartbeat-s", "0.2", "--admin-reconnect-s", "0.3")
READY_SECONDS = 20.0


class Client:
    """A stock client of one proxy."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.control: Any = control_plane_pb2_grpc.ControlPlaneStub(self.channel)  # type: ignore[no-untyped-call]
        self.store: Any = keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(  # type: ignore[no-untyped-call]
            self.channel)

    async def owner(self, metadata: Sequence[tuple[str, str]]) -> str:
        """Which proxy answered, as the reply says."""
        call = self.store.Exists(kv.ExistsRequest(key="a"), metadata=metadata)
        head = dict(await call.initial_metadata())
        await call
        return str(head["x-prism-owner"])


class Cluster:
    """Proxies by number: 1 is `proxy-01`. Made by `cluster`."""

    metadata: tuple[tuple[str, str], ...] = ()  # that makes a caller one of theirs

    def __init__(self, folder: Path, urn: str, arguments: Sequence[str], admin: Sequence[str],
                 environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = environment
        self._urn = urn or f"sqlite:///{folder / 'admin.db'}"
        self._arguments = arguments
        self._admin_arguments = ("--audit-key-file", str(folder / "audit.key"), *admin)
        self._clients: dict[int, Client] = {}
        self.proxies: dict[int, ProxyProcess] = {}
        self.admin = AdminProcess(self._urn, *self._admin_arguments)

    @property
    def admin_address(self) -> str:
        """Where operators find the admin."""
        return f"127.0.0.1:{self.admin.port}"

    async def restart_admin(self) -> None:
        """At the same address, with the same storage, after it was killed or stopped."""
        self.admin = await AdminProcess(self._urn, *self._admin_arguments, port=self.admin.port).start()

    async def start(self, number: int, *arguments: str) -> ProxyProcess:
        self.proxies[number] = await proxy(
            "--admin-endpoint", f"127.0.0.1:{self.admin.port}", "--proxy-id", f"proxy-{number:02}", *QUICK,
            "--admin-data-dir", str(self._folder / f"data-{number}"), *self._arguments, *arguments,
            environment=self._environment).start()
        return self.proxies[number]

    async def kill(self, number: int) -> None:
        process = self.proxies.pop(number)
        process.process.kill()
        await process.process.wait()

    def client(self, number: int) -> Client:
        found = self._clients.get(number)
        if found is None:
            found = self._clients[number] = Client(self.address(number))
        return found

    def address(self, number: int) -> str:
        """Where clients of a proxy find it."""
        return self.proxies[number].address

    async def page(self, number: int, path: str) -> str:
        """A page of a proxy's operators' port."""
        return (await self.proxies[number].get(path))[1]

    async def status(self, number: int) -> dict[str, Any]:
        """What a proxy says of its membership."""
        found: dict[str, Any] = json.loads(await self.page(number, "/ready"))["admin"]
        return found

    async def create(self, names: Iterable[str], config: pb.NamespaceConfig) -> None:
        """By way of the first proxy."""
        control = self.client(1).control
        for name in names:
            made = await control.CreateNamespace(
                pb.CreateNamespaceRequest(namespace=name, config=config), metadata=self.metadata)
            assert "pending" not in made.message, made.message

    async def ask_admin(self, method: str, request: Any) -> Any:
        async with grpc.aio.insecure_channel(self.admin_address) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            return await getattr(stub, method)(request, metadata=self.metadata)

    async def settled(self, seconds: float = READY_SECONDS) -> pb.PartitionMap:
        """The map, once nothing is on its way to another proxy, and every proxy has that map."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.ask_admin("GetPartitionMap", admin_pb2.GetPartitionMapRequest())
                known = {(await self.status(number))["map_revision"] for number in self.proxies}
                if not found.moving and known <= {found.map.revision}:
                    return found.map  # type: ignore[no-any-return]
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.channel.close()
        for number in list(self.proxies):
            await self.kill(number)
        if self.admin.process.returncode is None:
            await self.admin.kill()


@contextlib.asynccontextmanager
async def cluster(
    folder: Path, count: int, *arguments: str, admin: Sequence[str] = (), urn: str = "",
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """`count` proxies, started with these arguments, which all have the same map. The admin's database is a file in
    `folder` unless a URN names another one."""
    found = Cluster(folder, urn, arguments, admin, environment)
    await found.admin.start()
    try:
        await asyncio.gather(*(found.start(number) for number in range(1, count + 1)))
        if not admin:
            await found.settled()
        else:
            while len({(await found.status(number))["map_revision"] for number in found.proxies}) > 1:
                await asyncio.sleep(0.05)
        yield found
    finally:
        await found.close()
