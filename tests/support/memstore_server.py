"""A server whose native handlers work on one memory store that the test holds too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, build
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"


@contextlib.asynccontextmanager
async def served(driver: MemstoreDriver) -> AsyncIterator[int]:
    """The port. The driver is opened here, serves the namespace `default`, and is closed at the end."""
    namespaces = Namespaces()
    namespaces.swap(build(1, [NamespaceConfig.of_store("default", "memstore", None)], lambda backend, settings: driver))
    server = Server(namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    NativeHandlers(server).add(["memstore"])
    port = server.add_insecure_port("127.0.0.1:0")
    await driver.open()
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
        await driver.close()
