"""Our server over a snapshot of namespaces, for clients that a test makes itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server


@contextlib.asynccontextmanager
async def served(snapshot: Snapshot, *, native: bool = False) -> AsyncIterator[str]:
    """The address. `native`: with the native handlers over Redis."""
    namespaces = Namespaces()
    namespaces.swap(snapshot)
    server = Server(namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    NativeHandlers(server).add(["redis"] if native else [])
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
