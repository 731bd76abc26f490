"""prism.ControlPlane: what proxies, and clients through them, ask of the admin."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism_admin.coordinator import Coordinator
from prism_admin.layout import partition_of
from prism_admin.registry import Registry

Context = Any  # grpc.aio.ServicerContext
MAX_NAME = 255  # characters of a proxy's id, or of its address


class ControlPlane(control_plane_pb2_grpc.ControlPlaneServicer):
    """Thin: checks the form of requests and gives answers their form."""

    def __init__(self, coordinator: Coordinator, registry: Registry) -> None:
        self._coordinator = coordinator
        self._registry = registry

    async def RegisterProxy(  # noqa: N802 - the contract's name
        self, request: pb.ProxyRegistration, context: Context
    ) -> pb.ProxyRegistrationAck:
        for name in ("proxy_id", "address"):
            if not 0 < len(getattr(request, name)) <= MAX_NAME:
                problem = f"is longer than {MAX_NAME} characters" if getattr(request, name) else "is empty"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name} {problem}")
        return await self._coordinator.register(request)

    async def Heartbeat(  # noqa: N802 - the contract's name
        self, request: pb.ProxyHeartbeat, context: Context
    ) -> pb.HeartbeatAck:
        if not request.proxy_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "proxy_id is empty")
        revision = self._coordinator.heartbeat(request)
        return pb.HeartbeatAck(success=True, server_timestamp=int(time.time()), map_revision=revision)

    async def CreateNamespace(  # noqa: N802 - the contract's name
        self, request: pb.CreateNamespaceRequest, context: Context
    ) -> pb.CreateNamespaceResponse:
        created = await self._registry.create(
            request.namespace, request.config, principal=request.principal or request.requesting_proxy)
        pending = self._coordinator.pusher.pending.get(request.namespace)
        return pb.CreateNamespaceResponse(
            success=True, assigned_partition=partition_of(request.namespace), assigned_proxy=created.assigned_proxy,
            message=f"activation is pending: {pending}" if pending else "created")

    async def WatchPartitions(  # noqa: N802 - the contract's name
        self, request: pb.WatchPartitionsRequest, context: Context
    ) -> AsyncIterator[pb.PartitionMap]:
        async for _ in self._coordinator.placement.watch(request.known_revision):
            yield self._coordinator.partition_map()
