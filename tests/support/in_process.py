"""Our server in this process, over namespaces that a test holds too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from prism_proxy import standard
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot, build
from prism_proxy.server.limits import Limits
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server


@dataclass(frozen=True)
class Serving:
    server: Server
    namespaces: Namespaces
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(
    namespaces: Namespaces, *, native: bool | Sequence[str] = False, limits: Limits | None = None,
) -> AsyncIterator[Serving]:
    """`native`: with the native handlers of these backends, or of all that namespaces use."""
    server = Server(limits, namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    natives = NativeHandlers(server)
    if native is True:
        namespaces.on_swap(lambda current: natives.add(current.backends(), current.sealed_backends()))
    elif native:
        natives.add(native)
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Serving(server, namespaces, port)
    finally:
        await server.stop(0)


def namespaces_over(driver: Any, backend: str = "scripted") -> Namespaces:
    """The namespace `default` over a driver that is open."""
    namespaces = Namespaces()
    namespaces.swap(build(1, [NamespaceConfig.of_store("default", backend, None)], lambda *_: driver))
    return namespaces


@contextlib.asynccontextmanager
async def applied(*configs: NamespaceConfig, resources: Any = None) -> AsyncIterator[tuple[Namespaces, Activator]]:
    """Namespaces as a configuration has them; their drivers are closed at the end."""
    namespaces = Namespaces()
    activator = Activator(namespaces, standard.make_driver, resources=resources)
    await activator.apply(configs)
    try:
        yield namespaces, activator
    finally:
        await activator.apply([])
        await activator.close()


@contextlib.asynccontextmanager
async def served(snapshot: Snapshot, *, native: bool = False) -> AsyncIterator[str]:
    """The address. `native`: with the native handlers over Redis."""
    namespaces = Namespaces()
    namespaces.swap(snapshot)
    async with serving(namespaces, native=["redis"] if native else []) as found:
        yield found.address
