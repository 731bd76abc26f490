"""Servers whose namespaces have rate and load limits: the key-value interfaces over memory, and an echo."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.common import errors_pb2
from prism_proxy._native.grpc.quota import NamespaceQuota, SharedQuotaTable
from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.models.keyvalue.model import KeyValueOptions
from prism_proxy.namespaces.limits import LoadLimits
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.quotas import make_quota
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot, build
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server
from prism_proxy.standard import make_driver
from tests.support.echo import Echo

StaticErrorHandler = tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, errors_pb2.Error]


class LimitedKeyValue:
    """`native` is served by native handlers, `servicer` by servicers, both with the same limits."""

    def __init__(self) -> None:
        self.page = SharedQuotaTable()
        self.namespaces = Namespaces()
        self.port = 0

    def configure(self, limits: LoadLimits) -> Snapshot:
        """Activate a configuration, as a reload does."""
        before, memory = self.namespaces.current, MemstoreConfig()
        configs = [NamespaceConfig.of_store("native", "memstore", memory, limits=limits),
                   NamespaceConfig.of_store("servicer", "memstore", memory, limits=limits,
                                            keyvalue=KeyValueOptions(narrow_keys=True))]
        self.namespaces.swap(build(before.revision + 1, configs, make_driver, before, page=self.page))
        return self.namespaces.current

    def quota(self, namespace: str) -> NamespaceQuota:
        quota = self.namespaces.current.routes[namespace].quota
        assert quota is not None
        return quota


@contextlib.asynccontextmanager
async def keyvalue_server(limits: LoadLimits) -> AsyncIterator[LimitedKeyValue]:
    """Serving; at the end nothing is in flight any more."""
    served = LimitedKeyValue()
    routes = served.configure(limits).routes.values()
    server = Server(namespaced=namespaced)
    add_interfaces(server, served.namespaces.resolve)
    served.namespaces.on_swap(lambda current: server.set_routes(current.table()))
    NativeHandlers(server).add(["memstore"])
    served.port = server.add_insecure_port("127.0.0.1:0")
    for route in routes:
        await route.drivers[0].open()
    await server.start()
    try:
        yield served
        for route in served.namespaces.current.routes.values():
            assert not in_flight(route.quota)
    finally:
        await server.stop(0)
        for route in routes:
            await route.drivers[0].close()


@contextlib.asynccontextmanager
async def echo_server(**limits: float) -> AsyncIterator[tuple[Echo, NamespaceQuota, int]]:
    """(servicer, quota, port); at the end nothing is in flight any more."""
    quota = make_quota(SharedQuotaTable(), "default", LoadLimits(**limits))  # type: ignore[arg-type]
    assert quota is not None
    echo, server = Echo(), Server(namespaced=lambda path: True)
    server.add_generic_rpc_handlers([echo])
    server.set_routes(RouteTable(1, [NativeRoute(None, "default", None, quota=quota)], "default"))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield echo, quota, port
        echo.release.set()
    finally:
        echo.release.set()
        await server.stop(5)
    assert not in_flight(quota)


def in_flight(quota: NamespaceQuota | None) -> dict[str, float]:
    """What is in use of calls and bytes; empty when nothing is, or nothing is limited."""
    usage = quota.usage() if quota is not None else {}
    usage.pop("requests_per_second", None)
    return {name: value for name, value in usage.items() if value}


def decoded(error: Any) -> StaticErrorHandler:
    """The details of a failed call, as a stock client reads them."""
    info, retry, rich = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), errors_pb2.Error()
    status = rpc_status.from_call(error)
    assert status.code == error.code().value[0] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    for detail in status.details:
        for message in (info, retry, rich):
            detail.Unpack(message)
    return info, retry, rich
