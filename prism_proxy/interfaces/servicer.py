"""What every servicer shares: finding the namespace of a call, and ending it with an error.

The servicers run unchanged under `grpc.aio.server` and under the native server.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import grpc

from prism_proxy.errors import PrismError, StatusCode, interface_not_supported, status_of
from prism_proxy.interfaces.catalogue import interface
from prism_proxy.interfaces.streams import OpenStreams, Resume, ServicerStream
from prism_proxy.telemetry import trace
from prism_runtime import log

ItemT = TypeVar("ItemT")
LOCAL = "local"  # state that one worker serves

NAMESPACE_HEADER = "x-namespace"
DEFAULT_NAMESPACE = "default"
NOT_OWNER_RETRY_SECONDS = 0.1
_log = log.get("prism.interfaces")


class Route(Protocol):
    """What an interface needs to know of a namespace."""

    @property
    def namespace(self) -> str: ...

    @property
    def backend(self) -> str: ...

    @property
    def interfaces(self) -> frozenset[str]: ...

    @property
    def streams(self) -> OpenStreams: ...

    @property
    def state(self) -> str: ...

    @property
    def elsewhere(self) -> int | None: ...

    def implementation(self, interface: str) -> Any: ...

    def switch(self, interface: str) -> str: ...


Resolve = Callable[[str], Route | None]


class Relay(Protocol):
    """Other workers of the proxy, which hold state that handles name (see `handles`)."""

    def elsewhere(self, handle: str) -> int | None: ...

    async def ask_others(self, path: str, request: bytes, context: Any) -> bytes | None: ...

    async def call(self, worker: int, path: str, request: bytes, context: Any) -> bytes: ...


class NamespacedServicer:
    """The servicer of one thin interface, which `interface` names. `resolve(name)` finds the route of a namespace where
    the server has not done so already."""

    interface: ClassVar[str]
    readers: ClassVar[Mapping[str, Callable[[bytes], Any]]] = {}  # by method, where its message class costs too much

    def __init__(self, resolve: Resolve, relay: Relay | None = None) -> None:
        self._resolve = resolve
        self._relay = relay

    def route(self, context: Any) -> Route:
        """The route of the call. PrismError NOT_FOUND for an unknown namespace, NOT_OWNER for one served elsewhere."""
        known: Route | None = getattr(context, "route", None)
        found = known if known is not None else self._named(context)
        if found.elsewhere is not None:
            raise PrismError(
                StatusCode.UNAVAILABLE, "NOT_OWNER", f"namespace {found.namespace!r} is served by another process",
                {"namespace": found.namespace, "outcome": "not_executed"}, retry_after=NOT_OWNER_RETRY_SECONDS)
        return found

    def path(self, method: str) -> str:
        """The full name of a method of the interface."""
        found = interface(self.interface)
        assert found is not None
        return found.path(method)

    def implementation(self, context: Any) -> Any:
        """What serves the interface in the call's namespace. UNIMPLEMENTED, before any I/O, when nothing does."""
        route = self.route(context)
        found = route.implementation(self.interface)
        if found is None:
            raise interface_not_supported(self.interface, route.backend, tuple(sorted(route.interfaces)),
                                          route.switch(self.interface))
        return found

    def stream(
        self, context: Any, source: AsyncIterator[ItemT], resume: Resume = lambda: None
    ) -> AsyncIterator[ItemT]:
        """The items of a source that lasts as long as the caller wants. It ends with UNAVAILABLE, and what `resume`
        says in the trailer x-prism-resume, when this proxy cannot go on with it."""
        return ServicerStream(context, self.route(context).streams, resume).over(source)

    def _named(self, context: Any) -> Route:
        sent = _metadata(context).get(NAMESPACE_HEADER)
        name = sent or DEFAULT_NAMESPACE
        found = self._resolve(name)
        if found is None:
            missing = f"there is no namespace {name!r} on this proxy"
            raise PrismError(StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND",
                             missing if sent else f"the call sent no {NAMESPACE_HEADER}, and {missing}",
                             {"namespace": name})
        return found


def where_the_handle_is(
    field_name: str, reply: Callable[[], type[Any]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a method about a handle, which `field_name` of its request has: it runs in the worker that made the
    handle, and answers with `reply`."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def relayed(self: NamespacedServicer, request: Any, context: Any) -> Any:
            relay = self._relay
            worker = relay.elsewhere(getattr(request, field_name)) if relay is not None else None
            if relay is None or worker is None:
                return await method(self, request, context)
            self.implementation(context)  # what is refused without looking at the state is refused here
            return reply().FromString(await relay.call(
                worker, self.path(method.__name__), request.SerializeToString(), context))

        return relayed

    return decorate


def wherever_it_is(reply: Callable[[], type[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a method about what is open in one worker, and no handle tells in which: where it is NOT_FOUND
    here, the others are asked, and the one that has it answers with `reply`."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def relayed(self: NamespacedServicer, request: Any, context: Any) -> Any:
            try:
                return await method(self, request, context)
            except PrismError as error:
                if error.code is not StatusCode.NOT_FOUND or self._relay is None or self.route(context).state == LOCAL:
                    raise
                found = await self._relay.ask_others(
                    self.path(method.__name__), request.SerializeToString(), context)
                if found is None:
                    raise
                return reply().FromString(found)

        return relayed

    return decorate


def answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a servicer method: PrismError becomes its status, a defect becomes INTERNAL without its inner text."""
    if inspect.isasyncgenfunction(method):

        @functools.wraps(method)
        async def stream(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async for item in method(self, request, context):
                    yield item
            except PrismError as error:
                await _abort(context, error)
            except _PASS:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary to the caller
                await _abort(context, _defect(method, context, error))

        return stream

    @functools.wraps(method)
    async def unary(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except PrismError as error:
            await _abort(context, error)
        except _PASS:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary to the caller
            await _abort(context, _defect(method, context, error))

    return unary


_PASS = (grpc.aio.AbortError, grpc.aio.UsageError)


def _defect(method: Callable[..., Any], context: Any, error: Exception) -> PrismError:
    metadata = _metadata(context)
    _log.error("a call failed unexpectedly", operation=method.__qualname__, request_id=metadata.get("x-request-id"),
               exc_info=error, **trace.log_fields(getattr(context, "trace", None), metadata.items()))
    return PrismError(StatusCode.INTERNAL, "INTERNAL", f"{method.__name__} failed unexpectedly; see the proxy's log")


async def _abort(context: Any, error: PrismError) -> None:
    code, message, trailers = status_of(error, _metadata(context).get("x-request-id"))
    await context.abort(code, message, trailers)


def _metadata(context: Any) -> Mapping[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
