"""Registers what serves the calls of namespaces: services, and the native handlers of the backends that are used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prism_proxy import standard
from prism_proxy._native.grpc.deferred_handler import DeferredHandler
from prism_proxy.interfaces.registration import Services
from prism_proxy.interfaces.servicer import Relay
from prism_proxy.server.server import Server


def add_methods(server: Server, namespaces: Any, relay: Relay | None) -> Services:
    """All that calls of `namespaces` (a `namespaces.snapshot.Namespaces`) need, and will need as they change."""
    services, natives = Services(server, namespaces.resolve, relay), NativeHandlers(server)

    def add(current: Any) -> None:
        services.add(current.interfaces())
        natives.add(current.backends(), current.sealed_backends())

    namespaces.on_swap(add)
    return services


class NativeHandlers:
    """Those of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: set[tuple[str, bool]] = set()

    def add(self, backends: Iterable[str], sealed: Iterable[str] = ()) -> None:
        """Let native code serve what it can of namespaces over these backends, of which those in `sealed` have
        encrypted values. Before their routes are active."""
        wanted = {(backend, False) for backend in backends} | {(backend, True) for backend in sealed}
        for backend, encrypted in sorted(wanted - self._known):
            self._known.add((backend, encrypted))
            make = standard.native(backend, sealed=encrypted)
            for path, handler in (make() if make is not None else {}).items():
                self._server.add_native_handler(path, handler)
            for path, make_one in () if encrypted else standard.deferred(backend):
                self._server.add_native_handler(path, DeferredHandler(make_one))
