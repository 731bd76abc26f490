"""A proxy as the admin sees one: it registers, confirms what it is given, and can be made to misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from admin_client import AdminClient, AdminError, Credentials, ProxySession, Timing
from admin_client.client import PING_SECONDS
from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc

QUICK = Timing(heartbeat_s=0.2, reconnect_s=0.3)
Describe = Callable[[str, pb.NamespaceConfig], Sequence[pb.NameArea]]


class FakeProxy(control_plane_pb2_grpc.ControlPlaneServicer):
    """`serving` is what it serves: version by namespace."""

    def __init__(self, proxy_id: str, admin_port: int, *, timing: Timing = QUICK, token: str = "",
                 metadata: dict[str, str] | None = None, backends: Sequence[pb.BackendDeclaration] = (),
                 ping_s: float = PING_SECONDS, describe: Describe | None = None,
                 file_areas: Sequence[pb.NameArea] = ()) -> None:
        self.proxy_id = proxy_id
        self.address = ""
        self.serving: dict[str, int] = {}
        self.configs: dict[str, pb.NamespaceConfig] = {}
        self.ranges: list[tuple[int, int]] = []
        self.map = pb.PartitionMap()
        self.assigned: list[str] = []
        self.pushed: list[str] = []
        self.revoked: list[str] = []
        self.away_errors: list[AdminError] = []
        self.registrations = 0
        self.refuse = ""  # the reason it gives
        self.asked = 0
        self.silent = ""  # it cannot be asked
        self._metadata = metadata or {}
        self._backends = backends
        self._describe = describe
        self.file_areas = file_areas
        self.client = AdminClient(f"127.0.0.1:{admin_port}", Credentials(token=token), ping_s=ping_s)
        self.session = ProxySession(self.client, self, self._registration, self._heartbeat, timing)

    async def start(self) -> FakeProxy:
        self._server = grpc.aio.server()
        control_plane_pb2_grpc.add_ControlPlaneServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        self._task = asyncio.create_task(self.session.run())
        return self

    async def silence(self) -> None:
        """Say nothing more, and still answer what the admin asks."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        await self.silence()
        await self.client.close()
        await self._server.stop(None)

    # --- what the session asks and tells ------------------------------------------------------------------------------

    def _registration(self) -> pb.ProxyRegistration:
        self.registrations += 1
        return pb.ProxyRegistration(proxy_id=self.proxy_id, address=self.address, region="test", version="0.1.0",
                                    capabilities=["keyvalue"], metadata=self._metadata, backends=self._backends,
                                    file_areas=self.file_areas)

    def _heartbeat(self) -> pb.ProxyHeartbeat:
        return pb.ProxyHeartbeat(proxy_id=self.proxy_id, timestamp=int(time.time()), namespace_health={
            name: pb.NamespaceHealth(status="healthy") for name in self.serving})

    async def registered(self, ack: pb.ProxyRegistrationAck) -> None:
        self.ranges = [(found.start, found.end) for found in ack.partition_ranges]
        for item in ack.initial_namespaces:
            self._take(item)

    async def partitions(self, found: pb.PartitionMap) -> None:
        self.map = found

    def away(self, error: AdminError) -> None:
        self.away_errors.append(error)

    # --- what the admin asks ------------------------------------------------------------------------------------------

    async def AssignNamespace(
        self, request: pb.NamespaceAssignment, context: Any
    ) -> pb.NamespaceAssignmentAck:
        self.asked += 1
        if self.silent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self.silent)
        if self.refuse:
            return pb.NamespaceAssignmentAck(success=False, message=self.refuse)
        self.pushed.append(request.namespace)
        self._take(request)
        return pb.NamespaceAssignmentAck(success=True)

    async def RevokeNamespace(
        self, request: pb.NamespaceRevocation, context: Any
    ) -> pb.NamespaceRevocationAck:
        self.revoked.append(request.namespace)
        self.serving.pop(request.namespace, None)
        return pb.NamespaceRevocationAck(success=True, revoked_at=int(time.time()))

    async def DescribeNamespaces(
        self, request: pb.DescribeNamespacesRequest, context: Any
    ) -> pb.DescribeNamespacesResponse:
        if self._describe is None:  # of an older version
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return pb.DescribeNamespacesResponse(areas=[
            area for item in request.namespaces for area in self._describe(item.namespace, item.config)])

    def _take(self, item: pb.NamespaceAssignment) -> None:
        if item.version > self.serving.get(item.namespace, 0):
            self.assigned.append(item.namespace)
            self.serving[item.namespace] = item.version
            self.configs[item.namespace] = item.config

    def owns(self, partition: int) -> bool:
        return any(found.start <= partition <= found.end and found.proxy_id == self.proxy_id
                   for found in self.map.owners)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something another task brings about."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)
