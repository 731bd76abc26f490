"""Serves a driver of streams and topics in one namespace to the suites of messaging, over the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.models.stream.options import StreamOptions
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.server.registration import add_methods
from prism_proxy.server.server import Server
from prism_proxy.testing.contracts.messaging_wire import Messaging


@contextlib.asynccontextmanager
async def serving(driver: Any, *, partitions: int = 1) -> AsyncIterator[Messaging]:
    """`driver` is new: it is opened here, and closed."""
    config = NamespaceConfig.of_store(
        DEFAULT, driver.declaration.name, None, stream=StreamOptions(partitions=partitions))
    namespaces, server = Namespaces(), Server(namespaced=namespaced)
    activator = Activator(namespaces, lambda backend, settings: driver)
    await activator.apply([config])
    add_methods(server, namespaces, None)
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Messaging(channel, namespaces.current.routes[DEFAULT].interfaces)
    finally:
        await server.stop(0)
        await activator.apply([])
        await activator.close()
