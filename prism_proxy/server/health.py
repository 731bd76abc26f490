"""grpc.health.v1.Health: Check, List, and Watch, which follows changes.

Watches end with UNAVAILABLE when the process drains: they would outlast every grace period otherwise, and their
clients watch again, elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse.ServingStatus
MAX_WATCHERS = 1000  # each costs a task and a stream for as long as its client likes


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The state of each service name; the empty name is the process."""

    def __init__(self) -> None:
        self._states: dict[str, int] = {"": health_pb2.HealthCheckResponse.SERVING}
        self._changed = asyncio.Event()
        self._watchers = 0
        self._draining = False

    def set(self, service: str, serving: bool) -> None:
        """Change the state of a service; watchers hear of it. Without effect once the process drains."""
        if self._draining:
            return
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        if self._states.get(service) != state:
            self._states[service] = state
            self._wake()

    def remove(self, service: str) -> None:
        """Forget a service: Check answers NOT_FOUND, watchers hear SERVICE_UNKNOWN."""
        if self._states.pop(service, None) is not None:
            self._wake()

    def follow(self, states: Mapping[str, bool]) -> None:
        """Make `states` the services there are, beside the process itself."""
        for service in self._states.keys() - states.keys() - {""}:
            self.remove(service)
        for service, serving in states.items():
            self.set(service, serving)

    def drain(self) -> None:
        """NOT_SERVING for all, for good, and the end of every watch."""
        for service in self._states:
            self._states[service] = health_pb2.HealthCheckResponse.NOT_SERVING
        self._draining = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=state)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        return health_pb2.HealthListResponse(
            statuses={name: health_pb2.HealthCheckResponse(status=state) for name, state in self._states.items()})

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        if self._watchers >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {MAX_WATCHERS} health watches")
        self._watchers += 1
        last = None
        try:
            while True:
                changed = self._changed
                state = self._states.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
                if state != last:
                    last = state
                    yield health_pb2.HealthCheckResponse(status=state)
                if self._draining:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the proxy is draining: watch another one")
                await changed.wait()
        finally:
            self._watchers -= 1


def add_health(server: Any, servicer: HealthServicer) -> str:
    """Register the service on `server`; returns its full name."""
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return str(health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
