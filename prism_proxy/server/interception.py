"""Interceptors of a drop-in server: each call's handler is found through them, as in grpc.aio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Interceptor: TypeAlias = "grpc.aio.ServerInterceptor[Any, Any]"
Find = Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"]


def checked(interceptors: Sequence[Any]) -> tuple[Interceptor, ...]:
    """ValueError, as grpc.aio raises it, when one of them is none."""
    invalid = [item for item in interceptors if not isinstance(item, grpc.aio.ServerInterceptor)]
    if invalid:
        raise ValueError(f"Interceptor must be ServerInterceptor, the following are invalid: {invalid}")
    return tuple(interceptors)


async def intercepted(
    interceptors: Sequence[Interceptor], find: Find, details: grpc.HandlerCallDetails
) -> Handler | None:
    """The handler of a call: the first interceptor is outermost, and each may change what the next one sees."""

    def step(index: int) -> Callable[[grpc.HandlerCallDetails], Awaitable[Any]]:
        async def go_on(details: grpc.HandlerCallDetails) -> Handler | None:
            if index == len(interceptors):
                return find(details)
            return await interceptors[index].intercept_service(step(index + 1), details)

        return go_on

    found: Handler | None = await step(0)(details)
    return found
