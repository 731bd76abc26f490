"""Serves one namespace to the suites of messaging, over the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism_proxy import standard
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.models.stream.options import StreamOptions
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server
from prism_proxy.testing.contracts.messaging_wire import Messaging


@contextlib.asynccontextmanager
async def serving(backend: str, settings: Any, *, partitions: int = 1) -> AsyncIterator[Messaging]:
    config = NamespaceConfig.of_store(DEFAULT, backend, settings, stream=StreamOptions(partitions=partitions))
    namespaces = Namespaces()
    activator = Activator(namespaces, standard.make_driver)
    await activator.apply([config])
    server = Server(namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    NativeHandlers(server).add([backend])
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
