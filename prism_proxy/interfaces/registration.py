"""Registers the services of the thin interfaces at a server, whose code is imported when the first call needs it.

A namespace over a store that can do everything offers every interface, and most processes use a few: an idle process
pays for none of them, and native handlers serve without them.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import grpc

from prism_proxy import standard
from prism_proxy.interfaces.catalogue import interface, of_third_party, served
from prism_proxy.interfaces.interface import Interface, Method
from prism_proxy.interfaces.servicer import Relay, Resolve


class Services(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """The services of one server. `resolve(name)` finds the route of a namespace, `relay` leads to other workers.

    Those of third parties come with the first namespace that offers them; before that they are found call by call.
    """

    def __init__(self, server: Any, resolve: Resolve, relay: Relay | None = None) -> None:
        self._server = server
        self._arguments = (resolve, relay)
        self._services = {found.name: _Service(found, resolve, relay) for found in served()}
        for service in self._services.values():
            server.add_registered_method_handlers(service.interface.service, service.handlers)
            if not hasattr(server, "add_native_handler"):  # grpc.aio looks in generic handlers only
                server.add_generic_rpc_handlers((
                    grpc.method_handlers_generic_handler(service.interface.service, service.handlers),))
        server.add_generic_rpc_handlers((self,))

    def add(self, interfaces: frozenset[str]) -> None:
        """Know these interfaces too, which namespaces offer: those of third parties."""
        for name in sorted(interfaces - self._services.keys()):
            found = interface(name)
            if found is not None:
                self._services[name] = _Service(found, *self._arguments)
                self._server.add_registered_method_handlers(found.service, self._services[name].handlers)

    def load_messages(self) -> None:
        """Import the messages of all services, for a caller who asks what there is."""
        for service in self._services.values():
            service.load_messages()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a third party's method."""
        service, _, method = str(handler_call_details.method).lstrip("/").rpartition("/")
        found = of_third_party(service)
        if found is None:
            return None
        self.add(frozenset({found.name}))
        return self._services[found.name].handlers.get(method)

    @property
    def names(self) -> list[str]:
        """Full names of the services, of third parties too."""
        return [service.interface.service for service in self._services.values()]


def add_interfaces(server: Any, resolve: Resolve, relay: Relay | None = None) -> list[str]:
    """Register every service on `server`; returns their full names."""
    return Services(server, resolve, relay).names


class _Service:
    """One service, imported when it is needed first."""

    def __init__(self, found: Interface, resolve: Resolve, relay: Relay | None) -> None:
        self.interface = found
        self._arguments = (resolve, relay)

    @functools.cached_property
    def _servicer(self) -> Any:
        reference = standard.model(self.interface.model).servicers[self.interface.name]
        return standard.load(reference)(*self._arguments)

    @functools.cached_property
    def _stubs(self) -> Any:
        return import_module(self.interface.stubs)

    def load_messages(self) -> None:
        assert self._stubs is not None

    @functools.cached_property
    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {method.name: self._handler(method) for method in self.interface.methods}

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        @functools.cache
        def message() -> Any:
            return _message(self._stubs, method.request)

        @functools.cache
        def reader() -> Any:
            return type(self._servicer).readers.get(method.name) or message().FromString

        def parse(data: bytes) -> Any:
            return reader()(data)

        @functools.cache
        def behaviour() -> Any:
            return getattr(self._servicer, method.name)

        async def unary(request: Any, context: Any) -> Any:
            return await behaviour()(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async for item in behaviour()(request, context):
                yield item

        make = _HANDLERS[method.request_streams, method.reply_streams]
        made: grpc.RpcMethodHandler[Any, Any] = make(stream if method.reply_streams else unary, parse, _serialize)
        return made


_HANDLERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler, (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler, (True, True): grpc.stream_stream_rpc_method_handler,
}


def _message(stubs: Any, name: str) -> Any:
    """The class of a message that a module declares, or imports from another file of its package."""
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(stubs.DESCRIPTOR.pool.FindMessageTypeByName(name))


def _serialize(reply: Any) -> bytes:
    found: bytes = reply.SerializeToString()
    return found
