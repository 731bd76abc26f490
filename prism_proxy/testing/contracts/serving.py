"""Puts a driver behind a layer: the one place that knows how each way of answering is set up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum

import grpc

from prism_proxy import standard
from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.peer import Peer
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.models.keyvalue.model import KeyValueStore
from prism_proxy.models.keyvalue.options import KeyValueOptions
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot, build
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server
from prism_proxy.testing.contracts.driver_subject import DriverSubject
from prism_proxy.testing.contracts.model_subject import ModelSubject
from prism_proxy.testing.contracts.subject import KeyValueSubject
from prism_proxy.testing.contracts.wire_subject import WireSubject

NAMESPACE = "contract"
_LARGE = (("grpc.max_receive_message_length", 16 * 1024 * 1024),)  # the limit of our server; grpcio's own is 4 MiB
Wait = Callable[[float], Awaitable[None]]


class Way(Enum):
    """Which layer answers. NATIVE equals SERVER where the driver offers no native store; FORWARDED is NATIVE in
    another server than the one that is called."""

    DRIVER = "driver"
    PATTERN = "pattern"
    REFERENCE = "grpc.aio"
    SERVER = "server"
    NATIVE = "native"
    FORWARDED = "forwarded"


@contextlib.asynccontextmanager
async def subject(
    way: Way, driver: KeyValueStore, wait: Wait, options: KeyValueOptions | None = None
) -> AsyncIterator[KeyValueSubject]:
    """A subject over a driver that is opened here, and closed at the end."""
    config = NamespaceConfig.of_store(NAMESPACE, driver.declaration.name, None, keyvalue=options or KeyValueOptions())
    snapshot = build(1, [config], lambda backend, settings: driver)
    await driver.open()
    try:
        if way is Way.DRIVER:
            yield DriverSubject(driver, wait)
        elif way is Way.PATTERN:
            yield ModelSubject(snapshot.routes[NAMESPACE], driver.declaration, wait)
        else:
            async with serve(way, snapshot) as channel:
                yield WireSubject(channel, NAMESPACE, driver.declaration, wait)
    finally:
        await driver.drain(1.0)
        await driver.close()


@contextlib.asynccontextmanager
async def serve(way: Way, snapshot: Snapshot) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of the interfaces over a snapshot, on a free port of the loopback."""
    namespaces = Namespaces()
    namespaces.swap(snapshot)
    server = grpc.aio.server(options=_LARGE) if way is Way.REFERENCE else Server(namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    if isinstance(server, Server):
        namespaces.on_swap(lambda current: server.set_routes(current.table()))
        if way in (Way.NATIVE, Way.FORWARDED):
            NativeHandlers(server).add(standard.BACKENDS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            if way is Way.FORWARDED:
                port = await stack.enter_async_context(_front(port))
            yield await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_LARGE))
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def _front(owner_port: int) -> AsyncIterator[int]:
    """The port of a server that forwards the namespace to another one."""
    peer = Peer(f"127.0.0.1:{owner_port}")
    server = Server(namespaced=namespaced)
    add_interfaces(server, lambda name: None)
    server.set_routes(RouteTable(1, [NativeRoute(None, NAMESPACE, None, forward=peer.handler)], ""))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
        await peer.close()
