"""One admin within the test's loop, and proxies that come and go."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2, admin_pb2_grpc
from prism_admin.app import AdminConfig, App
from tests.support.fake_proxy import FakeProxy, until

REDIS = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="redis")})
MEMORY = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore")})


class Cluster:
    """One admin, and proxies that come and go."""

    def __init__(self, config: AdminConfig) -> None:
        self.config = config
        self.proxies: list[FakeProxy] = []

    async def start(self) -> None:
        self.app = App(self.config)
        await self.app.start()
        self.config = replace(self.config, listen=f"127.0.0.1:{self.app.port}")

    async def join(self, *names: str, **options: Any) -> list[FakeProxy]:
        joined = [await FakeProxy(name, self.app.port, **options).start() for name in names]
        self.proxies += joined
        for proxy in joined:
            await until(lambda proxy=proxy: proxy.session.joined)
        return joined

    async def create(self, name: str, config: pb.NamespaceConfig = REDIS) -> pb.CreateNamespaceResponse:
        return await self.proxies[0].client.create_namespace(
            pb.CreateNamespaceRequest(namespace=name, requesting_proxy="proxy-01", config=config, principal="ada"))

    @contextlib.asynccontextmanager
    async def admin(self, token: str = "") -> AsyncIterator[Any]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.app.port}") as channel:
            yield admin_pb2_grpc.AdminServiceStub(channel)

    async def audit(self, **filters: Any) -> list[admin_pb2.AuditLogEntry]:
        async with self.admin() as stub:
            return [entry async for entry in stub.GetAuditLog(admin_pb2.GetAuditLogRequest(limit=1000, **filters))]
