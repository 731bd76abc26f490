"""Server reflection, v1 and v1alpha, so that grpcurl and ghz need no files.

What answers is imported by the first request: descriptors as messages take 1 MB, which most processes never use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
METHOD = "ServerReflectionInfo"


def add_reflection(
    server: Any, services: Callable[[], Iterable[str]], load: Callable[[], None] = lambda: None
) -> Reflection:
    """Offer reflection of `services` (full names) and of itself on `server`, a grpc.aio.Server or ours. `load` imports
    their contracts, once somebody asks."""
    reflection = Reflection(lambda: {*services(), V1, V1ALPHA}, load)
    handler = grpc.stream_stream_rpc_method_handler(reflection.stream)
    for service in (V1, V1ALPHA):
        server.add_registered_method_handlers(service, {METHOD: handler})
    return reflection


class Reflection:
    """The streams, which end when the process drains."""

    def __init__(self, services: Callable[[], Iterable[str]], load: Callable[[], None]) -> None:
        self._services = services
        self._load = load
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End the streams: an idle one in some console must not hold up the end of the process."""
        self._draining.set()

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """The servicer method of both versions, which differ in the names of their messages only."""
        from prism_proxy.server.reflection_replies import ReflectionReplies

        replies = ReflectionReplies(self._services, self._load)
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                following = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait((following, draining), return_when=asyncio.FIRST_COMPLETED)
                if draining.done():
                    following.cancel()
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the proxy is draining")
                request = following.result()
                if request is None:
                    return
                yield replies.reply(request)
        finally:
            draining.cancel()
