"""Registers the native handlers of backends at a server, when the first namespace uses the backend."""

from __future__ import annotations

from collections.abc import Iterable

from prism_proxy import standard
from prism_proxy._native.grpc.call import DeferredHandler
from prism_proxy.server.server import Server


class NativeHandlers:
    """Those of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: set[str] = set()

    def add(self, backends: Iterable[str]) -> None:
        """Let native code serve what it can of namespaces over these backends. Before their routes are active."""
        for backend in sorted(set(backends) - self._known):
            self._known.add(backend)
            make = standard.native(backend)
            for path, handler in (make() if make is not None else {}).items():
                self._server.add_native_handler(path, handler)
            for path, make_one in standard.deferred(backend):
                self._server.add_native_handler(path, DeferredHandler(make_one))
