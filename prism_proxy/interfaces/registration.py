"""Registers the services of the thin interfaces at a server: those in use now, the others when a call needs them.

Servicers and their messages are imported at the first namespace that offers an interface: a process pays for no data
model that nobody uses. Calls of the others still find the errors that say so.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Collection
from importlib import import_module
from typing import Any

import grpc

from prism_proxy import standard
from prism_proxy.interfaces.catalogue import Interface, Method, catalogue
from prism_proxy.interfaces.servicer import Relay, Resolve


class Services:
    """The services of one server. `resolve(name)` finds the route of a namespace, `relay` leads to other workers."""

    def __init__(self, server: Any, resolve: Resolve, relay: Relay | None = None) -> None:
        self._services = {name: _Service(found, resolve, relay) for name, found in catalogue().items()}
        for name, interface in catalogue().items():
            server.add_registered_method_handlers(interface.service, self._services[name].handlers())
            if not hasattr(server, "add_native_handler"):  # grpc.aio looks in generic handlers only
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
                    interface.service, self._services[name].handlers()),))

    def load(self, interfaces: Collection[str]) -> None:
        """Import what calls of these interfaces need, before there are any."""
        for name in interfaces:
            if name in self._services:
                self._services[name].load()

    @property
    def names(self) -> list[str]:
        return [interface.service for interface in catalogue().values()]


def add_interfaces(server: Any, resolve: Resolve, relay: Relay | None = None) -> list[str]:
    """Register every service on `server`; returns their full names."""
    return Services(server, resolve, relay).names


class _Service:
    """One service, imported when it is needed first."""

    def __init__(self, interface: Interface, resolve: Resolve, relay: Relay | None) -> None:
        self._interface = interface
        self._arguments = (resolve, relay)

    @functools.cached_property
    def _servicer(self) -> Any:
        name = self._interface.name
        return standard.load(standard.model(self._interface.model).servicers[name])(*self._arguments)

    @functools.cached_property
    def _stubs(self) -> Any:
        return import_module(self._interface.stubs)

    def load(self) -> None:
        assert self._servicer is not None
        assert self._stubs is not None

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {method.name: self._handler(method) for method in self._interface.methods}

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        def parse(data: bytes) -> Any:
            return getattr(self._stubs, method.request).FromString(data)

        async def unary(request: Any, context: Any) -> Any:
            return await getattr(self._servicer, method.name)(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async for item in getattr(self._servicer, method.name)(request, context):
                yield item

        if method.streams:
            return grpc.unary_stream_rpc_method_handler(stream, parse, _serialize)
        return grpc.unary_unary_rpc_method_handler(unary, parse, _serialize)


def _serialize(reply: Any) -> bytes:
    found: bytes = reply.SerializeToString()
    return found
